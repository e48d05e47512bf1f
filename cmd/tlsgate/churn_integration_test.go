package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// TestIntegrationChurn opens many connections at once, permitted and refused by
// turns: every one comes out as it must, and every one is told of.
func TestIntegrationChurn(t *testing.T) {
	connections, parallel := 2000, 32
	if testing.Short() {
		connections = 200
	}
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	f := startFirewall(t, l, "[queue]\nworkers = 2\n"+partnerPolicy)
	var wrong, refused atomic.Int64
	var all sync.WaitGroup
	next := make(chan int)
	addresses := []string{"198.18.2.2:443", "[2001:db8:2::2]:443"}
	for range parallel {
		all.Go(func() {
			for i := range next {
				permitted := i%2 == 0
				err := churnOnce(l, addresses[i/2%2], permitted)
				switch {
				case permitted && err != nil, !permitted && !errors.Is(err, syscall.ECONNRESET):
					wrong.Add(1)
					t.Errorf("connection %d, permitted %v: %v", i, permitted, err)
				case !permitted:
					refused.Add(1)
				}
			}
		})
	}
	start := time.Now()
	for i := range connections {
		if wrong.Load() > 10 {
			break
		}
		next <- i
	}
	close(next)
	all.Wait()
	t.Logf("%d connections in %v", connections, time.Since(start).Round(time.Millisecond))
	f.wait("every refusal", func(event) bool { return int64(len(f.drops())) == refused.Load() })
	f.stop()
	told := map[string]int{}
	for _, e := range f.all() {
		told[e.Type]++
	}
	if told["tls"] != connections || told["flow"] != connections || told["drop"] != connections/2 {
		t.Errorf("events: %v, want %d tls and flow, half as many drop", told, connections)
	}
}

// churnOnce makes one connection: under TLS 1.2 with a suite of the partner's, or
// with another.
func churnOnce(l *lab.Lab, address string, permitted bool) error {
	raw, err := l.Client.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(20 * time.Second))
	suite := tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	if !permitted {
		suite = tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
	if err := c.Handshake(); err != nil {
		return err
	}
	const size = 5000
	fmt.Fprintf(c, "download %d\n", size)
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != size {
		err = fmt.Errorf("%d of %d bytes", n, size)
	}
	return err
}

// killTimes in the environment says how often daemons are killed, and how often what
// is started in their place.
const killTimes = "TLSGATE_KILLS"

// killsOr returns that number, or one that is less in a short run.
func killsOr(t *testing.T, usual int) int {
	t.Helper()
	if s := os.Getenv(killTimes); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return min(usual, 3)
	}
	return usual
}

// TestIntegrationKill kills the daemon again and again under load, at any moment, that
// of its start included. Connections caught undecided meet default.midstream: under
// inspect what the policy refuses never passes, with a daemon or without. An accepted
// connection goes on all the while, and in the end nothing is left behind.
func TestIntegrationKill(t *testing.T) {
	kills := killsOr(t, 8)
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	policy := partnerPolicy + "\n[default]\nmidstream = \"inspect\"\n"
	f := startFirewall(t, l, policy)
	lasting := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS12)
	lasting.SetDeadline(time.Now().Add(time.Minute + time.Duration(kills)*2*time.Second))
	echo(t, lasting, "echo\nbefore", "before")
	echo(t, lasting, "more", "more")

	// TLS 1.3 is refused at the ServerHello.
	refused := startHammer(t, l, 8, &tls.Config{InsecureSkipVerify: true})
	for range kills {
		time.Sleep(rand.N(400 * time.Millisecond))
		f.cmd.Process.Kill()
		<-f.ended
		echo(t, lasting, "without", "without")
		killAtStart(t, l, f)
		f = startFirewall(t, l, policy)
		echo(t, lasting, "again", "again")
	}
	refused.stopRefused(t)
	t.Logf("%d kills", 2*kills)
	f.stop()
	if out := iptablesSave(t, l); strings.Contains(out, "TLSGATE") {
		t.Errorf("rules are left:\n%s", out)
	}
	if _, err := os.Lstat(f.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// killAtStart starts a daemon like one that was killed, and kills it before long.
func killAtStart(t *testing.T, l *lab.Lab, f *firewall) {
	t.Helper()
	cmd := program(t, l.Gateway, "run", "-c", f.policy, "--install-rules", "--socket", f.socket, "--state", "none", "--events", "none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(rand.N(150 * time.Millisecond))
	cmd.Process.Kill()
	cmd.Wait()
}

// TestIntegrationStall stops the daemon in the middle of a download and lets it
// go on: what waited in the queue, or was lost there, is made good by TCP, under
// either fail policy, and nothing arrives changed.
func TestIntegrationStall(t *testing.T) {
	for _, failOpen := range []bool{false, true} {
		t.Run(fmt.Sprintf("fail_open=%v", failOpen), func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{}); err != nil {
				t.Fatal(err)
			}
			f := startFirewall(t, l, fmt.Sprintf("[queue]\nfail_open = %v\nworkers = 1\n%s", failOpen, inspected))
			c := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS13)
			c.SetDeadline(time.Now().Add(30 * time.Second))
			const size = 128 << 20
			fmt.Fprintf(c, "download %d\n", size)
			got, want := sha256.New(), sha256.New()
			io.Copy(want, lab.Pattern(size))
			for part := range 4 {
				if part > 0 {
					f.cmd.Process.Signal(syscall.SIGSTOP)
					time.AfterFunc(300*time.Millisecond, func() { f.cmd.Process.Signal(syscall.SIGCONT) })
				}
				if n, err := io.CopyN(got, c, size/4); err != nil {
					t.Fatalf("part %d: %d bytes, %v; %s", part, n, err, f.said())
				}
			}
			if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
				t.Error("the bytes that arrived are others than those sent")
			}
			if d := f.drops(); len(d) > 0 {
				t.Errorf("refused: %+v", d)
			}
		})
	}
}
