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

// mailSteps are what a mail client says before TLS, and how it is answered.
var mailSteps = []struct{ say, hear string }{{"EHLO client\r\n", "250 STARTTLS\r\n"}, {"STARTTLS\r\n", "220 go\r\n"}}

// TestIntegrationReloadStartTLS changes the policy in the middle of a mail
// conversation, before and behind the command that leads to TLS: the hello that comes
// then is judged by the new one.
func TestIntegrationReloadStartTLS(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	w := watch(t, l.Server, ":443", func(v *visit, c net.Conn) error {
		if err := talk(c, dialogues["smtp"]); err != nil {
			return err
		}
		return serveTLS(v, c, config)
	})
	const other = "[[rule]]\nname = \"no\"\nmatch = { sni = \"another.example\" }\naction = \"reset\"\n"
	tlsOnly := "[default]\nnot_tls = \"reset\"\n"
	f := startFirewall(t, l, other)
	for _, tt := range []struct {
		name, before, after string
		refused             string // reason
	}{
		{"forbids the name", other, forbidding("mail.example"), "rule"},
		{"is the first with a rule, and forbids the name", "", forbidding("mail.example"), "rule"},
		{"permits the name", forbidding("mail.example"), other, ""},
		{"has not_tls = reset", other, tlsOnly + other, ""},
		{"has not_tls = reset, and forbids the name", other, tlsOnly + forbidding("mail.example"), "rule"},
		{"has not_tls = reset no more", tlsOnly + forbidding("mail.example"), other, ""},
		{"requires a suite", other, "[[rule]]\nname = \"no\"\nrequire = { cipher = \"ECDHE-RSA-AES256-GCM-SHA384\" }\n", "require.cipher"},
		{"forbids STARTTLS", other, "[[rule]]\nname = \"no\"\nmatch = { via = \"starttls:smtp\" }\naction = \"reset\"\n", "rule"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			families(t, l, func(t *testing.T, server netip.Addr) {
				for at := range 4 { // nothing said, EHLO answered, STARTTLS answered; 3: and said again
					f.reload(l, tt.before)
					f.forget()
					err := mailTo(t, l, f, netip.AddrPortFrom(server, 443), at, tt.after)
					v := w.next(t)
					if tt.refused == "" {
						if err != nil || v.err != nil {
							t.Errorf("reload at %d: %v at the client, %v at the server; %+v", at, err, v.err, f.drops())
						}
						continue
					}
					if err == nil || v.read.Load() != 0 {
						t.Errorf("reload at %d: %v at the client, the server's application read %d bytes", at, err, v.read.Load())
						continue
					}
					if e := eventOf(t, f, "drop", v); e.Ours.Rule != "no" || e.Ours.Reason != tt.refused {
						t.Errorf("reload at %d: %+v", at, e.Ours)
					}
				}
			})
		})
	}
}

// mailTo holds a conversation, with a reload before one of its steps.
func mailTo(t *testing.T, l *lab.Lab, f *firewall, to netip.AddrPort, at int, after string) error {
	t.Helper()
	c := dial(t, l, to)
	defer c.Close()
	c.SetDeadline(time.Now().Add(visitTime))
	hear := func(want string) error {
		b := make([]byte, 200)
		var got string
		for !strings.HasSuffix(got, want) {
			n, err := c.Read(b)
			if got += string(b[:n]); err != nil {
				return fmt.Errorf("after %q: %w", got, err)
			}
		}
		return nil
	}
	if err := hear("220 mail ESMTP\r\n"); err != nil {
		return err
	}
	for i, step := range mailSteps {
		if i == at {
			f.reload(l, after)
		}
		if _, err := io.WriteString(c, step.say); err != nil {
			return err
		}
		if err := hear(step.hear); err != nil {
			return err
		}
	}
	if at >= len(mailSteps) {
		f.reload(l, after)
	}
	if at > len(mailSteps) {
		f.reload(l, after+"# the same, said otherwise\n")
	}
	conn := tls.Client(c, &tls.Config{
		InsecureSkipVerify: true, ServerName: "mail.example", MaxVersion: tls.VersionTLS12, CipherSuites: goodSuite.CipherSuites,
	})
	say, want := request(2000, 2000)
	if _, err := io.WriteString(conn, say); err != nil {
		return err
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != want {
		return errors.Join(errors.New("not what was asked for"), err)
	}
	return nil
}
