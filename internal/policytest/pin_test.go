package policytest_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestGivenPin: a test can say who holds the pin when its connection comes.
func TestGivenPin(t *testing.T) {
	const text = `
[[rule]]
name = "one"
match = { port = 443 }
pin = { PIN }
otherwise = "alert:access_denied"
[[test]]
client = { CLIENT }
server = { SERVER }
GIVEN
expect = { verdict = "accept" }
`
	const (
		known12 = `version = "1.2", resumed = "known"`
		known13 = `version = "1.3", resumed = "known"`
	)
	for _, tt := range []struct {
		pin, client, server, given string
		refused                    bool
	}{
		{``, ``, ``, "free", false},
		{``, ``, ``, "", false},
		{``, ``, ``, "taken", true},
		{`connections = 20, per = ["source", "destination", "port", "sni", "in_interface"]`, `sni = "a.example", in_interface = "lan0"`, ``, "taken", true},
		{`per = ["sni"]`, `sni = "none", from = "2001:db8::7"`, `version = "1.2"`, "taken", true},
		{``, `resumes = "ticket", version = "1.2"`, known12, "free", false},
		{``, `resumes = "ticket", version = "1.2"`, known12, "", false},
		{``, `resumes = "ticket", version = "1.2"`, known12, "same-session", true},
		{`to = "session"`, `resumes = "ticket", version = "1.2"`, known12, "same-session", false},
		{`to = "session"`, `resumes = "session_id", version = "1.2"`, known12, "same-session", false},
		{`to = "session"`, `resumes = "session_id", version = "1.2"`, known12, "", false},
		{`to = "session"`, `resumes = "ticket", version = "1.2"`, known12, "taken", true},
		{`to = "session"`, `resumes = "psk"`, known13, "same-session", true},
		{`to = "session", tls13 = "same-client"`, `resumes = "psk"`, known13, "same-session", false},
		{`to = "session", tls13 = "allow"`, `resumes = "psk"`, known13, "same-session", false},
	} {
		what := fmt.Sprintf("pin = { %s }, client = { %s }, server = { %s }, %q", tt.pin, tt.client, tt.server, tt.given)
		given := ""
		if tt.given != "" {
			given = fmt.Sprintf("given.pin = %q", tt.given)
		}
		r, _ := results(t, strings.NewReplacer("PIN", tt.pin, "CLIENT", tt.client, "SERVER", tt.server, "GIVEN", given).Replace(text))
		got := r[0].Got
		if refused := got.Verdict == "alert" && got.Reason == "pin.taken" && got.Rule == "one"; refused != tt.refused || !refused && got.Verdict != "accept" {
			t.Errorf("%s: %+v", what, got)
		}
	}
}
