package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// translation is what the gateway does to addresses.
type translation struct {
	name string
	// rules of iptables -t nat, by IP version: SERVER and GATEWAY stand for addresses.
	rules []string
	to    func(l *lab.Lab, server netip.Addr) netip.AddrPort // where clients call
}

func direct(_ *lab.Lab, server netip.Addr) netip.AddrPort { return netip.AddrPortFrom(server, 443) }

// virtual is an address of the gateway's own, and another port.
func virtual(_ *lab.Lab, server netip.Addr) netip.AddrPort {
	if server.Is4() {
		return netip.MustParseAddrPort("198.18.1.1:4443")
	}
	return netip.MustParseAddrPort("[2001:db8:1::1]:4443")
}

var translations = []translation{
	{"MASQUERADE", []string{"-A POSTROUTING -o server -p tcp -j MASQUERADE"}, direct},
	{"MASQUERADE everywhere", []string{"-A POSTROUTING -p tcp -j MASQUERADE"}, direct},
	{"SNAT", []string{"-A POSTROUTING -o server -p tcp -j SNAT --to-source GATEWAY"}, direct},
	{"DNAT", []string{"-A PREROUTING -i client -p tcp --dport 4443 -j DNAT --to-destination SERVER"}, virtual},
}

// bothTranslated is what resets get lost in: docs/POLICY.md, "Address translation".
var bothTranslated = translation{"DNAT and SNAT", []string{
	"-A PREROUTING -i client -p tcp --dport 4443 -j DNAT --to-destination SERVER", "-A POSTROUTING -o server -p tcp -j SNAT --to-source GATEWAY",
}, virtual}

func (n *translation) set(t *testing.T, l *lab.Lab) {
	for program, names := range map[string][]string{
		"iptables": {"GATEWAY", "198.18.2.1", "SERVER", "198.18.2.2:443"}, "ip6tables": {"GATEWAY", "2001:db8:2::1", "SERVER", "[2001:db8:2::2]:443"},
	} {
		for _, rule := range n.rules {
			output(t, l.Gateway, program, append([]string{"-w", "5", "-t", "nat"}, strings.Fields(strings.NewReplacer(names...).Replace(rule))...)...)
		}
	}
}

const natPolicy = `
[queue]
workers = 2
[[rule]]
name  = "one"
match = { sni = "pinned.example" }
pin   = { }
otherwise = "reset"
[[rule]]
name   = "quarantine"
match  = { sni = "held.example" }
action = "hold"
[[rule]]
name   = "no"
match  = { sni = "forbidden.example" }
action = "reset"
[[rule]]
name   = "alerted"
match  = { sni = "alerted.example" }
action = "alert:access_denied"
[[rule]]
name    = "suite"
match   = { sni = "suite.example" }
require = { cipher = ["TLS_CHACHA20_POLY1305_SHA256"] }
otherwise = "reset"
`

// TestIntegrationNAT: holds, pins and refusals where the gateway translates addresses:
// both ends of what is refused are reset at once, what waited comes through, the pin
// moves.
func TestIntegrationNAT(t *testing.T) {
	for _, n := range translations {
		t.Run(n.name, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			if !l.Server.IPv6.IsValid() {
				labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
			}
			n.set(t, l)
			w, shook := greeted(t, l)
			f := startFirewall(t, l, natPolicy)
			families(t, l, func(t *testing.T, server netip.Addr) { holdsAndPins(t, l, f, w, shook, n.to(l, server)) })
		})
	}
}

// TestIntegrationNATBoth: where both addresses of a connection are translated, packets
// of ours reach neither end. What is refused does not pass all the same, and what waits
// comes through when its sender repeats it.
func TestIntegrationNATBoth(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	bothTranslated.set(t, l)
	w, shook := greeted(t, l)
	f := startFirewall(t, l, natPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		to := bothTranslated.to(l, server)
		for i, name := range []string{"forbidden.example", "alerted.example", "suite.example"} {
			c := dial(t, l, to)
			c.SetDeadline(time.Now().Add(time.Second))
			conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: name, MaxVersion: tls.VersionTLS12})
			if err := conn.Handshake(); err == nil {
				t.Errorf("%s: the handshake is done", name)
			}
			c.Close()
			w.hangUp() // or it would never know
			v := w.next(t)
			if n := v.raw.Load(); i < 2 && n != 0 {
				t.Errorf("%s: the server has read %d bytes", name, n)
			}
			f.wait(name, func(e event) bool { return e.Type == "drop" && e.TLS.SNI == name })
		}
		say, hear := request(100_000, 100_000)
		conn, v := heldTo(t, l, shook, to, "held.example", tls.VersionTLS13, say)
		at := time.Now()
		f.ask(l, "open", "--rule", "quarantine")
		comes(t, v, at)
		through(t, conn, w, hear)
		f.ask(l, "open", "--rule", "quarantine", "--close")
		f.forget()
	})
}

// TestIntegrationGoNFQueueTies: the same with the other backend.
func TestIntegrationGoNFQueueTies(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w, shook := greeted(t, l)
	f := startFirewall(t, l, strings.Replace(natPolicy, "[queue]", "[queue]\nbackend = \"go-nfqueue\"", 1))
	families(t, l, func(t *testing.T, server netip.Addr) { holdsAndPins(t, l, f, w, shook, direct(l, server)) })
}

// holdsAndPins plays one of each on connections to a server.
func holdsAndPins(t *testing.T, l *lab.Lab, f *firewall, w *witness, shook chan *visit, to netip.AddrPort) {
	t.Helper()
	connect := func(name string, version uint16) *tls.Conn {
		c := dial(t, l, to)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(visitTime))
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: name, MinVersion: version, MaxVersion: version})
	}
	ends := func(what string) { // the server's program, at once
		t.Helper()
		at := time.Now()
		if v := w.next(t); v.err == nil || time.Since(at) > 5*time.Second {
			t.Errorf("%s: the server saw %v, %s later", what, v.err, time.Since(at))
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		wasReset(t, "a forbidden hello", connect("forbidden.example", version).Handshake())
		ends("a forbidden hello")
		wasReset(t, "a forbidden suite", connect("suite.example", tls.VersionTLS12).Handshake())
		ends("a forbidden suite")
		if err := connect("alerted.example", version).Handshake(); err == nil || !strings.Contains(err.Error(), "access denied") {
			t.Errorf("the alert: %v", err)
		}
		ends("an alert")

		say, hear := request(300_000, 300_000)
		conn, v := heldTo(t, l, shook, to, "held.example", version, say)
		at := time.Now()
		if out, errs, code := f.ask(l, "open", "--rule", "quarantine"); code != 0 {
			t.Fatalf("open: %d %s%s", code, out, errs)
		}
		comes(t, v, at)
		through(t, conn, w, hear)
		f.ask(l, "open", "--rule", "quarantine", "--close")

		pinsMove(t, l, f, w, shook, connect, version)
	}
}

// pinsMove gives the pin of a connection that lives to another.
func pinsMove(t *testing.T, l *lab.Lab, f *firewall, w *witness, shook chan *visit, connect func(string, uint16) *tls.Conn, version uint16) {
	t.Helper()
	first := connect("pinned.example", version)
	if err := first.Handshake(); err != nil {
		t.Fatalf("the first under the pin: %v", err)
	}
	<-shook
	wasReset(t, "the second", connect("pinned.example", version).Handshake())
	if v := w.next(t); v.err == nil {
		t.Error("the second: its server saw nothing")
	}
	list := f.pins(l)
	if len(list) != 1 {
		t.Fatalf("held by %+v", list)
	}
	next := connect("pinned.example", version)
	var waits []uint64
	within(5*time.Second, func() bool {
		waits = waits[:0]
		for _, c := range f.conns(l, "--state", "ESTABLISHED", "--verdict", "undecided") {
			waits = append(waits, c.FlowID)
		}
		return len(waits) == 1
	})
	if len(waits) != 1 {
		t.Fatalf("%d connections have said nothing yet, want 1: %+v", len(waits), f.conns(l))
	}
	// Which group is its own the hello says: the place is kept for it by hand then.
	if _, errs, code := f.ask(l, "pin", "--release", fmt.Sprint(list[0].FlowID)); code != 0 {
		t.Fatalf("releasing the pin: %d: %s", code, errs)
	}
	first.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := first.Read(make([]byte, 1))
	wasReset(t, "the one that had the pin", err)
	if v := w.next(t); v.err == nil {
		t.Error("the one that had the pin: its server saw nothing")
	}
	if err := next.Handshake(); err != nil {
		t.Errorf("the next: %v", err)
		return
	}
	<-shook
	next.Close()
	w.next(t)
	if !within(5*time.Second, func() bool { return len(f.pins(l)) == 0 }) {
		t.Errorf("it has ended, and the pin is held by %+v", f.pins(l))
	}
}
