package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/control"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// floodTime in the environment has each flood go on for longer, as "5m", and forged
// segments be offered at fullRate.
const floodTime = "TLSGATE_FLOOD"

// floodPolicy reads every record, within bounds that are soon hit. One worker serves
// them all, so that what floods it is in the way of what is honest.
const floodPolicy = `
[queue]
workers = 1

[intercept]
ports = ["443-447"]

[limits]
connections    = %d
half_open      = %d
buffered       = "2MiB"
per_connection = "64KiB"
hello          = "32KiB"
decide         = "1s"
sessions       = 64
pins           = 64

[[rule]]
name  = "pinned"
match = { port = 447 }
pin   = { to = "connection", per = ["sni"] }

[[rule]]
name      = "every-record"
match     = { port = "443-446" }
require   = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data"] }
otherwise = "reset"
`

// floodMemory is what a flood may have the daemon take of its host, more than before:
// by floodPolicy's bounds it holds less than 64 MiB (20,000 connections of 2 KiB, stories,
// what is kept for reading), and the rest is garbage.
const floodMemory = 96 << 20

// untracked is in the titles of those that rules in front of ours keep from the queue.
const untracked = "that the kernel drops"

// dropUntracked has the gateway's kernel take only SYNs for the beginning of a
// connection, and drop what belongs to none.
func dropUntracked(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		output(t, l.Gateway, program, "-w", "5", "-t", "mangle", "-A", "FORWARD", "-p", "tcp", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
	}
	output(t, l.Gateway, "sh", "-c", "echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose")
}

// floods each go on until ctx ends. On port 443 is an honest server, on 444 one that
// reads whatever comes, on 445 one that talks, on 447 one that answers every hello, and what is sent to 446 is lost.
var floods = []struct {
	title string
	room  int    // for connections
	bound string // of [limits]: the one that is hit; "" if none needs to be
	flood func(ctx context.Context, l *lab.Lab) error
}{
	{"SYNs", 20000, "half_open", floodSYNs},
	{"segments of nothing", 20000, "half_open", floodStray},
	{"SYNs of a /64", 20000, "half_open", floodSYNs6},
	{"segments of nothing of a /64", 20000, "half_open", floodStray6},
	{"segments " + untracked, 20000, "", floodStray},
	{"segments " + untracked + ", of a /64", 20000, "", floodStray6},
	{"idle connections", 1000, "connections", floodIdle},
	{"slow hellos", 1000, "decide", floodSlow},
	{"hellos without end", 1000, "hello", floodEndless},
	{"everything but the first byte", 1000, "buffered", floodHoles},
	{"tiny records", 1000, "", floodTiny},
	{"certificates without end", 1000, "hello", floodCertificates},
	{"another chain for each", 1000, "buffered", floodChains},
	{"sessions", 1000, "sessions", floodSessions},
	{"pins", 1000, "pins", floodPins},
}

// TestIntegrationFlood: while somebody floods it the daemon takes no more memory than
// its policy allows, says which bound is hit, and serves: a connection that began
// before goes on bit by bit, and new ones are made.
func TestIntegrationFlood(t *testing.T) {
	lasts := 2 * time.Second
	if s := os.Getenv(floodTime); s != "" {
		var err error
		if lasts, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range floods {
		t.Run(tt.title, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			serveFlooded(t, l)
			if strings.Contains(tt.title, untracked) {
				dropUntracked(t, l)
			}
			f := startFirewall(t, l, fmt.Sprintf(floodPolicy, tt.room, tt.room/2), "--events", "none")
			to := floodedAt[strings.HasSuffix(tt.title, "of a /64")]
			h := startBystander(t, l, to)
			before := f.statsNow()
			began, sent := time.Now(), offered.Load()

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var flooding sync.WaitGroup
			flooding.Go(func() {
				if err := tt.flood(ctx, l); err != nil && ctx.Err() == nil {
					t.Errorf("the flood: %v", err)
				}
			})
			w := f.watchFlood(l, to, lasts)
			during := f.statsNow()
			took, forged := time.Since(began), offered.Load()-sent
			stop()
			flooding.Wait()
			rounds := h.end()
			after := f.statsNow()

			t.Logf("in %s: %s; %d connections seen, at most %d open and %d half-open; hit: %v; %d kB resident before, at most %d; %d rounds of an old connection, the longest in %s; %d new ones, the slowest in %s, and %d failed (%v)",
				took.Round(time.Millisecond), during.rates(before, forged, took), during.Connections["seen"]-before.Connections["seen"], w.open, w.halfOpen,
				nonzero(during.Limits), before.Process.RSSBytes>>10, w.rss>>10, rounds, h.longest.Round(time.Millisecond), w.made, w.slowest.Round(time.Millisecond), w.failed, w.why)
			if grown := int64(w.rss) - int64(before.Process.RSSBytes); grown > floodMemory {
				t.Errorf("it has grown by %d kB", grown>>10)
			}
			if n := after.Connections["open"]; n > uint64(tt.room) {
				t.Errorf("%d connections in the table", n)
			}
			if tt.bound != "" && during.Limits[tt.bound] == 0 {
				t.Errorf("limits.%s was not hit: %v", tt.bound, during.Limits)
			}
			if n := during.Connections["seen"] - before.Connections["seen"]; strings.Contains(tt.title, untracked) && n > forged/2 {
				t.Errorf("%d connections seen, of %d segments that the kernel was to drop", n, forged)
			}
			if after.Packets["bugs"] > 0 {
				t.Error(f.said())
			}
		})
	}
}

// floodedAt is the server that others talk to meanwhile: IPv6 where the flood is.
var floodedAt = map[bool]string{false: "198.18.2.2:443", true: "[2001:db8:2::2]:443"}

// rates tells what was offered, and what became of it since.
func (s *statsOfDaemon) rates(before *statsOfDaemon, forged uint64, took time.Duration) string {
	judged, lost := s.Queue["received"]-before.Queue["received"], uint64(0)
	for _, k := range []string{"kernel_dropped", "user_dropped"} {
		lost += s.Queue[k] - before.Queue[k]
	}
	per := func(n uint64) float64 { return float64(n) / took.Seconds() }
	return fmt.Sprintf("%.0f a second forged, %.0f have reached the queue, %.0f were lost there, %.0f judged", per(forged), per(judged+lost), per(lost), per(judged))
}

// statsOfDaemon are the counters that these tests look at.
type statsOfDaemon struct {
	Packets, Dropped, Connections, Queue, Limits, Memory, Events map[string]uint64
	Process                                                      process
}

func (f *firewall) statsNow() *statsOfDaemon {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), visitTime)
	defer cancel()
	line, err := control.Dial(f.socket).Stats(ctx)
	var e struct{ Stats statsOfDaemon }
	if err == nil {
		err = json.Unmarshal(line, &e)
	}
	if err != nil {
		f.t.Fatalf("stats: %v; %s", err, f.said())
	}
	return &e.Stats
}

func nonzero(counters map[string]uint64) map[string]uint64 {
	some := map[string]uint64{}
	for name, n := range counters {
		if n > 0 {
			some[name] = n
		}
	}
	return some
}

// floodSeen is what was seen during a flood.
type floodSeen struct {
	rss, open, halfOpen uint64 // the most
	made, failed        int    // new connections
	slowest             time.Duration
	why                 error // of the last that failed
}

func (w *floodSeen) look(s *statsOfDaemon) {
	w.rss, w.open, w.halfOpen = max(w.rss, s.Process.RSSBytes), max(w.open, s.Connections["open"]), max(w.halfOpen, s.Connections["half_open"])
}

// watchFlood makes honest connections for as long as the flood is to last, and until
// one was made.
func (f *firewall) watchFlood(l *lab.Lab, to string, lasts time.Duration) (w floodSeen) {
	f.t.Helper()
	start := time.Now()
	for time.Since(start) < lasts || w.made == 0 {
		w.look(f.statsNow())
		began := time.Now()
		err := honestVisit(f.t.Context(), l, to)
		if took := time.Since(began); err == nil {
			w.made++
			w.slowest = max(w.slowest, took)
		} else if w.failed, w.why = w.failed+1, err; time.Since(start) > lasts+2*visitTime {
			f.t.Errorf("no new connection in %s: %v", time.Since(start), err)
			return w
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.look(f.statsNow())
	return w
}

// honestOnce is honestVisit over IPv4.
func honestOnce(ctx context.Context, l *lab.Lab) error { return honestVisit(ctx, l, floodedAt[false]) }

// honestVisit makes a connection, and says and hears something.
func honestVisit(ctx context.Context, l *lab.Lab, to string) error {
	ctx, cancel := context.WithTimeout(ctx, visitTime)
	defer cancel()
	raw, err := l.Client.DialContext(ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(visitTime))
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	const size = 10_000
	if _, err := fmt.Fprintf(c, "download %d\n", size); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != size {
		err = fmt.Errorf("%d of %d bytes", n, size)
	}
	return err
}

// honest is a connection on which bytes go there and back, all the time.
type honest struct {
	t       *testing.T
	conn    *tls.Conn
	stop    chan struct{}
	done    chan struct{}
	n       int // rounds
	longest time.Duration
	err     error
}

func startBystander(t *testing.T, l *lab.Lab, to string) *honest {
	t.Helper()
	h := &honest{t: t, conn: tlsClient(t, l, to, tls.VersionTLS13), stop: make(chan struct{}), done: make(chan struct{})}
	h.conn.SetDeadline(time.Now().Add(visitTime))
	if _, err := io.WriteString(h.conn, "echo\n"); err != nil {
		t.Fatal(err)
	}
	if h.err = h.round(); h.err != nil {
		t.Fatal(h.err)
	}
	go func() {
		defer close(h.done)
		for h.err == nil {
			select {
			case <-h.stop:
				return
			default:
				h.err = h.round()
			}
		}
	}()
	return h
}

// survival is for how long an old connection may stand still: a flood that fills the
// queue has TCP lose two packets of three, and wait twice as long after each; it goes on
// when the flood is over, at the latest.
const survival = 4 * visitTime

// round has 64 KiB come back as they were sent.
func (h *honest) round() error {
	began := time.Now()
	h.conn.SetDeadline(time.Now().Add(survival))
	said, heard := make([]byte, 64<<10), make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{byte(h.n)}).Read(said)
	wrote := make(chan error, 1)
	go func() { _, err := h.conn.Write(said); wrote <- err }()
	_, err := io.ReadFull(h.conn, heard)
	if err = errors.Join(err, <-wrote); err == nil && !bytes.Equal(said, heard) {
		err = errors.New("other bytes came back")
	}
	h.n++
	h.longest = max(h.longest, time.Since(began))
	return err
}

// end returns how many rounds there were, of which none may have failed.
func (h *honest) end() int {
	h.t.Helper()
	close(h.stop)
	<-h.done
	if h.err == nil {
		h.err = h.round()
	}
	if h.err != nil {
		h.t.Errorf("the connection that began before, in round %d: %v", h.n, h.err)
	}
	return h.n
}

// serveFlooded has the servers that the floods want.
func serveFlooded(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		labtest.Program(t, program)
		output(t, l.Server, program, "-w", "5", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", "446", "-j", "DROP")
	}
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{}); err != nil {
		t.Fatal(err)
	}
	for address, talk := range map[string]func(net.Conn){
		":444": func(c net.Conn) { io.Copy(io.Discard, c) }, ":445": talkCertificates, ":447": talkHello,
	} {
		serveEach(t, l.Server, address, time.Hour, talk)
	}
}
