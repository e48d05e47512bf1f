package config

import (
	"slices"
	"testing"
	"time"

	"tlsgate/tlsrules"
)

func TestPinAndHold(t *testing.T) {
	c, err := Parse("policy.toml", []byte(`
[[rule]]
name = "one-session"
pin = { to = "Session", per = ["destination", "source"], idle = "5m", connections = 3, tls13 = "same-client" }
otherwise = "alert:access_denied"
[[rule]]
name = "quarantine"
match = { source = "198.51.100.0/24" }
hold = { what = "application_data", open = 2026-12-01T10:00:00+05:30, patience = "2m" }
[[rule]]
name = "by hand"
action = "hold"
pin = {}
`), "")
	if err != nil {
		t.Fatal(err)
	}
	rules := c.Policy.Rules()
	p := rules[0].Pin
	if p == nil || p.To != tlsrules.PinSession || !slices.Equal(p.Per, []tlsrules.Key{tlsrules.KeySource, tlsrules.KeyDestination}) ||
		p.Idle != 5*time.Minute || p.Connections != 3 || p.TLS13 != tlsrules.PinTLS13SameClient ||
		rules[0].Action != tlsrules.Continue || rules[0].Hold != nil {
		t.Errorf("one-session: %+v %+v", p, rules[0].Rule)
	}
	h := rules[1].Hold
	if h == nil || !h.Open.Equal(time.Date(2026, 12, 1, 4, 30, 0, 0, time.UTC)) || h.Patience != 2*time.Minute || rules[1].Action != tlsrules.Continue {
		t.Errorf("quarantine: %+v %+v", h, rules[1].Rule)
	}
	if r := rules[2]; r.Action != tlsrules.Accept || r.Hold == nil || !r.Hold.Open.IsZero() || r.Hold.Patience != 0 ||
		r.Pin == nil || r.Pin.Connections != 1 || r.Pin.Silence() != 0 || r.Otherwise != tlsrules.Reset {
		t.Errorf("by hand: %+v %+v %+v", r.Rule, r.Pin, r.Hold)
	}
}
