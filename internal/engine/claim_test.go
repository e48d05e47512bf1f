package engine

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// pinRule pins what goes to port 443.
func pinRule(change func(*tlsrules.Rule)) *tlsrules.Policy {
	r := tlsrules.Rule{
		Name: "one", Match: []tlsrules.Condition{condition("port", "443")},
		Pin: &tlsrules.Pin{Connections: 1}, Otherwise: tlsrules.Reset,
	}
	if change != nil {
		change(&r)
	}
	return policy(acceptAll, r)
}

func per(keys ...tlsrules.Key) func(*tlsrules.Rule) {
	return func(r *tlsrules.Rule) { r.Pin.Per = keys }
}

// pinLab is a lab whose engine knows pins and sessions.
func pinLab(t testing.TB, p *tlsrules.Policy, change func(*Config)) *lab {
	cfg := config()
	cfg.Pins, cfg.Sessions = NewPins(0, [16]byte{}), NewSessions(64, [16]byte{})
	if change != nil {
		change(&cfg)
	}
	return newLab(t, cfg, p)
}

// begins plays the hellos and what follows, up to but not including the last two
// turns, in which connections end.
func begins(k *link, turns []turn) bool {
	k.play(turns[:len(turns)-1], strategies["mss"])
	return !k.closed()
}

// says sends a record in a direction, and reports whether it passed.
func (k *link) says(d conntrack.Direction) bool {
	b := append([]byte{23, 3, 3, 0, 200}, bytes.Repeat([]byte{7}, 200)...)
	passed := k.data(d, len(k.ends[d.Other()].got), b)
	k.ack(d.Other())
	return passed
}

// held reports who holds pins, by their connections' IDs.
func (l *lab) held() (ids []uint64) {
	for _, h := range l.e.cfg.Pins.List() {
		ids = append(ids, h.ID)
	}
	return ids
}

func (l *lab) holds(what string, want ...uint64) {
	l.t.Helper()
	if got := l.held(); fmt.Sprint(got) != fmt.Sprint(want) {
		l.t.Errorf("%s: pins are held by %v, want %v", what, got, want)
	}
}

// TestPinFirstCome: the first whose server answers holds the pin, the ServerHello of
// another is not delivered, and when the first has ended the next has it.
func TestPinFirstCome(t *testing.T) {
	for _, kind := range []string{"tls10", "tls12 ecdhe", "tls13", "tls13 retry", "tls13 post-quantum"} {
		turns := recording(t, kind)
		for cuts, strategy := range strategies {
			for _, six := range []bool{false, true} {
				what := fmt.Sprintf("%s, %s, IPv6 %v", kind, cuts, six)
				l := pinLab(t, pinRule(nil), nil)
				dial := l.link4
				if six {
					dial = l.link6
				}
				a, b := dial(), dial()
				b.open()
				b.talk(turns[:1], strategy) // whose hello came first does not matter
				a.play(turns[:len(turns)-1], strategy)
				l.holds(what, 2)
				b.talk(turns[1:], strategy)
				if a.closed() || !b.closed() || len(l.sink.drop) != 1 {
					t.Fatalf("%s: the first closed %v, the second %v, %d events", what, a.closed(), b.closed(), len(l.sink.drop))
				}
				d := l.sink.drop[0]
				if d.ID != 1 || d.Decision.Reason != tlsrules.ReasonPinTaken || d.Decision.Rule != "one" ||
					!strings.Contains(d.Detail, "connection 2 from "+a.ends[0].addr.String()) || d.Pin == nil || d.Pin.Told != PinRefused || d.Pin.Holder.ID != 2 {
					t.Errorf("%s: %s %+v", what, d.Detail, d.Pin)
				}
				at := 0
				if _, at = reach(t, turns, atMessage(2)); len(b.ends[0].got) >= at {
					t.Errorf("%s: of the second %d bytes were delivered, the ServerHello ends at %d", what, len(b.ends[0].got), at)
				}
				if a.mark != 0 || !a.says(original) || !a.says(reply) {
					t.Errorf("%s: the first is left to the kernel, or does not pass", what)
				}
				a.close()
				l.holds(what + ", ended")
				c := dial()
				if !begins(c, turns) {
					t.Errorf("%s: the next is refused: %s", what, l.sink.drop[len(l.sink.drop)-1].Detail)
				}
				l.holds(what, 3)
				if a.says(original) || a.says(reply) {
					t.Errorf("%s: the first goes on after its end", what)
				}
				l.e.table.Close()
				if len(l.e.pins) != 0 || len(l.e.holders) != 0 {
					t.Errorf("%s: %d pins, %d holders are left behind", what, len(l.e.pins), len(l.e.holders))
				}
			}
		}
	}
}

// rst sends an RST that the receiver would take, and never gets.
func (k *link) rst(d conntrack.Direction) bool {
	return k.raw(k.segment(d, len(k.ends[d.Other()].got), nil, packet.RST|packet.ACK))
}

// TestPinLies: whoever is seen to end and goes on all the same holds the pin again,
// if nobody else does, and is refused if somebody does.
func TestPinLies(t *testing.T) {
	turns := recording(t, "tls13")
	for d := original; d <= reply; d++ {
		l := pinLab(t, pinRule(nil), nil)
		a, b := l.link4(), l.link4()
		begins(a, turns)
		if a.rst(d); len(l.held()) != 0 {
			t.Fatalf("%d: after its RST the pin is held by %v", d, l.held())
		}
		if !a.says(original) || !a.says(reply) || !a.says(original) {
			t.Errorf("%d: nobody else wants the pin, and it does not go on", d)
		}
		l.holds("it lives", 1)
		if begins(b, turns) || l.sink.drop[0].ID != 2 {
			t.Errorf("%d: another passes beside it", d)
		}
		a.rst(d)
		b = l.link4()
		if !begins(b, turns) {
			t.Errorf("%d: another cannot have the pin", d)
		}
		for e := original; e <= reply; e++ {
			if a.says(e) {
				t.Errorf("%d: data of the first passes beside it", d)
			}
		}
		if n := len(l.sink.drop); !a.closed() || n != 2 || l.sink.drop[1].ID != 1 || !strings.Contains(l.sink.drop[1].Detail, "was seen to end") {
			t.Errorf("%d: closed %v, %d events: %s", d, a.closed(), n, l.sink.drop[n-1].Detail)
		}
		l.holds("the other", 3)
		if !b.says(original) || !b.says(reply) {
			t.Errorf("%d: the other does not pass", d)
		}
	}
}

// TestPinInFlight: what was on its way to one who has reset does not take the pin.
func TestPinInFlight(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), nil)
	a := l.link4()
	begins(a, turns)
	a.rst(original)
	for range 3 {
		if !a.raw(a.segment(reply, len(a.ends[0].got), []byte{23, 3, 3, 0, 1, 0}, packet.ACK|packet.PSH)) {
			t.Error("it does not pass, and nobody holds the pin")
		}
	}
	if list := l.e.cfg.Pins.List(); len(list) != 1 || list[0].Awaits != "answer" {
		t.Errorf("what is on its way: %+v", list)
	}
	if !begins(l.link4(), turns) {
		t.Error("the next is refused")
	}
}

// TestPinForged: what no receiver takes ends nothing.
func TestPinForged(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), nil)
	a := l.link4()
	begins(a, turns)
	for _, s := range []segment{
		a.segment(original, 1<<29, nil, packet.RST), a.segment(reply, -5000, nil, packet.RST|packet.ACK),
		a.segment(original, 1<<29, nil, packet.FIN|packet.ACK), a.segment(original, len(a.ends[1].got), nil, packet.FIN|packet.ACK),
	} {
		a.raw(s)
		l.holds("forged", 1)
	}
	if begins(l.link4(), turns) {
		t.Error("another passes")
	}
}

// TestPinIdle: who was silent for too long makes room, and is refused when it goes
// on while another holds the pin; if nobody wanted it, it goes on.
func TestPinIdle(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.Pin.Idle = time.Minute }), nil)
	a, b := l.link4(), l.link4()
	begins(a, turns)
	l.now += 50 * second
	if !a.says(original) {
		t.Error("it does not pass")
	}
	l.now += 50 * second
	if begins(b, turns) {
		t.Error("another has the pin after 50 seconds")
	}
	l.now += 3600 * second
	if !a.says(original) {
		t.Error("it was silent for long, and nobody wanted the pin")
	}
	l.now += 61 * second
	c := l.link4()
	if !begins(c, turns) {
		t.Error("another does not have the pin after 61 seconds")
	}
	l.holds("another", 3)
	if a.says(reply) || !a.closed() {
		t.Error("it goes on beside the other")
	}
	if d := l.sink.drop[len(l.sink.drop)-1]; d.ID != 1 || !strings.Contains(d.Detail, "silent for too long") {
		t.Errorf("%d: %s", d.ID, d.Detail)
	}
	if !c.says(original) {
		t.Error("the other does not pass")
	}
}

// TestPinPlaces: as many as the rule says.
func TestPinPlaces(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.Pin.Connections = 3 }), nil)
	var links []*link
	for range 5 {
		k := l.link4()
		begins(k, turns)
		links = append(links, k)
	}
	for i, k := range links {
		if k.closed() != (i >= 3) {
			t.Errorf("connection %d: closed %v", i+1, k.closed())
		}
	}
	l.holds("three", 1, 2, 3)
	links[1].close()
	if k := l.link4(); !begins(k, turns) {
		t.Error("a place is free, and nobody has it")
	}
	l.holds("three", 1, 3, 6)
}

// TestPinGroups: connections of different groups do not stand in each other's way.
func TestPinGroups(t *testing.T) {
	turns := recording(t, "tls13")
	client, server := configs(rsaIdentity(), tls.VersionTLS13)
	client.ServerName = "other.example"
	other := recordTLS(t, client, server)
	for _, tt := range []struct {
		name string
		per  []tlsrules.Key
		dial func(l *lab) *link
		with []turn
		want bool // it passes too
	}{
		{"one group", nil, func(l *lab) *link { return l.link("192.0.2.11", "203.0.113.11", 1, 2) }, turns, false},
		{"another source", []tlsrules.Key{tlsrules.KeySource}, func(l *lab) *link { return l.link("192.0.2.11", "203.0.113.10", 1, 2) }, turns, true},
		{"the same source", []tlsrules.Key{tlsrules.KeySource}, func(l *lab) *link { return l.link("192.0.2.10", "203.0.113.11", 1, 2) }, turns, false},
		{"another destination", []tlsrules.Key{tlsrules.KeySource, tlsrules.KeyDestination}, func(l *lab) *link { return l.link("192.0.2.10", "203.0.113.11", 1, 2) }, turns, true},
		{"the same port", []tlsrules.Key{tlsrules.KeyPort}, func(l *lab) *link { return l.link("192.0.2.11", "203.0.113.11", 1, 2) }, turns, false},
		{"another name", []tlsrules.Key{tlsrules.KeyServerName}, (*lab).link4, other, true},
		{"the same name", []tlsrules.Key{tlsrules.KeyServerName}, (*lab).link4, turns, false},
		{"the same interface", []tlsrules.Key{tlsrules.KeyInInterface}, (*lab).link4, turns, false},
		{"IPv6", []tlsrules.Key{tlsrules.KeySource}, (*lab).link6, turns, true},
	} {
		l := pinLab(t, pinRule(per(tt.per...)), nil)
		if !begins(l.link4(), turns) {
			t.Errorf("%s: the first is refused", tt.name)
		}
		if k := tt.dial(l); begins(k, tt.with) != tt.want {
			t.Errorf("%s: the second passes: %v", tt.name, !tt.want)
		}
	}
}

// TestPinOrder: the pin is not taken by who is refused for something else, and who
// loses one pin lets go of the other.
func TestPinOrder(t *testing.T) {
	turns := recording(t, "tls13")
	p := policy(acceptAll,
		tlsrules.Rule{Name: "one", Pin: &tlsrules.Pin{}, Otherwise: tlsrules.Reset},
		tlsrules.Rule{Name: "old", Require: []tlsrules.Condition{condition("version", "1.2")}, Otherwise: tlsrules.Reset})
	l := pinLab(t, p, nil)
	if begins(l.link4(), turns) || l.sink.drop[0].Decision.Rule != "old" {
		t.Errorf("by %q", l.sink.drop[0].Decision.Rule)
	}
	l.holds("nobody")
	if !begins(l.link4(), recording(t, "tls12 ecdhe")) {
		t.Error("one that may pass is refused")
	}
	l.holds("one", 2)

	two := func(name string, k tlsrules.Key) tlsrules.Rule {
		return tlsrules.Rule{Name: name, Pin: &tlsrules.Pin{Per: []tlsrules.Key{k}}, Otherwise: tlsrules.Reset}
	}
	l = pinLab(t, policy(acceptAll, two("a", tlsrules.KeySource), two("b", tlsrules.KeyDestination)), nil)
	begins(l.link4(), turns)
	if begins(l.link("192.0.2.11", "203.0.113.10", 1, 2), turns) || l.sink.drop[0].Decision.Rule != "b" {
		t.Error("two to one destination pass")
	}
	l.holds("both by the first", 1, 1)
}

// TestPinCertificate: refused later, it lets go.
func TestPinCertificate(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	p := policy(acceptAll,
		tlsrules.Rule{Name: "one", Pin: &tlsrules.Pin{}, Otherwise: tlsrules.Reset},
		tlsrules.Rule{Name: "key", Require: []tlsrules.Condition{condition("cert_key", "ecdsa")}, Otherwise: tlsrules.Reset})
	l := pinLab(t, p, nil)
	if begins(l.link4(), turns) || l.sink.drop[0].Decision.Rule != "key" {
		t.Error("it is not refused for its certificate")
	}
	l.holds("nobody")
}

// TestPinObserved: what a rule or a policy only observes passes, once told.
func TestPinObserved(t *testing.T) {
	turns := recording(t, "tls13")
	for _, rule := range []bool{true, false} {
		p := policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept, Observe: !rule},
			tlsrules.Rule{Name: "one", Pin: &tlsrules.Pin{}, Otherwise: tlsrules.Reset, Observe: rule})
		l := pinLab(t, p, func(c *Config) { c.Default.Observe = !rule })
		a, b := l.link4(), l.link4()
		if !begins(a, turns) || !begins(b, turns) || !b.says(original) || !b.says(reply) || !b.says(original) {
			t.Errorf("rule %v: refused", rule)
		}
		if n := len(l.sink.drop); n != 1 || !l.sink.drop[0].Decision.Observed || l.sink.drop[0].ID != 2 || l.e.counts.Refused != 0 {
			t.Errorf("rule %v: %d events %+v", rule, n, l.sink.drop)
		}
		l.holds("the first", 1)
		if b.mark != l.marks.Accepted(5) {
			t.Errorf("rule %v: what holds no pin is not left to the kernel: %#x", rule, b.mark)
		}
	}
}

// TestPinGrace: the time of grace does not forgive it.
func TestPinGrace(t *testing.T) {
	_, again := pairOf(t, tls.VersionTLS12)
	l := pinLab(t, pinRule(nil), func(c *Config) { c.Grace = time.Hour })
	if begins(l.link4(), again); begins(l.link4(), again) {
		t.Error("two pass")
	}
}

// TestPinWays: the rule's otherwise says how it is refused.
func TestPinWays(t *testing.T) {
	turns := recording(t, "tls13")
	for _, way := range []tlsrules.Action{tlsrules.Drop, tlsrules.Reset, tlsrules.AlertOf(49), tlsrules.Refuse} {
		l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.Otherwise = way }), nil)
		begins(l.link4(), turns)
		k := l.link4()
		begins(k, turns)
		d := l.sink.drop[0]
		if d.Decision.Action != way || d.ID != 2 || k.ends[1].closed == (way == tlsrules.Drop) || (len(k.alerts) > 0) != (way.Kind() == tlsrules.Alert) {
			t.Errorf("%s: %s, server closed %v, %d alerts", way, d.Decision.Action, k.ends[1].closed, len(k.alerts))
		}
		if k = l.link4(); k.open() == (way == tlsrules.Refuse) {
			t.Errorf("%s: the next connects: %v", way, !k.closed())
		}
	}
}

// TestPinSession: those that resume the session share it, also at once; the pin
// outlives them; another session has it when nobody has resumed it for a while.
func TestPinSession(t *testing.T) {
	session := func(mode tlsrules.PinTLS13) func(*tlsrules.Rule) {
		return func(r *tlsrules.Rule) { r.Pin.To, r.Pin.TLS13 = tlsrules.PinSession, mode }
	}
	for _, tt := range []struct {
		version uint16
		mode    tlsrules.PinTLS13
		shares  bool // a resumed one
		client  string
	}{
		{tls.VersionTLS12, tlsrules.PinTLS13Deny, true, "192.0.2.11"},
		{tls.VersionTLS13, tlsrules.PinTLS13Deny, false, "192.0.2.10"},
		{tls.VersionTLS13, tlsrules.PinTLS13SameClient, true, "192.0.2.10"},
		{tls.VersionTLS13, tlsrules.PinTLS13SameClient, false, "192.0.2.11"},
		{tls.VersionTLS13, tlsrules.PinTLS13Allow, true, "192.0.2.11"},
	} {
		what := fmt.Sprintf("%s, %s, from %s", tls.VersionName(tt.version), tt.mode, tt.client)
		full, again := pairOf(t, tt.version)
		stranger, _ := pairOf(t, tt.version)
		for cuts, strategy := range strategies {
			l := pinLab(t, pinRule(session(tt.mode)), nil)
			a := l.link("192.0.2.10", "203.0.113.10", 1, 2)
			a.play(full[:len(full)-1], strategy)
			b := l.link(tt.client, "203.0.113.10", 3, 4)
			b.play(again[:len(again)-1], strategy)
			if a.closed() || b.closed() == tt.shares {
				t.Fatalf("%s, %s: the first closed %v, the resumed %v", what, cuts, a.closed(), b.closed())
			}
			if k := l.link4(); begins(k, stranger) {
				t.Errorf("%s, %s: another session passes beside it", what, cuts)
			}
			a.close()
			if !tt.shares && tt.mode == tlsrules.PinTLS13Deny {
				l.holds(what + ": it cannot be resumed")
				continue
			}
			b.close()
			l.now += 500 * second
			if k := l.link4(); begins(k, stranger) {
				t.Errorf("%s, %s: another session passes while it may be resumed", what, cuts)
			}
			if k := l.link(tt.client, "203.0.113.10", 3, 4); begins(k, again) != tt.shares {
				t.Errorf("%s, %s: resumed later it passes: %v", what, cuts, !tt.shares)
			} else {
				k.close()
			}
			l.now += 601 * second
			if k := l.link4(); !begins(k, stranger) {
				t.Errorf("%s, %s: another session cannot have it after ten minutes", what, cuts)
			}
		}
	}
}

// TestPinSessionUnseen: one that began before us holds as a connection of its own.
func TestPinSessionUnseen(t *testing.T) {
	_, again := pairOf(t, tls.VersionTLS12)
	l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.Pin.To = tlsrules.PinSession }), nil)
	a := l.link4()
	if !begins(a, again) || begins(l.link4(), again) {
		t.Error("of two that resume what was not seen, not the first passes alone")
	}
	a.close()
	if !begins(l.link4(), again) {
		t.Error("it does not let go with its connection")
	}
}

// TestPinNotTLS: what is not TLS has no part in it.
func TestPinNotTLS(t *testing.T) {
	for _, unseen := range []bool{false, true} {
		l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.UnseenAllow = unseen }), nil)
		begins(l.link4(), recording(t, "tls13"))
		for range 2 {
			k := l.link4()
			k.open()
			if !k.data(original, 0, []byte("SSH-2.0-OpenSSH_9.9\r\n")) || !k.data(reply, 0, []byte("SSH-2.0-OpenSSH_9.9\r\n")) {
				t.Errorf("unseen %v: it does not pass: %+v", unseen, l.sink.drop)
			}
		}
		l.holds("TLS", 1)
	}
}

// TestPinMidstream: what began unseen passes while nobody else holds the pin, and
// holds it once both ends were heard.
func TestPinMidstream(t *testing.T) {
	turns := recording(t, "tls13")
	for _, m := range []Midstream{MidstreamAccept, MidstreamInspect} {
		for _, unseen := range []bool{false, true} {
			what := fmt.Sprintf("midstream %d, unseen allowed %v", m, unseen)
			l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.UnseenAllow = unseen }), func(c *Config) { c.Default.Midstream = m })
			a, b := l.link4(), l.link4()
			if !a.says(original) {
				t.Errorf("%s: the first does not pass", what)
			}
			if list := l.e.cfg.Pins.List(); !unseen && (len(list) != 1 || list[0].Awaits != "answer") {
				t.Errorf("%s: heard at one end it has the pin: %+v", what, list)
			}
			if !a.says(reply) || !a.says(original) {
				t.Errorf("%s: the first does not go on", what)
			}
			if passed := b.says(original); passed != unseen || b.says(reply) != unseen {
				t.Errorf("%s: the second passes: %v", what, passed)
			}
			if k := l.link4(); begins(k, turns) != unseen {
				t.Errorf("%s: a new one passes: %v", what, !unseen)
			}
			if !unseen {
				l.holds(what, 1)
			}
			if a.mark != 0 && !unseen {
				t.Errorf("%s: it is left to the kernel", what)
			}
			// And while one holds it, nothing that began unseen passes at all.
			l = pinLab(t, pinRule(func(r *tlsrules.Rule) { r.UnseenAllow = unseen }), func(c *Config) { c.Default.Midstream = m })
			begins(l.link4(), turns)
			for d := original; d <= reply; d++ {
				if k := l.link4(); k.says(d) != unseen {
					t.Errorf("%s: beside who holds it %d passes: %v", what, d, !unseen)
				}
			}
		}
	}
	// Which group it is of cannot be known.
	l := pinLab(t, pinRule(per(tlsrules.KeyServerName)), nil)
	if k := l.link4(); k.says(original) || !strings.Contains(l.sink.drop[0].Detail, "was not seen") {
		t.Error("whose group is not known passes")
	}
}

// TestPinExpired: who was seen to end, is forgotten and goes on is as any other
// that began unseen.
func TestPinExpired(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), nil)
	a, b := l.link4(), l.link4()
	begins(a, turns)
	a.rst(original)
	l.now += 200 * second
	l.e.Tick(l.now)
	begins(b, turns)
	for d := original; d <= reply; d++ {
		if a.says(d) {
			t.Error("the first passes beside the second")
		}
	}
	l.now += 6 * 24 * 3600 * second
	l.e.Tick(l.now)
	l.holds("all have expired")
}

// TestPinUnread: what a default accepts whose ServerHello cannot be read asks for
// the pin with what it says.
func TestPinUnread(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), func(c *Config) { c.Default.Malformed = tlsrules.Accept })
	broken := func() *link {
		k := l.link4()
		k.open()
		k.talk(turns[:1], strategies["mss"])
		k.data(reply, 0, append([]byte{22, 3, 3, 0, 4}, 2, 0, 0, 0)) // a ServerHello without anything
		k.ack(original)
		return k
	}
	a := broken()
	if !a.says(original) || !a.says(reply) || !a.says(original) {
		t.Errorf("the first does not pass: %+v", l.sink.drop)
	}
	l.holds("it", 1)
	if b := broken(); b.says(original) && b.says(reply) {
		t.Error("the second passes beside it")
	}
	if begins(l.link4(), turns) {
		t.Error("one with a ServerHello passes beside it")
	}
}

// TestPinWorkers: groups that span workers have one holder.
func TestPinWorkers(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	pins := NewPins(0, [16]byte{})
	lab := func(first uint64) *lab {
		return pinLab(t, pinRule(nil), func(c *Config) { c.Pins, c.FirstID, c.StepID = pins, first, 2 })
	}
	one, other := lab(1), lab(2)
	a, b := one.link4(), other.link("192.0.2.11", "203.0.113.10", 1, 2)
	if !begins(a, turns) || begins(b, turns) {
		t.Error("not the first alone passes")
	}
	if d := other.sink.drop[0]; !strings.Contains(d.Detail, "connection 1 from 192.0.2.10") {
		t.Error(d.Detail)
	}
	a.close()
	if b = other.link4(); !begins(b, turns) || a.says(original) {
		t.Error("then not the other alone")
	}
	one.holds("the other worker's", 4)
}

// TestPinOverload: there is no room to note who holds a pin.
func TestPinOverload(t *testing.T) {
	turns := recording(t, "tls13")
	for _, a := range []tlsrules.Action{tlsrules.Accept, tlsrules.Drop, tlsrules.Reset} {
		l := pinLab(t, pinRule(per(tlsrules.KeySource)), func(c *Config) {
			c.Pins, c.Overload = NewPins(1, [16]byte{}), a
		})
		begins(l.link4(), turns)
		k := l.link("192.0.2.11", "203.0.113.10", 1, 2)
		if begins(k, turns); (len(k.ends[0].got) > 0) != (a == tlsrules.Accept) || l.e.counts.PinsUnnoted != 1 {
			t.Errorf("%s: got %d bytes, %d counted", a, len(k.ends[0].got), l.e.counts.PinsUnnoted)
		}
		if a != tlsrules.Accept && l.sink.drop[0].Decision.Reason.String() != "limit.pins" {
			t.Errorf("%s: %+v", a, l.sink.drop)
		}
	}
}

// TestPinReused: another connection on the ports of who holds the pin takes it.
func TestPinReused(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), nil)
	k := l.link4()
	begins(k, turns)
	k.again(700000, 900000)
	if !begins(k, turns) {
		t.Errorf("refused: %+v", l.sink.drop)
	}
	l.holds("the new one", 2)
}

// TestPinAllocs: a packet of who holds a pin costs nothing but its time.
func TestPinAllocs(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), func(c *Config) { c.Sink = nil })
	k := l.link4()
	begins(k, turns)
	k.says(original)
	s := k.segment(original, len(k.ends[1].got), nil, packet.ACK)
	k.buf = s.append(k.buf[:0])
	p := &nfq.Packet{Payload: k.buf, Hook: nfq.Forward, InDev: inside(k.buf), OutDev: 3 - inside(k.buf)}
	if n := testing.AllocsPerRun(100, func() { l.now++; l.e.Packet(p, l.now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPinWeak: of those that are heard at one end only one passes, for as long as it
// goes on, and makes way for one that is heard at both.
func TestPinWeak(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), nil)
	speaks := func(k *link) bool {
		return k.raw(k.segment(original, len(k.ends[1].got), []byte{23, 3, 3, 0, 1, 0}, packet.ACK|packet.PSH))
	}
	a, b := l.link4(), l.link4()
	if !speaks(a) || speaks(b) || !speaks(a) {
		t.Error("not the first alone passes")
	}
	l.now += 9 * second
	if c := l.link4(); !speaks(a) || speaks(c) {
		t.Error("then not the first alone")
	}
	l.now += 11 * second
	c := l.link4()
	if !speaks(c) || speaks(a) {
		t.Error("after its silence not the other alone")
	}
	d := l.link4()
	if !begins(d, turns) || speaks(c) || speaks(l.link4()) {
		t.Error("it does not make way for a connection that is heard at both ends")
	}
	l.holds("heard at both ends", l.sink.tls[len(l.sink.tls)-1].ID)
}

// TestPinOneAtATime is the promise itself, against whoever does what: after a byte of
// one connection no byte of the other passes that was there before, unless the pin was
// let go of in between: by an end, by silence, or by the operator.
func TestPinOneAtATime(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		pins := NewPins(0, [16]byte{})
		idle := []time.Duration{0, time.Minute}[seed%2]
		var labs []*lab
		for i := range uint64(2) {
			rule := tlsrules.Rule{Name: "one", Pin: &tlsrules.Pin{Idle: idle}, Otherwise: tlsrules.Reset}
			p := policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Reset}, rule)
			labs = append(labs, pinLab(t, p, func(c *Config) { c.Pins, c.FirstID, c.StepID = pins, i+1, 2 }))
		}
		var links []*link
		var last *link                                // whose byte passed last
		free := map[*link]bool{}                      // it was let go of since its byte passed last
		after := map[*link]int{}                      // turns of each that were played
		now, at, weak := labs[0].now, int64(0), false // when that was, and whether it makes way
		id := uint64(0)
		passed := func(k *link) {
			t.Helper()
			isWeak := false
			for _, p := range pins.List() {
				isWeak = isWeak || p.Awaits != ""
			}
			if last != nil && last != k && !free[last] && last.lives() == id && (idle == 0 || now-at <= int64(idle)) && !(weak && (!isWeak || now-at > weakIdle)) {
				t.Fatalf("seed %d: %s passes beside %s: %+v", seed, k.ends[0].addr, last.ends[0].addr, pins.List())
			}
			last, at, weak, id = k, max(now, k.lab.now), isWeak, k.lives()
			free[k] = false
		}
		for range 400 {
			l := labs[r.IntN(2)]
			now += int64(r.IntN(5)) * second
			l.now = max(l.now, now)
			var k *link
			if len(links) > 0 {
				k = links[r.IntN(len(links))]
				k.lab.now = max(k.lab.now, now)
			}
			switch n := r.IntN(12); {
			case n < 2 || k == nil:
				c := l.link4()
				if l == labs[1] {
					c = l.link6()
				}
				if r.IntN(4) > 0 {
					c.open()
				}
				links = append(links, c)
			case n < 5 && after[k] < len(turns)-1: // its handshake, as far as it has come
				next := turns[after[k]]
				before := len(k.ends[next.dir.Other()].got)
				k.talk([]turn{next}, strategies["mss"])
				if after[k]++; next.dir == reply && len(k.ends[0].got) > before {
					passed(k)
				}
			case n < 9:
				if d := conntrack.Direction(r.IntN(2)); after[k] > 1 || after[k] == 0 {
					if k.raw(k.segment(d, len(k.ends[d.Other()].got), []byte{23, 3, 3, 0, 1, 0}, packet.ACK|packet.PSH)) && after[k] > 1 {
						passed(k)
					}
				}
			case n == 9:
				if k.rst(conntrack.Direction(r.IntN(2))) {
					free[k] = true
				}
			case n == 10:
				k.close()
				free[k] = true
			default:
				if idle > 0 {
					now += 61 * second
					for c := range free {
						free[c] = true
					}
				}
			}
			if seed%2 == 0 && len(pins.List()) > 1 {
				t.Fatalf("seed %d: %d hold the pin", seed, len(pins.List()))
			}
		}
	}
}

// lives gives the ID of a link's connection, 0 if it is forgotten or refused.
func (k *link) lives() uint64 {
	c := k.lab.e.table.Between(k.ends[0].addr, k.ends[1].addr)
	if c == nil || c.Value.phase == refused {
		return 0
	}
	return c.ID
}

// TestPinBeside: what a receiver would discard by all that is known does not pass
// beside the pin either, though the connection be decided: who goes on after he was
// seen to end may know better where the receiver stands.
func TestPinBeside(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(nil), nil)
	a := l.link4()
	begins(a, turns)
	a.says(original)
	a.rst(original)
	if !begins(l.link4(), turns) {
		t.Fatal("another cannot have the pin")
	}
	for d := original; d <= reply; d++ {
		for _, offset := range []int{1 << 29, -(1 << 29), 1 << 21} {
			s := a.segment(d, offset, []byte{23, 3, 3, 0, 1, 0}, packet.ACK|packet.PSH)
			if a.raw(s) {
				t.Errorf("%d: data at %d passes", d, offset)
			}
			s.ack += 1 << 28
			if a.raw(s) {
				t.Errorf("%d: data at %d that acknowledges what was never sent passes", d, offset)
			}
		}
	}
}

// BenchmarkPinned is a packet of a connection that holds a pin.
func BenchmarkPinned(b *testing.B) {
	l := pinLab(b, pinRule(per(tlsrules.KeySource, tlsrules.KeyServerName)), func(c *Config) { c.Sink = nil })
	k := l.link4()
	begins(k, recording(b, "tls13"))
	k.says(original)
	s := k.segment(original, len(k.ends[1].got), []byte{23, 3, 3, 0, 1, 0}, packet.ACK)
	p := &nfq.Packet{Payload: s.append(nil), Hook: nfq.Forward, InDev: 1, OutDev: 2}
	b.ReportAllocs()
	for b.Loop() {
		l.now += 1000
		l.e.Packet(p, l.now)
	}
}

// TestPinHeld: one rule may have both: who holds the pin waits at the gate, and the
// others are refused while it waits.
func TestPinHeld(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.Hold = &tlsrules.Hold{} }), nil)
	a := l.link4()
	a.play(turns[:2], strategies["mss"])
	l.holds("at the gate", 1)
	b := l.link4()
	if b.play(turns[:2], strategies["mss"]); !b.closed() {
		t.Error("another is not refused")
	}
	before := len(a.ends[1].got)
	a.talk([]turn{{original, turns[2].bytes}}, func(n int) []piece { return cut(n, n) })
	if a.closed() {
		t.Fatalf("it is refused: %+v", l.sink.drop)
	}
	passed := len(a.ends[1].got) - before
	l.e.Gates().Set("one", true, l.now)
	a.talk([]turn{{original, turns[2].bytes[passed:]}}, strategies["mss"])
	if got := a.ends[1].got[before:]; !bytes.Equal(got, turns[2].bytes) || passed >= len(turns[2].bytes) {
		t.Errorf("%d bytes passed while the gate was closed, %d of %d then", passed, len(got), len(turns[2].bytes))
	}
	if l.holds("the gate is open", 1); a.mark != 0 || !a.says(reply) {
		t.Error("it is left to the kernel")
	}
}
