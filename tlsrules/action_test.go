package tlsrules

import (
	"testing"
	"time"
)

func TestParseAction(t *testing.T) {
	for text, want := range map[string]Action{
		"alert": Alert, "ALERT:Handshake_Failure": Alert, "alert:access_denied": AlertOf(49), "alert:49": AlertOf(49), "Refuse": Refuse,
	} {
		if got, err := ParseAction(text); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                       `"" is not an action`,
		"rest":                   `"rest" is not an action`,
		"reset:now":              `"reset:now" is not an action`,
		"alert:":                 `"alert:" names no alert: ""`,
		"alert:231":              `"alert:231" names no alert: "231"`,
		"alert:close_notify":     `"alert:close_notify" refuses nothing: close_notify is not a fatal alert`,
		"alert:no_certificate":   `"alert:no_certificate" refuses nothing: no_certificate is not a fatal alert`,
		"alert:no_renegotiation": `"alert:no_renegotiation" refuses nothing: no_renegotiation is not a fatal alert`,
	} {
		if got, err := ParseAction(text); err == nil || err.Error() != want || got != Drop {
			t.Errorf("%s: got %s, %v; want %s", text, got, err, want)
		}
	}
}

// TestActionWithAlert: an alert's description is no other action.
func TestActionWithAlert(t *testing.T) {
	for d := range 256 {
		a := AlertOf(uint8(d))
		want := uint8(d)
		if d == 0 {
			want = handshakeFailure
		}
		if a.Kind() != Alert || !a.Refuses() || a.Description() != want || a.Name() != "alert" || !a.valid(Alert) {
			t.Errorf("%d: got %s, %d", d, a, a.Description())
		}
	}
	for _, bad := range []Action{Accept | 1<<kindBits, Continue | 40<<kindBits, Continue + 1, 1<<16 - 1} {
		if bad.valid(Drop, Accept, Reset, Alert, Refuse, Continue, bad.Kind()) || bad.String() != "invalid" {
			t.Errorf("%#x is taken for %s", uint16(bad), bad)
		}
	}
}

func TestRefuseFor(t *testing.T) {
	sni := conds(cond(t, "sni", "a.example"))
	p := policy(t, Defaults{Accept, Accept, false},
		Rule{Name: "a", Match: sni, HasAction: true, Action: Refuse, RefuseFor: time.Minute},
		Rule{Name: "b", Require: sni, Otherwise: Refuse, RefuseFor: time.Hour},
		Rule{Name: "c", Require: sni, Otherwise: Refuse})
	for index, want := range map[int]time.Duration{-1: 0, 0: time.Minute, 1: time.Hour, 2: 0, 3: 0} {
		if got := p.RefuseFor(Decision{Index: index}); got != want {
			t.Errorf("rule %d: got %s, want %s", index, got, want)
		}
	}
	for _, r := range []Rule{
		{HasAction: true, Action: Reset, RefuseFor: 1},
		{Require: sni, Otherwise: Alert, RefuseFor: 1},
		{HasAction: true, Action: Accept, Otherwise: Refuse, RefuseFor: 1},
	} {
		if _, err := New([]Rule{r}, Defaults{Accept, Accept, false}); err == nil {
			t.Errorf("refuse_for is taken with %s and %s", r.Action, r.Otherwise)
		}
	}
	for _, d := range []Defaults{{Continue, Accept, false}, {Accept, Alert, false}, {Accept, AlertOf(49), false}} {
		if _, err := New(nil, d); err == nil {
			t.Errorf("%+v is taken", d)
		}
	}
}
