package main

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// honestPolicy reads every record on ports 44xx, and leaves what it has permitted to
// the kernel on ports 84xx.
const honestPolicy = `
[intercept]
ports = ["4400-4499", "8400-8499"]

[sets]
partner = [
  "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA256",
  "ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA",
  "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
]

[[rule]]
name      = "every record"
match     = { port = "4400-4499" }
require   = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data", "early_data"] }
otherwise = "reset"

[[rule]]
name      = "partner"
match     = { port = "8400-8499" }
require   = { cipher = "@partner" }
otherwise = "reset"
`

// honestPolicies are the first ports of each of the two.
var honestPolicies = []struct {
	name string
	port uint16
}{{"every record", 4400}, {"partner", 8400}}

// honestBulk is what a transfer brings in each direction where a row says nothing.
const honestBulk = 600_000

// honestNetwork is what the network and the hosts are like.
type honestNetwork struct {
	lab.Options
	set      func(t *testing.T, l *lab.Lab)
	socket   func(network, address string, c syscall.RawConn) error // options of Go's sockets
	judge    func(t *testing.T, l *lab.Lab)                         // after the transfers: was it so?
	ipv4Only bool
}

// honestRow has every client of it ask every server of it, under each policy, by
// each IP version.
type honestRow struct {
	title   string
	network honestNetwork
	clients []honestClient
	servers []honestServer
	bytes   int64 // 0: honestBulk
}

// honestStage is where a row is played.
type honestStage struct {
	l       *lab.Lab
	network *honestNetwork
	dir     string
	want    int    // bytes to hear from a server that does not hang up; 0 for others
	last    string // of what is to be heard
}

// honestAtOnce bounds the rows that are played at the same time: most wait for timers.
const honestAtOnce = 6

// TestIntegrationHonest has honest programs in all kinds of networks: what they say
// arrives as it was said, and nothing is refused.
func TestIntegrationHonest(t *testing.T) {
	places := make(chan struct{}, honestAtOnce)
	var playing sync.WaitGroup
	for i := range honestRows {
		places <- struct{}{}
		playing.Go(func() {
			defer func() { <-places }()
			t.Run(honestRows[i].title, honestRows[i].play)
		})
	}
	playing.Wait()
}

func (row *honestRow) play(t *testing.T) {
	x := &honestStage{l: labtest.New(t, row.network.Options), network: &row.network}
	if !x.l.Server.IPv6.IsValid() {
		labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
	}
	if row.bytes == 0 {
		row.bytes = honestBulk
	}
	x.dir = files(t, x.l, honestBulk)
	if err := os.Chmod(x.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	x.file(t, "body", pattern(row.bytes))
	if row.network.set != nil {
		row.network.set(t, x.l)
	}
	f := startFirewall(t, x.l, honestPolicy)
	x.startBackend(t)
	ports := make([][]uint16, len(row.servers))
	var all []netip.AddrPort
	for i, s := range row.servers {
		for _, p := range honestPolicies {
			ports[i] = append(ports[i], p.port+uint16(i))
		}
		s.start(t, x, ports[i])
		all = append(all, x.destinations(ports[i])...)
	}
	for _, c := range row.clients {
		if c.start != nil {
			c.start(t, x, all)
		}
	}
	packets := [2]int{}
	for i := range row.servers {
		for k := range honestPolicies {
			before := sum(queued(t, x.l))
			row.transfers(t, x, f, i, k)
			packets[k] += sum(queued(t, x.l)) - before
		}
	}
	if packets[0] <= packets[1] {
		t.Errorf("%d packets in the queue where every record is read, %d where connections are left to the kernel", packets[0], packets[1])
	}
	if row.network.judge != nil {
		row.network.judge(t, x.l)
	}
	for _, d := range f.drops() {
		t.Errorf("refused: %+v", d)
	}
	if said := f.said(); strings.Contains(said, "panic") {
		t.Error(said)
	}
}

// transfers has all clients ask one server under one policy.
func (row *honestRow) transfers(t *testing.T, x *honestStage, f *firewall, server, policy int) {
	s := &row.servers[server]
	for _, to := range x.destinations([]uint16{honestPolicies[policy].port + uint16(server)}) {
		if to.Addr().Is6() && row.network.ipv4Only {
			continue
		}
		for _, c := range row.clients {
			if (c.http != nil || c.waits) && s.talk != nil {
				continue // it speaks HTTP or waits for the end, the server does not
			}
			heard, hear, err := row.transfer(t, x, &c, s, to)
			if s.abrupt && heard == hear && err != nil && strings.Contains(err.Error(), "unexpected eof") {
				err = nil
			}
			if err != nil || heard != hear {
				t.Errorf("%s to %s at %s, %q: %d bytes came of %d, the same: %v, %v", c.name, s.name, to, honestPolicies[policy].name,
					len(heard), len(hear), heard == hear, err)
			}
		}
	}
}

func (row *honestRow) transfer(t *testing.T, x *honestStage, c *honestClient, s *honestServer, to netip.AddrPort) (heard, hear string, err error) {
	if c.http != nil {
		heard, err = c.http(t, x, to, row.bytes, row.bytes)
		return heard, honestAnswer(pattern(row.bytes), row.bytes), err
	}
	talk := s.talk
	if talk == nil {
		talk = honestPost
	}
	say, hear := talk(x, row.bytes, row.bytes)
	x.want, x.last = 0, hear[len(hear)-100:]
	if http := strings.HasSuffix(say[:strings.Index(say, "\n")], "HTTP/1.0\r"); !http {
		x.want = len(hear)
	}
	heard, err = c.run(t, x, to, say)
	if x.want == 0 {
		_, heard, _ = strings.Cut(heard, "\r\n\r\n")
	}
	return heard, hear, err
}

func sum(numbers []int) (n int) {
	for _, m := range numbers {
		n += m
	}
	return n
}

// TestIntegrationHonestLoopback has client and server on the gateway itself, whose
// packets are larger than those of any other link.
func TestIntegrationHonestLoopback(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	l.Client, l.Server = l.Gateway, l.Gateway
	x := &honestStage{l: l, network: &honestNetwork{}, dir: files(t, l, 1)}
	honestGoServe.start(t, x, []uint16{honestPolicies[0].port})
	f := startFirewall(t, l, strings.Replace(honestPolicy, "[intercept]", "[intercept]\nhooks = [\"output\"]", 1))
	for _, address := range []string{"127.0.0.1", "::1"} {
		say, hear := honestPost(x, 4<<20, 4<<20)
		heard, err := honestGo.run(t, x, netip.AddrPortFrom(netip.MustParseAddr(address), honestPolicies[0].port), say)
		if _, heard, _ = strings.Cut(heard, "\r\n\r\n"); err != nil || heard != hear {
			t.Errorf("%s: %d bytes came of %d, the same: %v, %v", address, len(heard), len(hear), heard == hear, err)
		}
	}
	for _, d := range f.drops() {
		t.Errorf("refused: %+v", d)
	}
}

// TestHonestDocument: docs/EVASION.md has every row, and no other.
func TestHonestDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/EVASION.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "## What it must not cost\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got, want []string
	for line := range strings.Lines(section) {
		if title, ok := strings.CutPrefix(line, "| "); ok {
			title, _, _ = strings.Cut(title, " | ")
			got = append(got, title)
		}
	}
	want = append(want, "row")
	for _, row := range honestRows {
		want = append(want, row.title)
	}
	if want = append(want, "the loopback interface", "long silence"); !slices.Equal(got, want) {
		t.Errorf("the document has the rows %q, want %q", got, want)
	}
}
