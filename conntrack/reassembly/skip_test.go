package reassembly

import (
	"bytes"
	"testing"

	"tlsgate/conntrack/seqnum"
)

// TestSkip: what is kept behind a gap is read once the gap is given up, wherever
// in the sequence space it lies.
func TestSkip(t *testing.T) {
	for _, base := range []seqnum.Value{0, 1000, 1<<32 - 1500, 1<<31 - 1500} {
		var s Stream
		b := &Budget{}
		s.Start(base)
		if to, ok := s.Gap(); ok {
			t.Errorf("a gap at %d with nothing kept", to)
		}
		data := bytes.Repeat([]byte("0123456789"), 500)
		for _, at := range []int{1100, 1200, 4000} {
			if got := s.Offer(base.Add(uint32(at)), data[at:at+100], testLimit, b); got != Kept {
				t.Fatal(got)
			}
		}
		for _, want := range []struct{ to, next int }{{1100, 1300}, {4000, 4100}} {
			to, ok := s.Gap()
			if !ok || to != base.Add(uint32(want.to)) {
				t.Fatalf("base %d: gap to %d, %v, want %d", base, to-base, ok, want.to)
			}
			s.Skip(to, b)
			for at := s.Next(); ; at = s.Next() {
				p := s.Take()
				if p == nil {
					break
				}
				if from := int(at.Diff(base)); !bytes.Equal(p, data[from:from+len(p)]) || !s.Remember(at, p, testLimit, b) {
					t.Errorf("base %d, at %d: %q", base, from, p)
				}
			}
			if s.Next() != base.Add(uint32(want.next)) {
				t.Errorf("base %d: next is %d, want %d", base, s.Next()-base, want.next)
			}
		}
		if got := s.Offer(base.Add(4050), []byte("x"), testLimit, b); got != Overlap {
			t.Errorf("what was read behind a gap may be changed: %v", got)
		}
		s.Forget(b)
		if got := s.Offer(base.Add(4050), []byte("x"), testLimit, b); got != Old || s.Held() != 0 && len(s.kept) == 0 {
			t.Errorf("forgotten, and %v with %d bytes held", got, s.Held())
		}
		if s.Skip(base, b); s.Next() != base.Add(4100) {
			t.Error("skipped backwards")
		}
		if s.Release(b); b.Used() != 0 {
			t.Errorf("%d bytes left", b.Used())
		}
	}
}

// TestForgetMends: a stream that could not remember is of use again.
func TestForgetMends(t *testing.T) {
	var s Stream
	b := &Budget{}
	s.Start(0)
	s.Offer(0, make([]byte, 5000), testLimit, b)
	s.Take()
	if s.Remember(0, make([]byte, 5000), 100, b) || s.Offer(5000, []byte{1}, testLimit, b) != Refused {
		t.Fatal("it remembers beyond its limit")
	}
	if s.Forget(b); s.Offer(5000, []byte{1}, testLimit, b) != InOrder {
		t.Error("still refused")
	}
	s.Release(b)
}
