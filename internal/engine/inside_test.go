package engine

import (
	"bytes"
	"hash/maphash"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// bulky is a recorded conversation with long records behind it, some empty, some
// after each other in one segment.
func bulky(t testing.TB, kind string) []turn {
	turns := slices.Clone(recording(t, kind))
	for i, size := range []int{5000, 1 << 14, 3, 1 << 14, 0, 9000} {
		d := conntrack.Direction(i & 1)
		record := append([]byte{23, 3, 3, byte(size >> 8), byte(size)}, bytes.Repeat([]byte{byte(size)}, size)...)
		turns = append(turns, turn{d, bytes.Repeat(record, 1+i%3)})
	}
	return turns
}

// twice gives each packet to two engines, of which one reads every segment and the
// other passes over what is inside records: both must answer the same, tell the
// same, and have counted and kept the same.
type twice struct {
	t        testing.TB
	both     [2]*Engine
	sinks    [2]sink
	injected [2][][]byte
}

func newTwice(t testing.TB, cfg Config, p *tlsrules.Policy) *twice {
	x := &twice{t: t}
	seed := maphash.MakeSeed()
	for i := range x.both {
		cfg := cfg
		cfg.Sink = &x.sinks[i]
		cfg.Inject = func(ip []byte, _ uint32) error {
			x.injected[i] = append(x.injected[i], bytes.Clone(ip))
			return nil
		}
		x.both[i] = New(cfg, p)
		x.both[i].forgotten = forgotten{limit: 100, seed: seed, bits: [2][]uint64{make([]uint64, 25)}, ends: never} // takes the same for another
	}
	x.both[1].readsAll = true
	return x
}

func (x *twice) packet(q nfq.Packet, now int64) {
	x.t.Helper()
	a, b := x.both[0].Packet(&q, now), x.both[1].Packet(&q, now)
	if !reflect.DeepEqual(a, b) {
		x.t.Fatalf("%x: %+v, and read %+v", q.Payload, a, b)
	}
}

func (x *twice) tick(now int64) {
	for _, e := range x.both {
		e.Tick(now)
	}
}

// same compares what can be seen of both.
func (x *twice) same(now int64) {
	x.t.Helper()
	a, b := x.both[0], x.both[1]
	if a.counts != b.counts || a.table.Stats() != b.table.Stats() {
		x.t.Fatalf("counted %+v %+v, and read %+v %+v", a.counts, a.table.Stats(), b.counts, b.table.Stats())
	}
	if a.budget.Used() != b.budget.Used() || a.buffers.Held() != b.buffers.Held() || len(a.spare) != len(b.spare) {
		x.t.Fatalf("%d bytes held, and read %d", a.budget.Used(), b.budget.Used())
	}
	a.table.All(func(c *conntrack.Conn[flow]) bool {
		o := b.table.Between(c.Addr(original), c.Addr(reply))
		f, g := &c.Value, &o.Value
		if f.phase != g.phase || f.firstByte != g.firstByte || (f.ins == nil) != (g.ins == nil) {
			x.t.Fatalf("connection %d: %+v, and read %+v", c.ID, f, g)
		}
		for d := range f.streams {
			if s, r := &f.streams[d], &g.streams[d]; s.Next() != r.Next() || s.Held() != r.Held() || s.Settled() != r.Settled() {
				x.t.Fatalf("connection %d, direction %d: %+v, and read %+v", c.ID, d, s, r)
			}
		}
		if f.ins != nil && (!reflect.DeepEqual(f.ins.facts, g.ins.facts) || !reflect.DeepEqual(f.ins.judgement, g.ins.judgement) || f.ins.stamps != g.ins.stamps ||
			!reflect.DeepEqual(f.ins.tls.Records, g.ins.tls.Records) || f.ins.tls.Header != g.ins.tls.Header || f.ins.tls.Between(0) != g.ins.tls.Between(0)) {
			x.t.Fatalf("connection %d: %+v, and read %+v", c.ID, f.ins, g.ins)
		}
		return true
	})
	if !reflect.DeepEqual(x.injected[0], x.injected[1]) {
		x.t.Fatalf("injected %x, and read %x", x.injected[0], x.injected[1])
	}
	for i, events := range [][2][]Report{{x.sinks[0].tls, x.sinks[1].tls}, {x.sinks[0].drop, x.sinks[1].drop}, {x.sinks[0].flow, x.sinks[1].flow}} {
		if len(events[0]) != len(events[1]) {
			x.t.Fatalf("%d events of kind %d, and read %d", len(events[0]), i, len(events[1]))
		}
		for k := range events[0] {
			if a, b := tell(events[0][k]), tell(events[1][k]); !reflect.DeepEqual(a, b) {
				x.t.Fatalf("told %+v, and read %+v", a, b)
			}
		}
	}
}

// insideConfig makes what ops ask for of a configuration and a policy.
func insideConfig(choice byte) (Config, *tlsrules.Policy) {
	cfg := config()
	cfg.Limits.Connections, cfg.Limits.PerConnection, cfg.Limits.Buffered = 8, 4000, 30000
	cfg.Default.Midstream = Midstream(choice % 4)
	cfg.Lossy = choice&4 != 0
	cfg.Default.Observe = choice&8 != 0
	policies := []*tlsrules.Policy{only("handshake", "change_cipher_spec", "application_data", "alert"), only("handshake", "change_cipher_spec", "application_data"), telling(), mixed()}
	return cfg, policies[choice>>4&3]
}

// bend plays packets to both, as ops say: four bytes an operation, which packet, what
// to change, where, to what.
func (x *twice) bend(packets [][]byte, ops []byte) {
	now, at := second, 0
	for ; len(ops) >= 4; ops = ops[4:] {
		if ops[0] >= 232 { // as it was recorded otherwise
			at = (at + int(ops[0]-231)) % len(packets)
		}
		b := bytes.Clone(packets[at])
		at = (at + 1) % len(packets)
		switch where := int(ops[2])<<4 + int(ops[3]>>4); {
		case ops[1] < 200:
		case ops[1] < 220:
			b[where%len(b)] ^= ops[3] | 1
		case ops[1] < 235: // of a part of the head
			b[20+where%20] ^= ops[3] | 1
		case ops[1] < 250:
			at = (at + len(packets) - 1 - int(ops[2]%4)) % len(packets) // again, or out of order
		default:
			now += int64(ops[2]) * second / 4
			x.tick(now)
		}
		setPort(b, 1024+uint16(ops[1]%3)/2)
		now += 1000
		x.packet(nfq.Packet{Payload: b, Mark: foreign, InDev: inside(b), OutDev: 3 - inside(b), ChecksumNotReady: true}, now)
		x.same(now)
	}
	for _, e := range x.both {
		e.Close(now)
	}
	x.same(now)
}

func insideScripts(t testing.TB) (scripts [][][]byte) {
	for _, kind := range []string{"tls12 ecdhe", "tls13", "tls13 post-quantum", "tls12 resumed"} {
		for _, strategy := range []string{"mss", "reversed", "gso"} {
			scripts = append(scripts, script(t, partner(), bulky(t, kind), strategies[strategy]))
		}
	}
	return scripts
}

// TestInside: a segment inside a record is passed over, and nothing that can be seen
// is otherwise than if it had been read, whatever comes before and after it.
func TestInside(t *testing.T) {
	scripts := insideScripts(t)
	for i := range uint64(150) {
		r := rand.New(rand.NewPCG(i, 5))
		packets := scripts[r.IntN(len(scripts))]
		ops := make([]byte, 4*(len(packets)+50))
		for k := range ops {
			ops[k] = byte(r.Uint32())
		}
		if i%3 == 0 { // few changes, so that it comes to the end
			for k := 0; k < len(ops); k += 4 {
				if ops[k] = 0; r.IntN(20) != 0 {
					ops[k+1] = 0
				}
			}
		}
		cfg, p := insideConfig(byte(r.Uint32()))
		newTwice(t, cfg, p).bend(packets, ops)
	}
}

// TestInsideOnly: what is passed over is a segment in order that lies inside one
// record; any other is left to be read, and nothing has changed.
func TestInsideOnly(t *testing.T) {
	l := newLab(t, config(), only("handshake", "change_cipher_spec", "application_data", "alert"))
	k := l.link4()
	k.play(recording(t, "tls13"), strategies["mss"])
	at := len(k.ends[0].got)
	k.data(reply, at, append([]byte{23, 3, 3, 0x10, 0}, make([]byte, 96)...))
	at += 5 + 96
	c := l.e.table.Between(k.ends[0].addr, k.ends[1].addr)
	left := 0x1000 - 96
	for _, tt := range []struct {
		name   string
		offset int
		size   int
		flags  packet.Flags
		state  func(e *Engine, f *flow) // until the next
		want   bool
	}{
		{name: "all of it", size: left, flags: packet.ACK, want: true},
		{name: "what starts the clock", size: 9, flags: packet.ACK, want: true, state: func(_ *Engine, f *flow) {
			f.said, f.complete, f.ins.decision = false, false, tlsrules.Decision{}
		}},
		{name: "with FIN", size: 9, flags: packet.ACK | packet.FIN, want: true},
		{name: "a byte more", size: left + 1, flags: packet.ACK},
		{name: "no data", flags: packet.ACK},
		{name: "reset", size: 9, flags: packet.RST | packet.ACK},
		{name: "urgent", size: 9, flags: packet.URG | packet.ACK},
		{name: "further on", offset: 1, size: 9, flags: packet.ACK},
		{name: "again", offset: -1, size: 9, flags: packet.ACK},
		{name: "decided", size: 9, flags: packet.ACK, state: func(_ *Engine, f *flow) { f.phase = settling }},
		{name: "clear text", size: 9, flags: packet.ACK, state: func(_ *Engine, f *flow) { f.via = new(via.Conn) }},
		{name: "of a capture", size: 9, flags: packet.ACK, state: func(_ *Engine, f *flow) { f.rec = new(recorded) }},
		{name: "texts", size: 9, flags: packet.ACK, state: func(e *Engine, _ *flow) { e.policy = mixed() }},
		{name: "behind a guess", size: 9, flags: packet.ACK, state: func(e *Engine, f *flow) { f.streams[reply].Leap(f.streams[reply].Next(), &e.budget) }},
		{name: "no memory", size: 9, flags: packet.ACK, state: func(e *Engine, _ *flow) { e.budget.Reserve(1); e.budget.Max = e.budget.Used() }},
	} {
		s := k.segment(reply, at+tt.offset, make([]byte, tt.size), tt.flags)
		var seg packet.Parsed
		if packet.Decode(s.append(nil), &seg) != packet.OK {
			t.Fatal(tt.name)
		}
		f, tls, policy, budget := c.Value, c.Value.ins.tls, l.e.policy, l.e.budget
		if tt.state != nil {
			tt.state(l.e, &c.Value)
		}
		before := c.Value.streams[reply].Next()
		f.ins.facts.Content, seg.HasTimestamp, seg.TSVal = tlswire.ApplicationData, true, f.ins.stamps.values[reply]+1
		got := l.e.inside(c, reply, &seg)
		if got != tt.want {
			t.Errorf("%s: passed over %v", tt.name, got)
		}
		if moved := before.Size(c.Value.streams[reply].Next()); !got && (moved != 0 || !reflect.DeepEqual(tls, f.ins.tls)) || got && moved != uint32(tt.size) {
			t.Errorf("%s: moved on by %d", tt.name, moved)
		}
		if g := &c.Value; got && (g.ins.facts.Content != 0 || g.ins.stamps.values[reply] != seg.TSVal || g.firstByte == 0 && !g.said) {
			t.Errorf("%s: content %v, stamp %d, clock %d", tt.name, g.ins.facts.Content, g.ins.stamps.values[reply], g.firstByte)
		}
		l.e.stopClock(c)
		f.ins.tls = tls
		c.Value, l.e.policy, l.e.budget = f, policy, budget
	}
}

// FuzzInside is TestInside with what the fuzzer makes up.
func FuzzInside(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0}, 400))
	f.Add(append([]byte{17}, bytes.Repeat([]byte{0, 0, 1, 0, 0, 240, 2, 3}, 60)...))
	f.Add(append([]byte{50}, bytes.Repeat([]byte{0, 0, 1, 0, 0, 225, 2, 3, 0, 1, 1, 1, 255, 251, 9, 9}, 40)...))
	scripts := insideScripts(f)
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) < 2 || len(ops) > 4000 {
			return
		}
		cfg, p := insideConfig(ops[0])
		newTwice(t, cfg, p).bend(scripts[int(ops[1])%len(scripts)], ops[2:])
	})
}
