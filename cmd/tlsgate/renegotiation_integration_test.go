package main

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

const (
	everyRecord = `
[[rule]]
name      = "records"
match     = { port = 443 }
require   = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data"] }
otherwise = "reset"
`
	noRenegotiation = `
[[rule]]
name      = "once"
match     = { port = 443 }
require   = { renegotiates = false }
otherwise = "reset"
`
)

// renegotiate has openssl shake hands, once more in the connection, and ask for a page.
func renegotiate(t *testing.T, l *lab.Lab, to netip.AddrPort, args ...string) *said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), visitTime)
	defer cancel()
	cmd := l.Client.Command(ctx, "openssl", append([]string{"s_client", "-tls1_2", "-connect", to.String(), "-servername", "server.lab.example"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, line := range []string{"R\n", "GET / HTTP/1.0\r\n\r\n"} { // a letter counts if it comes alone
			time.Sleep(700 * time.Millisecond)
			io.WriteString(stdin, line)
		}
	}()
	err = cmd.Wait()
	return &said{stdout.String(), stderr.String(), err, time.Now()}
}

// TestIntegrationRenegotiation: an encrypted second handshake of OpenSSL's, and one of
// GnuTLS's as it was before RFC 5746. Where a rule asks for it, it is refused at its first record;
// where records are inspected it passes, and is told; where the connection is left to
// the kernel nothing of it is seen, which is what docs/EVASION.md says of that.
func TestIntegrationRenegotiation(t *testing.T) {
	labtest.Program(t, "openssl")
	l := labtest.New(t, lab.Options{})
	startServer(t, l, files(t, l, 1), "openssl", "s_server", "-accept", "443", "-www", "-client_renegotiation", "-legacy_renegotiation",
		"-cert", "rsa.pem", "-key", "rsa.key")
	for _, tt := range []struct {
		name, policy string
		passes, told bool
	}{
		{"refused", noRenegotiation, false, true},
		{"records are inspected", everyRecord, true, true},
		{"left to the kernel", "", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startFirewall(t, l, tt.policy)
			families(t, l, func(t *testing.T, server netip.Addr) {
				to := netip.AddrPortFrom(server, 443)
				s := renegotiate(t, l, to)
				if !strings.Contains(s.err, "RENEGOTIATING") {
					t.Fatalf("openssl has not tried: %s", s)
				}
				if got := strings.Contains(s.out, "HTTP/1.0 200"); got != tt.passes {
					t.Errorf("it passes: %v, want %v: %s", got, tt.passes, s)
				}
				s = gnutls(t, l, to, "GET / HTTP/1.0\r\n\r\n", "NORMAL:-VERS-ALL:+VERS-TLS1.2:%DISABLE_SAFE_RENEGOTIATION", "--rehandshake")
				if got := strings.Contains(s.out, "HTTP/1.0 200"); got != tt.passes {
					t.Errorf("without RFC 5746 it passes: %v, want %v: %s", got, tt.passes, s)
				}
				if !tt.passes {
					e := f.wait("a refusal", func(e event) bool { return e.Type == "drop" && e.Dest == server })
					if e.Ours.Rule != "once" || e.Ours.Reason != "require.renegotiates" || e.Ours.Verdict != "reset" {
						t.Errorf("refused: %+v", e.Ours)
					}
				} else if d := f.drops(); len(d) != 0 {
					t.Errorf("refused: %+v", d)
				}
			})
			f.stop()
			for _, secure := range []string{"true", "false"} {
				n := strings.Count(f.toldOf("flow"), `"renegotiation":{"by":["client"],"count":1,"secure":`+secure)
				if want := map[bool]int{true: 2, false: 0}[tt.told]; n != want {
					t.Errorf("%d connections are told to renegotiate, secure %s, want %d: %s", n, secure, want, f.toldOf("flow"))
				}
			}
		})
	}
}

// toldOf are the lines of events of a type.
func (f *firewall) toldOf(kind string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for i, e := range f.events {
		if e.Type == kind {
			b.WriteString(f.lines[i] + "\n")
		}
	}
	return b.String()
}
