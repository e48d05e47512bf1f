package policytest_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestGivenGate(t *testing.T) {
	const text = `
[[rule]]
name = "quarantine"
match = { source = "192.0.2.0/24" }
hold = { HOLD }
[[test]]
client = { CLIENT }
server = { SERVER }
GIVEN
expect = { verdict = "accept" }
`
	for _, tt := range []struct {
		hold, client, server, given string
		want                        string
	}{
		{``, ``, ``, ``, "hold"},
		{``, ``, `version = "1.2"`, `given = { gate = "closed" }`, "hold"},
		{``, ``, ``, `given = { gate = "open" }`, "accept"},
		{``, `from = "198.51.100.1"`, ``, `given = { gate = "closed" }`, "accept"},
		{``, `sends = []`, `sends = []`, ``, "accept"},
		{``, `sends = []`, `version = "1.2"`, ``, "hold"}, // the server's
		{``, `sends = ["alert"]`, `version = "1.2", sends = []`, ``, "accept"},
		{``, `resumes = "psk", early_data = true`, ``, ``, "hold"},
		{`open = "2026-12-01T10:00:00Z"`, ``, ``, `time = "2026-12-01T09:59:00Z"`, "hold"},
		{`open = "2026-12-01T10:00:00Z"`, ``, ``, `time = "2026-12-01T10:00:00Z"`, "accept"},
		{`open = "2026-12-01T10:00:00Z"`, ``, ``, "time = \"2027-01-01T10:00:00Z\"\ngiven = { gate = \"closed\" }", "hold"},
		{`open = "2026-12-01T10:00:00Z"`, ``, ``, "time = \"2026-01-01T10:00:00Z\"\ngiven = { gate = \"open\" }", "accept"},
		{``, `protocol = "http"`, ``, ``, "accept"},
	} {
		what := fmt.Sprintf("hold = { %s }, client = { %s }, server = { %s }, %s", tt.hold, tt.client, tt.server, tt.given)
		r, _ := results(t, strings.NewReplacer("HOLD", tt.hold, "CLIENT", tt.client, "SERVER", tt.server, "GIVEN", tt.given).Replace(text))
		got := r[0].Got
		if got.Verdict != tt.want {
			t.Errorf("%s: %+v, want %s", what, got, tt.want)
		}
		if tt.want == "hold" && (got.Rule != "quarantine" || got.Reason != "rule" || !strings.Contains(got.Detail, "waits for the gate")) {
			t.Errorf("%s: %+v", what, got)
		}
	}
}
