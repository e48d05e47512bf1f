package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

const (
	observePolicy = "[default]\nmode = \"observe\"\nnot_tls = \"reset\"\n" + partnerPolicy
	workersPolicy = "[queue]\nworkers = 2\n" + partnerPolicy
	twoPorts      = "[intercept]\nports = [\"443\", \"8444\"]\n" + partnerPolicy
)

var (
	goodSuite = &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	badSuite  = &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}
)

// queued returns how many packets each queue of the gateway has been given.
func queued(t testing.TB, l *lab.Lab) (packets []int) {
	t.Helper()
	for line := range strings.Lines(output(t, l.Gateway, "cat", "/proc/net/netfilter/nfnetlink_queue")) {
		n, err := strconv.Atoi(strings.Fields(line)[7]) // id_sequence
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, n)
	}
	return packets
}

// TestIntegrationObserve refuses nothing, and tells what it would refuse.
func TestIntegrationObserve(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, observePolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		to := netip.AddrPortFrom(server, 443)
		for _, tt := range []struct {
			config *tls.Config
			reason string
		}{{goodSuite, ""}, {badSuite, "require.cipher"}, {&tls.Config{}, "require.cipher"}} {
			_, err := exchange(dial(t, l, to), tt.config, 1<<20)
			v := w.next(t)
			if err != nil || v.err != nil {
				t.Errorf("%v at the client, %v at the server", err, v.err)
			}
			if tt.reason == "" {
				eventOf(t, f, "tls", v)
				continue
			}
			if e := eventOf(t, f, "drop", v); !e.Ours.Observed || e.Ours.Rule != "partner" || e.Ours.Reason != tt.reason {
				t.Errorf("event: %+v", e)
			}
		}
		s := curl(t, l, fmt.Sprintf("http://%s/", to))
		v := w.next(t)
		if strings.Contains(s.err, "reset by peer") || v.raw.Load() == 0 {
			t.Errorf("plain HTTP: the server read %d bytes; %s", v.raw.Load(), s)
		}
		if e := eventOf(t, f, "drop", v); !e.Ours.Observed || e.Ours.Reason != "not_tls" {
			t.Errorf("event: %+v", e)
		}
	})
	for _, d := range f.drops() {
		if !d.Ours.Observed {
			t.Errorf("refused: %+v", d)
		}
	}
}

// dialFrom is a connection from one of the client's addresses.
func dialFrom(t testing.TB, l *lab.Lab, from netip.Addr, to netip.AddrPort) net.Conn {
	t.Helper()
	var c net.Conn
	err := l.Client.Run(func() (err error) {
		d := net.Dialer{Timeout: visitTime, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		c, err = d.DialContext(t.Context(), "tcp", to.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// addresses gives a host n addresses after its own.
func addresses(t testing.TB, h *lab.Host, own netip.Addr, n int) []netip.Addr {
	t.Helper()
	list := []netip.Addr{own}
	for range n {
		next := list[len(list)-1].Next()
		args := []string{"addr", "add", next.String() + "/24", "dev", lab.HostLink}
		if next.Is6() {
			args = []string{"addr", "add", next.String() + "/64", "dev", lab.HostLink, "nodad"}
		}
		output(t, h, "ip", args...)
		list = append(list, next)
	}
	return list
}

// TestIntegrationWorkers spreads address pairs over two queues.
func TestIntegrationWorkers(t *testing.T) {
	labtest.Program(t, "ip")
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, workersPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		own := l.Client.IPv4
		if server.Is6() {
			own = l.Client.IPv6
		}
		before := queued(t, l)
		servers := addresses(t, l.Server, server, 3)
		for _, from := range addresses(t, l.Client, own, 5) {
			for _, to := range servers {
				if _, err := exchange(dialFrom(t, l, from, netip.AddrPortFrom(to, 443)), goodSuite, 10_000); err != nil {
					t.Errorf("%s to %s: %v", from, to, err)
				}
				if v := w.next(t); v.err != nil || v.from.Addr() != from {
					t.Errorf("from %s: the server saw %s, %v", from, v.from, v.err)
				}
				_, err := exchange(dialFrom(t, l, from, netip.AddrPortFrom(to, 443)), badSuite, 10_000)
				wasReset(t, "the client", err)
				v := w.next(t)
				e := eventOf(t, f, "drop", v)
				refusedAtServer(t, v, e)
				(&attempt{rule: "partner", reason: "require.cipher", cipher: "TLS_RSA_WITH_AES_128_CBC_SHA", detail: said12}).explained(t, e)
			}
		}
		after := queued(t, l)
		if len(before) != 2 || len(after) != 2 || after[0] <= before[0] || after[1] <= before[1] {
			t.Errorf("packets in the queues: %d before, %d after; want more in both of two", before, after)
		}
	})
}

// iptables runs iptables and ip6tables on the gateway.
func iptables(t testing.TB, l *lab.Lab, args ...string) (out string) {
	t.Helper()
	programs := []string{"iptables"}
	if l.Gateway.IPv6.IsValid() {
		programs = append(programs, "ip6tables")
	}
	for _, p := range programs {
		out += output(t, l.Gateway, p, append([]string{"-w", "5"}, args...)...)
	}
	return out
}

// TestIntegrationFilter: what the policy accepts, the administrator may still
// refuse.
func TestIntegrationFilter(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	iptables(t, l, "-A", "FORWARD", "-p", "tcp", "--dport", "8444", "-j", "DROP")
	f := startFirewall(t, l, twoPorts)
	families(t, l, func(t *testing.T, server netip.Addr) {
		if _, err := exchange(dial(t, l, netip.AddrPortFrom(server, 443)), goodSuite, 1000); err != nil {
			t.Errorf("port 443: %v", err)
		}
		w.next(t)
		err := l.Client.Run(func() error {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(server, 8444).String(), 300*time.Millisecond)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			t.Error("port 8444 is open, although the filter table drops it")
		}
	})
	// A connection that is left to the kernel is still the administrator's.
	families(t, l, func(t *testing.T, server netip.Addr) {
		c := dial(t, l, netip.AddrPortFrom(server, 443))
		defer c.Close()
		conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: goodSuite.CipherSuites})
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		rule := []string{"FORWARD", "-p", "tcp", "--dport", "443", "-j", "DROP"}
		iptables(t, l, append([]string{"-A"}, rule...)...)
		fmt.Fprintf(conn, "exchange 0 10\n")
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if n, err := c.Read(make([]byte, 100)); err == nil {
			t.Errorf("%d bytes came, although the filter table drops what was said", n)
		}
		iptables(t, l, append([]string{"-D"}, rule...)...)
	})
	if d := f.drops(); len(d) != 0 {
		t.Errorf("refused: %+v", d)
	}
}

// TestIntegrationMarks: rules behind ours see the packets, and marks whose bits
// are not ours stay as they are.
func TestIntegrationMarks(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	mangle := func(args ...string) string { return iptables(t, l, append([]string{"-t", "mangle"}, args...)...) }
	mangle("-A", "PREROUTING", "-p", "tcp", "-j", "MARK", "--set-xmark", "0x5a0000a5/0xff0000ff")
	mangle("-A", "PREROUTING", "-p", "tcp", "-j", "CONNMARK", "--set-xmark", "0x6b0000b6/0xff0000ff")
	f := startFirewall(t, l, partnerPolicy)
	counters := []struct {
		match string
		some  bool // packets are to match
	}{
		{"-p tcp --dport 443", true},
		{"-p tcp --sport 443", true},
		{"-p tcp -m mark --mark 0x5a0000a5", true}, // all 32 bits: ours are clear again
		{"-p tcp -m mark ! --mark 0x5a0000a5", false},
		{"-p tcp -m connmark --mark 0x6b0000b6/0xff0000ff", true},
		{"-p tcp -m connmark ! --mark 0x6b0000b6/0xff0000ff", false},
		{"-p tcp -m connmark ! --mark 0x0/0x00ff0000", true}, // accepted connections carry our decision
	}
	for _, c := range counters { // behind our jump, which stands there already
		mangle(append([]string{"-A", "FORWARD"}, strings.Fields(c.match)...)...)
	}
	families(t, l, func(t *testing.T, server netip.Addr) {
		to := netip.AddrPortFrom(server, 443)
		if _, err := exchange(dial(t, l, to), goodSuite, 1<<20); err != nil {
			t.Errorf("permitted: %v", err)
		}
		w.next(t)
		_, err := exchange(dial(t, l, to), badSuite, 1<<20)
		wasReset(t, "the client", err)
		eventOf(t, f, "drop", w.next(t))
		program := "iptables"
		if server.Is6() {
			program = "ip6tables"
		}
		lines := strings.Split(output(t, l.Gateway, program, "-w", "5", "-t", "mangle", "-L", "FORWARD", "-v", "-n", "-x"), "\n")
		for i, c := range counters {
			line := lines[3+i] // after two headings and our jump
			n, err := strconv.Atoi(strings.Fields(line)[0])
			if err != nil || (n > 0) != c.some {
				t.Errorf("%s: %d packets, %v; want some: %v\n%s", c.match, n, err, c.some, strings.Join(lines, "\n"))
			}
		}
	})
}
