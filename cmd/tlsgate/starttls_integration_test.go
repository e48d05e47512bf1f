package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// step is what a server says, and up to where it reads then.
type step struct {
	say   string
	until string // the end of what the client says
	read  int    // or how many bytes it has
}

// dialogues lead to TLS, by the name openssl s_client has for them; "" is a proxy.
var dialogues = map[string][]step{
	"smtp": {{say: "220 mail ESMTP\r\n", until: "\r\n"}, {say: "250-mail\r\n250 STARTTLS\r\n", until: "STARTTLS\r\n"}, {say: "220 go\r\n"}},
	"imap": {{say: "* OK imap\r\n", until: "\r\n"}, {say: "* CAPABILITY IMAP4rev1 STARTTLS\r\n. OK done\r\n", until: "STARTTLS\r\n"}, {say: ". OK go\r\n"}},
	"pop3": {{say: "+OK pop\r\n", until: "STLS\r\n"}, {say: "+OK go\r\n"}},
	"ftp":  {{say: "220 FTP\r\n", until: "AUTH TLS\r\n"}, {say: "234 go\r\n"}},
	"xmpp": {{until: "version='1.0'>"}, {say: "<stream:stream id='1'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>", until: "/>"},
		{say: "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}},
	"ldap":     {{read: 31}, {say: "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"}},
	"postgres": {{read: 8}, {say: "S"}},
	"mysql": {{say: "\x4a\x00\x00\x00\x0a8.0.36\x00\x01\x00\x00\x0012345678\x00\xff\xff\xff\x02\x00\xff\xcf\x15" + strings.Repeat("\x00", 10) +
		"123456789012\x00caching_sha2_password\x00", read: 36}},
	"connect": {{until: "\r\n\r\n"}, {say: "HTTP/1.1 200 OK\r\n\r\n"}},
}

// talk is the server's part of a dialogue. It reads nothing ahead.
func talk(c net.Conn, steps []step) error {
	for _, s := range steps {
		if _, err := io.WriteString(c, s.say); err != nil {
			return err
		}
		var got []byte
		for b := make([]byte, 1); len(got) < s.read || s.until != "" && !strings.HasSuffix(string(got), s.until); got = append(got, b[0]) {
			if _, err := io.ReadFull(c, b); err != nil {
				return fmt.Errorf("after %q: %w", got, err)
			}
		}
	}
	return nil
}

// TestIntegrationStartTLS brings openssl to TLS in every way it knows, by a policy
// that takes nothing else than TLS.
func TestIntegrationStartTLS(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, CipherSuites: []uint16{goodSuite.CipherSuites[0], badSuite.CipherSuites[0]}}
	var name string // of the dialogue at hand
	w := watch(t, l.Server, ":443", func(v *visit, c net.Conn) error {
		if err := talk(c, dialogues[name]); err != nil {
			return err
		}
		return serveTLS(v, c, config)
	})
	f := startFirewall(t, l, resetPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		to := netip.AddrPortFrom(server, 443)
		for name = range dialogues {
			t.Run(name, func(t *testing.T) {
				how, via := []string{"-starttls", name}, "starttls:"+name
				if name == "connect" {
					how, via = []string{"-proxy", to.String()}, name
				}
				args := func(suite string) []string {
					return append([]string{"-cipher", suite + ":@SECLEVEL=0", "-tls1_2"}, how...)
				}
				s := openssl(t, l, to, "GET /1000 HTTP/1.1\r\n\r\n", args("ECDHE-RSA-AES128-GCM-SHA256")...)
				v := w.next(t)
				if v.err != nil || !strings.Contains(s.out, pattern(1000)) {
					t.Errorf("permitted: the server saw %v; %s", v.err, s)
				}
				if e := eventOf(t, f, "tls", v); e.Ours.Via != via || e.Ours.Verdict != "accept" || e.Ours.Rule != "partner" {
					t.Errorf("permitted: %+v", e.Ours)
				}
				s = openssl(t, l, to, "", args("AES128-SHA")...)
				v = w.next(t)
				e := eventOf(t, f, "drop", v)
				if e.Ours.Via != via || e.Ours.Reason != "require.cipher" || s.exit == nil {
					t.Errorf("forbidden: %+v; %s", e.Ours, s)
				}
				if v.read.Load() != 0 {
					t.Errorf("forbidden: the server's application read %d bytes", v.read.Load())
				}
				refusedAtServer(t, v, e)
			})
		}
	})
}

// TestIntegrationNoStartTLS uses a mail server in clear: where that is refused, at
// the mail and not before, and slowly.
func TestIntegrationNoStartTLS(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	say := func(c net.Conn, line string) (string, error) {
		fmt.Fprintf(c, "%s\r\n", line)
		b := make([]byte, 100)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	w := watch(t, l.Server, ":443", func(v *visit, c net.Conn) error {
		for _, answer := range []string{"220 mail ESMTP", "250 STARTTLS", "250 ok", "250 ok"} {
			if v.name != "" {
				v.name += " "
			}
			heard, err := say(c, answer)
			if v.name += strings.TrimSpace(heard); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	for policy, want := range map[string]string{acceptPolicy: "EHLO x NOOP MAIL FROM:<>", resetPolicy: "EHLO x NOOP"} {
		f := startFirewall(t, l, policy+"\n[limits]\ndecide = \"200ms\"\n")
		families(t, l, func(t *testing.T, server netip.Addr) {
			c := dial(t, l, netip.AddrPortFrom(server, 443))
			defer c.Close()
			c.Read(make([]byte, 100))
			var err error
			for _, line := range []string{"EHLO x", "NOOP", "MAIL FROM:<>"} {
				time.Sleep(400 * time.Millisecond)
				if _, err = say(c, line); err != nil {
					break
				}
			}
			c.Close()
			v := w.next(t)
			if v.name = strings.TrimSpace(v.name); v.name != want {
				t.Errorf("the server heard %q, want %q", v.name, want)
			}
			if policy == resetPolicy {
				wasReset(t, "the client", err)
				if e := eventOf(t, f, "drop", v); e.Ours.Reason != "not_tls" {
					t.Errorf("%+v", e.Ours)
				}
			} else if d := f.drops(); err != nil || len(d) != 0 {
				t.Errorf("%v, refused: %+v", err, d)
			}
		})
		f.stop()
	}
}
