package reassembly

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"

	"tlsgate/conntrack/seqnum"
)

func TestSizes(t *testing.T) {
	if got := unsafe.Sizeof(block{}); got != blockSize {
		t.Errorf("block takes %d bytes, accounted as %d", got, blockSize)
	}
	if got := unsafe.Sizeof(ref{}); got != refSize {
		t.Errorf("ref takes %d bytes, accounted as %d", got, refSize)
	}
	if got := unsafe.Sizeof(Stream{}); got > 160 {
		t.Errorf("Stream takes %d bytes, want at most 160", got)
	}
}

func TestZeroIsSafe(t *testing.T) {
	var s Stream
	var b Budget
	if got := s.Offer(0, []byte{1}, 1<<20, &b); got != Refused {
		t.Errorf("Offer to a stream not started = %v, want refused", got)
	}
	if got := s.Offer(0, nil, 1<<20, &b); got != Old {
		t.Errorf("Offer of nothing = %v, want old", got)
	}
	if s.Take() != nil || s.Started() || !s.Settled() || s.Held() != 0 {
		t.Error("a zero stream has something")
	}
	if s.Remember(0, []byte{1}, 1<<20, &b) {
		t.Error("a stream not started remembers")
	}
	s.Acknowledge(1<<31, &b)
	s.Release(&b)
	var zero Status
	if zero != Refused {
		t.Error("the zero Status lets a segment pass")
	}
}

// step offers bytes at a distance from the first byte; all taken is remembered.
type step struct {
	at   int
	data string
	want Status
	ack  int // then everything before it is acknowledged
}

func TestOffer(t *testing.T) {
	long := string(honest(0, 5000))
	for _, tt := range []struct {
		name  string
		steps []step
		want  string // all that was taken
	}{
		{"in order", []step{{0, "abc", InOrder, 0}, {3, "def", InOrder, 0}}, "abcdef"},
		{"early, then the gap", []step{{3, "def", Kept, 0}, {0, "abc", InOrder, 0}}, "abcdef"},
		{"gap filled beyond what is kept", []step{{3, "d", Kept, 0}, {0, "abcdef", InOrder, 0}}, "abcdef"},
		{"gap filled in the middle", []step{{1, "b", Kept, 0}, {3, "d", Kept, 0}, {0, "a", InOrder, 0}, {2, "c", InOrder, 0}}, "abcd"},
		{"kept twice", []step{{3, "def", Kept, 0}, {3, "def", Kept, 0}, {2, "cdefg", Kept, 0}, {0, "ab", InOrder, 0}}, "abcdefg"},
		{"repeated", []step{{0, "abc", InOrder, 0}, {0, "abc", Old, 0}, {1, "b", Old, 0}}, "abc"},
		{"repeated and more", []step{{0, "abc", InOrder, 0}, {1, "bcdef", InOrder, 0}}, "abcdef"},
		{"repeated changed", []step{{0, "abc", InOrder, 0}, {0, "abX", Overlap, 0}, {3, "d", InOrder, 0}}, "abcd"},
		{"repeated changed, with new bytes", []step{{0, "abc", InOrder, 0}, {2, "Xdef", Overlap, 0}, {2, "cdef", InOrder, 0}}, "abcdef"},
		{"kept, then changed", []step{{2, "cd", Kept, 0}, {3, "X", Overlap, 0}, {2, "cd", Kept, 0}, {0, "ab", InOrder, 0}}, "abcd"},
		{"gap filler differs from what is kept", []step{{2, "cd", Kept, 0}, {0, "abX", Overlap, 0}, {0, "abc", InOrder, 0}}, "abcd"},
		{"gap filler differs behind a hole", []step{{2, "c", Kept, 0}, {9, "j", Kept, 0}, {0, "abcdefghiX", Overlap, 0}, {0, "abcdefghi", InOrder, 0}}, "abcdefghij"},
		{"changed after acknowledgement", []step{{0, "abc", InOrder, 3}, {0, "XYZ", Old, 0}}, "abc"},
		{"changed across the acknowledgement", []step{{0, "abc", InOrder, 2}, {0, "XYc", Old, 0}, {0, "XYZ", Overlap, 0}}, "abc"},
		{"keep-alive with a byte of garbage", []step{{0, "abc", InOrder, 3}, {2, "\x00", Old, 0}, {3, "d", InOrder, 0}}, "abcd"},
		{"acknowledged beyond what was read", []step{{0, "abc", InOrder, 0}, {5, "f", Kept, 6}, {3, "de", InOrder, 0}, {3, "dX", Overlap, 0}}, "abcdef"},
		{"acknowledgement goes back", []step{{0, "abc", InOrder, 3}, {3, "def", InOrder, 1}, {0, "XYZdef", Old, 0}}, "abcdef"},
		{"nothing", []step{{0, "", Old, 0}, {9, "", Old, 0}, {-9, "", Old, 0}}, ""},
		{"before the beginning", []step{{-2, "yz", Old, 0}, {-2, "yzabc", InOrder, 0}}, "abc"},
		{"over many blocks", []step{{2000, long[2000:4000], Kept, 0}, {4500, long[4500:], Kept, 0}, {0, long[:2100], InOrder, 0}, {3000, long[3000:4600], InOrder, 0}, {0, long, Old, 0}}, long},
		{"too far ahead", []step{{far, "a", Refused, 0}, {far - 1, "a", Kept, 0}}, ""},
		{"too far behind", []step{{-far - 1, "a", Refused, 0}, {-far, "a", Old, 0}}, ""},
		{"on the other side", []step{{-1 << 31, "a", Refused, 0}}, ""},
	} {
		for _, base := range bases {
			var s Stream
			b := &Budget{}
			first := seqnum.Value(base)
			s.Start(first)
			var got []byte
			for i, step := range tt.steps {
				if st := s.Offer(first.Add(uint32(step.at)), []byte(step.data), testLimit, b); st != step.want {
					t.Errorf("%s, base %d, step %d: %v, want %v", tt.name, base, i, st, step.want)
				}
				for at, p := s.Next(), s.Take(); p != nil; at, p = s.Next(), s.Take() {
					got = append(got, p...)
					if !s.Remember(at, p, testLimit, b) {
						t.Errorf("%s: not remembered", tt.name)
					}
				}
				if step.ack != 0 {
					s.Acknowledge(first.Add(uint32(step.ack)), b)
				}
				must(t, s.check(b))
			}
			if string(got) != tt.want {
				t.Errorf("%s, base %d: took %q, want %q", tt.name, base, got, tt.want)
			}
			if s.Release(b); b.Used() != 0 {
				t.Errorf("%s, base %d: %d bytes left", tt.name, base, b.Used())
			}
		}
	}
}

func TestTakeInPlace(t *testing.T) {
	var s Stream
	var b Budget
	s.Start(7)
	p := []byte("abcdef")
	s.Offer(4, p, testLimit, &b)
	got := s.Take()
	if &got[0] != &p[3] || len(got) != 3 || cap(got) != 3 {
		t.Errorf("Take = %q, cap %d, not in place", got, cap(got))
	}
	if s.Take() != nil || b.Used() != 0 {
		t.Error("bytes in order cost something")
	}
}

func TestUntakenIsUnread(t *testing.T) {
	var s Stream
	var b Budget
	s.Start(0)
	s.Offer(0, []byte("abc"), testLimit, &b)
	if s.Settled() {
		t.Error("settled with bytes to take")
	}
	if got := s.Offer(0, []byte("abc"), testLimit, &b); got != InOrder {
		t.Errorf("Offer again = %v, want in_order", got)
	}
	if got := s.Take(); string(got) != "abc" {
		t.Errorf("took %q", got)
	}
}

// Bytes skipped between two record headers are neither kept nor compared.
func TestSkippedBodies(t *testing.T) {
	p := newPair(1<<32-40000, &Budget{})
	for i := range uint64(40) {
		at := modelStart + i*2000
		_, err := p.offer(at, honest(at, 2000))
		must(t, err)
		must(t, p.remember(at, honest(at, 5)))
	}
	if got := p.s.Held(); got > 2*blockSize {
		t.Errorf("40 headers hold %d bytes", got)
	}
	for i := range uint64(40) {
		at := modelStart + i*2000
		changed := honest(at, 2000)
		changed[5] ^= 1
		if st, err := p.offer(at, changed); st != Old {
			t.Errorf("record %d, body changed: %v (%v), want old", i, st, err)
		}
		changed[4] ^= 1
		if st, err := p.offer(at, changed); st != Overlap {
			t.Errorf("record %d, header changed: %v (%v), want overlap", i, st, err)
		}
	}
	must(t, p.acknowledge(p.m.next))
	if p.s.Held() != 0 || !p.s.Settled() {
		t.Errorf("%d bytes held after the last acknowledgement", p.s.Held())
	}
}

// The keeping of many pieces costs what they hold, not how many they are.
func TestTinyPiecesShuffled(t *testing.T) {
	const size = 16 << 10
	for _, base := range bases {
		p := newPair(base, &Budget{})
		order := rand.New(rand.NewPCG(1, uint64(base))).Perm(size)
		for _, i := range order {
			at := modelStart + uint64(i)
			_, err := p.offer(at, honest(at, 1))
			must(t, err)
			if got, most := p.s.Held(), (size/blockData+1)*blockSize+64*refSize; got > most {
				t.Fatalf("%d bytes held for a hello of %d, want at most %d", got, size, most)
			}
		}
		if got := p.m.next; got != modelStart+size {
			t.Fatalf("read up to %d", got-modelStart)
		}
	}
}

// What is kept may fill the limit; the segments it waits for get through.
func TestGapFillersPassFullStream(t *testing.T) {
	const limit = 8 << 10
	b := &Budget{Max: 20 << 10}
	streams := make([]Stream, 3)
	for i := range streams {
		s := &streams[i]
		s.Start(0)
		for at := 3000; s.Offer(seqnum.Value(at), honest(uint64(at), 700), limit, b) == Kept; at += 700 {
		}
		if s.Held() > limit {
			t.Errorf("stream %d holds %d, limit %d", i, s.Held(), limit)
		}
	}
	if got := b.Used(); got > b.Max*3/4 {
		t.Errorf("%d bytes kept of %d: no room for who fills gaps", got, b.Max)
	}
	for i := range streams {
		s := &streams[i]
		for gap := 0; gap < 3000; gap += 1000 {
			if got := s.Offer(seqnum.Value(gap), honest(uint64(gap), 1000), limit, b); got != InOrder {
				t.Errorf("stream %d holds %d: gap filler at %d is %v, want in_order", i, s.Held(), gap, got)
			}
			for at, p := s.Next(), s.Take(); p != nil; at, p = s.Next(), s.Take() {
				if !s.Remember(at, p, 2*limit, b) {
					t.Errorf("stream %d: not remembered", i)
				}
			}
		}
		s.Acknowledge(s.Next(), b)
		if s.Held() != 0 {
			t.Errorf("stream %d holds %d", i, s.Held())
		}
	}
}

// What was acknowledged before it was read is not remembered.
func TestAcknowledgedBeforeRead(t *testing.T) {
	var s Stream
	var b Budget
	s.Start(1<<32 - 2)
	s.Offer(1<<32-2, []byte("abcdef"), testLimit, &b)
	p := s.Take()
	s.Acknowledge(1, &b)
	if !s.Remember(1<<32-2, p[:3], testLimit, &b) || s.Held() != 0 || !s.Settled() {
		t.Errorf("%d bytes held of what was acknowledged", s.Held())
	}
	if !s.Remember(0, p[2:], testLimit, &b) {
		t.Error("not remembered")
	}
	if got := s.Offer(0, []byte("XdXf"), testLimit, &b); got != Overlap {
		t.Errorf("Offer = %v, want overlap", got)
	}
	if got := s.Offer(0, []byte("Xdef"), testLimit, &b); got != Old {
		t.Errorf("Offer = %v, want old", got)
	}
}

// A receiver that acknowledges nothing stops its sender, and loses nothing.
func TestUnacknowledged(t *testing.T) {
	const limit = 16 << 10
	var s Stream
	var b Budget
	s.Start(0)
	at := uint64(0)
	for s.Offer(seqnum.Value(at), honest(at, 1000), limit, &b) == InOrder {
		if !s.Remember(seqnum.Value(at), s.Take(), 2*limit, &b) {
			t.Fatal("not remembered")
		}
		at += 1000
	}
	if at < limit/2 || s.Held() > 2*limit {
		t.Errorf("%d bytes read and %d held with a limit of %d", at, s.Held(), limit)
	}
	if got := s.Offer(500, append(honest(500, 600), 'X'), limit, &b); got != Overlap {
		t.Errorf("changed retransmission to a full stream = %v, want overlap", got)
	}
	s.Acknowledge(s.Next().Sub(5000), &b)
	if got := s.Offer(seqnum.Value(at), honest(at, 1000), limit, &b); got != InOrder {
		t.Errorf("after an acknowledgement: %v, want in_order", got)
	}
}

// Bytes read and not remembered would let a changed retransmission pass.
func TestRememberFailsClosed(t *testing.T) {
	for _, tt := range []struct {
		name     string
		remember func(s *Stream, b *Budget) bool
	}{
		{"limit", func(s *Stream, b *Budget) bool { return s.Remember(10, make([]byte, 90), blockSize, b) }},
		{"not taken yet", func(s *Stream, b *Budget) bool { return s.Remember(95, make([]byte, 10), testLimit, b) }},
		{"going back", func(s *Stream, b *Budget) bool {
			return s.Remember(50, make([]byte, 10), testLimit, b) && s.Remember(59, make([]byte, 10), testLimit, b)
		}},
	} {
		var s Stream
		var b Budget
		s.Start(0)
		s.Offer(0, make([]byte, 100), testLimit, &b)
		s.Take()
		if tt.remember(&s, &b) {
			t.Errorf("%s: remembered", tt.name)
		}
		for _, at := range []seqnum.Value{0, 50, 100, 200} {
			if got := s.Offer(at, make([]byte, 10), testLimit, &b); got != Refused {
				t.Errorf("%s: Offer at %d = %v, want refused", tt.name, at, got)
			}
		}
		if s.Settled() {
			t.Errorf("%s: settled", tt.name)
		}
		if s.Release(&b); b.Used() != 0 {
			t.Errorf("%s: %d bytes left", tt.name, b.Used())
		}
	}
}

// Bytes that never were acknowledged are let go of once no window reaches them,
// before their numbers come round again.
func TestNeverAcknowledged(t *testing.T) {
	var s Stream
	b := &Budget{}
	s.Start(5)
	body := make([]byte, 1<<20)
	const every = 700 // so that few headers share the space and many the block
	for i := range 3 * 4096 {
		at := s.Next()
		if got := s.Offer(at, body, testLimit, b); got != InOrder {
			t.Fatalf("after %d MiB: %v", i, got)
		}
		if s.Take(); i%every == 0 && !s.Remember(at, []byte("header"), testLimit, b) {
			t.Fatalf("after %d MiB: not remembered", i)
		}
		must(t, s.check(b))
		if got := s.Offer(s.Next().Sub(1<<29), body[:9], testLimit, b); got != Old && got != Overlap {
			t.Fatalf("after %d MiB: retransmission is %v", i, got)
		}
	}
	if got := s.Held(); got > 8*blockSize {
		t.Errorf("%d bytes held", got)
	}
}

func TestStatusString(t *testing.T) {
	var got []byte
	for st := Refused; st <= Old+1; st++ {
		got = append(append(got, st.String()...), ' ')
	}
	if want := "refused overlap in_order kept old refused "; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A block given back is used again without the bytes it held.
func TestBlocksAreEmptyAgain(t *testing.T) {
	b := &Budget{}
	p := newPair(100, b)
	_, err := p.offer(modelStart+1, bytes.Repeat([]byte{1}, 3000))
	must(t, err)
	p.s.Release(b)
	p = newPair(100, b)
	_, err = p.offer(modelStart+2000, bytes.Repeat([]byte{2}, 10))
	must(t, err)
	_, err = p.offer(modelStart, bytes.Repeat([]byte{3}, 1990))
	must(t, err)
}

// TestPassOver: what is passed over moves a stream on as Offer and Take would, and
// where it is not, nothing has changed.
func TestPassOver(t *testing.T) {
	const limit = 4 << 10
	passed := 0
	for i := range 400 {
		r := rand.New(rand.NewPCG(uint64(i), 3))
		budgets := [2]Budget{{Max: 6 << 10}, {Max: 6 << 10}}
		var both [2]Stream // the second reads all
		base := seqnum.Value(bases[r.IntN(len(bases))])
		for k := range both {
			both[k].Start(base)
		}
		for range 300 {
			s, p := &both[0], make([]byte, 1+r.IntN(2000))
			at := s.Next()
			if r.IntN(8) == 0 {
				at = at.Add(uint32(r.IntN(4000))).Sub(1000)
			}
			reads, remembers := 0, r.IntN(3)*700
			if r.IntN(2) == 0 {
				before := *s
				if s.PassOver(at, len(p), limit, &budgets[0]) {
					passed++
					reads, remembers = 1, 0
				} else if !reflect.DeepEqual(*s, before) {
					t.Fatalf("seed %d: %+v became %+v", i, before, *s)
				}
			}
			for k := reads; k < len(both); k++ {
				s := &both[k]
				if st := s.Offer(at, p, limit, &budgets[k]); st != InOrder && reads == 1 {
					t.Fatalf("seed %d: passed over what is %s", i, st)
				}
				for v := s.Take(); v != nil; v = s.Take() {
					if remembers > 0 {
						s.Remember(s.Next().Sub(uint32(len(v))), v[:min(len(v), remembers)], limit+i%2*limit, &budgets[k])
					}
				}
			}
			acks, back := r.IntN(6) == 0, uint32(r.IntN(5000))
			for k := range both {
				if acks {
					both[k].Acknowledge(both[k].Next().Sub(back), &budgets[k])
				}
			}
			a, b := both[0], both[1]
			if len(a.log) != len(b.log) || len(a.kept) != len(b.kept) || budgets[0].used != budgets[1].used {
				t.Fatalf("seed %d: %+v, want %+v", i, a, b)
			}
			if a.log, a.kept, b.log, b.kept = nil, nil, nil, nil; !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d: %+v, want %+v", i, a, b)
			}
		}
	}
	if passed < 1000 {
		t.Errorf("%d segments were passed over", passed)
	}
}

// TestRecall: what was read, and is not acknowledged, is there; nothing else is.
func TestRecall(t *testing.T) {
	var s Stream
	b := &Budget{}
	s.Start(1 << 31)
	at := func(n int) seqnum.Value { return seqnum.Value(1 << 31).Add(uint32(n)) }
	s.Offer(at(0), []byte("abcdefgh"), 1<<16, b)
	s.Take()
	for _, span := range []struct {
		from int
		text string
	}{{0, "a"}, {1, "bc"}, {5, "fgh"}} { // de is not remembered
		if !s.Remember(at(span.from), []byte(span.text), 1<<16, b) {
			t.Fatal(span)
		}
	}
	for _, tt := range []struct {
		from, n int
		want    string
	}{{0, 3, "abc"}, {1, 1, "b"}, {2, 1, "c"}, {0, 0, ""}, {6, 2, "gh"}, {-1, 2, ""}, {2, 2, ""}, {3, 1, ""}, {4, 3, ""}, {6, 3, ""}, {8, 1, ""}} {
		got := make([]byte, tt.n)
		if ok := s.Recall(at(tt.from), got); ok != (tt.want != "" || tt.n == 0) || ok && string(got) != tt.want {
			t.Errorf("%d from %d on: %q, %v", tt.n, tt.from, got, ok)
		}
	}
	s.Acknowledge(at(1), b)
	if got := make([]byte, 2); s.Recall(at(0), got) || !s.Recall(at(1), got) || string(got) != "bc" {
		t.Errorf("acknowledged: %q", got)
	}
	if new(Stream).Recall(0, make([]byte, 1)) {
		t.Error("not started, and something is there")
	}
}
