package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// handshakeKind is a handshake of one kind, and how each program comes to make it.
type handshakeKind struct {
	title       string
	version     uint16
	server      tls.Config
	certificate bool // of the client
	resumed     bool
}

var handshakeKinds = []handshakeKind{
	{title: "TLS 1.2", version: tls.VersionTLS12},
	{title: "TLS 1.3", version: tls.VersionTLS13},
	{title: "TLS 1.3 after a HelloRetryRequest", version: tls.VersionTLS13, server: tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}}},
	{title: "TLS 1.2 with a client certificate", version: tls.VersionTLS12, server: tls.Config{ClientAuth: tls.RequireAnyClientCert}, certificate: true},
	{title: "TLS 1.3 with a client certificate", version: tls.VersionTLS13, server: tls.Config{ClientAuth: tls.RequireAnyClientCert}, certificate: true},
	{title: "TLS 1.2 resumed", version: tls.VersionTLS12, resumed: true},
	{title: "TLS 1.3 resumed", version: tls.VersionTLS13, resumed: true},
}

// trial is where one program tries one kind of handshake.
type trial struct {
	l      *lab.Lab
	w      *witness
	kind   *handshakeKind
	server netip.AddrPort
	files  string // certificates
}

func (x *trial) file(name string) string { return filepath.Join(x.files, name) }

// unseen is the port of the same server that the firewall is not asked about.
func (x *trial) unseen() netip.AddrPort { return netip.AddrPortFrom(x.server.Addr(), 8444) }

// programs make the handshake and then say something. They report whether the
// handshake was as it should be, at the client, and what came of the rest.
var programs = []struct {
	name string
	run  func(t *testing.T, x *trial) (complete, heard bool, says string)
}{
	{"openssl", tryOpenSSL},
	{"gnutls-cli", tryGnuTLS},
	{"curl", tryCurl},
	{"go", tryGo},
}

func tryOpenSSL(t *testing.T, x *trial) (complete, heard bool, says string) {
	say, hear := request(1000, 1000)
	args := []string{"-ign_eof", "-tls1_3"}
	if x.kind.version == tls.VersionTLS12 {
		args[1] = "-tls1_2"
	}
	if x.kind.certificate {
		args = append(args, "-cert", x.file("rsa.pem"), "-key", x.file("rsa.key"))
	}
	connect := func(to netip.AddrPort, more ...string) *said {
		return runOn(t, x.l.Client, say, "openssl", append(append([]string{"s_client", "-connect", to.String()}, args...), more...)...)
	}
	mark := "New, TLSv1."
	if x.kind.resumed {
		session := filepath.Join(t.TempDir(), "session")
		if s := connect(x.unseen(), "-sess_out", session); !strings.Contains(s.out, hear) {
			t.Fatalf("the first session: %s", s)
		}
		x.w.next(t)
		args, mark = append(args, "-sess_in", session), "Reused, TLSv1."
	}
	s := connect(x.server)
	return strings.Contains(s.out, mark), strings.Contains(s.out, hear[:64]), s.String()
}

func tryGnuTLS(t *testing.T, x *trial) (complete, heard bool, says string) {
	say, hear := request(1000, 1000)
	priority := "NORMAL:-VERS-ALL:+VERS-TLS1.3"
	if x.kind.version == tls.VersionTLS12 {
		priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
	}
	var args []string
	mark := "- Handshake was completed"
	if x.kind.certificate {
		args = append(args, "--x509certfile="+x.file("rsa.pem"), "--x509keyfile="+x.file("rsa.key"))
	}
	if x.kind.resumed { // the session's first connection is under the firewall, too
		args, mark = append(args, "--resume", "--waitresumption"), "*** This is a resumed session"
	}
	s := gnutls(t, x.l, x.server, say, priority, args...)
	if x.kind.resumed {
		x.w.next(t)
	}
	return strings.Contains(s.out, mark), strings.Contains(s.out, hear[:64]), s.String()
}

func tryCurl(t *testing.T, x *trial) (complete, heard bool, says string) {
	args := []string{"-v", "--tlsv1.3"}
	if x.kind.version == tls.VersionTLS12 {
		args = []string{"-v", "--tls-max", "1.2"}
	}
	if x.kind.certificate {
		args = append(args, "--cert", x.file("rsa.pem"), "--key", x.file("rsa.key"))
	}
	s := curl(t, x.l, fmt.Sprintf("https://%s/1000", x.server), args...)
	return strings.Contains(s.err, "SSL connection using TLSv1."), s.out != "", s.String()
}

func tryGo(t *testing.T, x *trial) (complete, heard bool, says string) {
	config := &tls.Config{MinVersion: x.kind.version, MaxVersion: x.kind.version}
	if x.kind.certificate {
		c, err := x.l.Certificate(lab.KeyECDSA)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{c}
	}
	if x.kind.resumed {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if _, err := exchange(dial(t, x.l, x.unseen()), config, 1000); err != nil {
			t.Fatalf("the first session: %v", err)
		}
		x.w.next(t)
	}
	state, err := exchange(dial(t, x.l, x.server), config, 1000)
	complete = state != nil && state.DidResume == x.kind.resumed && state.HelloRetryRequest == (x.kind.server.CurvePreferences != nil)
	return complete, err == nil, fmt.Sprint(err)
}

// TestIntegrationContentType is story 4: the handshake passes, whatever its
// kind, and not a byte of application data reaches the server's program.
func TestIntegrationContentType(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	dir := files(t, l, 0)
	for i := range handshakeKinds {
		kind := &handshakeKinds[i]
		t.Run(kind.title, func(t *testing.T) {
			w := watchTLS(t, l, &kind.server)
			f := startFirewall(t, l, singlePolicy)
			families(t, l, func(t *testing.T, server netip.Addr) {
				for _, p := range programs {
					if kind.resumed && p.name == "curl" {
						continue // it resumes within one run only
					}
					t.Run(p.name, func(t *testing.T) {
						x := &trial{l, w, kind, netip.AddrPortFrom(server, 443), dir}
						complete, heard, says := p.run(t, x)
						if !complete || heard {
							t.Errorf("the handshake completed: %v, the server was heard: %v; want true, false: %s", complete, heard, says)
						}
						v := w.next(t)
						e := eventOf(t, f, "drop", v)
						refusedAtServer(t, v, e)
						if e.Ours.Verdict != "reset" || e.Ours.Rule != "handshake-only" || e.Ours.Reason != "require.content_type" {
							t.Errorf("refusal: %+v", e.Ours)
						}
						if !strings.Contains(e.Ours.Detail, "a record of type application_data was sent") {
							t.Errorf("the refusal says %q", e.Ours.Detail)
						}
					})
				}
			})
		})
	}
}

// TestIntegrationContentTypePermitted has connections that say nothing but
// their handshake.
func TestIntegrationContentTypePermitted(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, singlePolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := tls.Client(dial(t, l, netip.AddrPortFrom(server, 443)), &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
			if err := c.Handshake(); err != nil {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
			if v := w.next(t); !v.done || v.err == nil || v.err.Error() != "EOF" {
				t.Errorf("%s: the server saw %v, want an end", tls.VersionName(version), v.err)
			}
		}
	})
	if d := f.drops(); len(d) != 0 {
		t.Errorf("refused: %+v", d)
	}
}
