package engine

import (
	"testing"
	"time"

	"tlsgate/tlsrules"
)

func waitsUnder(name string, h tlsrules.Hold) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{Name: name, Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset, Hold: &h})
}

// TestHoldReload: what waits goes on to wait by the policy in force, found by the
// walk or by its next packet, and is let go where that has nothing to wait for.
func TestHoldReload(t *testing.T) {
	past := tlsrules.Hold{Open: time.Unix(1, 0)}
	for name, tt := range map[string]struct {
		policy *tlsrules.Policy
		gate   string // that it waits for now; "": it is let go
		reason string // or refused for
	}{
		"the same":        {waitsUnder("quarantine", tlsrules.Hold{}), "quarantine", ""},
		"other patience":  {waitsUnder("quarantine", tlsrules.Hold{Patience: time.Hour}), "quarantine", ""},
		"another name":    {waitsUnder("other", tlsrules.Hold{}), "other", ""},
		"a time, to come": {waitsUnder("quarantine", tlsrules.Hold{Open: time.Unix(2e9, 0)}), "quarantine", ""},
		"a time, over":    {waitsUnder("quarantine", past), "", ""},
		"no hold":         {policy(acceptAll), "", ""},
		"not for it":      {policy(acceptAll, rule("elsewhere", tlsrules.Reset, "port", "1")), "", ""},
		"forbidden":       {policy(acceptAll, rule("closed", tlsrules.Reset, "port", "443")), "", "rule"},
	} {
		for _, walk := range []bool{true, false} {
			for _, unreadable := range []bool{false, true} {
				l, k, turns := heldLink(t, tlsrules.Hold{})
				if unreadable { // its judgement is over, and not what waits
					c := l.e.table.Between(k.ends[0].addr, k.ends[1].addr)
					l.e.circumstance(c, tlsrules.Accept, tlsrules.ReasonLimitBuffered, "")
				}
				l.adopt(tt.policy)
				if walk {
					l.around()
				}
				sent, edge := streams(turns), edges(turns)
				k.data(original, edge[0], sent[0][edge[0]:])
				l.now += second / 2
				l.e.Tick(l.now)
				k.challenges()
				switch {
				case tt.reason != "":
					if !k.closed() || len(k.ends[1].got) != edge[0] {
						t.Errorf("%s, walk %v: closed %v, %d bytes came", name, walk, k.closed(), len(k.ends[1].got)-edge[0])
					}
					continue
				case tt.gate != "":
					k.holds(name, turns)
					if g, ok := l.e.cfg.Gates.Of(tt.gate); !ok || g.Waiting != 1 {
						t.Errorf("%s, walk %v: gate %+v", name, walk, g)
					}
					l.open(tt.gate)
				}
				k.finish(turns)
				k.whole(name, turns)
				if l.e.counts.Holding != 0 || len(l.e.held) != 1 || l.e.budget.Used() != 0 {
					t.Errorf("%s, walk %v: %d wait, %d bytes", name, walk, l.e.counts.Holding, l.e.budget.Used())
				}
			}
		}
	}
}

// TestHoldReloadGates: a gate that was opened by hand stays open for its rule, and
// one whose time has changed is as new.
func TestHoldReloadGates(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), waitsUnder("quarantine", tlsrules.Hold{}))
	l.open("quarantine")
	l.adopt(waitsUnder("quarantine", tlsrules.Hold{Patience: time.Second}))
	l.around()
	k := l.link4()
	k.play(turns, strategies["mss"])
	k.whole("opened by hand", turns)
	l.adopt(waitsUnder("quarantine", tlsrules.Hold{Open: time.Unix(2e9, 0)}))
	l.around()
	k = l.link4()
	k.play(turns, strategies["mss"])
	k.holds("another time", turns)
	l.adopt(policy(acceptAll))
	l.around()
	l.adopt(waitsUnder("quarantine", tlsrules.Hold{}))
	l.around()
	k = l.link4()
	k.play(turns, strategies["mss"])
	k.holds("a rule that was away", turns)
}

// TestHoldReloadBegins: a hold that a reload brings is for connections whose data
// has not begun.
func TestHoldReloadBegins(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), only("handshake", "change_cipher_spec", "alert", "application_data"))
	k, late := l.link4(), l.link4()
	k.play(turns[:2], strategies["mss"])
	late.play(turns, strategies["mss"])
	l.adopt(waitsUnder("quarantine", tlsrules.Hold{}))
	l.around()
	k.answering(turns)
	k.holds("in its handshake", turns)
	o := newLab(t, config(), policy(acceptAll))
	left := o.link4()
	left.play(turns, strategies["mss"])
	o.adopt(waitsUnder("quarantine", tlsrules.Hold{}))
	o.around()
	for name, k := range map[string]*link{"with data": late, "left to the kernel": left} {
		at := len(k.ends[1].got)
		k.data(original, at, record(23, make([]byte, 100)))
		if len(k.ends[1].got) != at+105 {
			t.Errorf("%s: %d bytes came", name, len(k.ends[1].got)-at)
		}
	}
}

// TestGatesState: what somebody has opened or closed comes back, where it still
// fits the policy.
func TestGatesState(t *testing.T) {
	at := time.Unix(2e9, 0)
	p := func(rules ...tlsrules.Rule) *tlsrules.Policy {
		for i := range rules {
			rules[i].Otherwise = tlsrules.Reset
		}
		return policy(acceptAll, rules...)
	}
	before := NewGates(p(
		tlsrules.Rule{Name: "open", Hold: &tlsrules.Hold{}}, tlsrules.Rule{Name: "closed", Hold: &tlsrules.Hold{Open: time.Unix(1, 0)}},
		tlsrules.Rule{Name: "untouched", Hold: &tlsrules.Hold{}}, tlsrules.Rule{Name: "gone", Hold: &tlsrules.Hold{}},
		tlsrules.Rule{Name: "changed", Hold: &tlsrules.Hold{}},
	))
	for _, name := range []string{"open", "gone", "changed"} {
		before.Set(name, true, 5)
	}
	before.Set("closed", false, 5)
	kept := before.Export()
	if len(kept) != 4 {
		t.Errorf("kept %+v", kept)
	}
	after := NewGates(p(
		tlsrules.Rule{Name: "open", Hold: &tlsrules.Hold{}}, tlsrules.Rule{Name: "closed", Hold: &tlsrules.Hold{Open: time.Unix(1, 0)}},
		tlsrules.Rule{Name: "untouched", Hold: &tlsrules.Hold{}}, tlsrules.Rule{Name: "changed", Hold: &tlsrules.Hold{Open: at}},
	))
	after.Import(kept)
	after.Import([]GateState{{}, {Rule: "untouched"}, {Rule: "nobody's", ByHand: true, Opens: -1}})
	for name, open := range map[string]bool{"open": true, "closed": false, "untouched": false, "changed": false} {
		if g, ok := after.Of(name); !ok || g.Open(int64(1e18)) != open || g.ByHand != (name == "open" || name == "closed") {
			t.Errorf("%s: %+v", name, g)
		}
	}
	if after.Set("gone", true, 1) || len(after.List()) != 4 {
		t.Errorf("gates %+v", after.List())
	}
}
