package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/config"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// millions in the environment has TestIntegrationMillion offer a million connections, to
// a daemon with default limits and to one with large ones.
const millions = "TLSGATE_MILLION"

// million is a number of connections offered to a daemon, and its limits.
type million struct {
	offered, connections, halfOpen int
	kind                           string
}

const (
	halfOpened = "half-open"
	idle       = "idle"         // open, and nothing is said: they are waited for
	decided    = "decided idle" // behind a handshake of TLS 1.3, and no rule asks for more: they rest
)

func (m *million) title() string {
	return fmt.Sprintf("%d %s, connections = %d, half_open = %d", m.offered, m.kind, m.connections, m.halfOpen)
}

// policy is floodPolicy's, which reads every record, with defaults for what is not asked.
func (m *million) policy() string {
	first := ""
	if m.kind == decided {
		first = "[[rule]]\nname = \"decided\"\nmatch = { port = 446 }\naction = \"accept\"\n"
	}
	return fmt.Sprintf(`
[queue]
workers = 1
[intercept]
ports = ["443", "446"]
[limits]
connections = %d
half_open   = %d
%s
[[rule]]
name      = "every-record"
match     = { port = [443, 446] }
require   = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data"] }
otherwise = "reset"
`, m.connections, m.halfOpen, first)
}

// pairs forges both ends of connections: from addresses of a network that the gateway
// sends to the client, who does not know them, to the server, who does not hear of them.
type pairs struct {
	fd      [2]int // by direction: raw sockets of client and server
	to      [2]unix.SockaddrInet4
	server  netip.Addr
	queues  *os.File // of the gateway
	flights []flight
	scratch []byte
}

func newPairs(t *testing.T, l *lab.Lab) *pairs {
	t.Helper()
	labtest.Program(t, "ip")
	output(t, l.Gateway, "ip", "route", "add", "198.18.64.0/18", "via", l.Client.IPv4.String())
	for _, way := range []string{"--dport", "--sport"} { // the kernel's own table has a bound of its own
		output(t, l.Gateway, "iptables", "-w", "5", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", way, "446", "-j", "CT", "--notrack")
	}
	p := &pairs{server: l.Server.IPv4, flights: handshake13(t, l)}
	for d, h := range []*lab.Host{l.Client, l.Server} {
		err := h.Run(func() (err error) {
			p.fd[d], err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(p.fd[d]) })
	}
	if err := l.Gateway.Run(func() (err error) {
		p.queues, err = os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.queues.Close() })
	return p
}

// turn is a segment of each connection.
type turn struct {
	reply    bool
	flags    packet.Flags
	seq, ack seqnum.Value
	payload  []byte
}

// send sends a segment of the n-th connection.
func (p *pairs) send(n int, s *turn) error {
	client := netip.AddrFrom4([4]byte{198, 18, byte(64 + n>>8&63), byte(n)})
	g := packet.Segment{Src: client, SrcPort: uint16(1024 + n>>14), Dst: p.server, DstPort: 446, Flags: s.flags, Seq: s.seq, Ack: s.ack, Window: 65535, Payload: s.payload}
	d := 0
	if s.reply {
		g.Src, g.Dst, g.SrcPort, g.DstPort, d = g.Dst, g.Src, g.DstPort, g.SrcPort, 1
	}
	p.scratch = g.Append(p.scratch[:0])
	p.to[d].Addr = g.Dst.As4()
	err := unix.Sendto(p.fd[d], p.scratch, 0, &p.to[d])
	if err == unix.ENOBUFS {
		return nil
	}
	return err
}

// waiting is how many packets the queue holds.
func (p *pairs) waiting() int {
	b := make([]byte, 4096)
	n, _ := p.queues.ReadAt(b, 0)
	if f := strings.Fields(string(b[:n])); len(f) > 2 {
		waiting, _ := strconv.Atoi(f[2])
		return waiting
	}
	return 0
}

// steps are what is said on a connection of a kind.
func (p *pairs) steps(kind string) []turn {
	steps := []turn{{false, packet.SYN, 1000, 0, nil}, {true, packet.SYN | packet.ACK, 5000, 1001, nil}, {false, packet.ACK, 1001, 5001, nil}}
	switch kind {
	case halfOpened:
		return steps[:1]
	case idle:
		return steps
	}
	next := map[bool]seqnum.Value{false: 1001, true: 5001} // by who sends it: the server
	for _, x := range p.flights {
		steps = append(steps,
			turn{x.fromServer, packet.ACK | packet.PSH, next[x.fromServer], next[!x.fromServer], x.bytes},
			turn{!x.fromServer, packet.ACK, next[!x.fromServer], next[x.fromServer] + seqnum.Value(len(x.bytes)), nil})
		next[x.fromServer] += seqnum.Value(len(x.bytes))
	}
	return steps
}

// flight is what one side says before it waits for the other.
type flight struct {
	fromServer bool
	bytes      []byte
}

// flightConn notes what is written.
type flightConn struct {
	net.Conn
	fromServer bool
	list       *[]flight
}

func (c flightConn) Write(b []byte) (int, error) {
	if n := len(*c.list); n > 0 && (*c.list)[n-1].fromServer == c.fromServer {
		(*c.list)[n-1].bytes = append((*c.list)[n-1].bytes, b...)
	} else {
		*c.list = append(*c.list, flight{c.fromServer, bytes.Clone(b)})
	}
	return c.Conn.Write(b)
}

// handshake13 is a handshake of TLS 1.3, in which one side writes at a time.
func handshake13(t *testing.T, l *lab.Lab) (list []flight) {
	t.Helper()
	certificate, err := l.Certificate(lab.KeyECDSA)
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	defer here.Close()
	served := make(chan error, 1)
	go func() {
		served <- tls.Server(flightConn{there, true, &list}, &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true}).Handshake()
	}()
	err = tls.Client(flightConn{here, false, &list}, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}}).Handshake()
	if err = errors.Join(err, <-served); err != nil {
		t.Fatal(err)
	}
	return list
}

// offer opens connections, as fast as the queue takes them, and does not lose any.
func (p *pairs) offer(ctx context.Context, m *million) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const batch = 256
	steps := p.steps(m.kind)
	for from := 0; from < m.offered && ctx.Err() == nil; from += batch {
		for _, s := range steps {
			for n := from; n < min(from+batch, m.offered); n++ {
				if err := p.send(n, &s); err != nil {
					return err
				}
			}
		}
		for p.waiting() > 2000 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// TestIntegrationMillion: connections without end, half-open ones and idle ones, take
// what the limits allow and no more; one that began before goes on meanwhile, new ones
// are made, and each one that found a bound reached is counted by its name.
func TestIntegrationMillion(t *testing.T) {
	all := []million{
		{60_000, 20_000, 10_000, halfOpened},
		{60_000, 100_000, 80_000, halfOpened},
		{30_000, 20_000, 10_000, idle},
		{40_000, 50_000, 10_000, idle},
		{40_000, 50_000, 10_000, decided},
	}
	if os.Getenv(millions) != "" {
		all = []million{
			{1_000_000, 262_144, 65_536, halfOpened},
			{1_000_000, 1_100_000, 1_050_000, halfOpened},
			{1_000_000, 262_144, 65_536, idle},
			{1_000_000, 1_100_000, 65_536, idle},
			{1_000_000, 1_100_000, 65_536, decided},
		}
	}
	for _, m := range all {
		t.Run(m.title(), func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			serveFlooded(t, l)
			p := newPairs(t, l)
			f := startFirewall(t, l, m.policy(), "--events", "none")
			c, err := config.Load(f.policy)
			if err != nil {
				t.Fatal(err)
			}
			h := startBystander(t, l, floodedAt[false])
			before := f.statsNow()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var offering sync.WaitGroup
			began, done := time.Now(), make(chan struct{})
			var took time.Duration
			offering.Go(func() {
				defer close(done)
				if err := p.offer(ctx, &m); err != nil {
					t.Error(err)
				}
				took = time.Since(began)
			})
			highest, most, made := uint64(0), uint64(0), 0
			slowest := time.Duration(0)
			for ended := false; !ended || made == 0; {
				select {
				case <-done:
					ended = true
				default:
				}
				s := f.statsNow()
				highest, most = max(highest, s.Process.RSSBytes), max(most, s.Connections["open"])
				start := time.Now()
				if err := honestOnce(t.Context(), l); err == nil {
					made++
					slowest = max(slowest, time.Since(start))
				} else if ended && time.Since(began) > took+2*visitTime {
					t.Fatalf("no new connection: %v", err)
				}
			}
			offering.Wait()
			rounds := h.end()
			time.Sleep(300 * time.Millisecond)
			after := f.statsNow()
			highest, most = max(highest, after.Process.RSSBytes), max(most, after.Connections["open"])

			seen := after.Connections["seen"] - before.Connections["seen"]
			t.Logf("%d connections in %s (%.0f packets a second), %d lost in the queue; hit: %v; at most %d in the table, %d of %d rest; %d MB resident before, at most %d: %d bytes a connection, %d of live heap; %d rounds of an old connection, %d new ones, the slowest in %s",
				seen, took.Round(time.Millisecond), float64(after.Packets["seen"]-before.Packets["seen"])/took.Seconds(), after.Queue["kernel_dropped"]+after.Queue["user_dropped"],
				nonzero(after.Limits), most, after.Connections["resting"], after.Connections["open"], before.Process.RSSBytes>>20, highest>>20,
				(highest-before.Process.RSSBytes)/most, (after.Process.LiveBytes-min(before.Process.LiveBytes, after.Process.LiveBytes))/max(after.Connections["open"], 1),
				rounds, made, slowest.Round(time.Millisecond))
			if limit := memoryLimit(footprint(c), 0); int64(highest) > limit {
				t.Errorf("%d MB, and the limits allow %d", highest>>20, limit>>20)
			}
			if most > uint64(m.connections) {
				t.Errorf("%d in the table", most)
			}
			// Those that are awake wait for silence, and there are never many (engine's awakeMost).
			if open, rest := after.Connections["open"], after.Connections["resting"]; (m.kind == decided) != (rest+20_000 > open && rest > 0) {
				t.Errorf("%d of %d rest", rest, open)
			}
			// What found no place is counted under the bound it has met: all but those there are.
			bound, room := "connections", m.connections
			if m.kind == halfOpened {
				bound, room = "half_open", min(m.halfOpen, m.connections)
			}
			hit := after.Limits[bound]
			if want := max(0, m.offered-room); hit < uint64(want)*95/100 || want == 0 && hit > 0 {
				t.Errorf("limits.%s was hit %d times; %d were offered, and there is room for %d", bound, hit, m.offered, room)
			}
			if after.Packets["bugs"] > 0 {
				t.Error(f.said())
			}
			if files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", f.cmd.Process.Pid)); len(files) > 100 {
				t.Errorf("%d files are open", len(files))
			}
		})
	}
}
