package engine

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// TestSessionFlood: sessions without end take no more room than there is, each that
// is forgotten for it is counted, and the latest is known.
func TestSessionFlood(t *testing.T) {
	full, again := pairOf(t, tls.VersionTLS13)
	l, n := sessionLab(t, nil, resuming("no", "known"))
	const clients = 400
	for i := range clients {
		l.link(fmt.Sprintf("198.51.%d.%d", 100+i/250, 1+i%250), "203.0.113.10", 1, 2).play(full, strategies["mss"])
		if held := l.e.cfg.Sessions.Len(); held > 64 {
			t.Fatalf("%d sessions in a memory for 64", held)
		}
	}
	l.e.Tick(l.now)
	if s := l.e.Stats(); s.Hit.Sessions+s.Sessions != clients {
		t.Errorf("%d sessions are known and %d forgotten, of %d", s.Sessions, s.Hit.Sessions, clients)
	}
	last := clients - 1
	l.link(fmt.Sprintf("198.51.%d.%d", 100+last/250, 1+last%250), "203.0.113.10", 1, 2).play(again, strategies["mss"])
	if len(n.drop) != 0 {
		t.Errorf("the latest is refused: %+v", n.drop[0].Decision)
	}
}

// TestPinFlood: who asks for pins without end gets no more than there is room for,
// takes none from who has one, and leaves room again.
func TestPinFlood(t *testing.T) {
	const room, others = 16, 300
	turns := recording(t, "tls13")
	l := pinLab(t, pinRule(per(tlsrules.KeySource)), func(c *Config) {
		c.Pins, c.Overload = NewPins(room, [16]byte{}), tlsrules.Reset
	})
	honest := l.link4()
	if !begins(honest, turns) {
		t.Fatal("the first is refused")
	}
	var flood []*link
	for i := range others {
		k := l.link(fmt.Sprintf("198.51.%d.%d", 100+i/250, 1+i%250), "203.0.113.10", 1, 2)
		begins(k, turns)
		flood = append(flood, k)
		if held := l.e.cfg.Pins.Len(); held > room {
			t.Fatalf("%d holders where %d may be", held, room)
		}
	}
	l.e.Tick(l.now)
	if s := l.e.Stats(); s.PinsUnnoted != others-room+1 || s.Pins != room {
		t.Errorf("%d unnoted of %d, %d held", s.PinsUnnoted, others, s.Pins)
	}
	if !honest.says(original) {
		t.Error("who had the pin before has lost it")
	}
	for _, k := range flood {
		if !k.closed() {
			k.close()
		}
	}
	if k := l.link("192.0.2.77", "203.0.113.10", 1, 2); !begins(k, turns) || !k.says(original) {
		t.Error("no pin for a new one when the others have ended")
	}
}

// TestSYNFloodUntold: half-open connections that push out each other are counted, not
// told one by one: the log would be the next to be flooded. Of any other that makes
// room an event tells.
func TestSYNFloodUntold(t *testing.T) {
	cfg := config()
	cfg.Limits.Connections, cfg.Limits.HalfOpen = 20, 10
	l := newLab(t, cfg, named("api.bank.example"))
	for range 100 {
		l.link4().syn()
	}
	l.e.Tick(l.now)
	if s := l.e.Stats(); len(l.sink.flow) != 0 || s.Hit.HalfOpen != 90 {
		t.Errorf("%d flow events, %d counted", len(l.sink.flow), s.Hit.HalfOpen)
	}
	for range 15 {
		l.link4().open()
	}
	l.now += 60 * second
	for range 10 {
		l.link4().open()
	}
	told := 0
	for _, r := range l.sink.flow {
		if r.End == conntrack.EndEvicted {
			told++
		}
	}
	if told == 0 {
		t.Error("nothing is told of silent connections that made room")
	}
}

// TestLongGroups: groups of pins told apart by names as long as a hello take no more
// memory than others, and are told apart.
func TestLongGroups(t *testing.T) {
	pin := &tlsrules.Pin{Per: []tlsrules.Key{tlsrules.KeyServerName}}
	seen := map[string]bool{}
	for n := range 100 {
		h := &tlswire.ClientHello{HasServerName: true, ServerName: append(bytes.Repeat([]byte("\xffA"), 30_000), byte(128+n))}
		group, ok := groupOf(pin, &tlsrules.Facts{Client: h})
		if !ok || seen[group] || len(group) > 3*maxGroupName+10 {
			t.Fatalf("name %d: a group of %d bytes, seen %v", n, len(group), seen[group])
		}
		seen[group] = true
		if _, err := GroupNamed(&tlsrules.Rule{Pin: pin}, GroupValues(group)); err != nil {
			t.Fatalf("the operator cannot name it: %v", err)
		}
	}
}
