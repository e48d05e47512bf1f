package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// addressLink gives a link of the gateway its addresses again, and has it up.
func addressLink(t *testing.T, l *lab.Lab, link string, addresses ...string) {
	t.Helper()
	output(t, l.Gateway, "ip", "link", "set", link, "up")
	for _, a := range addresses {
		args := []string{"addr", "replace", a, "dev", link}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		}
		output(t, l.Gateway, "ip", args...)
	}
}

// TestIntegrationLinkRenamed: rules know an interface by the name that it has, not by
// one that it had.
func TestIntegrationLinkRenamed(t *testing.T) {
	labtest.Program(t, "ip")
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, "[[rule]]\nname = \"guests\"\nmatch = { in_interface = \"guest*\" }\naction = \"reset\"\n")
	to := netip.AddrPortFrom(l.Server.IPv4, 443)
	if _, err := exchange(dial(t, l, to), &tls.Config{}, 1000); err != nil {
		t.Fatal(err)
	}
	w.next(t)
	rename := func(from, name string) {
		output(t, l.Gateway, "ip", "link", "set", from, "down")
		output(t, l.Gateway, "ip", "link", "set", from, "name", name)
		addressLink(t, l, name, "198.18.1.1/24", "2001:db8:1::1/64")
		time.Sleep(500 * time.Millisecond) // until it is up, and heard of
	}
	rename(lab.GatewayClientLink, "guest0")
	if c, err := l.Client.Dial("tcp", to.String()); err == nil {
		c.Close()
		t.Error("guest0 is still taken for what it was called before")
	}
	f.wait("refusal", func(e event) bool { return e.Type == "drop" && e.Ours.Rule == "guests" })
	rename("guest0", lab.GatewayClientLink)
	if _, err := exchange(dial(t, l, to), &tls.Config{}, 1000); err != nil {
		t.Errorf("renamed again: %v", err)
	}
}

// TestIntegrationLinkMoved moves the link to the server into another namespace and
// back, where its number is taken by another link meanwhile: connections go on, what is
// refused is, and both ends are reset.
func TestIntegrationLinkMoved(t *testing.T) {
	labtest.Program(t, "ip")
	labtest.Program(t, "unshare")
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, "[intercept]\noffload = false\n"+partnerPolicy)
	elsewhere := resident(t, l.Gateway, "unshare", "--net")
	lasting, _ := f.startLasting(l, l.Server.IPv4)
	output(t, l.Gateway, "ip", "link", "set", lab.GatewayServerLink, "netns", elsewhere)
	output(t, l.Gateway, "ip", "link", "add", "other", "index", "102", "type", "veth", "peer", "name", "another")
	fmt.Fprint(lasting, pattern(8)[4:6]) // is lost for now
	time.Sleep(time.Second)
	if out, errs, code := f.ask(l, "health"); code != 0 {
		t.Errorf("health: %d: %s%s", code, out, errs)
	}
	output(t, l.Gateway, "nsenter", "--net=/proc/"+elsewhere+"/ns/net", "ip", "link", "set", lab.GatewayServerLink, "netns", fmt.Sprint(f.cmd.Process.Pid))
	addressLink(t, l, lab.GatewayServerLink, "198.18.2.1/24", "2001:db8:2::1/64")

	families(t, l, func(t *testing.T, server netip.Addr) {
		to := netip.AddrPortFrom(server, 443)
		if _, err := exchange(dial(t, l, to), goodSuite, 100_000); err != nil {
			t.Errorf("permitted: %v", err)
		}
		w.next(t)
		_, err := exchange(dial(t, l, to), badSuite, 1000)
		wasReset(t, "the client", err)
		v := w.next(t)
		refusedAtServer(t, v, eventOf(t, f, "drop", v))
	})
	fmt.Fprint(lasting, pattern(8)[6:])
	heard := make([]byte, 72)
	if n, err := lasting.Read(heard); err != nil || n == 0 {
		t.Errorf("the connection that began before: %d bytes, %v", n, err)
	}
	if s := f.statsNow(); s.Packets["bugs"] > 0 {
		t.Error(f.said())
	}
}

// TestIntegrationNamespaceDeleted: a namespace of which nothing is left but the daemon
// inside, its name least of all, is there for as long as the daemon is, and so are its
// queues and rules.
func TestIntegrationNamespaceDeleted(t *testing.T) {
	labtest.Program(t, "unshare")
	l := labtest.New(t, lab.Options{})
	dir := t.TempDir()
	policy, socket := filepath.Join(dir, "policy.toml"), filepath.Join(dir, "s")
	if err := os.WriteFile(policy, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := wrapped(t, l, []string{"unshare", "--net"}, "run", "-c", policy, "--install-rules", "--socket", socket, "--state", "none", "--events", "none")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	f := &firewall{t: t, socket: socket}
	if !within(10*time.Second, func() bool { _, _, code := f.ask(l, "health"); return code == 0 }) {
		t.Errorf("not well: %s", said.String())
	}
	select {
	case err := <-ended:
		t.Fatalf("ended by itself: %v: %s", err, said.String())
	case <-time.After(2500 * time.Millisecond): // probes, and an answer
	}
	if out, errs, code := f.ask(l, "health"); code != 0 {
		t.Errorf("health: %d: %s%s", code, out, errs)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Errorf("ended with %v: %s", err, said.String())
	}
}
