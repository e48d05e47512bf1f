package reassembly

import (
	"testing"

	"tlsgate/conntrack/seqnum"
)

func drain(s *Stream) {
	for p := s.Take(); p != nil; p = s.Take() {
	}
}

// hello is a connection's life: a hello in two segments that come the wrong way
// round, read, remembered, acknowledged.
func hello(s *Stream, b *Budget, at seqnum.Value, p []byte) {
	half := len(p) / 2
	s.Start(at)
	s.Offer(at.Add(uint32(half)), p[half:], testLimit, b)
	s.Offer(at, p[:half], testLimit, b)
	for at, p := s.Next(), s.Take(); p != nil; at, p = s.Next(), s.Take() {
		s.Remember(at, p, testLimit, b)
	}
	s.Offer(at, p, testLimit, b)
	s.Acknowledge(s.Next(), b)
	s.Release(b)
}

func TestNoAllocs(t *testing.T) {
	var s Stream
	b := &Budget{}
	p := make([]byte, 3000)
	hello(&s, b, 1, p)
	for _, tt := range []struct {
		name string
		f    func()
	}{
		{"in order", func() {
			s.Offer(s.Next(), p, testLimit, b)
			drain(&s)
		}},
		{"record headers", func() {
			at := s.Next()
			s.Offer(at, p, testLimit, b)
			drain(&s)
			s.Remember(at, p[:5], testLimit, b)
			s.Remember(at.Add(1000), p[:5], testLimit, b)
			s.Acknowledge(s.Next(), b)
		}},
		{"a new connection", func() {
			var s Stream
			hello(&s, b, 1<<32-1000, p)
		}},
	} {
		s.Release(b)
		s.Start(0)
		if got := testing.AllocsPerRun(1000, tt.f); got != 0 {
			t.Errorf("%s: %v allocations", tt.name, got)
		}
	}
}

func BenchmarkInOrder(b *testing.B) {
	for _, bb := range []struct {
		name string
		size int
	}{{"1448", 1448}, {"64k", 65160}} {
		b.Run(bb.name, func(b *testing.B) {
			var s Stream
			var bud Budget
			s.Start(0)
			p := make([]byte, bb.size)
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				s.Offer(s.Next(), p, 96<<10, &bud)
				drain(&s)
			}
		})
	}
}

func BenchmarkRecordHeaders(b *testing.B) {
	var s Stream
	var bud Budget
	s.Start(0)
	p := make([]byte, 65160)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		at := s.Next()
		s.Offer(at, p, 96<<10, &bud)
		drain(&s)
		for o := 0; o < len(p); o += 16406 {
			s.Remember(at.Add(uint32(o)), p[o:o+5], 192<<10, &bud)
		}
		s.Acknowledge(at, &bud)
	}
}

func BenchmarkHello(b *testing.B) {
	var s Stream
	var bud Budget
	p := make([]byte, 1800)
	b.ReportAllocs()
	for b.Loop() {
		hello(&s, &bud, 1<<32-1000, p)
	}
}

// BenchmarkOutOfOrder keeps a flight of 64 segments and fills its gap.
func BenchmarkOutOfOrder(b *testing.B) {
	var s Stream
	var bud Budget
	s.Start(0)
	p := make([]byte, 1448)
	b.ReportAllocs()
	b.SetBytes(64 * 1448)
	for b.Loop() {
		first := s.Next()
		for i := uint32(1); i < 64; i++ {
			s.Offer(first.Add(i*1448), p, testLimit, &bud)
		}
		s.Offer(first, p, testLimit, &bud)
		drain(&s)
	}
}

// BenchmarkTinyPieces is the attack: a full buffer of single bytes with gaps,
// and one more of them.
func BenchmarkTinyPieces(b *testing.B) {
	for _, bb := range []struct {
		name  string
		limit int
	}{{"96KiB", 96 << 10}, {"4MiB", 4 << 20}} {
		b.Run(bb.name, func(b *testing.B) {
			var s Stream
			var bud Budget
			s.Start(0)
			p := []byte{1}
			at := seqnum.Value(1)
			for s.Offer(at, p, bb.limit, &bud) == Kept {
				at = at.Add(2)
			}
			top := uint32(at)
			b.ReportAllocs()
			for b.Loop() {
				at = seqnum.Value((uint32(at)*1664525+1013904223)%top | 1)
				s.Offer(at, p, bb.limit, &bud)
			}
		})
	}
}

// BenchmarkRetransmission compares one byte with a full memory of headers.
func BenchmarkRetransmission(b *testing.B) {
	var s Stream
	var bud Budget
	s.Start(0)
	body := make([]byte, 100)
	for s.Offer(s.Next(), body, 96<<10, &bud) == InOrder {
		at := s.Next()
		drain(&s)
		s.Remember(at, body[:5], 192<<10, &bud)
	}
	top := uint32(s.Next())
	at := seqnum.Value(0)
	b.ReportAllocs()
	for b.Loop() {
		at = seqnum.Value((uint32(at)*1664525 + 1013904223) % top)
		s.Offer(at, body[:1], 96<<10, &bud)
	}
}

// BenchmarkComb compares a segment as large as they come with single bytes kept
// at every other place.
func BenchmarkComb(b *testing.B) {
	var s Stream
	var bud Budget
	s.Start(0)
	p := make([]byte, 65160)
	for i := 1; i < len(p); i += 2 {
		s.Offer(seqnum.Value(i), p[:1], 96<<10, &bud)
	}
	p[len(p)-1] = 1
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if s.Offer(0, p, 96<<10, &bud) != Overlap {
			b.Fatal("no overlap")
		}
	}
}
