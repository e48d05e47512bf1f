package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

const (
	tls12Policy = `
[[rule]]
name    = "old"
match   = { port = 443 }
require = { version = "1.2" }
action  = "accept"
`
	tls13Policy = `
[[rule]]
name    = "new"
match   = { port = 443 }
require = { version = "1.3", cipher = "TLS_AES_256_GCM_SHA384" }
action  = "accept"
`
	goQueue = `
[queue]
backend = "go-nfqueue"
`
	priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+%s:-CIPHER-ALL:+%s"
)

// said12 is the sentence of a refusal under the partner's policy.
var said12 = []string{
	`rule "partner" allows 6 suites: `, "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA",
}

// attempt is one connection of a program and what is to become of it.
type attempt struct {
	title   string
	program string   // openssl or gnutls-cli
	args    []string // gnutls-cli: the priority
	bytes   int64    // to exchange
	cipher  string   // IANA name, as the event has it
	rule    string
	reason  string // "": permitted
	detail  []string
}

// run makes the connection, and judges what client, server and event say.
func (a *attempt) run(t *testing.T, l *lab.Lab, w *witness, f *firewall, server netip.Addr) {
	to, down := netip.AddrPortFrom(server, 443), a.bytes
	if a.program == "gnutls-cli" {
		down = min(down, 64<<10) // it prints byte by byte
	}
	say, hear := request(a.bytes, down)
	var s *said
	reset := "errno=104"
	if a.program == "gnutls-cli" {
		s, reset = gnutls(t, l, to, say, a.args[0], "--logfile=/dev/null"), "Error in the pull function"
	} else {
		s = openssl(t, l, to, say, a.args...)
	}
	v := w.next(t)
	if a.reason == "" {
		if s.exit != nil || v.err != nil || s.out != hear {
			t.Errorf("the transfer: %d bytes came of %d, the server saw %v, %s", len(s.out), len(hear), v.err, s)
		}
		if e := eventOf(t, f, "tls", v); e.Ours.Verdict != "accept" || e.Ours.Rule != a.rule || e.Ours.Cipher != a.cipher {
			t.Errorf("event: %+v", e)
		}
		return
	}
	if s.exit == nil || !strings.Contains(s.err, reset) || s.out != "" {
		t.Errorf("the client says, want %q: %s", reset, s)
	}
	e := eventOf(t, f, "drop", v)
	refusedAtServer(t, v, e)
	promptly(t, a.program, e, s.ended)
	a.explained(t, e)
}

// refusedAtServer judges a refused connection at the server.
func refusedAtServer(t testing.TB, v *visit, refusal event) {
	t.Helper()
	wasReset(t, "the server", v.err)
	promptly(t, "the server", refusal, v.ended)
	if n := v.read.Load(); n != 0 {
		t.Errorf("the server's application read %d bytes", n)
	}
}

// explained judges what is told of a refusal.
func (a *attempt) explained(t testing.TB, e event) {
	t.Helper()
	got := [...]string{e.Ours.Verdict, e.Ours.Rule, e.Ours.Reason, e.Ours.Cipher}
	if want := [...]string{"reset", a.rule, a.reason, a.cipher}; got != want || e.Ours.Observed || e.Ours.Packet < 4 {
		t.Errorf("refusal %q at packet %d, want %q", got, e.Ours.Packet, want)
	}
	for _, part := range a.detail {
		if !strings.Contains(e.Ours.Detail, part) {
			t.Errorf("the refusal says %q, not %q", e.Ours.Detail, part)
		}
	}
}

var partnerAttempts = []attempt{
	{title: "openssl, ECDHE-RSA-AES128-GCM-SHA256", program: "openssl", args: []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"},
		bytes: 10 << 20, rule: "partner", cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
	{title: "openssl, AES128-SHA", program: "openssl", args: []string{"-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"},
		rule: "partner", reason: "require.cipher", cipher: "TLS_RSA_WITH_AES_128_CBC_SHA",
		detail: append(said12, "server selected AES128-SHA (TLS_RSA_WITH_AES_128_CBC_SHA)", "the client offered none of them")},
	{title: "openssl, by the server's choice", program: "openssl",
		args: []string{"-tls1_2", "-cipher", "AES128-GCM-SHA256:ECDHE-RSA-AES256-SHA384:@SECLEVEL=0"},
		rule: "partner", reason: "require.cipher", cipher: "TLS_RSA_WITH_AES_128_GCM_SHA256",
		detail: append(said12, "server selected AES128-GCM-SHA256", "of them the client offered ECDHE-RSA-AES256-SHA384")},
	{title: "openssl, TLS 1.3", program: "openssl", args: []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"},
		rule: "partner", reason: "require.cipher", cipher: "TLS_AES_128_GCM_SHA256", detail: said12},
	{title: "gnutls-cli, ECDHE-RSA with AES-128-GCM", program: "gnutls-cli", args: []string{fmt.Sprintf(priority, "ECDHE-RSA", "AES-128-GCM")},
		bytes: 10 << 20, rule: "partner", cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
	{title: "gnutls-cli, RSA with AES-128-CBC", program: "gnutls-cli", args: []string{fmt.Sprintf(priority, "RSA", "AES-128-CBC")},
		rule: "partner", reason: "require.cipher", cipher: "TLS_RSA_WITH_AES_128_CBC_SHA",
		detail: append(said12, "server selected AES128-SHA (TLS_RSA_WITH_AES_128_CBC_SHA)")},
}

var versionAttempts = []struct {
	title, policy string
	attempts      []attempt
}{
	{"TLS 1.2 required", tls12Policy, []attempt{
		{title: "openssl, TLS 1.2", program: "openssl", args: []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"},
			bytes: 1 << 20, rule: "old", cipher: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
		{title: "openssl, TLS 1.3", program: "openssl", args: []string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"},
			rule: "old", reason: "require.version", cipher: "TLS_AES_256_GCM_SHA384",
			detail: []string{"server selected TLS 1.3", `rule "old" allows only`, "1.2"}},
		{title: "gnutls-cli, TLS 1.3", program: "gnutls-cli", args: []string{"NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM"},
			rule: "old", reason: "require.version", cipher: "TLS_AES_128_GCM_SHA256", detail: []string{"server selected TLS 1.3"}},
	}},
	{"a suite required in TLS 1.3", tls13Policy, []attempt{
		{title: "openssl, AES-256", program: "openssl", args: []string{"-ciphersuites", "TLS_AES_256_GCM_SHA384"},
			bytes: 10 << 20, rule: "new", cipher: "TLS_AES_256_GCM_SHA384"},
		{title: "openssl, AES-128", program: "openssl", args: []string{"-ciphersuites", "TLS_AES_128_GCM_SHA256"},
			rule: "new", reason: "require.cipher", cipher: "TLS_AES_128_GCM_SHA256",
			detail: []string{"server selected TLS_AES_128_GCM_SHA256", `rule "new" allows only`, "TLS_AES_256_GCM_SHA384"}},
		{title: "openssl, ChaCha20", program: "openssl", args: []string{"-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"},
			rule: "new", reason: "require.cipher", cipher: "TLS_CHACHA20_POLY1305_SHA256"},
		{title: "openssl, TLS 1.2", program: "openssl", args: []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"},
			rule: "new", reason: "require.version", cipher: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
			detail: []string{"server selected TLS 1.2"}},
		{title: "gnutls-cli, AES-256", program: "gnutls-cli", args: []string{"NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM"},
			bytes: 1 << 20, rule: "new", cipher: "TLS_AES_256_GCM_SHA384"},
	}},
}

// attemptAll makes all attempts, by both IP versions.
func attemptAll(t *testing.T, l *lab.Lab, w *witness, policy string, attempts []attempt) {
	f := startFirewall(t, l, policy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		for _, a := range attempts {
			t.Run(a.title, func(t *testing.T) {
				labtest.Program(t, a.program)
				a.run(t, l, w, f, server)
			})
		}
	})
}

// TestIntegrationPartner is story 1, by each backend of the queue.
func TestIntegrationPartner(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	for _, backend := range []struct{ name, policy string }{{"batch", partnerPolicy}, {"go-nfqueue", goQueue + partnerPolicy}} {
		t.Run(backend.name, func(t *testing.T) { attemptAll(t, l, w, backend.policy, partnerAttempts) })
	}
}

func TestIntegrationVersions(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	for _, tt := range versionAttempts {
		t.Run(tt.title, func(t *testing.T) { attemptAll(t, l, w, tt.policy, tt.attempts) })
	}
}

// TestIntegrationNginx is curl and a real server.
func TestIntegrationNginx(t *testing.T) {
	labtest.Program(t, "nginx")
	l := labtest.New(t, lab.Options{})
	const size = 10 << 20
	nginx := startNginx(t, l, files(t, l, size), "443 ssl")
	f := startFirewall(t, l, partnerPolicy)
	want := pattern(size)
	tests := []struct {
		title  string
		args   []string
		cipher string
		reset  bool
	}{
		{title: "a suite of the partner", args: []string{"--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES256-GCM-SHA384"}},
		{title: "an older one", args: []string{"--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-SHA"}},
		{title: "AES128-SHA", args: []string{"--tls-max", "1.2", "--ciphers", "AES128-SHA"}, cipher: "TLS_RSA_WITH_AES_128_CBC_SHA", reset: true},
		{title: "TLS 1.3", args: []string{"--tls13-ciphers", "TLS_AES_256_GCM_SHA384"}, cipher: "TLS_AES_256_GCM_SHA384", reset: true},
	}
	resets := 0
	families(t, l, func(t *testing.T, server netip.Addr) {
		for _, tt := range tests {
			t.Run(tt.title, func(t *testing.T) {
				f.forget()
				s := curl(t, l, fmt.Sprintf("https://%s/file", netip.AddrPortFrom(server, 443)), tt.args...)
				if !tt.reset {
					if s.exit != nil || s.out != want {
						t.Errorf("curl: %d bytes of %d, %s", len(s.out), size, s)
					}
					return
				}
				if s.exit == nil || !strings.Contains(s.err, "reset by peer") {
					t.Errorf("curl says, want a reset: %s", s)
				}
				e := f.wait("a refusal", func(e event) bool { return e.Type == "drop" })
				promptly(t, "curl", e, s.ended)
				(&attempt{rule: "partner", reason: "require.cipher", cipher: tt.cipher, detail: said12}).explained(t, e)
				resets++
				if !within(time.Second, func() bool { return strings.Count(nginx.log(), "(104: Connection reset by peer)") == resets }) {
					t.Errorf("nginx did not see the reset:\n%s", nginx.log())
				}
			})
		}
	})
}

// TestIntegrationPartnerSuites has every suite of the partner, and two others,
// chosen by openssl's server.
func TestIntegrationPartnerSuites(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	const size = 200_000
	startServer(t, l, files(t, l, size), "openssl", "s_server", "-accept", "*:443", "-cert", "rsa.pem", "-key", "rsa.key",
		"-WWW", "-tls1_2", "-cipher", "ALL:@SECLEVEL=0")
	f := startFirewall(t, l, partnerPolicy)
	want := pattern(size)
	families(t, l, func(t *testing.T, server netip.Addr) {
		for suite, permitted := range map[string]bool{
			"ECDHE-RSA-AES128-GCM-SHA256": true, "ECDHE-RSA-AES256-GCM-SHA384": true,
			"ECDHE-RSA-AES128-SHA256": true, "ECDHE-RSA-AES256-SHA384": true,
			"ECDHE-RSA-AES128-SHA": true, "ECDHE-RSA-AES256-SHA": true,
			"ECDHE-RSA-CHACHA20-POLY1305": false, "DHE-RSA-AES128-GCM-SHA256": false, "CAMELLIA128-SHA": false,
		} {
			t.Run(suite, func(t *testing.T) {
				f.forget()
				s := openssl(t, l, netip.AddrPortFrom(server, 443), "GET /file HTTP/1.0\r\n\r\n", "-cipher", suite+":@SECLEVEL=0")
				if permitted {
					if _, body, _ := strings.Cut(s.out, "\r\n\r\n"); body != want {
						t.Errorf("%d bytes of %d, %s", len(body), size, s)
					}
					return
				}
				if s.exit == nil || !strings.Contains(s.err, "errno=104") {
					t.Errorf("the client says, want a reset: %s", s)
				}
				f.wait("a refusal of "+suite, func(e event) bool {
					return e.Type == "drop" && e.Ours.Reason == "require.cipher" && strings.Contains(e.Ours.Detail, "server selected "+suite+" ")
				})
			})
		}
	})
}
