package engine

import (
	"testing"

	"tlsgate/tlsrules"
)

// TestReloadPins: who holds the pin of a rule holds it under the next policy, if that
// has the rule; the pin of a rule that is gone is nobody's.
func TestReloadPins(t *testing.T) {
	named := func(name string) *tlsrules.Policy {
		return pinRule(func(r *tlsrules.Rule) { r.Name = name })
	}
	places := func(n int) *tlsrules.Policy {
		return pinRule(func(r *tlsrules.Rule) { r.Pin.Connections = n })
	}
	turns := recording(t, "tls13")
	for _, tt := range []struct {
		name   string
		policy *tlsrules.Policy
		holds  []uint64 // then
		other  bool     // comes in afterwards
		after  []uint64
	}{
		{"the same", pinRule(nil), []uint64{1}, false, []uint64{1}},
		{"the rule stands elsewhere", policy(acceptAll, rule("first", tlsrules.Continue, "port", "1"), tlsrules.Rule{
			Name: "one", Match: []tlsrules.Condition{condition("port", "443")}, Pin: &tlsrules.Pin{Connections: 1}, Otherwise: tlsrules.Reset,
		}), []uint64{1}, false, []uint64{1}},
		{"more places", places(2), []uint64{1}, true, []uint64{1, 2}},
		{"no pin", policy(acceptAll, rule("one", tlsrules.Accept, "port", "443")), nil, true, nil},
		{"no rule", policy(acceptAll), nil, true, nil},
		{"does not bind", pinRule(func(r *tlsrules.Rule) { r.Match = []tlsrules.Condition{condition("port", "444")} }), nil, true, nil},
		{"other groups", pinRule(per(tlsrules.KeySource)), nil, true, []uint64{2}},
		{"another name", named("two"), nil, true, []uint64{2}},
	} {
		for _, packet := range []bool{false, true} {
			l := pinLab(t, pinRule(nil), nil)
			k := l.link4()
			begins(k, turns)
			l.holds(tt.name+", before", 1)
			l.adopt(tt.policy)
			if packet {
				k.ack(original)
			} else {
				l.around()
			}
			l.holds(tt.name, tt.holds...)
			other := l.link4()
			if begins(other, turns) != tt.other {
				t.Errorf("%s: another closed %v, %+v", tt.name, other.closed(), l.sink.drop)
			}
			l.holds(tt.name+", another", tt.after...)
			if len(tt.after) == 1 && tt.after[0] == 2 && tt.name == "other groups" {
				if k.says(original) {
					t.Errorf("%s: who lost its group passes", tt.name)
				}
				continue
			}
			if !k.says(original) || !k.says(reply) {
				t.Errorf("%s: the first does not pass: %+v", tt.name, l.sink.drop)
			}
			l.e.table.Close()
			if len(l.e.pins) != 0 || len(l.e.holders) != 0 {
				t.Errorf("%s: %d pins, %d holders are left behind", tt.name, len(l.e.pins), len(l.e.holders))
			}
		}
	}
	// A group of its own is won with the next packet.
	l := pinLab(t, pinRule(nil), nil)
	k := l.link4()
	begins(k, turns)
	l.adopt(pinRule(per(tlsrules.KeySource)))
	l.around()
	if !k.says(original) {
		t.Error("alone in its new group, it does not pass")
	}
	l.holds("a group of its own", 1)
	// One that is forbidden lets go.
	l.adopt(policy(acceptAll, rule("no", tlsrules.Reset, "port", "443")))
	if l.around(); !k.closed() || len(l.e.pins) != 0 {
		t.Errorf("forbidden: closed %v, %d pins", k.closed(), len(l.e.pins))
	}
	l.holds("forbidden")
}
