package engine

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// refusing refuses all server names but the good one, and for d all else.
func refusing(d time.Duration) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "named", Require: []tlsrules.Condition{condition("sni", "api.bank.example")},
		Otherwise: tlsrules.Refuse, RefuseFor: d,
	})
}

// TestRefuse: after a violation SYNs of that client to that server are answered
// as by a closed port, for a while; nobody else's are.
func TestRefuse(t *testing.T) {
	good, evil := hellos(t)
	for _, v6 := range []bool{false, true} {
		for _, last := range []time.Duration{0, 10 * time.Second} {
			l := newLab(t, config(), refusing(last))
			next := l.link4
			other := l.link("198.51.100.1", "203.0.113.10", 1, 2)
			elsewhere := l.link("192.0.2.10", "203.0.113.11", 1, 2)
			if v6 {
				next = l.link6
				other = l.link("2001:db8::11", "2001:db8:1::10", 1, 2)
				elsewhere = l.link("2001:db8::10", "2001:db8:1::11", 1, 2)
			}
			first := next()
			first.open()
			first.data(original, 0, evil)
			first.refuses("the first", original, len(evil), "require.sni")
			if last == 0 {
				last = time.Minute
			}
			begun := l.now

			for l.now = begun + second; l.now < begun+int64(last)-second; l.now += 3 * second {
				k := next()
				for range 3 { // the SYN again, should our answer be lost
					k.ends[0].closed = false
					if k.syn() || !k.ends[0].closed || k.mark != 0 {
						t.Fatalf("%s: a SYN passed, or was not answered: mark %#x", time.Duration(l.now-begun), k.mark)
					}
				}
			}
			d := l.sink.drop[1]
			want := fmt.Sprintf(`connection %d of this client to this server was refused %s ago by rule "named", for require.sni; so is any other for `, l.sink.drop[0].ID, time.Second)
			if d.Decision.Reason != tlsrules.ReasonRefusedEarlier || d.Decision.Action != tlsrules.Refuse || d.Decision.Rule != "named" ||
				d.Packet != 1 || !strings.HasPrefix(d.Detail, want) {
				t.Errorf("told %+v", d)
			}
			if got, want := uint64(len(l.sink.drop)-1), l.e.counts.RefusedEarlier; got != want {
				t.Errorf("%d events of %d refused connections", got, want)
			}
			for _, k := range []*link{other, elsewhere} {
				if !k.open() || !k.data(original, 0, good) {
					t.Errorf("somebody else is refused")
				}
			}
			l.now = begun + int64(last)
			l.e.Tick(l.now)
			k := next()
			if !k.open() || !k.data(original, 0, good) || l.e.Stats().RefusedPairs != 0 {
				t.Errorf("refused when the time is over")
			}
			k = next()
			k.open()
			k.data(original, 0, evil)
			if l.sink.drop[len(l.sink.drop)-1].Decision.Reason.String() != "require.sni" || !k.closed() {
				t.Errorf("not judged again")
			}
		}
	}
}

// TestRefuseObserved: a policy that only observes refuses nobody for an earlier refusal
// either, and tells whom it would.
func TestRefuseObserved(t *testing.T) {
	good, evil := hellos(t)
	l := newLab(t, config(), refusing(0))
	k := l.link4()
	k.open()
	k.data(original, 0, evil)
	cfg := l.e.cfg
	cfg.Default.Observe = true
	l.e.adopt(cfg, policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept, Observe: true}))
	k = l.link4()
	if !k.open() || !k.data(original, 0, good) || l.e.counts.RefusedEarlier != 0 {
		t.Errorf("refused: %+v", l.sink.drop)
	}
	if d := l.sink.drop; len(d) != 2 || !d[1].Decision.Observed || d[1].Decision.Reason != tlsrules.ReasonRefusedEarlier {
		t.Errorf("told %+v", d)
	}
	cfg.Default.Observe = false
	l.e.adopt(cfg, policy(acceptAll))
	if k = l.link4(); k.syn() {
		t.Error("a SYN passes when the policy enforces again")
	}
}

// TestRefusePorts: the ports of a refused SYN, of the first connection and of one
// that is over can be used again, for a refusal or for a connection; those of one
// that lives stay its own.
func TestRefusePorts(t *testing.T) {
	good, evil := hellos(t)
	turns := recording(t, "tls13")
	for _, ticks := range []bool{true, false} {
		l := newLab(t, config(), refusing(0))
		lives, over := l.link4(), l.link4()
		for _, k := range []*link{lives, over} {
			k.play(turns, strategies["mss"])
			if k.mark != l.marks.Accepted(5) {
				t.Fatalf("mark %#x", k.mark)
			}
		}
		over.close()
		first := l.link4()
		first.open()
		first.data(original, 0, evil)
		syn := l.link4()
		for i, k := range []*link{first, over, syn, syn, first, over} {
			k.again(uint32(100_000*(i+3)), uint32(i))
			if k.syn() || !k.ends[0].closed {
				t.Errorf("%d: a SYN passed", i)
			}
			if got := l.sink.drop[len(l.sink.drop)-1]; len(l.sink.drop) != i+2 || got.Decision.Reason != tlsrules.ReasonRefusedEarlier {
				t.Errorf("%d: %d drop events, told %s", i, len(l.sink.drop), got.Decision.Reason)
			}
		}
		mine := *lives.ends[0]
		lives.again(7_000_000, 8)
		if lives.syn() || len(l.sink.drop) != 7 || l.e.counts.RefusedEarlier != 7 {
			t.Errorf("a SYN on the ports of a living connection: %d drop events, %d refused", len(l.sink.drop), l.e.counts.RefusedEarlier)
		}
		lives.ends[0] = &mine
		if lives.mark != l.marks.Accepted(5) {
			t.Errorf("the living connection has mark %#x", lives.mark)
		}
		l.now += int64(time.Minute)
		if ticks {
			l.e.Tick(l.now)
		}
		for i, k := range []*link{first, over, syn} {
			k.again(uint32(1_000_000*(i+1)), uint32(i))
			k.play(turns, strategies["mss"])
			if k.mark != l.marks.Accepted(5) || !bytes.Equal(k.ends[1].got, streams(turns)[0]) {
				t.Errorf("%d: after the time is over: mark %#x, %d bytes", i, k.mark, len(k.ends[1].got))
			}
			k.again(uint32(10_000_000*(i+1)), uint32(i))
			if !k.open() || !k.data(original, 0, good) {
				t.Errorf("%d: not again", i)
			}
		}
	}
}

// TestRefuseSYNData: a hello on the SYN does not slip through.
func TestRefuseSYNData(t *testing.T) {
	good, evil := hellos(t)
	l := newLab(t, config(), refusing(0))
	lives, first := l.link4(), l.link4()
	lives.play(recording(t, "tls13"), strategies["mss"])
	first.open()
	first.data(original, 0, evil)
	for i, k := range []*link{l.link4(), first, lives} {
		k.again(uint32(i+5)*1_000_000, 9)
		s := k.segment(original, -1, good, packet.SYN)
		s.ack = 0
		if k.raw(s) || !k.ends[0].closed || len(k.ends[1].got) != 0 {
			t.Errorf("%d: a hello on a SYN passed, or was not answered", i)
		}
	}
}

// TestRefuseForged: a packet that names a client does not lock it out.
func TestRefuseForged(t *testing.T) {
	good, evil := hellos(t)
	p := policy(acceptAll,
		tlsrules.Rule{Name: "ports", Match: []tlsrules.Condition{condition("source_port", "1-1023")}, Action: tlsrules.Refuse, HasAction: true},
		tlsrules.Rule{Name: "named", Require: []tlsrules.Condition{condition("sni", "api.bank.example")}, Otherwise: tlsrules.Refuse})
	for name, forge := range map[string]func(k *link){
		"a SYN": func(k *link) {
			k.ends[0].addr = netip.AddrPortFrom(k.ends[0].addr.Addr(), 99)
			k.syn()
		},
		"a hello on a SYN": func(k *link) {
			s := k.segment(original, -1, evil, packet.SYN)
			s.ack = 0
			k.raw(s)
		},
		"a hello out of nothing": func(k *link) { k.data(original, 0, evil) },
	} {
		l := newLab(t, config(), p)
		forge(l.link4())
		if len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Action != tlsrules.Refuse {
			t.Errorf("%s: drop events %+v", name, l.sink.drop)
		}
		if k := l.link4(); !k.open() || !k.data(original, 0, good) {
			t.Errorf("%s: the client is locked out", name)
		}
	}
}

// TestRefuseOpen: what was open stays; a SYN that passed before is not undone by
// the server's answer alone.
func TestRefuseOpen(t *testing.T) {
	good, evil := hellos(t)
	l := newLab(t, config(), refusing(0))
	open, half, first := l.link4(), l.link4(), l.link4()
	open.open()
	half.syn()
	first.open()
	first.data(original, 0, evil)
	if !open.data(original, 0, good) || !half.synAck() || !half.ack(original) || !half.data(original, 0, good) {
		t.Error("a connection that was begun before is refused")
	}
	if len(l.sink.drop) != 1 {
		t.Errorf("%d drop events", len(l.sink.drop))
	}
}

// TestRefuseBounded: the pair whose time is over first makes room.
func TestRefuseBounded(t *testing.T) {
	_, evil := hellos(t)
	cfg := config()
	cfg.Limits.Refused = 10
	l := newLab(t, cfg, refusing(0))
	var all []*link
	for i := range 30 {
		k := l.link(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String(), "203.0.113.10", 1, 2)
		all = append(all, k)
		l.now += second / 10
		k.open()
		k.data(original, 0, evil)
	}
	l.e.Tick(l.now)
	if s := l.e.Stats(); s.RefusedPairs != 10 || s.RefusedUnnoted != 20 {
		t.Errorf("%d pairs, %d unnoted", s.RefusedPairs, s.RefusedUnnoted)
	}
	for i, k := range all {
		k.again(500_000, 600_000)
		if passed := k.syn(); passed != (i < 20) {
			t.Errorf("client %d: passed %v", i, passed)
		}
	}
}

// TestRefusalsInOrder: against a list that is searched whole.
func TestRefusalsInOrder(t *testing.T) {
	x := earlier{limit: 50}
	want := map[pair]int64{}
	seed := uint32(1)
	for i := int64(1); i < 3000; i++ {
		now := i * 4096
		seed = seed*1664525 + 1013904223
		p := pair{port: uint16(seed >> 16 % 200)}
		until := now + int64(1+seed>>8%400)*4096 + i // no two at the same time
		x.note(refusal{pair: p, until: until}, now)
		for q, u := range want {
			if u <= now {
				delete(want, q)
			}
		}
		if u, ok := want[p]; ok {
			want[p] = max(u, until)
		} else if until > now {
			want[p] = until
		}
		if len(want) > 50 {
			first := p
			for q, u := range want {
				if q != p && (first == p || u < want[first]) {
					first = q
				}
			}
			delete(want, first)
		}
		if i%7 == 0 {
			x.expire(now)
		}
		for q, u := range want {
			if r := x.find(q, now); r == nil || r.until != u {
				t.Fatalf("at %d: port %d: got %+v, want until %d", now, q.port, r, u)
			}
		}
		if len(x.pairs) != len(x.order) || len(x.pairs) > 50 {
			t.Fatalf("at %d: %d pairs, %d in order", now, len(x.pairs), len(x.order))
		}
	}
}

// TestRefuseRecorded: a capture tells of what would have been refused.
func TestRefuseRecorded(t *testing.T) {
	_, evil := hellos(t)
	cfg := config()
	cfg.Recorded, cfg.Marks = true, nfq.Marks{}
	l := newLab(t, cfg, refusing(0))
	l.e.cfg.Inject = nil
	l.alter = func(p *nfq.Packet) { p.Mark = 0 }
	first := l.link4()
	first.open()
	first.data(original, 0, evil)
	k := l.link4()
	turns := recording(t, "tls13")
	k.play(turns, strategies["mss"]) // stops at the SYN
	k.synAck()
	k.ack(original)
	k.data(original, 0, turns[0].bytes)
	k.data(reply, 0, turns[1].bytes)
	l.e.Close(l.now)
	if len(l.sink.drop) != 2 || len(l.sink.flow) != 2 || len(k.ends[0].got)+len(k.ends[1].got) != 0 {
		t.Fatalf("%d drop events, %d flows, %d bytes came", len(l.sink.drop), len(l.sink.flow), len(k.ends[1].got))
	}
	if f := l.sink.flow[1]; f.Decision.Reason != tlsrules.ReasonRefusedEarlier || f.Diagnosis.Code != "refused" {
		t.Errorf("flow %+v", f)
	}
}
