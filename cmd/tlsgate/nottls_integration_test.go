package main

import (
	"bufio"
	"context"
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

const (
	acceptPolicy = "[default]\nnot_tls = \"accept\"\n" + partnerPolicy
	resetPolicy  = "[default]\nnot_tls = \"reset\"\n" + partnerPolicy
	noSSHPolicy  = `
[[rule]]
name   = "no-ssh"
match  = { protocol = "ssh" }
action = "drop"
` + partnerPolicy

	sshBanner = "SSH-2.0-OpenSSH_9.2\r\n"
)

// servePlain is an HTTP server, or whatever else answers a line.
func servePlain(v *visit, c net.Conn) error {
	return answer(bufio.NewReader(counted{c, &v.read}), c)
}

// serveSSH exchanges banners and 100000 bytes. It leaves a client the time to
// speak first.
func serveSSH(v *visit, c net.Conn) error {
	time.Sleep(30 * time.Millisecond)
	if _, err := io.WriteString(c, sshBanner); err != nil {
		return err
	}
	r := bufio.NewReader(counted{c, &v.read})
	banner, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if v.name = strings.TrimSpace(banner); strings.Contains(v.name, "OpenSSH") {
		return nil // a real client: it has heard the banner and will hear no more
	}
	return answer(r, c)
}

// outcome is what becomes of a connection that is not TLS.
type outcome struct {
	title, policy         string
	verdict, rule, reason string // of the drop event; "": accepted
	detail                string
}

// judge waits for what is told of the refusal, and looks at what the server's
// program was given, if the connection came to it at all.
func (o *outcome) judge(t *testing.T, f *firewall, w *witness) {
	t.Helper()
	e := f.wait("a refusal", func(e event) bool { return e.Type == "drop" })
	got := [...]string{e.Ours.Verdict, e.Ours.Rule, e.Ours.Reason}
	if want := [...]string{o.verdict, o.rule, o.reason}; got != want || !strings.Contains(e.Ours.Detail, o.detail) {
		t.Errorf("refusal %q, %q; want %q, %q", got, e.Ours.Detail, want, o.detail)
	}
	if !within(time.Second, func() bool { return len(w.came) > 0 }) {
		return
	}
	if o.verdict == "drop" {
		w.hangUp()
	}
	<-w.came
	v := w.next(t)
	if v.raw.Load() != 0 || v.err == nil {
		t.Errorf("the server read %d bytes and saw %v", v.raw.Load(), v.err)
	}
	if o.verdict == "reset" {
		wasReset(t, "the server", v.err)
	}
}

// passed judges a connection that was accepted.
func passed(t *testing.T, f *firewall, w *witness) *visit {
	t.Helper()
	<-w.came
	v := w.next(t)
	if v.err != nil {
		t.Errorf("the server saw %v", v.err)
	}
	if d := f.drops(); len(d) != 0 {
		t.Errorf("refused: %+v", d)
	}
	return v
}

func TestIntegrationPlainHTTP(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watch(t, l.Server, ":443", servePlain)
	want := pattern(1 << 20)
	for _, o := range []outcome{
		{title: "accept", policy: acceptPolicy},
		{title: "by default", policy: partnerPolicy},
		{title: "ssh is dropped", policy: noSSHPolicy},
		{title: "reset", policy: resetPolicy, verdict: "reset", reason: "not_tls", detail: "the first bytes are HTTP, not TLS"},
	} {
		t.Run(o.title, func(t *testing.T) {
			f := startFirewall(t, l, o.policy)
			families(t, l, func(t *testing.T, server netip.Addr) {
				f.forget()
				s := curl(t, l, fmt.Sprintf("http://%s/%d", netip.AddrPortFrom(server, 443), len(want)))
				if o.verdict == "" {
					if passed(t, f, w); s.exit != nil || s.out != want {
						t.Errorf("%d bytes of %d: %s", len(s.out), len(want), s)
					}
					return
				}
				if s.exit == nil || !strings.Contains(s.err, "reset by peer") {
					t.Errorf("curl says, want a reset: %s", s)
				}
				o.judge(t, f, w)
			})
		})
	}
}

// sshSpeakers connect, and report what they heard of the server and how it ended.
var sshSpeakers = []struct {
	title  string
	run    func(t *testing.T, l *lab.Lab, to netip.AddrPort, patience time.Duration) (heard string, err error)
	silent string // what it says when nothing comes
}{
	{"the server first", func(t *testing.T, l *lab.Lab, to netip.AddrPort, patience time.Duration) (string, error) {
		return speakSSH(t, l, to, patience, false)
	}, "i/o timeout"},
	{"the client first", func(t *testing.T, l *lab.Lab, to netip.AddrPort, patience time.Duration) (string, error) {
		return speakSSH(t, l, to, patience, true)
	}, "i/o timeout"},
	{"ssh", realSSH, "timed out"},
}

func speakSSH(t *testing.T, l *lab.Lab, to netip.AddrPort, patience time.Duration, first bool) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), visitTime)
	defer cancel()
	c, err := l.Client.DialContext(ctx, "tcp", to.String())
	if err != nil { // reset for what the server has said, before connect(2) was looked after
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if first {
		fmt.Fprint(c, "SSH-2.0-test\r\n")
	}
	r := bufio.NewReader(c)
	heard, err := r.ReadString('\n')
	if err != nil {
		return heard, err
	}
	if !first {
		fmt.Fprint(c, "SSH-2.0-test\r\n")
	}
	say, hear := request(100_000, 100_000)
	io.WriteString(c, say)
	rest, err := io.ReadAll(r)
	if err == nil && string(rest) != hear {
		err = fmt.Errorf("%d bytes of %d", len(rest), len(hear))
	}
	return heard, err
}

// realSSH is ssh, which gives up after the banners as the server has no keys.
func realSSH(t *testing.T, l *lab.Lab, to netip.AddrPort, patience time.Duration) (string, error) {
	s := runOn(t, l.Client, "", "ssh", "-v", "-F", "none", "-o", "BatchMode=yes", "-o", fmt.Sprintf("ConnectTimeout=%d", patience/time.Second), "-o", "UserKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=no", "-p", fmt.Sprint(to.Port()), "nobody@"+to.Addr().String())
	if strings.Contains(s.err, "remote software version OpenSSH_9.2") {
		return sshBanner, nil
	}
	return "", errors.New(s.err)
}

func TestIntegrationSSH(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watch(t, l.Server, ":443", serveSSH)
	for _, o := range []outcome{
		{title: "accept", policy: acceptPolicy},
		{title: "reset", policy: resetPolicy, verdict: "reset", reason: "not_tls", detail: "the first bytes are SSH, not TLS"},
		{title: "a rule drops it", policy: noSSHPolicy, verdict: "drop", rule: "no-ssh", reason: "rule", detail: "protocol ssh"},
	} {
		t.Run(o.title, func(t *testing.T) {
			f := startFirewall(t, l, o.policy)
			families(t, l, func(t *testing.T, server netip.Addr) {
				for _, speaker := range sshSpeakers {
					t.Run(speaker.title, func(t *testing.T) {
						f.forget()
						patience := visitTime
						if o.verdict == "drop" { // nothing comes
							patience = time.Second
						}
						heard, err := speaker.run(t, l, netip.AddrPortFrom(server, 443), patience)
						if o.verdict == "" {
							if v := passed(t, f, w); err != nil || heard != sshBanner || !strings.HasPrefix(v.name, "SSH-2.0-") {
								t.Errorf("the client heard %q, %v; the server %q", heard, err, v.name)
							}
							return
						}
						end := "reset by peer"
						if o.verdict == "drop" {
							end = speaker.silent
						}
						if heard != "" || err == nil || !strings.Contains(err.Error(), end) {
							t.Errorf("the client heard %q, %v; want %q", heard, err, end)
						}
						o.judge(t, f, w)
					})
				}
			})
		})
	}
}
