package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/adversary"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

const (
	// adversaryQuiet is how long nothing comes over the lab's wire when nothing will.
	adversaryQuiet = 60 * time.Millisecond
	// adversaries play at once.
	adversaries = 96
	// adversaryTries is how often an honest client may try: a busy machine is slow.
	adversaryTries = 6
)

// adversaryWire is a client's port in the lab.
type adversaryWire struct {
	*lab.RawPort
	restart func()
}

func (w adversaryWire) Pass(d time.Duration) { time.Sleep(d) }

// Restart has the daemon end, and another one begin.
func (w adversaryWire) Restart() { w.restart() }

// hellosSeen are the server names that the server's program was asked for, by
// client.
type hellosSeen struct {
	mu    sync.Mutex
	names map[netip.AddrPort][]string
}

func (s *hellosSeen) add(from net.Addr, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := from.(*net.TCPAddr).AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	s.names[at] = append(s.names[at], name)
}

func (s *hellosSeen) of(client netip.AddrPort) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[client]
}

// forget is for a port that serves another play.
func (s *hellosSeen) forget(client netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, client)
}

// serveAdversaries is a TLS server of Go's on port 443 that notes every hello.
func serveAdversaries(t testing.TB, l *lab.Lab) *hellosSeen {
	t.Helper()
	seen := &hellosSeen{names: map[netip.AddrPort][]string{}}
	certificate, err := l.Certificate(lab.KeyECDSA)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		seen.add(h.Conn.RemoteAddr(), strings.ToLower(h.ServerName))
		return nil, nil
	}
	serveEach(t, l.Server, ":443", visitTime, func(c net.Conn) { tls.Server(c, config).Handshake() })
	return seen
}

// shortLife has packets that come with a small TTL end in front of the server, and those
// that the last link has no room for, as if there were a router more.
func shortLife(t testing.TB, l *lab.Lab) {
	t.Helper()
	for program, match := range map[string][]string{"iptables": {"-m", "ttl", "--ttl-lt", "32"}, "ip6tables": {"-m", "hl", "--hl-lt", "32"}} {
		if program == "ip6tables" && !l.Server.IPv6.IsValid() {
			continue
		}
		for _, match := range [][]string{match, {"-m", "length", "--length", fmt.Sprintf("%d:65535", adversary.NextLink+1)}} {
			output(t, l.Server, program, append([]string{"-w", "5", "-t", "raw", "-A", "PREROUTING", "-i", lab.HostLink, "-p", "tcp", "-j", "DROP"}, match...)...)
		}
	}
}

// TestIntegrationAdversary plays the table against the daemon on the queue, with
// Go's TLS on port 443 and OpenSSL's, in nginx, on port 8443; what servers do, with
// servers that have no kernel. TLSGATE_TRICKS plays those whose line has it.
func TestIntegrationAdversary(t *testing.T) {
	for title, policy := range map[string]string{
		"default": adversary.Policy(""), "inspect": adversary.Policy("midstream = \"inspect\"\n"),
		"names alone": adversary.Names(""),
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t, lab.Options{Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": "0"}})
			if !l.Server.IPv6.IsValid() {
				labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
			}
			shortLife(t, l)
			seen := serveAdversaries(t, l)
			startNginx(t, l, files(t, l, 1), "8443 ssl")
			awaitPort(t, l, 8443)
			raw := serveRaw(t, l)
			f := startFirewall(t, l, strings.Replace(policy, `"8443"`, fmt.Sprintf(`"8443", "%d"`, raw.port.Port), 1))
			playTable(t, l, seen, raw, title)
			if s := f.said(); strings.Contains(s, "panic") {
				t.Error(s)
			}
		})
	}
}

// playTable plays every trick, many at once. What is refused at the ServerHello is
// tried with one server.
func playTable(t *testing.T, l *lab.Lab, seen *hellosSeen, raw *rawServers, title string) {
	t.Helper()
	places := make(chan struct{}, adversaries)
	var playing sync.WaitGroup
	var results outcomes
	defer results.log(t)
	defer playing.Wait()
	play := func(trick *adversary.Trick, stake adversary.Stake, where string, how func() string) {
		places <- struct{}{}
		playing.Go(func() {
			defer func() { <-places }()
			wrong := how()
			results.note(trick, stake, wrong == "")
			if wrong != "" {
				t.Errorf("%s/%s, %s, %s: %s", trick.Group, trick.Name, stake, where, wrong)
			}
		})
	}
	families := []netip.Addr{l.Server.IPv4, l.Server.IPv6}
	for _, trick := range adversary.Tricks() {
		if !strings.Contains(string(trick.Group)+": "+trick.Name, os.Getenv("TLSGATE_TRICKS")) {
			continue
		}
		for _, stake := range trick.Stakes() {
			if trick.Model != "" || trick.Strict || stake == adversary.StakeNone && trick.Unseen && title == "inspect" ||
				stake == adversary.StakeSuite && title == "names alone" {
				continue
			}
			for _, family := range families {
				if trick.Ours {
					for _, stack := range adversary.Stacks()[:2] {
						play(&trick, stake, fmt.Sprintf("%s, %s", family, stack.Name), func() string { return raw.playOnRaw(l, &trick, stack, family, stake) })
					}
					continue
				}
				for _, port := range []uint16{443, 8443} {
					server := netip.AddrPortFrom(family, port)
					if stake != adversary.StakeSuite || server == netip.AddrPortFrom(l.Server.IPv4, 443) {
						play(&trick, stake, server.String(), func() string { return playOnWire(l, seen, &trick, server, stake) })
					}
				}
			}
		}
	}
}

// outcomes are what make adversary prints: of each trick how often it was tried, and
// how often it came to what it should.
type outcomes struct {
	mu    sync.Mutex
	plays map[string]*[3][2]int // by name, stake, and whether it should have been so
}

func (o *outcomes) note(trick *adversary.Trick, stake adversary.Stake, right bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := string(trick.Group) + ": " + trick.Name
	if o.plays == nil {
		o.plays = map[string]*[3][2]int{}
	}
	if o.plays[name] == nil {
		o.plays[name] = &[3][2]int{}
	}
	o.plays[name][stake][0]++
	if right {
		o.plays[name][stake][1]++
	}
}

// log prints a line for each trick that was played, in the order of the table.
func (o *outcomes) log(t *testing.T) {
	var b strings.Builder
	for _, trick := range adversary.Tricks() {
		name := string(trick.Group) + ": " + trick.Name
		p := o.plays[name]
		if p == nil {
			continue
		}
		fmt.Fprintf(&b, "%-90s forbidden name refused %d of %d, suite %d of %d", name, p[0][1], p[0][0], p[1][1], p[1][0])
		if p[adversary.StakeNone][0] > 0 {
			fmt.Fprintf(&b, ", permitted answered %d of %d", p[2][1], p[2][0])
		}
		b.WriteByte('\n')
	}
	t.Logf("%d tricks on the wire\n%s", len(o.plays), b.String())
}

// playOnWire plays a trick, and says what is wrong with what came of it.
func playOnWire(l *lab.Lab, seen *hellosSeen, trick *adversary.Trick, server netip.AddrPort, stake adversary.Stake) (wrong string) {
	return playRestarting(l, seen, trick, server, stake, nil)
}

// playRestarting is playOnWire with a way to have the daemon end and another one begin.
func playRestarting(l *lab.Lab, seen *hellosSeen, trick *adversary.Trick, server netip.AddrPort, stake adversary.Stake, restart func()) (wrong string) {
	for range adversaryTries {
		port, err := l.Client.RawPort()
		if err != nil {
			return err.Error()
		}
		client := netip.AddrPortFrom(l.Client.IPv4, port.Port)
		if server.Addr().Is6() {
			client = netip.AddrPortFrom(l.Client.IPv6, port.Port)
		}
		seen.forget(client)
		p := adversary.NewPeer(adversaryWire{port, restart}, client, server, stake, adversaryQuiet)
		p.Play(trick)
		p.HangUp()
		port.Close()
		wrong = p.Won(seen.of(client))
		if stake != adversary.StakeNone || wrong == "" {
			return wrong
		}
	}
	return fmt.Sprintf("%s, %d times", wrong, adversaryTries)
}

// awaitPort waits until a program of the server's host serves a port.
func awaitPort(t testing.TB, l *lab.Lab, port uint16) {
	t.Helper()
	if !within(visitTime, func() bool {
		c, err := l.Server.Dial("tcp", netip.AddrPortFrom(l.Server.IPv4, port).String())
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		t.Fatalf("nothing serves port %d", port)
	}
}
