package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// soakClass is what a connection is, and what is to become of it.
type soakClass struct {
	name      string
	port      uint16
	permitted bool
	reasons   []string // of its refusal; of what is permitted, if others are in its way
	tls12     bool     // TLS 1.2 alone, with a suite that is not allowed
	plain     bool     // no TLS
	ours      bool     // our own client alone
}

var soakClasses = []soakClass{
	{name: "ok", port: soakPort, permitted: true},
	{name: "ok", port: soakPort, permitted: true}, // twice as many
	{name: "records", port: soakPort, permitted: true},
	{name: "pinned", port: soakPort, permitted: true, reasons: []string{"pin.taken"}},
	{name: "held", port: soakPort, permitted: true, reasons: []string{"hold.expired"}},
	{name: "plain", port: tcpPort, permitted: true, plain: true, ours: true},
	{name: "name", port: soakPort, reasons: []string{"rule"}},
	{name: "alert", port: soakPort, reasons: []string{"rule"}},
	{name: "suite", port: soakPort, reasons: []string{"require.cipher"}, tls12: true},
	{name: "closed", port: closedPort, reasons: []string{"require.sni", "refused.earlier"}, ours: true},
	{name: "nottls", port: soakPort, reasons: []string{"not_tls"}, plain: true, ours: true},
}

// suite is the one a client offers: of those that are allowed, or not.
func (c *soakClass) suite(good, bad string) string {
	if c.tls12 {
		return bad
	}
	return good
}

const soakPolicy = `
[queue]
workers = 2
[intercept]
ports = ["443", "8443", "8080"]
[default]
action     = "reset"
midstream  = "inspect"
not_tls    = "reset"
refuse_for = "1s"
[limits]
stories  = 256 # what is kept to be used again is soon there
sessions = 1024
[sets]
good = ["ECDHE-RSA-AES128-GCM-SHA256", "class:tls13"]

[[rule]]
name    = "name"
match   = { sni = "*.name.lab.example" }
action  = "reset"

[[rule]]
name    = "alert"
match   = { sni = "*.alert.lab.example" }
action  = "alert:access_denied"

[[rule]]
name    = "closed"
match   = { port = 8443 }
require = { sni = "*.open.lab.example" }
otherwise = "refuse"

[[rule]]
name    = "records"
match   = { sni = "*.records.lab.example" }
require = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data"] }

[[rule]]
name    = "pinned"
match   = { sni = "*.pinned.lab.example" }
pin     = { to = "connection", per = ["destination"], connections = 2 }

[[rule]]
name    = "held"
match   = { sni = "*.held.lab.example" }
action  = "hold"
hold    = { patience = "3s" }

[[rule]]
name    = "good"
match   = { sni = "*.lab.example", port = 443 }
require = { cipher = "@good" }
action  = "accept"

[[rule]]
name    = "plain"
match   = { port = 8080 }
action  = "accept"
`

// A disturbance is something that an operator, or bad luck, does to the daemon.
type disturbance struct {
	name   string
	weight int
	ends   bool // the daemon, and another begins
	do     func(*soak) error
}

var disturbances = []disturbance{
	{name: "kill a connection", weight: 12, do: (*soak).killOne},
	{name: "ask", weight: 6, do: (*soak).askAll},
	{name: "move a pin", weight: 4, do: (*soak).movePin},
	{name: "release a pin", weight: 2, do: (*soak).releasePin},
	{name: "open or close the gate", weight: 8, do: (*soak).turnGate},
	{name: "open for one", weight: 4, do: (*soak).openOne},
	{name: "reload", weight: 5, do: (*soak).reload},
	{name: "reload, and forbid for a while", weight: 3, do: (*soak).forbid},
	{name: "reload what is broken", weight: 2, do: (*soak).reloadBroken},
	{name: "stall", weight: 1, do: (*soak).stall},
	{name: "stop", weight: 3, ends: true, do: (*soak).stopDaemon},
	{name: "kill -9", weight: 3, ends: true, do: (*soak).killDaemon},
}

// soak is one run.
type soak struct {
	t       *testing.T
	l       *lab.Lab
	rng     *rand.Rand // of the one who disturbs
	seed    uint64
	server  *soakServer
	longest time.Duration
	count   atomic.Int64 // transfers begun
	ports   atomic.Int64
	version int            // of the policy, which says the same in each
	state   string         // file of what outlives a daemon
	done    map[string]int // disturbances
	f       *firewall
	account soakAccount

	mu        sync.Mutex
	transfers []*transfer
}

// soakDuration is how long the clients go on: TLSGATE_SOAK, or a moment.
func soakDuration(t *testing.T) time.Duration {
	if v := os.Getenv("TLSGATE_SOAK"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if testing.Short() {
		return 4 * time.Second
	}
	return 20 * time.Second
}

// TestIntegrationSoak lets clients of many kinds go on while the daemon is asked,
// told, stalled, stopped and killed. What is permitted arrives bit by bit, or an
// event says why not; what is refused never arrives, and an event says why; and the
// daemon takes no more of its host at the end than at the beginning.
//
// TLSGATE_SOAK says how long, TLSGATE_SOAK_SEED repeats a run's choices.
func TestIntegrationSoak(t *testing.T) {
	for _, name := range []string{"openssl", "curl", "gnutls-cli"} {
		labtest.Program(t, name)
	}
	duration := soakDuration(t)
	s := &soak{t: t, seed: rand.Uint64(), done: map[string]int{}, longest: min(duration/8, 20*time.Second)}
	if v := os.Getenv("TLSGATE_SOAK_SEED"); v != "" {
		var err error
		if s.seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s, TLSGATE_SOAK_SEED=%d", duration, s.seed)
	s.rng = rand.New(rand.NewPCG(s.seed, 0))
	s.l = labtest.New(t, lab.Options{})
	if err := s.l.Client.Sysctl("net.ipv4.ip_local_port_range", fmt.Sprintf("%d 65000", firstSoakPort+soakPorts)); err != nil {
		t.Fatal(err)
	}
	s.server = startSoakServer(t, s.l)
	s.account.lives = []life{{}}
	s.state = filepath.Join(t.TempDir(), "state")
	s.start()
	// The rules stay when the daemon goes: nothing passes without one.
	if err := s.rulesUp(); err != nil {
		t.Fatal(err)
	}

	s.run(duration/2, true)
	s.restart(syscall.SIGTERM)
	s.run(duration/10, false) // until it has what it keeps
	before := s.quiet()
	s.run(duration/5, false)
	between := s.quiet()
	s.run(duration/5, false)
	after := s.quiet()
	s.restart(syscall.SIGTERM)

	s.judge()
	s.crowded()
	s.gated()
	s.compare(before, between, after)
	t.Logf("disturbances: %v", s.done)
}

// run lets clients go on for a while, and disturbs the daemon.
func (s *soak) run(d time.Duration, restarts bool) {
	const clients = 10
	var running sync.WaitGroup
	until := time.Now().Add(d)
	for i := range uint64(clients) {
		c := &soakClient{soak: s, rng: rand.New(rand.NewPCG(s.seed, 1+i+uint64(s.count.Load()))), dir: s.t.TempDir()}
		running.Go(func() {
			for time.Now().Before(until) {
				x := c.transfer()
				s.mu.Lock()
				s.transfers = append(s.transfers, x)
				s.mu.Unlock()
			}
		})
	}
	for time.Now().Before(until) {
		time.Sleep(time.Duration(s.rng.IntN(300)) * time.Millisecond)
		d := s.choose(restarts)
		if err := d.do(s); err != nil {
			s.t.Errorf("%s: %v", d.name, err)
		}
		s.done[d.name]++
		s.take()
	}
	running.Wait()
}

// choose picks a disturbance.
func (s *soak) choose(restarts bool) *disturbance {
	all := 0
	for i := range disturbances {
		all += disturbances[i].weight
	}
	for {
		n := s.rng.IntN(all)
		for i := range disturbances {
			d := &disturbances[i]
			if n -= d.weight; n < 0 {
				if d.ends && !restarts {
					break
				}
				return d
			}
		}
	}
}

// start starts a daemon, which leaves the rules alone.
func (s *soak) start() {
	s.f = startFirewall(s.t, s.l, s.policy(), "--install-rules=false", "--state", s.state)
	s.account.lives[len(s.account.lives)-1].began = time.Now()
	if err := s.lookAtGate(); err != nil {
		s.t.Error(err)
	}
}

// restart ends the daemon in one way or the other, and starts another.
func (s *soak) restart(how syscall.Signal) {
	lives := &s.account.lives
	last := &(*lives)[len(*lives)-1]
	last.ended, last.killed = time.Now(), how == syscall.SIGKILL
	s.f.cmd.Process.Signal(how)
	select {
	case <-s.f.ended:
	case <-time.After(10 * time.Second):
		s.t.Fatalf("the daemon does not end on %s: %s", how, s.f.said())
	}
	s.take()
	if code := s.f.cmd.ProcessState.ExitCode(); how == syscall.SIGTERM && code != 0 {
		s.t.Errorf("the daemon ended with %d: %s", code, s.f.said())
	}
	*lives = append(*lives, life{})
	s.start()
}

func (s *soak) stopDaemon() error { s.restart(syscall.SIGTERM); return nil }

func (s *soak) killDaemon() error { s.restart(syscall.SIGKILL); return nil }

// stall stops the daemon for a moment.
func (s *soak) stall() error {
	s.f.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(time.Duration(s.rng.IntN(400)) * time.Millisecond)
	return s.f.cmd.Process.Signal(syscall.SIGCONT)
}

// process is what of a stats event says what the daemon takes of its host.
type process struct {
	Goroutines, FDs uint64
	LiveBytes       uint64 `json:"heap_live_bytes"`
	RSSBytes        uint64 `json:"rss_bytes"`
}

// String returns it in a line.
func (p process) String() string {
	return fmt.Sprintf("%d goroutines, %d file descriptors, %d kB live, %d kB resident", p.Goroutines, p.FDs, p.LiveBytes>>10, p.RSSBytes>>10)
}
