//go:build tools

package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/adversary"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// toolsPolicy refuses a name at the hello, and at the ServerHello a suite of TLS 1.2.
const toolsPolicy = `
[intercept]
ports = ["443", "8443"]

[[rule]]
name   = "names"
match  = { sni = ["api.evil.example", "*.evil.example"] }
action = "reset"

[[rule]]
name    = "suites"
require = { cipher = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] }
action  = "accept"
`

// toolsPermit permits one name, and drops all else: whom it refuses may go on and on. It is
// the policy if the environment has TLSGATE_TOOLS_PERMIT.
const toolsPermit = `
[intercept]
ports = ["443", "8443"]

[[rule]]
name      = "names"
match     = { sni = ["` + adversary.Permitted + `"] }
require   = { cipher = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] }
otherwise = "drop"
action    = "accept"

[[rule]]
name   = "others"
action = "drop"
`

// toolSlots tools run at once, each with addresses of its own: they wait, most of the time.
const toolSlots = 64

// toolPart in the environment, as "2/5", has every fifth strategy run, from the second on.
const toolPart = "TLSGATE_TOOLS_PART"

// tool is a program that others publish to get past boxes like ours. The path to it is
// in the environment.
type tool struct {
	name, variable string
	strategies     func() []strategy
	// args are those before a strategy's; a proxy listens on port and connects from
	// own, any other is given the packets of own by a queue.
	args  func(path string, own netip.Addr, number int) []string
	proxy bool
}

var tools = []tool{
	{name: "ciadpi", variable: "TLSGATE_CIADPI", strategies: ciadpiStrategies, proxy: true,
		args: func(_ string, own netip.Addr, n int) []string {
			return []string{"-i", "127.0.0.1", "-p", fmt.Sprint(n), "-I", own.String()}
		}},
	{name: "tpws", variable: "TLSGATE_TPWS", strategies: tpwsStrategies, proxy: true,
		args: func(_ string, own netip.Addr, n int) []string {
			return []string{"--socks", "--uid=0:0", "--bind-addr=127.0.0.1", fmt.Sprint("--port=", n), "--connect-bind-addr=" + own.String()}
		}},
	{name: "nfqws", variable: "TLSGATE_NFQWS", strategies: nfqwsStrategies,
		args: func(_ string, _ netip.Addr, n int) []string { return []string{"--uid=0:0", fmt.Sprint("--qnum=", n)} }},
	{name: "nfqws2", variable: "TLSGATE_NFQWS2", strategies: nfqws2Strategies, // with lua beside its directory, as published
		args: func(path string, _ netip.Addr, n int) []string {
			lua := filepath.Join(filepath.Dir(filepath.Dir(path)), "lua")
			return []string{"--uid=0:0", fmt.Sprint("--qnum=", n), "--lua-init=@" + lua + "/zapret-lib.lua", "--lua-init=@" + lua + "/zapret-antidpi.lua"}
		}},
	{name: "youtubeUnblock", variable: "TLSGATE_YOUTUBEUNBLOCK", strategies: youtubeUnblockStrategies,
		args: func(_ string, _ netip.Addr, n int) []string {
			return []string{fmt.Sprint("--queue-num=", n), "--packet-mark=1073741824", "--sni-domains=all", "--no-dport-filter", "--udp-filter-quic=disabled"}
		}},
}

// part is the strategies of a tool that are to run.
func (x *tool) part(t *testing.T) []strategy {
	all, which := x.chosen(), os.Getenv(toolPart)
	if which == "" {
		return all
	}
	var first, of int
	if n, err := fmt.Sscanf(which, "%d/%d", &first, &of); n != 2 || first < 1 || first > of {
		t.Fatalf("%s=%s: %v", toolPart, which, err)
	}
	var some []strategy
	for i := first - 1; i < len(all); i += of {
		some = append(some, all[i])
	}
	return some
}

// toolHello is what is said through a tool.
type toolHello struct {
	what   string
	stake  adversary.Stake
	config tls.Config
}

func toolHellos() []*toolHello {
	short := []tls.CurveID{tls.X25519}
	return []*toolHello{
		{"name", adversary.StakeName, tls.Config{ServerName: adversary.Forbidden, CurvePreferences: short}},
		{"name, in two segments", adversary.StakeName, tls.Config{ServerName: adversary.Forbidden}},
		{"suite", adversary.StakeSuite, tls.Config{ServerName: adversary.Permitted, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}}},
		{"permitted", adversary.StakeNone, tls.Config{ServerName: adversary.Permitted, CurvePreferences: short}},
		{"permitted, in two segments", adversary.StakeNone, tls.Config{ServerName: adversary.Permitted}},
	}
}

// toolSlot is where one tool runs at a time.
type toolSlot struct {
	t      *testing.T
	l      *lab.Lab
	seen   *hellosSeen
	f      *firewall // nil: nobody is in between
	number int       // of the queue, or the port
	own    [2]netip.Addr
}

// TestIntegrationTools runs what others publish against the daemon, as far as the
// environment says where it is.
func TestIntegrationTools(t *testing.T) {
	found := slices.DeleteFunc(slices.Clone(tools), func(x tool) bool { return os.Getenv(x.variable) == "" })
	if len(found) == 0 {
		t.Fatal("none of TLSGATE_CIADPI, TLSGATE_TPWS, TLSGATE_NFQWS, TLSGATE_NFQWS2, TLSGATE_YOUTUBEUNBLOCK says where a tool is")
	}
	policy := toolsPolicy
	if os.Getenv("TLSGATE_TOOLS_PERMIT") != "" {
		policy = toolsPermit
	}
	for title, o := range map[string]struct{ defaults, fastOpen string }{
		"default": {"", "1"},
		// and servers take data on a SYN from anybody
		"inspect": {"[default]\nmidstream = \"inspect\"\n", "1543"},
	} {
		t.Run(title, func(t *testing.T) {
			l := labtest.New(t, lab.Options{Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.tcp_fastopen": o.fastOpen}})
			if !l.Server.IPv6.IsValid() {
				labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
			}
			shortLife(t, l)
			// Honest segments fit the last link, as those of TCP do that was told of it.
			output(t, l.Server, "ip", "link", "set", lab.HostLink, "mtu", fmt.Sprint(adversary.NextLink))
			output(t, l.Client, "ip", "link", "set", lab.HostLink, "gso_max_segs", "1")
			seen := serveAdversaries(t, l)
			startNginx(t, l, files(t, l, 1), "8443 ssl")
			awaitPort(t, l, 8443)
			slots := toolSlotsOf(t, l, seen)
			open := map[string]map[string]*toolResult{}
			for _, x := range found {
				open[x.name] = runTool(slots, &x, x.part(t))
			}
			f := startFirewall(t, l, o.defaults+policy)
			for i := range slots {
				slots[i].f = f
			}
			for _, x := range found {
				list := x.part(t)
				judgeTool(t, &x, list, open[x.name], runTool(slots, &x, list))
			}
			t.Logf("dropped: %v", nonzero(f.statsNow().Dropped))
			if s := f.said(); strings.Contains(s, "panic") {
				t.Error(s)
			}
		})
	}
}

// toolSlotsOf gives each slot addresses and a queue of its own.
func toolSlotsOf(t *testing.T, l *lab.Lab, seen *hellosSeen) (slots []*toolSlot) {
	v4, v6 := addresses(t, l.Client, l.Client.IPv4, toolSlots), addresses(t, l.Client, l.Client.IPv6, toolSlots)
	for i := range toolSlots {
		s := &toolSlot{t: t, l: l, seen: seen, number: 3000 + i, own: [2]netip.Addr{v4[i+1], v6[i+1]}}
		for j, program := range []string{"iptables", "ip6tables"} {
			to := []string{"-j", "NFQUEUE", "--queue-num", fmt.Sprint(s.number), "--queue-bypass"}
			output(t, l.Client, program, append([]string{"-w", "5", "-t", "mangle", "-A", "POSTROUTING", "-s", s.own[j].String(), "-p", "tcp", "-m", "mark", "!", "--mark", "0x40000000/0x40000000"}, to...)...)
			output(t, l.Client, program, append([]string{"-w", "5", "-t", "mangle", "-A", "PREROUTING", "-d", s.own[j].String(), "-p", "tcp"}, to...)...)
		}
		slots = append(slots, s)
	}
	return slots
}

// toolResult is what came of one strategy.
type toolResult struct {
	answered map[adversary.Stake]int
	tried    map[adversary.Stake]int
	won      []string
	reasons  map[string]int // of permitted hellos that were refused
	trouble  string
}

// chosen are the strategies to be run: those that TLSGATE_STRATEGIES names, with a
// semicolon between them, or all.
func (x *tool) chosen() []strategy {
	names := os.Getenv("TLSGATE_STRATEGIES")
	if names == "" {
		return x.strategies()
	}
	return slices.DeleteFunc(x.strategies(), func(y strategy) bool { return !slices.Contains(strings.Split(names, ";"), y.String()) })
}

// runTool runs strategies of a tool.
func runTool(slots []*toolSlot, x *tool, list []strategy) map[string]*toolResult {
	work := make(chan strategy)
	results := map[string]*toolResult{}
	var mu sync.Mutex
	var running sync.WaitGroup
	for _, s := range slots {
		running.Go(func() {
			for y := range work {
				r := s.run(x, &y)
				mu.Lock()
				results[y.String()] = r
				mu.Unlock()
			}
		})
	}
	for _, y := range list {
		work <- y
	}
	close(work)
	running.Wait()
	return results
}

// run runs one strategy, IPv4 and IPv6.
func (s *toolSlot) run(x *tool, y *strategy) *toolResult {
	r := &toolResult{answered: map[adversary.Stake]int{}, tried: map[adversary.Stake]int{}, reasons: map[string]int{}}
	for i, server := range []netip.Addr{s.l.Server.IPv4, s.l.Server.IPv6} {
		ctx, cancel := context.WithCancel(s.t.Context())
		path := os.Getenv(x.variable)
		cmd := s.l.Client.Command(ctx, path, append(x.args(path, s.own[i], s.number), y.args...)...)
		said := &strings.Builder{}
		cmd.Stdout, cmd.Stderr = said, said
		err := cmd.Start()
		if err == nil && !s.ready(x) {
			err = errors.New("it is not there after a while")
		}
		if err == nil {
			for _, port := range []uint16{443, 8443} {
				for _, h := range toolHellos() {
					s.try(x, r, h, s.own[i], netip.AddrPortFrom(server, port))
				}
			}
		}
		cancel()
		cmd.Wait()
		if err != nil {
			r.trouble = fmt.Sprintf("%v: %s", err, clip(said.String()))
		}
	}
	return r
}

// ready waits until a tool takes connections, or packets.
func (s *toolSlot) ready(x *tool) bool {
	return within(5*time.Second, func() bool {
		if x.proxy {
			c, err := s.l.Client.Dial("tcp", fmt.Sprint("127.0.0.1:", s.number))
			if err == nil {
				c.Close()
			}
			return err == nil
		}
		bound := false
		s.l.Client.Run(func() error {
			b, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
			for line := range strings.Lines(string(b)) {
				bound = bound || strings.Fields(line)[0] == fmt.Sprint(s.number)
			}
			return err
		})
		return bound
	})
}

// heardConn keeps the beginning of what was heard.
type heardConn struct {
	net.Conn
	heard []byte
}

func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if len(c.heard) < 1<<12 {
		c.heard = append(c.heard, b[:n]...)
	}
	return n, err
}

// suite is the one of the ServerHello that was heard, 0 if there was none, or not the
// whole of it.
func (c *heardConn) suite() uint16 {
	if b := c.heard; len(b) > 43 && b[0] == 22 && b[5] == 2 && len(b) >= max(46+int(b[43]), 9+int(b[7])<<8+int(b[8])) {
		return binary.BigEndian.Uint16(b[44+b[43]:])
	}
	return 0
}

// try says one hello through a tool. A permitted one may try again: fakes are racing
// on a busy machine.
func (s *toolSlot) try(x *tool, r *toolResult, h *toolHello, own netip.Addr, server netip.AddrPort) {
	tries, patience := 1, 1500*time.Millisecond
	if h.stake == adversary.StakeNone && s.f != nil {
		tries, patience = 2, 4*time.Second
	}
	r.tried[h.stake]++
	for try := range tries {
		since := 0
		if s.f != nil {
			since = len(s.f.all())
		}
		s.seen.forgetHost(own)
		done, suite := s.visit(x, h, own, server, patience)
		names := s.seen.ofHost(own)
		won := done
		switch h.stake {
		case adversary.StakeName:
			won = won || slices.Contains(names, adversary.Forbidden)
		case adversary.StakeSuite:
			won = won || slices.Contains(h.config.CipherSuites, suite)
		}
		if won {
			r.answered[h.stake]++
			if h.stake != adversary.StakeNone {
				r.won = append(r.won, fmt.Sprintf("%s to %s: the server has read %q, suite %#x, done: %v", h.what, server, names, suite, done))
			}
			return
		}
		if h.stake == adversary.StakeNone && s.f != nil && try == tries-1 {
			r.reasons[s.reason(own, since)]++
		}
	}
}

// visit makes a handshake.
func (s *toolSlot) visit(x *tool, h *toolHello, own netip.Addr, server netip.AddrPort, patience time.Duration) (done bool, suite uint16) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var raw net.Conn
	err := s.l.Client.Run(func() (err error) {
		var d net.Dialer
		if x.proxy {
			raw, err = d.DialContext(ctx, "tcp", fmt.Sprint("127.0.0.1:", s.number))
			return err
		}
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(own, 0))
		raw, err = d.DialContext(ctx, "tcp", server.String())
		return err
	})
	if err != nil {
		return false, 0
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	if x.proxy && socks(raw, server) != nil {
		return false, 0
	}
	c := &heardConn{Conn: raw}
	config := h.config.Clone()
	config.InsecureSkipVerify = true
	err = tls.Client(c, config).Handshake()
	return err == nil, c.suite()
}

// socks asks a proxy for a connection (RFC 1928).
func socks(c net.Conn, to netip.AddrPort) error {
	kind := byte(1)
	if to.Addr().Is6() {
		kind = 4
	}
	request := append([]byte{5, 1, 0, 5, 1, 0, kind}, to.Addr().AsSlice()...)
	request = binary.BigEndian.AppendUint16(request, to.Port())
	if _, err := c.Write(request[:3]); err != nil {
		return err
	}
	var answer [22]byte
	if _, err := io.ReadFull(c, answer[:2]); err != nil {
		return err
	}
	if _, err := c.Write(request[3:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, answer[:4]); err != nil {
		return err
	}
	rest := 6
	if answer[3] == 4 {
		rest = 18
	}
	if _, err := io.ReadFull(c, answer[4:4+rest]); err != nil {
		return err
	}
	if answer[1] != 0 {
		return fmt.Errorf("the proxy says %d", answer[1])
	}
	return nil
}

// reason is why a host's last connection was refused.
func (s *toolSlot) reason(own netip.Addr, since int) string {
	why := "not refused, and not answered"
	within(time.Second, func() bool {
		for _, e := range s.f.all()[since:] {
			if e.Type == "drop" && e.SrcIP == own {
				why = e.Ours.Reason
				return true
			}
		}
		return false
	})
	return why
}

// judgeTool says what came of a tool, against what it does where nobody is in between.
func judgeTool(t *testing.T, x *tool, list []strategy, open, gated map[string]*toolResult) {
	t.Helper()
	var b strings.Builder
	got, without, tried := [3]int{}, [3]int{}, [3]int{}
	for _, y := range list {
		o, g := open[y.String()], gated[y.String()]
		if o.trouble != "" || g.trouble != "" {
			t.Errorf("%s %s does not run: %s%s", x.name, &y, o.trouble, g.trouble)
		}
		for stake := range tried {
			k := adversary.Stake(stake)
			got[stake], without[stake], tried[stake] = got[stake]+g.answered[k], without[stake]+o.answered[k], tried[stake]+g.tried[k]
		}
		for _, w := range g.won {
			t.Errorf("%s %s: %s", x.name, &y, w)
		}
		if none := adversary.StakeNone; g.answered[none] < o.answered[none] {
			fmt.Fprintf(&b, "  %d of %d  %s  %v\n", g.answered[none], o.answered[none], &y, slices.Sorted(maps.Keys(g.reasons)))
			if y.plain {
				t.Errorf("%s %s: a permitted hello is refused: %v", x.name, &y, g.reasons)
			}
		}
	}
	t.Logf("%s: %d strategies; without a firewall, and with it: forbidden name %d, %d; forbidden suite %d, %d; permitted %d, %d; of %v\npermitted hellos that are refused:\n%s",
		x.name, len(open), without[0], got[0], without[1], got[1], without[2], got[2], tried, b.String())
}

// ofHost and forgetHost are of all ports of a client.
func (s *hellosSeen) ofHost(client netip.Addr) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, n := range s.names {
		if at.Addr() == client {
			names = append(names, n...)
		}
	}
	return names
}

func (s *hellosSeen) forgetHost(client netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.names, func(at netip.AddrPort, _ []string) bool { return at.Addr() == client })
}
