package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

const sessionsPolicy = `
[default]
grace = "%s"
[[rule]]
name    = "watched"
match   = { port = 443 }
require = { resumed = ["no", "known"], cert_name = "server.lab.example" }
%s
action  = "accept"
`

// resumptions are the ways in which a session can be resumed.
var resumptions = []struct {
	name           string
	server, client []string
	resumes        string
	unseen         string // TLS 1.3 encrypts certificates
}{
	{"session id", []string{"-no_ticket"}, []string{"-tls1_2"}, "session_id", ""},
	{"ticket", nil, []string{"-tls1_2"}, "ticket", ""},
	{"old ticket", nil, []string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, "ticket", ""},
	{"TLS 1.3", nil, []string{"-tls1_3"}, "psk", "unseen = \"allow\""},
}

// TestIntegrationSessions resumes sessions of openssl's server: those that were
// watched from their beginning pass, with the facts of it; those that began
// before are refused, or for the time of grace pass and are told.
func TestIntegrationSessions(t *testing.T) {
	labtest.Program(t, "openssl")
	l := labtest.New(t, lab.Options{})
	for _, tt := range resumptions {
		t.Run(tt.name, func(t *testing.T) {
			dir := files(t, l, 1)
			startServer(t, l, dir, "openssl", append([]string{"s_server", "-accept", "443", "-www",
				"-cert", "rsa.pem", "-key", "rsa.key", "-cipher", "ALL:@SECLEVEL=0"}, tt.server...)...)
			visit := func(t *testing.T, server netip.Addr, args ...string) *said {
				args = append([]string{"s_client", "-connect", netip.AddrPortFrom(server, 443).String(), "-servername", "server.lab.example"}, args...)
				return runOn(t, l.Client, "GET / HTTP/1.0\r\n\r\n", "openssl", append(args, tt.client...)...)
			}
			old := func(server netip.Addr) string { return filepath.Join(dir, fmt.Sprintf("old.%t", server.Is6())) }
			families(t, l, func(t *testing.T, server netip.Addr) {
				if s := visit(t, server, "-sess_out", old(server)); s.exit != nil || !strings.Contains(s.out, "New, ") {
					t.Fatalf("before the firewall: %s", s)
				}
			})
			f := startFirewall(t, l, fmt.Sprintf(sessionsPolicy, "0s", tt.unseen))
			families(t, l, func(t *testing.T, server netip.Addr) {
				if s := visit(t, server, "-sess_in", old(server)); s.exit == nil || !strings.Contains(s.err, "errno=104") {
					t.Errorf("a session that began before us passed: %s", s)
				}
				began := filepath.Join(dir, "began")
				if s := visit(t, server, "-sess_out", began); s.exit != nil || !strings.Contains(s.out, "New, ") {
					t.Errorf("a full handshake: %s", s)
				}
				if s := visit(t, server, "-sess_in", began); s.exit != nil || !strings.Contains(s.out, "Reused, ") {
					t.Errorf("a session that began before our eyes: %s", s)
				}
				from := map[string]event{}
				for _, how := range []string{"unknown", "none", "known"} {
					from[how] = f.wait("tls, resumption "+how, func(e event) bool {
						return e.Type == "tls" && e.Dest == server && e.Ours.Resumption == how
					})
				}
				if e := from["unknown"]; e.Ours.Verdict != "reset" || e.Ours.Rule != "watched" {
					t.Errorf("unknown: %+v", e)
				}
				full, known := from["none"], from["known"]
				if full.TLS.Resumed || full.Ours.Verdict != "accept" {
					t.Errorf("none: %+v", full)
				}
				if !known.TLS.Resumed || known.Ours.Verdict != "accept" || known.Ours.Session.FlowID != full.FlowID || len(known.Ours.Resumes) == 0 ||
					known.Ours.Resumes[0] != tt.resumes || known.TLS.Fingerprint != full.TLS.Fingerprint || known.Ours.Inferred != (tt.resumes == "psk") {
					t.Errorf("known: %+v\nbegan in %+v", known, full)
				}
				for _, e := range f.drops() {
					if e.Dest == server && e.Ours.Reason != "require.resumed" {
						t.Errorf("refused: %+v", e)
					}
				}
			})
			f.stop()
			f = startFirewall(t, l, fmt.Sprintf(sessionsPolicy, "1h", tt.unseen))
			families(t, l, func(t *testing.T, server netip.Addr) {
				f.forget()
				if s := visit(t, server, "-sess_in", old(server)); s.exit != nil || !strings.Contains(s.out, "Reused, ") {
					t.Errorf("in the time of grace: %s", s)
				}
				e := f.wait("a drop in the time of grace", func(e event) bool { return e.Type == "drop" && e.Dest == server })
				if !e.Ours.Observed || !e.Ours.Grace || e.Ours.Reason != "require.resumed" {
					t.Errorf("in the time of grace: %+v", e)
				}
			})
		})
	}
}
