package nfq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	variants = []string{"nft", "legacy"}
	families = []Family{IPv4, IPv6}
)

const ourBits = 0x00ff0000

var ourMarks = Marks{ourBits}

// install installs rules in a namespace.
func (n namespace) install(t testing.TB, r Rules) {
	t.Helper()
	if _, err := exec.LookPath(tables{IPv4, r.Variant}.program("restore")); err != nil {
		missing(t, "iptables", err)
	}
	err := n.try(func() error { return r.Install(context.Background()) })
	if errors.Is(err, ErrUnsupported) {
		missing(t, "kernel support for the rules", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// iptables runs a command in the mangle table.
func (n namespace) iptables(t testing.TB, f Family, variant string, args ...string) {
	t.Helper()
	name := strings.TrimSuffix(tables{f, variant}.program(""), "-")
	n.run(t, name, append([]string{"-t", "mangle"}, args...)...)
}

func (n namespace) save(t testing.TB, f Family, variant string, args ...string) string {
	t.Helper()
	return n.run(t, tables{f, variant}.program("save"), append([]string{"-t", "mangle"}, args...)...)
}

// counted is how many packets the rule with this comment has seen.
func (n namespace) counted(t testing.TB, f Family, variant, comment string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\[(\d+):\d+\] .*--comment "?` + comment + `\b`).FindStringSubmatch(n.save(t, f, variant, "-c"))
	if m == nil {
		t.Fatalf("no rule %q", comment)
	}
	count, _ := strconv.Atoi(m[1])
	return count
}

// connmark is the connection mark of the one connection to port 443, our bits of it.
func (n namespace) connmark(t testing.TB) uint32 {
	t.Helper()
	var table []byte
	err := n.try(func() (err error) {
		table, err = os.ReadFile(procNet("nf_conntrack"))
		return err
	})
	if err != nil {
		missing(t, "CONFIG_NF_CONNTRACK_PROCFS", err)
	}
	m := regexp.MustCompile(`dport=443 .*mark=(\d+)`).FindAllSubmatch(table, -1)
	if len(m) != 1 {
		t.Fatalf("%d connections:\n%s", len(m), table)
	}
	mark, _ := strconv.ParseUint(string(m[0][1]), 10, 32)
	return uint32(mark) & ourBits
}

// echo answers what it is sent until the test ends.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

// seen is what a queue was asked, by kind of the packet's mark.
type seen struct {
	mu      sync.Mutex
	packets []Packet
}

func (s *seen) add(p *Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := *p
	q.Payload = bytes.Clone(p.Payload)
	s.packets = append(s.packets, q)
}

func (s *seen) take() []Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packets
	s.packets = nil
	return p
}

// A place is where a hook sees a connection, and who the ends are.
func (n network) place(h Hook, f Family) (client, server namespace, address string) {
	switch h {
	case Input:
		return n.client, n.gateway, net.JoinHostPort(gatewayAddress[f], "443")
	case Output:
		return n.gateway, n.server, net.JoinHostPort(serverAddress[f], "443")
	}
	return n.client, n.server, net.JoinHostPort(serverAddress[f], "443")
}

// exchange sends a line to an echo and wants it back.
func exchange(c net.Conn, line string, timeout time.Duration) error {
	c.SetDeadline(time.Now().Add(timeout))
	if _, err := c.Write([]byte(line)); err != nil {
		return err
	}
	b := make([]byte, len(line))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != line {
		return fmt.Errorf("got %q, want %q", b, line)
	}
	return nil
}

func forEach(t *testing.T, f func(t *testing.T, variant string, h Hook, f Family, backend string)) {
	for _, variant := range variants {
		for _, h := range []Hook{Forward, Input, Output} {
			for _, family := range families {
				for _, backend := range backends {
					t.Run(fmt.Sprintf("%s/%v/IPv%d/%s", variant, h, family, backend), func(t *testing.T) {
						t.Parallel()
						f(t, variant, h, family, backend)
					})
				}
			}
		}
	}
}

// A repeated packet goes on behind our rules, its decision saved to the
// connection; the accepted connection then stays in the kernel until it ends.
func TestIntegrationRepeatAccepted(t *testing.T) {
	forEach(t, func(t *testing.T, variant string, h Hook, f Family, backend string) {
		n := newNetwork(t)
		chain := strings.ToUpper(h.String())
		before := "PREROUTING"
		if h == Output {
			before = chain
		}
		n.gateway.iptables(t, f, variant, "-A", before, "-j", "MARK", "--set-xmark", "0x1/0x1") // a foreign bit
		rules := Rules{Queue: 3, Hooks: []Hook{h}, Ports: []PortRange{{443, 443}, {9000, 9099}}, Mark: ourBits,
			Generation: 3, Offload: true, Variant: variant}
		n.gateway.install(t, rules)
		n.gateway.iptables(t, f, variant, "-A", chain, "-m", "comment", "--comment", "behind", "-p", "tcp")
		n.gateway.iptables(t, f, variant, "-A", chain, "-m", "comment", "--comment", "leaked", "-m", "mark", "!", "--mark", "0x1/0xffffffff", "-p", "tcp")

		q := n.gateway.open(t, Config{Number: 3, Backend: backend, InjectMark: ourMarks.Pass()})
		var log seen
		answers(q, func(p *Packet) (Verdict, uint32, []byte) {
			log.add(p)
			mark := ourMarks.Pass()
			if carries(p.Payload) {
				mark = ourMarks.Accepted(3)
			}
			return Repeat, ourMarks.Set(p.Mark, mark), nil
		})
		client, server, address := n.place(h, f)
		go echo(server.listen(t, address))
		c, err := client.dial(address, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := exchange(c, "hello", 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := n.gateway.connmark(t); got != ourMarks.Accepted(3) {
			t.Errorf("connection mark %#x, want %#x", got, ourMarks.Accepted(3))
		}
		queued := log.take()
		for _, p := range queued {
			if p.Hook != h || p.Mark&^ourBits != 1 || ourMarks.Kind(p.Mark) != Undecided {
				t.Errorf("queued: %+v", p)
			}
		}
		if len(queued) < 3 || len(queued) > 5 {
			t.Errorf("%d packets queued", len(queued))
		}

		for i := range 10 {
			if err := exchange(c, fmt.Sprint("more", i), 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if late := log.take(); len(late) != 0 {
			t.Errorf("%d packets queued of a connection that stays in the kernel", len(late))
		}
		rules.Generation++
		n.gateway.install(t, rules)
		if err := exchange(c, "again", 5*time.Second); err != nil {
			t.Fatal(err)
		}
		again := log.take()
		if len(again) == 0 || again[0].Mark != ourMarks.Accepted(3)|1 {
			t.Errorf("after another generation: %+v", again)
		}
		if n := n.gateway.counted(t, f, variant, "leaked"); n != 0 {
			t.Errorf("%d packets left our rules with a wrong mark", n)
		}
		if n := n.gateway.counted(t, f, variant, "behind"); n < 12 {
			t.Errorf("%d packets went on behind our rules", n)
		}
		if s := q.Stats(); s.Missed != 0 || s.VerdictErrors != nil || s.Malformed != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestIntegrationRepeatRefused(t *testing.T) {
	forEach(t, func(t *testing.T, variant string, h Hook, f Family, backend string) {
		n := newNetwork(t)
		n.gateway.install(t, Rules{Hooks: []Hook{h}, Mark: ourBits, Variant: variant})
		q := n.gateway.open(t, Config{Backend: backend, InjectMark: ourMarks.Pass()})
		var log seen
		answers(q, func(p *Packet) (Verdict, uint32, []byte) {
			log.add(p)
			if carries(p.Payload) {
				return Repeat, ourMarks.Set(p.Mark, ourMarks.Refused()), nil
			}
			return Repeat, ourMarks.Set(p.Mark, ourMarks.Pass()), nil
		})
		client, server, address := n.place(h, f)
		go echo(server.listen(t, address))
		c, err := client.dial(address, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		log.take()
		var data []Packet // the line, and its retransmissions
		for range 10 {
			if err := exchange(c, "hello", 300*time.Millisecond); !os.IsTimeout(err) {
				t.Fatalf("exchange: %v", err)
			}
			for _, p := range log.take() {
				if carries(p.Payload) {
					data = append(data, p)
				}
			}
			if len(data) > 1 {
				break
			}
		}
		if got := n.gateway.connmark(t); got != ourMarks.Refused() {
			t.Errorf("connection mark %#x, want %#x", got, ourMarks.Refused())
		}
		for i, p := range data {
			if want := []Kind{Undecided, Refused}[min(i, 1)]; ourMarks.Kind(p.Mark) != want {
				t.Errorf("packet %d of %d with data came with mark %#x", i, len(data), p.Mark)
			}
		}
	})
}

// A decision is taken back when its connection's ports have a new connection.
func TestIntegrationClear(t *testing.T) {
	for _, variant := range variants {
		n := newNetwork(t)
		n.gateway.install(t, Rules{Hooks: []Hook{Forward}, Mark: ourBits, Variant: variant})
		answers(n.gateway.open(t, Config{}), func(p *Packet) (Verdict, uint32, []byte) {
			mark := ourMarks.Pass()
			if bytes.Contains(p.Payload, []byte("accept")) {
				mark = ourMarks.Accepted(0)
			} else if bytes.Contains(p.Payload, []byte("clear")) {
				mark = ourMarks.Clear()
			}
			return Repeat, ourMarks.Set(p.Mark, mark), nil
		})
		client, server, address := n.place(Forward, IPv4)
		go echo(server.listen(t, address))
		c, err := client.dial(address, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, step := range []struct {
			line string
			want uint32
		}{{"accept", ourMarks.Accepted(0)}, {"pass", ourMarks.Accepted(0)}, {"clear", 0}, {"pass", 0}} {
			if err := exchange(c, step.line, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			if got := n.gateway.connmark(t); got != step.want {
				t.Errorf("%s: after %q the connection mark is %#x, want %#x", variant, step.line, got, step.want)
			}
		}
	}
}

// Both directions of a connection come to one of several queues, and only on
// the interface asked for.
func TestIntegrationSelection(t *testing.T) {
	for _, variant := range variants {
		for _, test := range []struct {
			interfaces []string
			ports      []PortRange
			queued     bool
		}{
			{nil, nil, true},
			{[]string{"client"}, []PortRange{{400, 500}}, true},
			{[]string{"cl*"}, []PortRange{{1, 1}, {443, 443}}, true},
			{[]string{"server"}, nil, true}, // answers leave by it
			{[]string{"other*", "eth9"}, nil, false},
			{nil, []PortRange{{80, 80}, {444, 1000}}, false},
		} {
			t.Run(fmt.Sprint(variant, test.interfaces, test.ports), func(t *testing.T) {
				n := newNetwork(t)
				n.gateway.install(t, Rules{Queue: 10, Workers: 3, Hooks: []Hook{Forward}, Mark: ourBits, Variant: variant,
					InInterfaces: test.interfaces, Ports: test.ports})
				var logs [3]seen
				for i := range logs {
					answers(n.gateway.open(t, Config{Number: uint16(10 + i)}), func(p *Packet) (Verdict, uint32, []byte) {
						logs[i].add(p)
						return Repeat, ourMarks.Set(p.Mark, ourMarks.Pass()), nil
					})
				}
				client, server, address := n.place(Forward, IPv4)
				go echo(server.listen(t, address))
				c, err := client.dial(address, 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := exchange(c, "hello", 5*time.Second); err != nil {
					t.Fatal(err)
				}
				used := 0
				for i := range logs {
					if got := len(logs[i].take()); got > 0 {
						used++
						if got < 5 {
							t.Errorf("%d packets queued", got)
						}
					}
				}
				if used != map[bool]int{true: 1}[test.queued] {
					t.Errorf("%d queues used", used)
				}
			})
		}
	}
}
