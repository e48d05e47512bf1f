package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// reloadsOf is how many reloads TestIntegrationReloads makes: TLSGATE_RELOADS=1000 takes
// minutes.
func reloadsOf(t *testing.T) int {
	n := 30
	if s := os.Getenv("TLSGATE_RELOADS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("TLSGATE_RELOADS=%q is not a number", s)
		}
	}
	return n
}

// TestIntegrationReloads reloads again and again under traffic. No permitted connection is
// broken, old or new, every forbidden one is refused, and nothing is left behind.
func TestIntegrationReloads(t *testing.T) {
	reloads := reloadsOf(t)
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{}); err != nil {
		t.Fatal(err)
	}
	policy := func(i int) string {
		text := fmt.Sprintf("# %d\n[queue]\nworkers = 2\n[log]\nstats = \"1h\"\n[[rule]]\nname = \"never\"\nmatch = { sni = \"never.lab.example\" }\naction = \"reset\"\n", i)
		for r := range i % 7 {
			text += fmt.Sprintf("[[rule]]\nname = \"rule %d\"\nmatch = { sni = [\"a%d.lab.example\", \"b.lab.example\"] }\nrequire = { version = \">=1.2\", ja4 = \"*_*_*\" }\n", r, r)
		}
		if i%3 == 0 { // other rules, other texts
			text += "[[rule]]\nname = \"text\"\nmatch = { contains = [\"amazinggrace\", \"unheard of " + strconv.Itoa(i) + "\"] }\naction = \"reset\"\n"
		}
		return text
	}
	f := startFirewall(t, l, policy(-1))
	addresses := []string{"198.18.2.2:443", "[2001:db8:2::2]:443"}
	dialTLS := func(i int, name string) (*tls.Conn, error) {
		raw, err := l.Client.Dial("tcp", addresses[i%2])
		if err != nil {
			return nil, err
		}
		raw.SetDeadline(time.Now().Add(10 * time.Minute))
		version := uint16(tls.VersionTLS12 + i/2%2)
		return tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: name, MaxVersion: version}), nil
	}

	var running sync.WaitGroup
	done := make(chan struct{})
	stopped := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	var passed, refused, bulk atomic.Int64
	for i := range 4 { // connections that last from the first reload to the last
		c, err := dialTLS(i, "good.lab.example")
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c, "echo\nbefore", "before")
		running.Go(func() {
			defer c.Close()
			piece, heard := []byte(pattern(100_000)), make([]byte, 100_000)
			for n := 0; !stopped(); n++ {
				go c.Write(piece)
				if _, err := io.ReadFull(c, heard); err != nil || string(heard) != string(piece) {
					t.Errorf("connection %d, piece %d: %v", i, n, err)
					return
				}
				bulk.Add(int64(len(piece)))
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for i := range 4 { // new ones all the while
		running.Go(func() {
			for n := 0; !stopped(); n++ {
				forbidden := n%8 == 7
				name := "good.lab.example"
				if forbidden {
					name = "never.lab.example"
				}
				err := downloadOnce(dialTLS, i+n, name)
				switch {
				case forbidden && !errors.Is(err, syscall.ECONNRESET), !forbidden && err != nil:
					t.Errorf("a new connection to %s: %v", name, err)
					return
				case forbidden:
					refused.Add(1)
				default:
					passed.Add(1)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	f.reload(l, policy(0))
	if !within(20*time.Second, func() bool { return passed.Load() >= 50 }) {
		t.Fatalf("%d new connections have passed after 20 s", passed.Load())
	}
	before, rules := f.process(t, l), strings.Count(iptablesSave(t, l), "\n-A")
	start := time.Now()
	for i := 1; i <= reloads; i++ {
		if i%5 == 0 {
			f.rewrite(policy(i))
			f.cmd.Process.Signal(syscall.SIGHUP)
			continue // and the next one comes at once
		}
		if r := f.reload(l, policy(i)); r.Connections.Refused != 0 || len(r.Warnings) != 0 {
			t.Fatalf("reload %d: %+v", i, r)
		}
	}
	took := time.Since(start)
	close(done)
	running.Wait()
	// Entries and sessions of the connections stay for a while: whether reloads leave
	// memory behind shows when there are no others.
	settled := func(before process, more uint64) (after process, ok bool) {
		ok = within(20*time.Second, func() bool {
			f.reload(l, policy(reloads)) // for the garbage to be collected
			f.reload(l, policy(0))
			after = f.process(t, l)
			return after.Goroutines <= before.Goroutines+2 && after.FDs <= before.FDs+2 && after.LiveBytes < before.LiveBytes+more
		})
		return after, ok
	}
	after, ok := settled(before, 32<<20)
	if !ok {
		t.Errorf("before %v, after %v", before, after)
	}
	for i := range max(20, reloads/4) {
		f.reload(l, policy(i))
	}
	quiet, ok := settled(after, 1<<20)
	if !ok {
		t.Errorf("without traffic before %v, after %v", after, quiet)
	}
	if n := strings.Count(iptablesSave(t, l), "\n-A"); n != rules {
		t.Errorf("%d iptables rules, %d before", n, rules)
	}
	t.Logf("%d reloads in %s; %d bytes through old connections, %d new ones passed, %d refused; before %v, after %v, after as many as a quarter without traffic %v",
		reloads, took.Round(time.Millisecond), bulk.Load(), passed.Load(), refused.Load(), before, after, quiet)
	if passed.Load() == 0 || refused.Load() == 0 {
		t.Error("no new connections came")
	}
	for _, d := range f.drops() {
		if d.Ours.Rule != "never" {
			t.Errorf("refused: %+v", d)
		}
	}
}

func downloadOnce(dial func(int, string) (*tls.Conn, error), i int, name string) error {
	c, err := dial(i, name)
	if err != nil {
		return err
	}
	defer c.Close()
	const size = 200_000
	if _, err := fmt.Fprintf(c, "download %d\n", size); err != nil {
		return err
	}
	got, want := sha256.New(), sha256.New()
	io.Copy(want, lab.Pattern(size))
	n, err := io.Copy(got, c)
	if err == nil && (n != size || string(got.Sum(nil)) != string(want.Sum(nil))) {
		err = fmt.Errorf("%d of %d bytes, or others", n, size)
	}
	return err
}

// process is what the daemon takes of its host.
func (f *firewall) process(t *testing.T, l *lab.Lab) process {
	t.Helper()
	out, errs, code := f.ask(l, "stats", "--json")
	var e struct {
		Stats struct{ Process process }
	}
	if err := json.Unmarshal([]byte(out), &e); err != nil || code != 0 || e.Stats.Process.FDs == 0 {
		t.Fatalf("stats: %d, %v: %s%s", code, err, out, errs)
	}
	return e.Stats.Process
}
