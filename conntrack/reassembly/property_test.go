package reassembly

import (
	"testing"

	"pgregory.net/rapid"

	"tlsgate/conntrack/seqnum"
)

// bases are starts from which numbers wrap soon, late, or at the sign.
var bases = []uint32{0, 1, 1<<31 - 1500, 1 << 31, 1<<32 - 1, 1<<32 - 1024, 1<<32 - 1500, 1<<32 - 70000}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &Budget{}
		p := newPair(rapid.SampledFrom(bases).Draw(t, "base"), b)
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"offer": func(t *rapid.T) {
				ahead := rapid.OneOf(rapid.Just(0), rapid.IntRange(-40, 40), rapid.IntRange(-3000, 6000)).Draw(t, "ahead")
				size := rapid.OneOf(rapid.IntRange(0, 20), rapid.IntRange(0, 3000)).Draw(t, "size")
				at := p.m.next + uint64(ahead)
				payload := honest(at, size)
				for range rapid.IntRange(-2, 2).Draw(t, "changes") {
					if size > 0 {
						payload[rapid.IntRange(0, size-1).Draw(t, "place")] ^= 1
					}
				}
				from := p.m.next
				st, err := p.offer(at, payload)
				check(err)
				if st != InOrder {
					return
				}
				// Read some of it: bytes are taken from the offer or from what the
				// model had kept, so ask the model's view of the honest sender.
				for at := from; at < p.m.next; {
					at += uint64(rapid.IntRange(0, 700).Draw(t, "skip"))
					n := min(int64(rapid.IntRange(1, 3000).Draw(t, "read")), int64(p.m.next)-int64(at))
					if n > 0 {
						check(p.remember(at, honest(at, int(n))))
						at += uint64(n)
					}
				}
			},
			"acknowledge": func(t *rapid.T) {
				back := rapid.IntRange(-100, 4000).Draw(t, "back")
				check(p.acknowledge(p.m.next - uint64(back)))
			},
		})
		p.s.Release(b)
		if b.Used() != 0 || p.s.Held() != 0 || p.s.Started() {
			t.Fatalf("after Release: used %d, held %d", b.Used(), p.s.Held())
		}
	})
}

// TestBounds drives several streams of one small Budget with anything at all.
// A refusal changes nothing, no bound is passed, and all is given back.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &Budget{Max: rapid.IntRange(1, 200<<10).Draw(t, "max")}
		limit := rapid.IntRange(0, 64<<10).Draw(t, "limit")
		streams := make([]Stream, 4)
		for i := range streams {
			streams[i].Start(seqnum.Value(rapid.Uint32().Draw(t, "start")))
		}
		pick := rapid.IntRange(0, len(streams)-1)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				used := 0
				for i := range streams {
					used += streams[i].Held()
					if err := streams[i].check(b); err != nil {
						t.Fatal(err)
					}
					if n := len(streams[i].kept); n > 0 && n*blockSize > limit {
						t.Fatalf("%d bytes kept, limit %d", n*blockSize, limit)
					}
					if n := streams[i].Remembered(); n > 2*limit {
						t.Fatalf("%d bytes remembered, limit %d", n, 2*limit)
					}
				}
				if used != b.Used() {
					t.Fatalf("Used = %d, streams hold %d", b.Used(), used)
				}
				if used > b.Max+2*limit {
					t.Fatalf("Used = %d, Max = %d, limit %d", used, b.Max, limit)
				}
			},
			"offer": func(t *rapid.T) {
				s := &streams[pick.Draw(t, "stream")]
				ahead := rapid.OneOf(rapid.Just(0), rapid.IntRange(-5000, 40000)).Draw(t, "ahead")
				payload := make([]byte, rapid.IntRange(0, 9000).Draw(t, "size"))
				next, waiting, log := s.Next(), s.waiting(), s.Remembered()
				st := s.Offer(next.Add(uint32(ahead)), payload, limit, b)
				if st == Refused && (s.Next() != next || s.waiting() != waiting || s.Remembered() != log || s.Take() != nil) {
					t.Fatal("a refused segment changed something")
				}
				for at, piece := s.Next(), s.Take(); piece != nil; at, piece = s.Next(), s.Take() {
					s.Remember(at, piece, 2*limit, b)
				}
			},
			"acknowledge": func(t *rapid.T) {
				s := &streams[pick.Draw(t, "stream")]
				s.Acknowledge(s.Next().Sub(uint32(rapid.IntRange(-10, 9000).Draw(t, "back"))), b)
			},
			"release": func(t *rapid.T) {
				s := &streams[pick.Draw(t, "stream")]
				s.Release(b)
				s.Start(seqnum.Value(rapid.Uint32().Draw(t, "start")))
			},
		})
		for i := range streams {
			streams[i].Release(b)
		}
		if b.Used() != 0 {
			t.Fatalf("Used = %d after all streams were released", b.Used())
		}
	})
}

// receiver is the far end of promises P1 and P2: whatever it does with bytes
// that arrive twice, its application gets what was read and nothing else.
type receiver struct {
	next     uint64
	pending  map[uint64]byte
	lastWins bool
	app      []byte
	window   uint64
}

func (r *receiver) segment(at uint64, p []byte) {
	for i, c := range p {
		k := at + uint64(i)
		if k < r.next || k >= r.next+r.window {
			continue
		}
		if _, ok := r.pending[k]; !ok || r.lastWins {
			r.pending[k] = c
		}
	}
	for {
		c, ok := r.pending[r.next]
		if !ok {
			return
		}
		delete(r.pending, r.next)
		r.app = append(r.app, c)
		r.next++
	}
}

// TestReceiverGetsWhatWasRead lets an attacker send any bytes in any order,
// through a network that loses, under small bounds.
func TestReceiverGetsWhatWasRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &Budget{}
		base := seqnum.Value(rapid.SampledFrom(bases).Draw(t, "base"))
		limit := rapid.SampledFrom([]int{3 << 10, 8 << 10, 96 << 10}).Draw(t, "limit")
		var s Stream
		s.Start(base)
		r := &receiver{
			pending:  map[uint64]byte{},
			lastWins: rapid.Bool().Draw(t, "last wins"),
			window:   uint64(rapid.IntRange(1, 4000).Draw(t, "window")),
		}
		var read []byte
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			at := max(0, int64(r.next)+int64(rapid.IntRange(-30, 60).Draw(t, "ahead")))
			p := rapid.SliceOfN(rapid.ByteRange(0, 1), 1, 60).Draw(t, "bytes")
			st := s.Offer(base.Add(uint32(at)), p, limit, b)
			for at, piece := s.Next(), s.Take(); piece != nil; at, piece = s.Next(), s.Take() {
				read = append(read, piece...)
				if !s.Remember(at, piece, 2*limit, b) {
					st = Refused
				}
			}
			if st != Refused && st != Overlap && rapid.IntRange(0, 3).Draw(t, "lost") > 0 {
				r.segment(uint64(at), p)
			}
			if rapid.Bool().Draw(t, "acknowledged") {
				s.Acknowledge(base.Add(uint32(r.next)), b)
			}
			if len(r.app) > len(read) {
				t.Fatalf("application has %d bytes, %d were read", len(r.app), len(read))
			}
			if string(r.app) != string(read[:len(r.app)]) {
				t.Fatalf("application has %x, read was %x", r.app, read[:len(r.app)])
			}
		}
	})
}

// TestHonestSenderGetsThrough is promise P3: a sender that repeats what was not
// acknowledged gets all its bytes to the receiver, whatever the network does
// and however small the bounds.
func TestHonestSenderGetsThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &Budget{Max: rapid.SampledFrom([]int{0, 64 << 10}).Draw(t, "max")}
		limit := rapid.SampledFrom([]int{0, 3 << 10, 8 << 10, 96 << 10}).Draw(t, "limit")
		base := seqnum.Value(rapid.SampledFrom(bases).Draw(t, "base"))
		mss := rapid.SampledFrom([]int{1, 7, 536, 1448}).Draw(t, "mss")
		total := uint64(min(20000, mss*400))
		record := rapid.SampledFrom([]int{23, 500, 1 << 20}).Draw(t, "record")
		var s Stream
		s.Start(base)
		r := &receiver{pending: map[uint64]byte{}, window: 1 << 20}
		read := uint64(0)
		for round := 0; r.next < total; round++ {
			if round > 3000 {
				t.Fatalf("%d of %d bytes after %d rounds, %d held", r.next, total, round, s.Held())
			}
			// One flight from the first byte missing, in any order, some lost.
			var flight []uint64
			for at := r.next; at < total && len(flight) < 40; at += uint64(mss) {
				flight = append(flight, at)
			}
			if round%4 != 3 { // from time to time the network behaves
				flight = rapid.Permutation(flight).Draw(t, "order")
				flight = flight[:max(1, len(flight)-rapid.IntRange(0, 8).Draw(t, "lost"))]
			}
			for _, at := range flight {
				p := honest(at, int(min(uint64(mss), total-at)))
				st := s.Offer(base.Add(uint32(at)), p, limit, b)
				if st == Overlap {
					t.Fatalf("honest segment at %d taken for an overlap", at)
				}
				for piece := s.Take(); piece != nil; piece = s.Take() {
					for len(piece) > 0 { // the first bytes of every record are read
						in := int(read) % record
						n := min(len(piece), record-in)
						if in < 5 {
							n = min(n, 5-in)
							if !s.Remember(base.Add(uint32(read)), piece[:n], 2*limit+8<<10, b) {
								t.Fatalf("Remember failed with %d held, limit %d", s.Held(), limit)
							}
						}
						read += uint64(n)
						piece = piece[n:]
					}
				}
				if st != Refused {
					r.segment(at, p)
				}
			}
			s.Acknowledge(base.Add(uint32(r.next)), b)
		}
		if string(r.app) != string(honest(0, int(total))) {
			t.Fatal("receiver got other bytes")
		}
	})
}
