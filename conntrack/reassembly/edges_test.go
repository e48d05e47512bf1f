package reassembly

import (
	"bytes"
	"testing"

	"tlsgate/conntrack/seqnum"
)

// TestEdges: bounds hold to the byte, and what was offered and not taken is not read
// when others are passed over.
func TestEdges(t *testing.T) {
	start := seqnum.Value(1<<32 - 5)
	for name, tt := range map[string]func(s *Stream, b *Budget) bool{
		"as much remembered as there may be":              func(s *Stream, b *Budget) bool { return s.Offer(start+3, []byte("d"), s.Remembered(), b) == Refused },
		"one byte less":                                   func(s *Stream, b *Budget) bool { return s.Offer(start+3, []byte("d"), s.Remembered()+1, b) == InOrder },
		"passed over, as much remembered as there may be": func(s *Stream, b *Budget) bool { return !s.PassOver(start+3, 9, s.Remembered(), b) },
		"passed over, one byte less":                      func(s *Stream, b *Budget) bool { return s.PassOver(start+3, 9, s.Remembered()+1, b) },
		"passed over, a byte":                             func(s *Stream, b *Budget) bool { return s.PassOver(start+3, 1, 1<<16, b) && s.Next() == start+4 },
		"passed over, none":                               func(s *Stream, b *Budget) bool { return !s.PassOver(start+3, 0, 1<<16, b) },
		"passed over, further than there may be":          func(s *Stream, b *Budget) bool { return !s.PassOver(start+3, far+1, 1<<16, b) },
		"passed over, behind what is taken":               func(s *Stream, b *Budget) bool { return !s.PassOver(start+4, 1, 1<<16, b) },
		"passed over, until nothing is certain any more": func(s *Stream, b *Budget) bool {
			s.Acknowledge(start+3, b)
			return s.PassOver(start+3, far, 1<<16, b) && s.PassOver(s.Next(), 1, 1<<16, b) && !s.PassOver(s.Next(), 1, 1<<16, b)
		},
		"offered, and passed over": func(s *Stream, b *Budget) bool {
			return s.Offer(start+3, []byte("d"), 1<<16, b) == InOrder && s.PassOver(start+3, 1, 1<<16, b) && s.Take() == nil && s.Next() == start+4
		},
		"offered, and skipped": func(s *Stream, b *Budget) bool {
			st := s.Offer(start+3, []byte("d"), 1<<16, b)
			s.Skip(start+9, b)
			return st == InOrder && s.Take() == nil && s.Next() == start+9
		},
		"forgotten": func(s *Stream, b *Budget) bool {
			s.Forget(b)
			q, quiet := s.Quiet()
			return quiet && q.Una == start+3
		},
		"all that is held is remembered": func(s *Stream, _ *Budget) bool { return s.Remembered() == s.Held() },
		"room for a block": func(s *Stream, b *Budget) bool {
			s.Forget(b)
			const most = blockSize + leastList*refSize
			return s.Offer(start+3, []byte("d"), most, b) == InOrder && s.Remember(start+3, s.Take(), most, b)
		},
		"room for less": func(s *Stream, b *Budget) bool {
			s.Forget(b)
			const most = blockSize + leastList*refSize
			return s.Offer(start+3, []byte("d"), most, b) == InOrder && !s.Remember(start+3, s.Take(), most-1, b)
		},
		"not remembered once": func(s *Stream, b *Budget) bool {
			return !s.Remember(start+3, []byte("d"), 1<<16, b) && !s.Remember(start+3, nil, 1<<16, b)
		},
		"not started": func(s *Stream, b *Budget) bool {
			s.Release(b)
			return !s.Remember(0, nil, 1<<16, b)
		},
		"acknowledged in part": func(s *Stream, b *Budget) bool {
			s.Offer(start+3, bytes.Repeat([]byte("d"), 3000), 1<<16, b)
			s.Remember(start+3, s.Take(), 1<<16, b)
			s.Acknowledge(start+500, b)
			for at := start + 500; at != start+3003; at++ {
				if s.Offer(at, []byte("e"), 1<<16, b) != Overlap {
					return false
				}
			}
			return s.Offer(start+499, []byte("e"), 1<<16, b) == Old
		},
		"kept where a block is there": func(s *Stream, b *Budget) bool {
			s.Forget(b)
			const most = blockSize + leastList*refSize
			first := s.Offer(start+100, []byte("x"), most, b)
			b.Max = b.Used()
			return first == Kept && s.Offer(start+102, []byte("y"), most, b) == Kept && s.Offer(start+2000, []byte("z"), 2*most, b) == Refused
		},
	} {
		b, s := &Budget{}, &Stream{}
		s.Start(start)
		s.Offer(start, []byte("abc"), 1<<16, b)
		s.Remember(start, s.Take(), 1<<16, b)
		if !tt(s, b) {
			t.Errorf("%s: next is %d, %d bytes are held", name, s.Next(), s.Held())
		}
	}
}
