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

// TestIntegrationEventsFull: a disk without room for events costs events, which are
// counted, and health says so; connections it does not cost.
func TestIntegrationEventsFull(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, partnerPolicy, "--events", "/dev/full")
	to := netip.AddrPortFrom(l.Server.IPv4, 443)
	for range 3 {
		if _, err := exchange(dial(t, l, to), goodSuite, 100_000); err != nil {
			t.Errorf("permitted: %v", err)
		}
		_, err := exchange(dial(t, l, to), badSuite, 1000)
		wasReset(t, "the client", err)
	}
	// Of each of the six at least one event.
	if !within(5*time.Second, func() bool { return f.statsNow().Events["lost"] >= 6 }) {
		t.Errorf("events lost: %v", f.statsNow().Events)
	}
	if out, _, code := f.ask(l, "health"); code != 1 || !strings.Contains(out, "events were lost") {
		t.Errorf("health: %d: %s", code, out)
	}
}

// resident starts a program that does nothing in a host, or by another program in a
// namespace of its own: its id names the namespace.
func resident(t *testing.T, h *lab.Host, by ...string) (pid string) {
	t.Helper()
	words := append(by, "sleep", "60")
	cmd := h.Command(t.Context(), words[0], words[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	time.Sleep(300 * time.Millisecond) // until it is there
	return fmt.Sprint(cmd.Process.Pid)
}

// startLasting begins a connection, of whose request 4 bytes of 8 are said, and returns
// its number too.
func (f *firewall) startLasting(l *lab.Lab, server netip.Addr) (c *tls.Conn, id uint64) {
	f.t.Helper()
	raw := dial(f.t, l, netip.AddrPortFrom(server, 443))
	f.t.Cleanup(func() { raw.Close() })
	c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: goodSuite.CipherSuites})
	c.SetDeadline(time.Now().Add(visitTime))
	fmt.Fprintf(c, "exchange 8 8\n")
	fmt.Fprint(c, pattern(8)[:4])
	list := f.conns(l, "--destination", server.String())
	if len(list) != 1 {
		f.t.Fatalf("connections: %+v", list)
	}
	return c, list[0].FlowID
}

// newServerLink takes away the link between gateway and server, and makes another.
func newServerLink(t *testing.T, l *lab.Lab) {
	t.Helper()
	pid := resident(t, l.Server)
	output(t, l.Gateway, "ip", "link", "del", lab.GatewayServerLink)
	time.Sleep(500 * time.Millisecond)
	output(t, l.Gateway, "ip", "link", "add", lab.GatewayServerLink, "type", "veth", "peer", "name", lab.HostLink, "netns", pid)
	for _, x := range []struct {
		host            *lab.Host
		link, four, six string
	}{
		{l.Gateway, lab.GatewayServerLink, "198.18.2.1/24", "2001:db8:2::1/64"},
		{l.Server, lab.HostLink, "198.18.2.2/24", "2001:db8:2::2/64"},
	} {
		output(t, x.host, "ip", "link", "set", x.link, "up")
		output(t, x.host, "ip", "addr", "add", x.four, "dev", x.link)
		output(t, x.host, "ip", "addr", "add", x.six, "dev", x.link, "nodad")
	}
	output(t, l.Server, "ip", "route", "add", "default", "via", "198.18.2.1")
	output(t, l.Server, "ip", "-6", "route", "add", "default", "via", "2001:db8:2::1")
}

// TestIntegrationLinkGone takes the link to the server away and makes another of the
// same name, which has another number: connections go on, are judged, and are reset at
// both ends, one that began before as well.
func TestIntegrationLinkGone(t *testing.T) {
	labtest.Program(t, "ip")
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	policy := "[intercept]\noffload = false\n" + partnerPolicy
	f := startFirewall(t, l, policy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		to := netip.AddrPortFrom(server, 443)
		lasting, id := f.startLasting(l, server)
		newServerLink(t, l)
		if _, err := exchange(dial(t, l, to), goodSuite, 100_000); err != nil {
			t.Errorf("permitted: %v", err)
		}
		w.next(t)
		_, err := exchange(dial(t, l, to), badSuite, 1000)
		wasReset(t, "the client", err)
		v := w.next(t)
		refusedAtServer(t, v, eventOf(t, f, "drop", v))

		if out, errs, code := f.ask(l, "kill", fmt.Sprint(id)); code != 0 {
			t.Fatalf("kill: %d: %s%s", code, out, errs)
		}
		_, err = lasting.NetConn().Read(make([]byte, 1<<10))
		wasReset(t, "the client of one that began before", err)
		if v := w.next(t); v.err == nil {
			t.Error("the server has not noticed that it was ended")
		}
	})
	if s := f.statsNow(); s.Packets["bugs"] > 0 {
		t.Error(f.said())
	}
}
