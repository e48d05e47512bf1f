package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"tlsgate/tlsrules"
)

// byHand runs what asks the engine of a lab as if it ran.
func (l *lab) byHand(f func(ctx context.Context)) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	done := make(chan struct{})
	go func() { defer close(done); defer cancel(); f(ctx) }()
	for {
		select {
		case <-done:
			return
		default:
			l.e.answerOne(func() int64 { return l.now })
		}
	}
}

// pin gives a link the pin of a rule, and expels who had it.
func (k *link) pin(rule string) (held HeldPin, n int, err error) {
	l := k.lab
	l.byHand(func(ctx context.Context) {
		var moved Moved
		held, moved, err = l.e.Pin(ctx, 0, k.ends[0].addr, k.ends[1].addr, rule)
		if err == nil {
			n, _, err = l.e.Expel(ctx, moved)
		}
	})
	for _, k := range l.links {
		k.challenges()
		k.challenges()
	}
	return held, n, err
}

func (l *lab) expel(moved Moved) (n int) {
	l.t.Helper()
	l.byHand(func(ctx context.Context) {
		var err error
		if n, _, err = l.e.Expel(ctx, moved); err != nil {
			l.t.Error(err)
		}
	})
	for _, k := range l.links {
		k.challenges()
		k.challenges()
	}
	return n
}

// TestPinMoved: the operator gives the pin to another, whatever that has said until
// then, and the one that had it is reset at once, though it be silent.
func TestPinMoved(t *testing.T) {
	for _, kind := range []string{"tls12 ecdhe", "tls13"} {
		turns := recording(t, kind)
		for said := range 2 {
			for _, to := range []tlsrules.PinTo{tlsrules.PinConnection, tlsrules.PinSession} {
				for _, otherwise := range []tlsrules.Action{tlsrules.Reset, tlsrules.Drop, tlsrules.AlertOf(49)} {
					l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.Pin.To, r.Otherwise = to, otherwise }), nil)
					a, b := l.link4(), l.link6()
					begins(a, turns)
					b.open()
					b.talk(turns[:said], strategies["mss"])
					held, n, err := b.pin("")
					if err != nil || held.ID != 2 || !held.ByHand || n != 1 {
						t.Fatalf("%s, %d: %+v, %d, %v", kind, said, held, n, err)
					}
					if !a.closed() || a.says(original) || a.says(reply) {
						t.Errorf("%s, %d: the first is not reset", kind, said)
					}
					d := l.sink.drop[0]
					if len(l.sink.drop) != 1 || d.ID != 1 || d.Decision.Reason != tlsrules.ReasonPinTaken || !strings.Contains(d.Detail, "the operator has given") ||
						!strings.Contains(d.Detail, "connection 2") || l.e.counts.PinsMoved != 1 {
						t.Errorf("%s, %d: %d events: %s", kind, said, len(l.sink.drop), d.Detail)
					}
					l.holds("moved", 2)
					b.talk(turns[said:len(turns)-1], strategies["mss"])
					if b.closed() || !b.says(original) || !b.says(reply) {
						t.Errorf("%s, %d: the second does not pass: %+v", kind, said, l.sink.drop)
					}
					l.holds("moved", 2)
					third := l.link4()
					if begins(third, recording(t, "tls13 ecdsa")); len(third.ends[0].got) > 7 { // an alert
						t.Errorf("%s, %d: a third passes", kind, said)
					}
					b.close()
					if l.now += 700 * second; !begins(l.link4(), turns) {
						t.Errorf("%s, %d: the pin is held for ever", kind, said)
					}
				}
			}
		}
	}
}

// TestPinMovedSession: all connections of the session that had the pin are reset.
func TestPinMovedSession(t *testing.T) {
	full, again := pairOf(t, tls.VersionTLS12)
	l := pinLab(t, pinRule(func(r *tlsrules.Rule) { r.Pin.To = tlsrules.PinSession }), nil)
	a := l.link4()
	begins(a, full)
	var links []*link
	for range 3 {
		k := l.link4()
		begins(k, again)
		links = append(links, k)
	}
	b := l.link4()
	b.open()
	if _, n, err := b.pin("one"); err != nil || n != 4 {
		t.Errorf("%d expelled, %v", n, err)
	}
	for i, k := range append(links, a) {
		if !k.closed() {
			t.Errorf("connection %d of the session is not reset", i)
		}
	}
	l.holds("moved", 5)
}

// TestPinReserved: a group is kept for one that is known by its client random or by
// its session id, though it may not have come yet.
func TestPinReserved(t *testing.T) {
	turns, other := recording(t, "tls12 ecdhe"), recording(t, "tls13")
	rule := pinRule(nil)
	_, r := rule.Named("one")
	var random [32]byte
	copy(random[:], turns[0].bytes[11:])
	id := turns[0].bytes[44 : 44+int(turns[0].bytes[43])]
	if len(id) == 0 {
		t.Fatal("the hello has no session id")
	}
	for _, tt := range []struct {
		name   string
		random *[32]byte
		id     []byte
	}{{"client random", &random, nil}, {"session id", nil, id}} {
		l := pinLab(t, rule, nil)
		a := l.link4()
		begins(a, other)
		held, moved, err := l.e.cfg.Pins.Reserve(r, "", tt.random, tt.id, l.now)
		if err != nil || held.Awaits == "" || l.expel(moved) != 1 || !a.closed() {
			t.Errorf("%s: %+v, %v, the one before closed %v", tt.name, held, err, a.closed())
		}
		l.now += 3600 * 24 * second
		b := l.link4()
		if begins(b, other) || !strings.Contains(l.sink.drop[len(l.sink.drop)-1].Detail, "reserved for") {
			t.Errorf("%s: another passes: %s", tt.name, l.sink.drop[len(l.sink.drop)-1].Detail)
		}
		c := l.link4()
		if !begins(c, turns) || !c.says(reply) {
			t.Errorf("%s: it does not pass: %+v", tt.name, l.sink.drop[len(l.sink.drop)-1])
		}
		l.holds(tt.name, 3)
		if begins(l.link4(), turns) != (tt.random != nil && false) {
			t.Errorf("%s: another with the same name passes beside it", tt.name)
		}
		if held, moved, err = l.e.cfg.Pins.Reserve(r, "", tt.random, tt.id, l.now); tt.random != nil && (err != nil || len(moved.holders) != 0 || held.ID != 3) {
			t.Errorf("%s: reserved again for who has it: %+v", tt.name, held)
		}
	}
}

// TestPinReleased: what is taken away is free for the next, and who had it is reset.
func TestPinReleased(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(per(tlsrules.KeySource)), nil)
	a, b, c := l.link4(), l.link("192.0.2.11", "203.0.113.10", 1, 2), l.link("192.0.2.12", "203.0.113.10", 1, 2)
	for _, k := range []*link{a, b, c} {
		begins(k, turns)
	}
	pins := l.e.cfg.Pins
	if list, _ := pins.Release(0, "two", nil); len(list) != 0 {
		t.Errorf("of a rule that has none %d", len(list))
	}
	group := "source=192.0.2.11"
	list, moved := pins.Release(0, "one", &group)
	if len(list) != 1 || list[0].ID != 2 || l.expel(moved) != 1 || !b.closed() || a.closed() || c.closed() {
		t.Errorf("of a group: %+v", list)
	}
	list, moved = pins.Release(3, "", nil)
	if len(list) != 1 || l.expel(moved) != 1 || !c.closed() || a.closed() {
		t.Errorf("of a connection: %+v", list)
	}
	if l.holds("the others", 1); !strings.Contains(l.sink.drop[1].Detail, "has taken") {
		t.Error(l.sink.drop[1].Detail)
	}
	if k := l.link("192.0.2.11", "203.0.113.10", 1, 2); !begins(k, turns) {
		t.Error("the next does not have it")
	}
	if list, _ = pins.Release(0, "one", nil); len(list) != 2 || pins.Len() != 0 {
		t.Errorf("of the rule: %+v", list)
	}
}

// TestPinErrors says what stands against a pin by hand.
func TestPinErrors(t *testing.T) {
	turns := recording(t, "tls13")
	l := pinLab(t, policy(acceptAll,
		tlsrules.Rule{Name: "a", Match: []tlsrules.Condition{condition("source", "192.0.2.0/24")}, Pin: &tlsrules.Pin{}, Otherwise: tlsrules.Reset},
		tlsrules.Rule{Name: "b", Match: []tlsrules.Condition{condition("source", "192.0.2.10")}, Pin: &tlsrules.Pin{Per: []tlsrules.Key{tlsrules.KeyServerName}}, Otherwise: tlsrules.Reset},
	), nil)
	both, one, none := l.link4(), l.link("192.0.2.11", "203.0.113.10", 1, 2), l.link6()
	for _, k := range []*link{both, one, none} {
		k.open()
	}
	gone := l.link4()
	for _, tt := range []struct {
		name string
		k    *link
		rule string
		want error
	}{
		{"two rules", both, "", ErrManyRules},
		{"no group yet", both, "b", ErrNoGroup},
		{"another rule", one, "b", ErrNotUnder},
		{"no rule", none, "", ErrNotUnder},
		{"no connection", gone, "", ErrUnknown},
		{"one of two", both, "a", nil},
		{"the only one", one, "", nil},
	} {
		if _, _, err := tt.k.pin(tt.rule); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if !both.closed() {
		t.Error("the one before is not reset")
	}
	if _, _, err := both.pin("a"); !errors.Is(err, ErrRefused) {
		t.Errorf("one that is refused: %v", err)
	}
	begins(none, turns)
	if _, _, err := none.pin(""); !errors.Is(err, ErrNotUnder) {
		t.Errorf("one that is left to the kernel: %v", err)
	}
}

// TestPinKept: a rule that is gone lets go, one that is still there does not.
func TestPinKept(t *testing.T) {
	p := NewPins(0, [16]byte{})
	for i, rule := range []string{"a", "b", "a"} {
		a := asks("g", uint64(i+1), 2)
		a.group.rule = rule
		p.take(a, 1)
	}
	p.Keep(func(rule string) bool { return rule == "a" })
	if list := p.List(); len(list) != 2 || list[0].Rule != "a" || list[1].Rule != "a" || p.Len() != 2 {
		t.Errorf("%+v", list)
	}
}
