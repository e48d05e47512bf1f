package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/reassembly"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// traffic is a round of packets, which comes again and again: of new connections on
// other ports, or of one that goes on.
type traffic struct {
	packets []onTheWay
	opens   int    // the connections it belongs to
	goesOn  uint32 // by so many bytes a round; 0: they are new ones
	link    *link  // that goes on
	port    uint16
	now     int64
	e       *Engine // that judges it
	// unsummed: checksums are not ready.
	unsummed bool
}

// onTheWay is one packet of it.
type onTheWay struct {
	raw   []byte
	seg   packet.Parsed
	conn  int // which connection's
	dir   conntrack.Direction
	facts *tlsrules.Facts // what was known behind it; nil when nothing was read any more
}

var mixKinds = []string{"tls12 ecdhe", "tls13", "tls12 resumed", "tls13 resumed", "tls13 post-quantum", "tls12 ecdsa"}

// handshakes are connections of all kinds at the same time, from SYN to FIN.
func handshakes(t testing.TB, together int) *traffic {
	x := &traffic{opens: together, port: 1024}
	var scripts [][][]byte
	for i := range together {
		scripts = append(scripts, nil)
		for _, raw := range script(t, partner(), recording(t, mixKinds[i%len(mixKinds)]), strategies["mss"]) {
			scripts[i] = append(scripts[i], append([]byte(nil), raw...))
		}
	}
	for step := 0; ; step++ {
		n := len(x.packets)
		for i, s := range scripts {
			if step < len(s) {
				x.packets = append(x.packets, onTheWay{raw: s[step], conn: i, dir: dirOf(s[step])})
			}
		}
		if len(x.packets) == n {
			return x
		}
	}
}

// bulk are records of 16 kB in segments of 1448 bytes, of which every other one is
// acknowledged.
func bulk(k *link, n int) *traffic {
	const mss = 1448
	records := bytes.Repeat(append([]byte{23, 3, 3, 0x40, 0}, make([]byte, 1<<14)...), n)
	x := &traffic{opens: 1, goesOn: uint32(len(records)), link: k, now: k.lab.now, e: k.lab.e, unsummed: true}
	before := len(k.ends[0].got) - len(records) // next goes on from there
	for at := 0; at < len(records); at += mss {
		s := k.segment(reply, before+at, records[at:min(at+mss, len(records))], packet.ACK)
		x.packets = append(x.packets, onTheWay{raw: s.append(nil), dir: reply})
		if len(x.packets)%3 == 2 {
			a := k.segment(original, len(k.ends[1].got), nil, packet.ACK)
			a.ack = s.seq + uint32(len(s.payload))
			x.packets = append(x.packets, onTheWay{raw: a.append(nil), dir: original})
		}
	}
	return x
}

func dirOf(raw []byte) conntrack.Direction { return conntrack.Direction(inside(raw) - 1) }

// next makes the packets those of the next round, and lets the time pass that ends
// the connections of the one before.
func (x *traffic) next() {
	if x.goesOn != 0 {
		for i := range x.packets {
			p := &x.packets[i]
			at := 24 // of the sequence number of data, and of the acknowledgement of the other end
			if p.dir == original {
				at = 28
			}
			binary.BigEndian.PutUint32(p.raw[at:], binary.BigEndian.Uint32(p.raw[at:])+x.goesOn)
		}
		x.decode()
		return
	}
	x.port += uint16(x.opens)
	if int(x.port)+x.opens > 60000 {
		x.port = 1024
	}
	for i := range x.packets {
		setPort(x.packets[i].raw, x.port+uint16(x.packets[i].conn))
	}
	x.now += 10 * second
	x.decode()
}

// decode has every packet parsed, for the rows behind decoding.
func (x *traffic) decode() {
	for i := range x.packets {
		packet.Decode(x.packets[i].raw, &x.packets[i].seg)
	}
}

// row is one way to spend time on a round of packets.
type row struct {
	name string
	make func(t testing.TB, together, records int) (x *traffic, round func())
}

// rows are the steps of a packet's walk, each alone, and the whole of it.
var rows = []row{
	{"decode/handshakes", alone(newHandshakes, decodeRound)},
	{"decode/bulk", alone(newBulk, decodeRound)},
	{"track/handshakes", alone(newHandshakes, trackRound)},
	{"track/bulk", alone(newBulk, trackRound)},
	{"reassemble/handshakes", alone(newHandshakes, reassembleRound)},
	{"reassemble/bulk", alone(newBulk, reassembleRound)},
	{"parse/handshakes", alone(newHandshakes, parseRound)},
	{"parse/bulk", alone(newBulk, parseRound)},
	{"decide/handshakes", alone(newHandshakes, decideRound)},
	{"decide/bulk", alone(newBulk, decideRound)},
	{"decide/10000 rules", alone(newManyRules, decideRound)},
	{"engine/handshakes", alone(newHandshakes, engineRound)},
	{"engine/handshakes, checksums not ready", alone(newUnsummed, engineRound)},
	{"engine/bulk", alone(newBulk, engineRound)},
	{"engine/10000 rules", alone(newManyRules, engineRound)},
}

// alone makes a row of traffic and what is done with it.
func alone(traffics func(t testing.TB, together, records int) *traffic, rounds func(testing.TB, *traffic) func()) func(testing.TB, int, int) (*traffic, func()) {
	return func(t testing.TB, together, records int) (*traffic, func()) {
		x := traffics(t, together, records)
		round := rounds(t, x)
		for range 200 {
			x.next()
			round()
		}
		x.next()
		return x, round
	}
}

func newHandshakes(t testing.TB, together, _ int) *traffic {
	x := handshakes(t, together)
	x.e = New(unoffloaded(), partner())
	return x
}

// newUnsummed are handshakes as they come where the sender's checksums are offloaded.
func newUnsummed(t testing.TB, together, records int) *traffic {
	x := newHandshakes(t, together, records)
	x.unsummed = true
	return x
}

func newManyRules(t testing.TB, together, _ int) *traffic {
	x := handshakes(t, together)
	x.e = New(unoffloaded(), manyPartners(10_000))
	return x
}

func newBulk(t testing.TB, _, records int) *traffic {
	l := newLab(t, config(), only("handshake", "change_cipher_spec", "application_data", "alert"))
	k := l.link4()
	k.play(recording(t, "tls13"), strategies["mss"])
	return bulk(k, records)
}

// unoffloaded is the configuration of these rows. Pins may be taken, as in the daemon.
func unoffloaded() Config {
	cfg := config()
	cfg.Offload, cfg.Pins = false, NewPins(0, [16]byte{})
	return cfg
}

// manyPartners has n rules of which the last one is the lab's.
func manyPartners(n int) *tlsrules.Policy {
	var rules []tlsrules.Rule
	for i := range n {
		name, address := fmt.Sprintf("*.p%d.example", i), fmt.Sprintf("198.%d.%d.%d", 18+i>>16, i>>8&255, i&255)
		if i == n-1 {
			name, address = "*.bank.example", "203.0.113.0/24"
		}
		rules = append(rules, tlsrules.Rule{
			Match:   []tlsrules.Condition{condition("destination", address), condition("sni", name)},
			Require: []tlsrules.Condition{condition("cipher", partnerSuites...)}, HasAction: true, Action: tlsrules.Accept, Otherwise: tlsrules.Reset,
		})
	}
	return policy(acceptAll, rules...)
}

func decodeRound(_ testing.TB, x *traffic) func() {
	var p packet.Parsed
	return func() {
		for i := range x.packets {
			packet.Decode(x.packets[i].raw, &p)
		}
	}
}

// trackRound tracks with a table alone. A connection that goes on is opened first.
func trackRound(_ testing.TB, x *traffic) func() {
	t := conntrack.New[flow](conntrack.Config{}, nil)
	if k := x.link; k != nil {
		for _, s := range []segment{
			{src: k.ends[0].addr, dst: k.ends[1].addr, seq: k.ends[0].iss, flags: packet.SYN, options: []byte{3, 3, 7, 0}},
			{src: k.ends[1].addr, dst: k.ends[0].addr, seq: k.ends[1].iss, ack: k.ends[0].iss + 1, flags: packet.SYN | packet.ACK, options: []byte{3, 3, 7, 0}},
			k.segment(original, 0, nil, packet.ACK),
			k.segment(reply, 0, make([]byte, len(k.ends[0].got)), packet.ACK),
			k.segment(original, 0, make([]byte, len(k.ends[1].got)), packet.ACK),
		} {
			var p packet.Parsed
			packet.Decode(s.append(nil), &p)
			t.Track(&p, x.now)
		}
	}
	return func() {
		for i := range x.packets {
			x.now += 1000
			t.Track(&x.packets[i].seg, x.now)
		}
		if x.goesOn == 0 {
			t.Expire(x.now)
		}
	}
}

// reassembleRound offers what the segments hold, takes it and acknowledges it; nothing
// is remembered.
func reassembleRound(_ testing.TB, x *traffic) func() {
	streams := make([][2]reassembly.Stream, x.opens)
	var budget reassembly.Budget
	if x.goesOn != 0 {
		x.decode()
		streams[0][reply].Start(x.packets[0].seg.Seq.Add(x.goesOn))
	}
	return func() {
		for i := range x.packets {
			p := &x.packets[i]
			s, o := &streams[p.conn][p.dir], &streams[p.conn][p.dir.Other()]
			if p.seg.Flags.Has(packet.SYN) {
				s.Release(&budget)
				s.Start(p.seg.Seq.Add(1))
			}
			if o.Started() {
				o.Acknowledge(p.seg.Ack, &budget)
			}
			if s.Offer(p.seg.Seq, p.seg.Payload, 1<<17, &budget) == reassembly.InOrder {
				for b := s.Take(); b != nil; b = s.Take() {
				}
			}
		}
	}
}

// parseRound reads the payloads as TLS.
func parseRound(t testing.TB, x *traffic) func() {
	conns := make([]tlswire.Conn, x.opens)
	var buffers tlswire.Buffers
	for i := range conns {
		conns[i].Buffers = &buffers
	}
	if x.goesOn != 0 {
		for _, turn := range recording(t, "tls13") {
			for b := turn.bytes; len(b) > 0; {
				n, _, _ := conns[0].Consume(side(turn.dir), b)
				b = b[n:]
			}
		}
	}
	return func() {
		for i := range x.packets {
			p := &x.packets[i]
			c := &conns[p.conn]
			if p.seg.Flags.Has(packet.SYN) && p.dir == original {
				c.Reset()
			}
			for b := p.seg.Payload; len(b) > 0; {
				n, _, _ := c.Consume(side(p.dir), b)
				b = b[n:]
			}
		}
	}
}

// decideRound judges once for each packet, by what was known behind it.
func decideRound(_ testing.TB, x *traffic) func() {
	e, p := x.e, x.e.policy
	x.next()
	for i := range x.packets {
		q := &x.packets[i]
		x.now += 1000
		e.Packet(&nfq.Packet{Payload: q.raw, InDev: inside(q.raw), OutDev: 3 - inside(q.raw)}, x.now)
		c, _ := e.table.Find(&q.seg, x.now)
		if c == nil || c.Value.ins == nil {
			continue
		}
		f := c.Value.ins.facts.Clone()
		if q.facts = &f; x.goesOn != 0 && i == 0 {
			f.Content = tlswire.ApplicationData
		}
	}
	judgements := make([]tlsrules.Judgement, x.opens)
	return func() {
		for i := range x.packets {
			q := &x.packets[i]
			j := &judgements[q.conn]
			if q.seg.Flags.Has(packet.SYN) && q.dir == original {
				*j = tlsrules.Judgement{}
			}
			if q.facts != nil {
				p.Decide(q.facts, j)
			}
		}
	}
}

func engineRound(t testing.TB, x *traffic) func() {
	e, q := x.e, nfq.Packet{Mark: foreign, GSO: x.unsummed, ChecksumNotReady: x.unsummed}
	return func() {
		for i := range x.packets {
			p := &x.packets[i]
			q.Payload, q.InDev, q.OutDev = p.raw, uint32(p.dir)+1, 2-uint32(p.dir)
			x.now += 1000
			if e.Packet(&q, x.now).Verdict != nfq.Repeat {
				t.Fatalf("packet %d is dropped", i)
			}
		}
		if x.goesOn == 0 {
			e.Tick(x.now)
		}
	}
}

// BenchmarkRow is what the steps of a packet's walk take, a packet: each alone, and
// the engine, which takes them all.
func BenchmarkRow(b *testing.B) {
	for _, r := range rows {
		b.Run(r.name, func(b *testing.B) {
			x, round := r.make(b, 60, 8)
			b.ReportAllocs()
			for b.Loop() {
				round()
				b.StopTimer()
				x.next()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(x.packets)), "ns/packet")
		})
	}
}

// TestRowsAllocate: not one of the steps allocates, once it is warm.
func TestRowsAllocate(t *testing.T) {
	for _, r := range rows {
		x, round := r.make(t, 12, 2)
		if n := testing.AllocsPerRun(50, func() { round(); x.next() }); n != 0 {
			t.Errorf("%s: %.0f allocations in %d packets", r.name, n, len(x.packets))
		}
	}
}
