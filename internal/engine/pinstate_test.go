package engine

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/tlsrules"
)

// restart makes a new engine that knows what the old one knew of pins and sessions.
// The connections go on.
func (l *lab) restart(p *tlsrules.Policy, change func(*Config)) *lab {
	l.e.Close(l.now)
	next := pinLab(l.t, p, change)
	next.now, next.links, next.ports = l.now+second, l.links, l.ports
	for _, k := range l.links {
		k.lab = next
	}
	next.e.cfg.Sessions.Import(l.e.cfg.Sessions.Export(l.now), next.now)
	next.e.cfg.Pins.Import(l.e.cfg.Pins.Export(), p, next.now)
	return next
}

// TestPinRestart: the connection that held the pin in an earlier run goes on and
// holds it, whatever becomes of what began unseen; others do not pass.
func TestPinRestart(t *testing.T) {
	turns := recording(t, "tls13")
	for _, m := range []Midstream{MidstreamAccept, MidstreamInspect, MidstreamReset, MidstreamDrop} {
		for first := original; first <= reply; first++ {
			for _, keys := range [][]tlsrules.Key{nil, {tlsrules.KeySource, tlsrules.KeyServerName}} {
				p := pinRule(per(keys...))
				change := func(c *Config) { c.Default.Midstream = m }
				l := pinLab(t, p, change)
				a, b, waiting := l.link4(), l.link6(), l.link4()
				begins(a, turns)
				waiting.open()
				waiting.talk(turns[:1], strategies["mss"])
				if keys == nil && begins(b, turns) {
					t.Error("two pass")
				}
				l = l.restart(p, change)
				l.holds("restored", 0)
				if k := l.link4(); begins(k, turns) {
					t.Errorf("%d, %v: another has the pin before it was heard of", m, keys)
				}
				for d := original; d <= reply; d++ {
					waiting.talk([]turn{{reply, turns[1].bytes}}, strategies["mss"])
					if waiting.says(d) {
						t.Errorf("%d, %v: one that had no ServerHello passes", m, keys)
					}
				}
				if !a.says(first) || !a.says(first.Other()) || !a.says(first) {
					t.Errorf("%d, %v: it does not go on: %+v", m, keys, l.sink.drop)
				}
				if list := l.e.cfg.Pins.List(); len(list) != 1 || list[0].ID == 0 || list[0].Client != a.ends[0].addr {
					t.Errorf("%d, %v: held by %+v", m, keys, list)
				}
				if k := l.link4(); begins(k, turns) || a.mark != 0 {
					t.Errorf("%d, %v: another passes beside it, or it is left to the kernel", m, keys)
				}
				a.close()
				if k := l.link4(); !begins(k, turns) {
					t.Errorf("%d, %v: the next cannot have it", m, keys)
				}
			}
		}
	}
}

// TestPinRestartOver: one that is not heard of any more makes room in time, and at
// once for another connection on its ports.
func TestPinRestartOver(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), nil)
	a := l.link4()
	begins(a, turns)
	l = l.restart(pinRule(nil), nil)
	if l.now += 599 * second; begins(l.link4(), turns) {
		t.Error("another has it after ten minutes")
	}
	l = l.restart(pinRule(nil), nil)
	if a.again(70000, 80000); !begins(a, turns) {
		t.Error("another on its ports does not have it")
	}
	a.close()
	begins(l.link4(), turns)
	l = l.restart(pinRule(nil), nil)
	if l.now += 602 * second; !begins(l.link4(), turns) {
		t.Error("another does not have it after ten minutes")
	}
}

// TestPinRestartSession: a session has it as it had, and its connections go on.
func TestPinRestartSession(t *testing.T) {
	full, again := pairOf(t, tls.VersionTLS12)
	stranger, _ := pairOf(t, tls.VersionTLS12)
	p := pinRule(func(r *tlsrules.Rule) { r.Pin.To = tlsrules.PinSession })
	l := pinLab(t, p, nil)
	a, b := l.link4(), l.link4()
	begins(a, full)
	begins(b, again)
	l = l.restart(p, nil)
	if begins(l.link4(), stranger) {
		t.Error("another session passes")
	}
	for _, k := range []*link{a, b} {
		if !k.says(original) || !k.says(reply) || !k.says(original) {
			t.Errorf("one of its connections does not go on: %+v", l.sink.drop)
		}
	}
	if c := l.link4(); !begins(c, again) {
		t.Error("it cannot be resumed")
	}
	if list := l.e.cfg.Pins.List(); len(list) != 1 || list[0].Connections != 3 {
		t.Errorf("%+v", list)
	}
	l.now += 700 * second
	if !begins(l.link4(), stranger) || a.says(original) {
		t.Error("then not the other session alone")
	}
}

// TestPinRestartReserved: what the operator has kept for one that has yet to come is
// kept, and nothing for a rule that has no such pin any more.
func TestPinRestartReserved(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	p := pinRule(per(tlsrules.KeySource))
	_, r := p.Named("one")
	random := [32]byte(turns[0].bytes[11:43])
	l := pinLab(t, p, nil)
	if _, _, err := l.e.cfg.Pins.Reserve(r, "source=192.0.2.10", &random, nil, l.now); err != nil {
		t.Fatal(err)
	}
	l = l.restart(p, nil)
	if begins(l.link4(), recording(t, "tls13")) || !begins(l.link4(), turns) {
		t.Error("not the one it was kept for has it")
	}
	for _, other := range []*tlsrules.Policy{pinRule(nil), pinRule(per(tlsrules.KeyDestination)), policy(acceptAll)} {
		if l = l.restart(other, nil); l.e.cfg.Pins.Len() != 0 {
			t.Errorf("%+v", l.e.cfg.Pins.List())
		}
		l = l.restart(p, nil)
		begins(l.link4(), turns)
	}
}

// TestPinImport: nothing that a file may say is taken for a pin that it is not, and
// never more than there are places.
func TestPinImport(t *testing.T) {
	at := [][2]netip.AddrPort{{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:443")}}
	p := pinRule(per(tlsrules.KeySource))
	for _, k := range []KnownPin{
		{}, {Rule: "one"}, {Rule: "one", Group: "source=192.0.2.1"}, {Rule: "one", Group: "source=192.0.2.1", By: PinByEnds},
		{Rule: "one", Group: "source=here", By: PinByEnds, Ends: at}, {Rule: "one", Group: ",,=", By: PinByEnds, Ends: at},
		{Rule: "one", Group: "source=192.0.2.1", By: PinByOrigin, Origin: [16]byte{1}}, {Rule: "one", Group: "source=192.0.2.1", By: PinByRandom},
		{Rule: "one", Group: "source=192.0.2.1", By: PinBySessionID}, {Rule: "one", Group: "source=192.0.2.1", By: 99, Ends: at},
		{Rule: "two", Group: "source=192.0.2.1", By: PinByEnds, Ends: at},
	} {
		if pins := NewPins(0, [16]byte{}); pins.Import([]KnownPin{k}, p, 1) != 0 || pins.Len() != 0 {
			t.Errorf("%+v is taken", k)
		}
	}
	pins := NewPins(2, [16]byte{})
	var list []KnownPin
	for _, group := range strings.Fields("source=192.0.2.1 source=192.0.2.1 source=192.0.2.2 source=192.0.2.3") {
		list = append(list, KnownPin{Rule: "one", Group: group, By: PinByEnds, Ends: at, Since: 1 << 62, Used: 1 << 62})
	}
	if n := pins.Import(list, p, 5); n != 2 || pins.Len() != 2 || pins.List()[0].Since != 5 {
		t.Errorf("%d taken: %+v", n, pins.List())
	}
}

// TestPinChanged: that holders have changed is told, not more often than every five
// seconds, and not when nothing has.
func TestPinChanged(t *testing.T) {
	p := NewPins(0, [16]byte{})
	told := 0
	p.OnChange(func() { told++ })
	for i := range int64(1000) {
		now := i * int64(100*time.Millisecond)
		if i < 500 {
			h, _ := p.take(asks("g", uint64(i+1), 1), now)
			p.free(h, goneEnded)
		}
		p.tell(now)
	}
	if told < 9 || told > 11 {
		t.Errorf("told %d times in 50 seconds", told)
	}
}
