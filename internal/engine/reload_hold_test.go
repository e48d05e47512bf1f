package engine

import (
	"testing"
	"time"

	"tlsgate/tlsrules"
)

// TestReloadHold: data waits for the gate of a rule that the next policy has too, goes
// on where that has none, begins to wait where it has come to one, and is refused where
// it forbids.
func TestReloadHold(t *testing.T) {
	none := policy(acceptAll)
	forbids := policy(acceptAll, rule("no", tlsrules.Reset, "port", "443"))
	elsewhere := policy(acceptAll, rule("first", tlsrules.Continue, "port", "1"), tlsrules.Rule{
		Name: "quarantine", Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset, Hold: &tlsrules.Hold{},
	})
	other := policy(acceptAll, tlsrules.Rule{Name: "other", Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset, Hold: &tlsrules.Hold{}})
	for _, way := range []string{"walk", "packet", "tick"} {
		renew := func(l *lab, k *link) {
			switch way {
			case "walk":
				l.around()
			case "packet":
				k.ack(original)
			default: // its gate is open, or its patience over, before anybody looks
				l.now += second
				l.e.Tick(l.now)
				l.around()
			}
		}
		l, k, turns := heldLink(t, tlsrules.Hold{})
		l.adopt(elsewhere)
		renew(l, k)
		k.holds(way+", the rule stands elsewhere", turns)
		l.open("quarantine")
		k.finish(turns)
		k.whole(way+", opened", turns)

		l, k, turns = heldLink(t, tlsrules.Hold{})
		l.adopt(other)
		renew(l, k)
		k.holds(way+", another rule's gate", turns)
		l.open("other")
		k.finish(turns)
		k.whole(way+", another's opened", turns)

		l, k, turns = heldLink(t, tlsrules.Hold{})
		l.adopt(none)
		renew(l, k)
		k.finish(turns)
		k.whole(way+", no rule has a hold", turns)

		l, k, _ = heldLink(t, tlsrules.Hold{})
		l.adopt(forbids)
		renew(l, k)
		k.challenges()
		if d := l.sink.drop[len(l.sink.drop)-1]; !k.closed() || d.Decision.Rule != "no" || len(l.e.holding) != 0 && l.e.counts.Holding != 0 {
			t.Errorf("%s, forbidden: closed %v, %+v", way, k.closed(), d)
		}

		// The policy of its patience is gone when that is over.
		l, k, turns = heldLink(t, tlsrules.Hold{Patience: 5 * time.Second})
		l.adopt(none)
		l.now += 10 * second
		l.e.Tick(l.now)
		if k.closed() {
			t.Errorf("%s: reset by a policy that is not in force", way)
		}
		k.finish(turns)
		k.whole(way+", its patience is over", turns)
	}
	// One whose data has not come yet waits for the new policy's gate.
	turns := recording(t, "tls13")
	l := newLab(t, config(), policy(acceptAll, rule("old", tlsrules.Accept, "version", "1.2"), rule("late", tlsrules.Accept, "version", "1.3")))
	k := l.link4()
	k.play(turns[:1], strategies["mss"])
	l.adopt(gated(tlsrules.Hold{}))
	l.around()
	k.talk(k.rest(turns), strategies["mss"])
	k.holds("a hello before", turns)
	l.open("quarantine")
	k.finish(turns)
	k.whole("a hello before, opened", turns)
}
