package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"tlsgate/conntrack"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// restAll has every connection rest that can.
func (e *Engine) restAll() {
	e.leaving = nil
	for at := 0; at >= 0; {
		var awake *conntrack.Conn[flow]
		at = e.table.Walk(at, 1, func(c *conntrack.Conn[flow]) {
			if !c.Resting() {
				awake = c
			}
		})
		if awake != nil {
			e.table.Rest(awake)
		}
	}
}

// diary is an engine, and all that it has said and done.
type diary struct {
	e *Engine
	b strings.Builder
}

func (d *diary) TLS(r *Report)  { d.note("tls", r) }
func (d *diary) Drop(r *Report) { d.note("drop", r) }
func (d *diary) Flow(r *Report) { d.note("flow", r) }

func (d *diary) note(what string, r *Report) {
	k := keep(r)
	k.Certificates = nil
	if k.Session, k.Pin = nil, nil; r.Session != nil {
		fmt.Fprint(&d.b, *r.Session, " ")
	}
	if r.Pin != nil {
		fmt.Fprint(&d.b, r.Pin.Told, r.Pin.Rule, r.Pin.Group, " ")
	}
	fmt.Fprintf(&d.b, "%s %+v\n", what, k)
	if r.TLS != nil {
		c := r.TLS
		fmt.Fprintln(&d.b, c.Protocol, c.Version, c.ServerGroup, c.DHBits, c.SignatureScheme, c.Retry, c.RetryGroup, c.HandshakeDone,
			c.Header, c.Fault, c.Records, c.LastAlert, c.LastMessage, c.OCSPStapled, c.CertificateType)
	}
	d.facts(r.Facts)
}

// facts notes what hellos have said, and what came of it.
func (d *diary) facts(f *tlsrules.Facts) {
	if f == nil {
		return
	}
	k := *f
	k.Client, k.Server, k.Chain = nil, nil, nil
	fmt.Fprintf(&d.b, "%+v %d\n", k, len(f.Chain))
	if h := f.Client; h != nil {
		ticket, _ := h.Ticket()
		n, binders := h.IdentityCount()
		fmt.Fprintf(&d.b, "%s %x %x %s %q %v %v %v %v %v %v %v %v %x %v %d %d\n", h.Clone().AppendJA4(nil), h.Random, h.SessionID, h.ServerName, h.ALPN,
			h.CipherSuites, h.Extensions, h.SupportedVersions, h.SupportedGroups, h.KeyShares, h.SignatureAlgorithms, h.ECH, h.PSKModes, ticket, h.Identities(), n, binders)
	}
	if h := f.Server; h != nil {
		fmt.Fprintf(&d.b, "%x %x %v %q %v %v\n", h.Random, h.SessionID, h.Extensions, h.ALPN, h.CipherSuite, h.Version)
	}
}

func newDiary(cfg Config, p *tlsrules.Policy) *diary {
	d := &diary{}
	cfg.Sink = d
	cfg.Inject = func(b []byte, dev uint32) error { fmt.Fprintf(&d.b, "injected %x %d\n", b, dev); return nil }
	cfg.Refuse = func(b []byte, dev uint32) error { fmt.Fprintf(&d.b, "refused %x %d\n", b, dev); return nil }
	d.e = New(cfg, p)
	d.e.forgotten.limit = 1 << 16 // it takes nobody for another
	return d
}

// FuzzRest bends packets as FuzzPackets does, and asks and does what an operator can:
// whether connections rest in between changes nothing that anybody sees.
func FuzzRest(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0})
	packets := restPackets(f)
	f.Fuzz(func(t *testing.T, ops []byte) { playRest(t, packets, ops) })
}

func restPackets(t testing.TB) (packets [][]byte) {
	for _, kind := range []string{"tls13", "tls12 ecdhe", "tls13 retry", "tls12 resumed", "tls12 client cert", "tls13 resumed"} {
		packets = append(packets, script(t, policy(acceptAll), recording(t, kind), strategies["mss"])...)
	}
	return packets
}

// playRest returns how often a connection was woken by a packet, how often one that is
// read, and how often none had to be.
func playRest(t testing.TB, packets [][]byte, ops []byte) (woken, read, slept int) {
	cfg := config()
	cfg.Limits.Connections, cfg.Limits.Stories = 8, 16
	other := policy(tlsrules.Defaults{Action: tlsrules.Reset, NotTLS: tlsrules.Accept}, tlsrules.Rule{
		Name: "port", Match: []tlsrules.Condition{condition("source_port", "1-2")}, HasAction: true, Action: tlsrules.Accept,
	})
	if len(ops) > 0 {
		cfg.Offload = ops[0]&1 == 0
		cfg.Default.Midstream = Midstream(ops[0] >> 1 % 4)
		cfg.Default.Observe = ops[0]&8 != 0
	}
	p := mixed()
	if len(ops) > 0 && ops[0]&16 != 0 {
		p = policy(acceptAll)
	}
	if len(ops) > 0 && ops[0]&32 != 0 {
		p = policy(acceptAll, tlsrules.Rule{
			Name: "pin", Match: []tlsrules.Condition{condition("source_port", "1-2")}, Pin: &tlsrules.Pin{To: tlsrules.PinConnection}, Otherwise: tlsrules.Reset,
		})
	}
	var twins [2]*diary
	for i := range twins {
		cfg.Pins = NewPins(3, [16]byte{})
		cfg.Sessions = NewSessions(8, [16]byte{})
		twins[i] = newDiary(cfg, p)
	}
	twins[0].e.table.Rests(conntrack.Resting[flow]{})
	e := twins[1].e
	e.maxAwake = 0
	e.table.Rests(conntrack.Resting[flow]{Pack: e.pack, Unpack: e.unpack, Passes: func(handle uint32, d conntrack.Direction) bool {
		passes := e.passes(handle, d)
		if passes {
			slept++
		}
		return passes
	}})
	now, at := second, 0
	for ; len(ops) >= 4; ops = ops[4:] {
		for i, d := range twins {
			e := d.e
			n := (at + int(ops[0])*(int(ops[0])>>7)) % len(packets)
			b := bytes.Clone(packets[n])
			switch do := ops[1] & 15; {
			case do < 10:
				setPort(b, uint16(ops[1]>>4)%5+1)
				if where := int(ops[2]); where < len(b) && ops[3] >= 224 {
					b[where] ^= 1 << (ops[3] & 7)
				}
				rested, blocks := e.table.AtRest(), e.packed.blocks.n
				r := e.Packet(&nfq.Packet{Payload: b, Mark: foreign | uint32(ops[3]&3)<<22, InDev: inside(b), OutDev: 3 - inside(b)}, now)
				fmt.Fprintf(&d.b, "%v %#x %x\n", r.Verdict, r.Mark, r.Payload)
				if i == 1 && e.table.AtRest() < rested {
					if woken++; e.packed.blocks.n < blocks {
						read++
					}
				}
			case do < 12:
				e.Tick(now)
			case do == 12:
				if ops[3]&3 == 0 {
					next := cfg
					next.Generation = 6
					e.adopt(next, other)
				}
				e.walkOn(func() int64 { return now })
			default:
				d.ask(do == 13, int(ops[2]))
			}
			if i == 1 {
				e.restAll()
			}
		}
		if at++; ops[1]&15 >= 10 {
			at--
			now += int64(ops[2]) * int64(ops[2]) * second / 16
		}
		now += 1000
		if got, want := twins[1].b.String(), twins[0].b.String(); got != want {
			t.Fatalf("with connections that rest:\n%s\nwith none:\n%s", got, want)
		}
		twins[0].b.Reset()
		twins[1].b.Reset()
	}
	for _, d := range twins {
		d.e.Close(now)
		fmt.Fprintf(&d.b, "%+v\n", d.e.counts)
	}
	if got, want := twins[1].b.String(), twins[0].b.String(); got != want {
		t.Fatalf("with connections that rest:\n%s\nwith none:\n%s", got, want)
	}
	if r := &twins[1].e.rested; len(r.by) != 0 || r.number != 0 && len(r.free) != int(r.number)-1 {
		t.Fatalf("%d of what was alike are left, %d free of %d", len(r.by), len(r.free), r.number)
	}
	if x := &twins[1].e.packed; len(x.common.by) != 0 || x.blocks.n != 0 || len(x.apart.free) != int(x.apart.used) {
		t.Fatalf("%d common, %d blocks, %d of %d apart are left", len(x.common.by), x.blocks.n, len(x.apart.free), x.apart.used)
	}
	return woken, read, slept
}

// ask asks for all connections, and does something with one of them.
func (d *diary) ask(kill bool, which int) {
	list, _ := d.e.listStep(0, &Filter{}, nil)
	slices.SortFunc(list, func(a, b Seen) int { return int(a.ID) - int(b.ID) })
	fmt.Fprintf(&d.b, "%+v\n", list)
	if len(list) == 0 {
		return
	}
	s := &list[which%len(list)]
	if kill {
		fmt.Fprintln(&d.b, d.e.kill(d.e.table.Between(s.Original, s.Reply)))
		return
	}
	var y Story
	if d.e.why(s.ID, &y) {
		fmt.Fprintf(&d.b, "%+v %v %v %v\n", y.Seen, y.Live, y.Moments, y.Facts != nil)
		d.facts(y.Facts)
	}
}

// TestRest plays conversations that take their course, mostly.
func TestRest(t *testing.T) {
	packets := restPackets(t)
	r := rand.New(rand.NewPCG(9, 9))
	woken, read, slept := 0, 0, 0
	for range 150 {
		ops := make([]byte, 4*400)
		for i := range ops {
			ops[i] = byte(r.Uint32())
			switch {
			case i%4 == 0 && i > 0 && r.IntN(30) != 0:
				ops[i] &= 0x7f // the next packet
			case i%4 == 1 && r.IntN(5) != 0:
				ops[i] &= 0x09
			case i%4 == 1 && r.IntN(3) != 0:
				ops[i] &= 0xf9
			case i%4 == 2 && r.IntN(10) != 0:
				ops[i] &= 0x3f
			case i%4 == 3 && r.IntN(3) != 0:
				ops[i] &= 0x7f
			}
		}
		n, m, k := playRest(t, packets, ops)
		woken, read, slept = woken+n, read+m, slept+k
	}
	if woken < 1000 || read < 1000 || slept < 500 {
		t.Errorf("only %d times a packet has woken a connection, %d times one that is read, and %d times it had not to", woken, read, slept)
	}
}

// TestRestedSize: what many connections have alike is small beside a Conn, so that
// even if no two were alike those that rest would take less.
func TestRestedSize(t *testing.T) {
	if got, full := unsafe.Sizeof(alike[lasting]{}), unsafe.Sizeof(conntrack.Conn[flow]{}); got > full/2 {
		t.Errorf("%d bytes, a Conn has %d", got, full)
	}
}

// TestRested: what connections have alike is kept once, and goes with the last.
func TestRested(t *testing.T) {
	t.Run("by hash", func(t *testing.T) { playRested(t, &rested[lasting]{}) })
	t.Run("few hashes", func(t *testing.T) {
		playRested(t, &rested[lasting]{hash: func(l *lasting) uint64 { return uint64(l.devices[0] % 7) }})
	})
}

func playRested(t *testing.T, x *rested[lasting]) {
	t.Helper()
	r := rand.New(rand.NewPCG(4, 4))
	want := map[uint32]uint32{} // handle to devices
	of := map[uint32]int{}
	for range 20000 {
		l := lasting{devices: [2]uint32{r.Uint32N(300), 1}, phase: decided}
		if n := x.put(&l); x.at(n).what != l || of[n] > 0 && want[n] != l.devices[0] {
			t.Fatalf("%d stands for %v", n, x.at(n).what.devices)
		} else {
			want[n] = l.devices[0]
			of[n]++
		}
		for n := range of {
			if r.IntN(4) != 0 {
				x.drop(n)
				if of[n]--; of[n] == 0 {
					delete(of, n)
				}
			}
			break
		}
	}
	for n, many := range of {
		if x.at(n).of != many || x.at(n).what.devices[0] != want[n] {
			t.Fatalf("%d has %d, want %d", n, x.at(n).of, many)
		}
	}
	if kept := int(x.number) - 1 - len(x.free); kept != len(of) || x.number > 310 || len(x.by) > kept {
		t.Errorf("%d are kept, want %d; %d places", kept, len(of), x.number)
	}
	for n := range of {
		for range of[n] {
			x.drop(n)
		}
	}
	if len(x.by) != 0 || len(x.free) != int(x.number)-1 {
		t.Errorf("%d hashes are left, %d of %d places are free", len(x.by), len(x.free), x.number)
	}
}

// TestLeaves: who was left to the kernel rests at once, its story knows where, and nothing
// of it is taken for what serves another by then.
func TestLeaves(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.play(recording(t, "tls13"), strategies["mss"])
	e, c := l.e, k.conn() // which wakes it
	id, place := c.ID, c.Place()
	s := e.stories.any(id)
	if s == nil || s.conn != c || s.rests != 0 || e.table.AtRest() != 0 {
		t.Fatalf("awake: %d rest, its story %+v", e.table.AtRest(), s)
	}
	e.leaving = c
	if e.rest(); e.table.AtRest() != 1 || e.leaving != nil || s.conn != nil || s.rests != place {
		t.Errorf("at rest: %d rest, its story %+v", e.table.AtRest(), s)
	}
	e.leaving = k.conn()
	if e.table.Rest(e.leaving); e.leaving != nil {
		t.Error("who rests is to rest again")
	}
	if e.rest(); s.conn != nil || s.rests != place {
		t.Errorf("at rest again: its story %+v", s)
	}
	l.now += 6 * 24 * 3600 * second
	for e.table.Len() > 0 {
		e.Tick(l.now)
	}
	var y Story
	if s.conn != nil || s.rests != 0 || !e.why(id, &y) || y.Live {
		t.Errorf("gone: its story %+v, %+v", s, y)
	}
}
