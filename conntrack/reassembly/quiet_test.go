package reassembly

import (
	"reflect"
	"testing"
)

// TestQuiet: a stream that holds nothing goes on elsewhere as if it had stayed.
func TestQuiet(t *testing.T) {
	for _, base := range bases {
		p := newPair(base, &Budget{})
		for at := uint64(modelStart); at < 1<<17; {
			early := honest(at+50, 10)
			_, err := p.offer(at+50, early)
			must(t, err)
			if _, quiet := p.s.Quiet(); quiet {
				t.Fatal("quiet, and it waits for what fills a gap")
			}
			_, err = p.offer(at, honest(at, 700))
			must(t, err)
			at += 700
			must(t, p.acknowledge(at))
			q, quiet := p.s.Quiet()
			if !quiet {
				t.Fatalf("not quiet, and %d bytes are held", p.s.Held())
			}
			p.s = Stream{}
			p.s.Resume(q)
		}
	}
}

// TestQuietWhole: all that a stream knows goes with it, and nothing that it holds.
func TestQuietWhole(t *testing.T) {
	var s, k Stream
	b := &Budget{}
	s.Start(7)
	s.Leap(9, b)
	s.broken = true
	q, quiet := s.Quiet()
	if k.Resume(q); !quiet || !reflect.DeepEqual(s, k) {
		t.Errorf("got %+v, want %+v", k, s)
	}
	s.broken = false
	s.Offer(9, []byte("x"), testLimit, b)
	if _, quiet := s.Quiet(); quiet {
		t.Error("quiet, with bytes to take")
	}
	s.Remember(9, s.Take(), testLimit, b)
	if _, quiet := s.Quiet(); quiet {
		t.Error("quiet, and what it has read is not acknowledged")
	}
	s.Acknowledge(10, b)
	if q, quiet := s.Quiet(); !quiet || q != (Quiet{Next: 10, Una: 10, Started: true, Leapt: true}) {
		t.Errorf("%+v, quiet %v", q, quiet)
	}
}
