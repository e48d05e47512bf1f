package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/conntrack/packet"
	"tlsgate/internal/control"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// crowdPolicy reads every record on port 443, and has room for a crowd of SYNs.
const crowdPolicy = `
[queue]
workers = 1
[intercept]
ports = ["443-445"]
[limits]
half_open = 200000
` + inspected

// BenchmarkIntegrationList measures how long packets take through the queue while
// nobody asks, and while tlsgate conns --json lists 100,000 connections in a loop: the
// time for 100 bytes to come back, less the median of what it takes on a port that is
// not intercepted. The rows take turns; a row's number is the median over the rounds.
func BenchmarkIntegrationList(b *testing.B) {
	connections, rounds, exchanges := 100_000, 9, 20_000
	if testing.Short() {
		connections, rounds, exchanges = 10_000, 3, 1000
	}
	l := labtest.New(b, lab.Options{})
	for _, address := range []string{":443", ":8444"} {
		if _, err := l.Server.ServeTLS(address, lab.ServerOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	labtest.Program(b, "iptables")
	output(b, l.Server, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "444:445", "-j", "DROP")
	f := startFirewall(b, l, crowdPolicy, "--events", "none")
	crowd(b, l, f, connections)
	plain := tlsClient(b, l, "198.18.2.2:8444", tls.VersionTLS13)
	read := tlsClient(b, l, "198.18.2.2:443", tls.VersionTLS13)
	for _, c := range []*tls.Conn{plain, read} {
		fmt.Fprint(c, "echo\n")
		returnTimes(b, c, exchanges)
	}

	var p50, p99 [2][]time.Duration // alone, and listed
	for range b.N {
		for range rounds {
			base := percentile(returnTimes(b, plain, exchanges), 50)
			for listed := range 2 {
				stop := func() {}
				if listed == 1 {
					stop = listInALoop(b, l, f)
				}
				times := returnTimes(b, read, exchanges)
				stop()
				p50[listed] = append(p50[listed], percentile(times, 50)-base)
				p99[listed] = append(p99[listed], percentile(times, 99)-base)
			}
		}
	}
	start := time.Now()
	if n := len(f.conns(l)); n < connections {
		b.Errorf("%d connections are listed", n)
	}
	took := time.Since(start).Round(100 * time.Millisecond)
	if n := open(b, f); n < connections {
		b.Errorf("%d connections are left in the table", n)
	}
	var ratios []float64
	for i := range p99[0] {
		ratios = append(ratios, float64(p99[1][i])/float64(p99[0][i]))
	}
	slices.Sort(ratios)
	fmt.Fprintf(os.Stderr, "\n| added latency, 100 bytes there and back, %d connections | p50 | p99 | p99, of alone |\n|---|---|---|---|\n", connections)
	for listed, name := range []string{"alone", fmt.Sprintf("conns --json in a loop (once, alone: %s)", took)} {
		of := float64(median(p99[listed])) / float64(median(p99[0]))
		fmt.Fprintf(os.Stderr, "| %s | %s | %s | %.2f |\n", name, median(p50[listed]), median(p99[listed]), of)
	}
	fmt.Fprintf(os.Stderr, "| round by round, median and quartiles | | | %.2f, %.2f to %.2f |\n", ratios[len(ratios)/2], ratios[len(ratios)/4], ratios[len(ratios)*3/4])
}

func median(d []time.Duration) time.Duration { return percentile(slices.Clone(d), 50) }

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[len(d)*p/100]
}

// returnTimes measures how long 100 bytes take to come back.
func returnTimes(b *testing.B, c *tls.Conn, n int) []time.Duration {
	times := make([]time.Duration, n)
	buf := make([]byte, 100)
	for i := range times {
		start := time.Now()
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	return times
}

// listInALoop lists all connections again and again, each time as a command does.
func listInALoop(b *testing.B, l *lab.Lab, f *firewall) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cmd := program(b, l.Gateway, "conns", "--json", "--socket", f.socket) // its output goes nowhere
			if cmd.Start() != nil {
				return
			}
			leave := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
			cmd.Wait()
			leave()
		}
	}()
	time.Sleep(50 * time.Millisecond) // until it has begun
	return func() { cancel(); <-ended }
}

// crowd fills the daemon's table with connections that have sent a SYN, which
// nobody answers.
func crowd(b *testing.B, l *lab.Lab, f *firewall, connections int) {
	b.Helper()
	err := l.Client.Run(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		g := packet.Segment{Src: l.Client.IPv4, Dst: l.Server.IPv4, Flags: packet.SYN, Window: 65535, Seq: 1}
		for round := 0; open(b, f) < connections; round++ {
			if round > 20 {
				return fmt.Errorf("%d connections of %d", open(b, f), connections)
			}
			for n := range connections + connections/100 {
				g.SrcPort, g.DstPort = uint16(10000+n%51000), uint16(444+n/51000)
				if err := unix.Sendto(fd, g.Append(nil), 0, &unix.SockaddrInet4{Addr: l.Server.IPv4.As4()}); err != nil {
					return err
				}
				if n%64 == 0 { // a queue holds 1024
					time.Sleep(300 * time.Microsecond)
				}
			}
			time.Sleep(200 * time.Millisecond)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// open is how many connections the daemon's table has.
func open(b *testing.B, f *firewall) int {
	b.Helper()
	line, err := control.Dial(f.socket).Stats(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var e struct {
		Stats struct{ Connections map[string]int }
	}
	if err := json.Unmarshal(line, &e); err != nil {
		b.Fatal(err)
	}
	return e.Stats.Connections["open"]
}
