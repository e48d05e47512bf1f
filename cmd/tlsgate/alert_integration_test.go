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
	// What a hello says is refused with one alert, what a server chooses with another.
	alertPolicy = `
[[rule]]
name      = "names"
require   = { sni = ["server.lab.example", "none"] }
otherwise = "alert:access_denied"

[[rule]]
name      = "suites"
require   = { cipher = ["ECDHE-RSA-AES256-GCM-SHA384", "TLS_AES_256_GCM_SHA384"] }
action    = "accept"
otherwise = "alert"
`
	refusePolicy = `
[default]
refuse_for = "3s"

[[rule]]
name      = "names"
require   = { sni = "server.lab.example" }
action    = "accept"
otherwise = "refuse"
`
)

// alerted are connections of one program that are refused: for the name in the
// hello, and for the suite of the ServerHello.
var alerted = []struct {
	program string
	version uint16
	named   [2]string // what the program calls the alerts access_denied and handshake_failure
	try     func(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16, name string) *said
}{
	{"openssl", tls.VersionTLS12, opensslNames, alertedOpenSSL}, {"openssl", tls.VersionTLS13, opensslNames, alertedOpenSSL},
	{"curl", tls.VersionTLS12, opensslNames, alertedCurl}, {"curl", tls.VersionTLS13, opensslNames, alertedCurl},
	{"gnutls-cli", tls.VersionTLS12, gnutlsNames, alertedGnuTLS}, {"gnutls-cli", tls.VersionTLS13, gnutlsNames, alertedGnuTLS},
	{"Go", tls.VersionTLS12, goNames, alertedGo}, {"Go", tls.VersionTLS13, goNames, alertedGo},
}

var (
	opensslNames = [2]string{"alert access denied", "alert handshake failure"}
	gnutlsNames  = [2]string{"Received alert [49]: Access was denied", "Received alert [40]: Handshake failed"}
	goNames      = [2]string{"remote error: tls: access denied", "remote error: tls: handshake failure"}
)

func alertedOpenSSL(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16, name string) *said {
	args := []string{"s_client", "-quiet", "-connect", to.String(), "-servername", name, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}
	if version == tls.VersionTLS13 {
		args = append(args[:6], "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256")
	}
	return runOn(t, l.Client, "exchange 0 0\n", "openssl", args...)
}

func alertedCurl(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16, name string) *said {
	args := []string{"--resolve", fmt.Sprintf("%s:%d:%s", name, to.Port(), to.Addr()), "--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256"}
	if version == tls.VersionTLS13 {
		args = append(args[:2], "--tlsv1.3", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256")
	}
	return curl(t, l, fmt.Sprintf("https://%s:%d/0", name, to.Port()), args...)
}

func alertedGnuTLS(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16, name string) *said {
	priority := fmt.Sprintf(gnutlsPriority, "1.2")
	if version == tls.VersionTLS13 {
		priority = fmt.Sprintf(gnutlsPriority, "1.3")
	}
	return runOn(t, l.Client, "exchange 0 0\n", "gnutls-cli", "--insecure", "--sni-hostname="+name, "--priority="+priority,
		"--port", fmt.Sprint(to.Port()), to.Addr().String())
}

const gnutlsPriority = "NORMAL:-VERS-ALL:+VERS-TLS%s:-CIPHER-ALL:+AES-128-GCM"

func alertedGo(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16, name string) *said {
	c := dial(t, l, to)
	defer c.Close()
	c.SetDeadline(time.Now().Add(visitTime))
	config := &tls.Config{InsecureSkipVerify: true, ServerName: name, MinVersion: version, MaxVersion: version}
	config.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} // up to TLS 1.2
	err := tls.Client(c, config).Handshake()
	return &said{err: fmt.Sprint(err), exit: err, ended: time.Now()}
}

// TestIntegrationAlert: every client names the alert in its own words, at once,
// and the server sees a reset.
func TestIntegrationAlert(t *testing.T) {
	for _, o := range []lab.Options{{}, {NoOffload: true}} {
		t.Run(fmt.Sprintf("offload %v", !o.NoOffload), func(t *testing.T) { alertAll(t, labtest.New(t, o)) })
	}
}

func alertAll(t *testing.T, l *lab.Lab) {
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, alertPolicy)
	reasons := []struct{ title, name, rule, reason, sent string }{
		{"the hello", "other.lab.example", "names", "require.sni", "access_denied"},
		{"the ServerHello", "server.lab.example", "suites", "require.cipher", "handshake_failure"},
	}
	families(t, l, func(t *testing.T, server netip.Addr) {
		to := netip.AddrPortFrom(server, 443)
		for _, x := range alerted {
			for i, why := range reasons {
				t.Run(fmt.Sprintf("%s, %s, %s", x.program, tls.VersionName(x.version), why.title), func(t *testing.T) {
					if x.program != "Go" {
						labtest.Program(t, x.program)
					}
					s := x.try(t, l, to, x.version, why.name)
					v := w.next(t)
					e := eventOf(t, f, "drop", v)
					refusedAtServer(t, v, e)
					promptly(t, x.program, e, s.ended)
					if s.exit == nil || !strings.Contains(s.err+s.out, x.named[i]) {
						t.Errorf("the client says, want %q: %s", x.named[i], s)
					}
					got := [...]string{e.Ours.Verdict, e.Ours.Rule, e.Ours.Reason, e.Ours.AlertSent}
					if want := [...]string{"alert", why.rule, why.reason, why.sent}; got != want {
						t.Errorf("event: got %q, want %q: %s", got, want, e.Ours.Detail)
					}
				})
			}
		}
		// And who keeps to the rules passes.
		_, err := exchange(dial(t, l, to), &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}}, 1<<20)
		if v := w.next(t); err != nil || v.err != nil {
			t.Errorf("permitted: %v, %v at the server", err, v.err)
		}
	})
}

// TestIntegrationAlertLoss: a network that loses packets delays the alert, and no
// more.
func TestIntegrationAlertLoss(t *testing.T) {
	l := labtest.New(t, lab.Options{Loss: 0.1})
	watchTLS(t, l, &tls.Config{})
	startFirewall(t, l, alertPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		told := 0
		for i := range 10 {
			name := []string{"other.lab.example", "server.lab.example"}[i%2]
			s := alertedGo(t, l, netip.AddrPortFrom(server, 443), tls.VersionTLS13, name)
			if s.err == goNames[i%2] {
				told++
			} else if !strings.Contains(s.err, "reset by peer") && !strings.Contains(s.err, "i/o timeout") {
				// A SYN that was lost makes TCP wait for seconds ever after: one
				// hello in a hundred does not come through in time.
				t.Errorf("%s: %s", name, s.err)
			}
		}
		if told < 8 {
			t.Errorf("%d of 10 were told", told)
		}
	})
}

// TestIntegrationRefuse: after a violation the client's program says what it says
// of a closed port, and later it may try again.
func TestIntegrationRefuse(t *testing.T) {
	labtest.Program(t, "curl")
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, refusePolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		f.forget()
		try := func(name string) *said {
			return curl(t, l, fmt.Sprintf("https://%s/5", name), "-v", "--resolve", fmt.Sprintf("%s:443:%s", name, server))
		}
		s := try("other.lab.example")
		if s.exit == nil || !strings.Contains(s.err, "reset by peer") {
			t.Errorf("at first curl says, want a reset: %s", s)
		}
		first := eventOf(t, f, "drop", w.next(t))
		if first.Ours.Verdict != "refuse" || first.Ours.Reason != "require.sni" {
			t.Errorf("event: %+v", first)
		}
		for range 3 { // whatever it asks for
			s = try("server.lab.example")
			if s.exit == nil || !strings.Contains(s.err, "Connection refused") || !strings.Contains(s.err, "curl: (7)") {
				t.Errorf("then curl says, want a closed port: %s", s)
			}
		}
		e := f.wait("a refusal for an earlier one", func(e event) bool { return e.Type == "drop" && e.Ours.Reason == "refused.earlier" })
		want := fmt.Sprintf("connection %d of this client to this server was refused", first.FlowID)
		if e.Ours.Verdict != "refuse" || e.Ours.Rule != "names" || e.Ours.Packet != 1 || !strings.HasPrefix(e.Ours.Detail, want) ||
			!strings.Contains(e.Ours.Detail, `by rule "names", for require.sni`) {
			t.Errorf("event: %+v", e)
		}
		if c := dialFrom(t, l, own(l, server), netip.AddrPortFrom(server, 8444)); c != nil { // another port is another server
			c.Close()
		}
		time.Sleep(3 * time.Second)
		if s = try("server.lab.example"); s.exit != nil || len(s.out) != 5 {
			t.Errorf("when the time is over: %s", s)
		}
		for range 2 {
			w.next(t)
		}
	})
}

// own is the client's address of a server's family.
func own(l *lab.Lab, server netip.Addr) netip.Addr {
	if server.Is6() {
		return l.Client.IPv6
	}
	return l.Client.IPv4
}
