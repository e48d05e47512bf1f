package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
	"tlsgate/nfq"
)

// A bulk row is a firewall in the gateway while one client downloads.
type bulkRow struct {
	name  string
	start func(*testing.B, *lab.Lab) (stop func())
}

const inspectAll = `
[intercept]
offload = %t
[[rule]]
name      = "every-record"
match     = { port = 443 }
require   = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data"] }
otherwise = "reset"
`

func firewallRow(policy string, args ...string) func(*testing.B, *lab.Lab) func() {
	return func(b *testing.B, l *lab.Lab) func() {
		f := startFirewall(b, l, "[queue]\nworkers = 1\n"+policy, append([]string{"--events", "none"}, args...)...)
		return f.stop
	}
}

var bulkRows = []bulkRow{
	{"none", func(*testing.B, *lab.Lab) func() { return func() {} }},
	{"accept-all", acceptAll(nfq.BackendBatch)},
	{"every-record", firewallRow(fmt.Sprintf(inspectAll, true))},
	{"partner-offload-off", firewallRow("[intercept]\noffload = false\n" + partnerPolicy)},
	{"partner-offload-on", firewallRow(partnerPolicy)},
	{"accept-all-go-nfqueue", acceptAll(nfq.BackendGoNFQueue)},
}

// acceptAll answers every packet without looking at it: the limit of what any
// firewall on this queue can reach.
func acceptAll(backend string) func(*testing.B, *lab.Lab) func() {
	return func(b *testing.B, l *lab.Lab) func() {
		rules := nfq.Rules{Workers: 1, Hooks: []nfq.Hook{nfq.Forward}, Ports: []nfq.PortRange{{First: 443, Last: 443}}, Mark: 0x00ff0000}
		marks, err := nfq.NewMarks(rules.Mark)
		if err != nil {
			b.Fatal(err)
		}
		var q *nfq.Queue
		err = l.Gateway.Run(func() (err error) {
			if q, err = nfq.Open(nfq.Config{Backend: backend}); err != nil {
				return err
			}
			return rules.Install(b.Context())
		})
		if err != nil {
			b.Fatal(err)
		}
		var done sync.WaitGroup
		done.Go(func() {
			batch := make([]nfq.Packet, 64)
			for {
				n, err := q.Recv(batch, time.Second)
				for i := range batch[:n] {
					q.Verdict(batch[i].ID, nfq.Repeat, marks.Pass(), nil)
				}
				q.Flush()
				if errors.Is(err, net.ErrClosed) {
					return
				}
			}
		})
		return func() {
			l.Gateway.Run(func() error { return rules.Remove(b.Context()) })
			q.Close()
			done.Wait()
		}
	}
}

// BenchmarkIntegrationBulk downloads over one TLS connection through the gateway,
// row after row, several rounds, and reports medians as ratios. After the
// handshake the records carry bytes that nobody encrypts, so that the firewall
// is what limits.
func BenchmarkIntegrationBulk(b *testing.B) {
	const rounds = 5
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	l := labtest.New(b, lab.Options{})
	server := serveRecords(b, l, size)
	speeds := map[string][]float64{}
	for range b.N {
		for range rounds {
			for _, row := range bulkRows {
				stop := row.start(b, l)
				speeds[row.name] = append(speeds[row.name], download(b, l, server, size))
				stop()
			}
		}
	}
	median := func(name string) float64 {
		s := slices.Sorted(slices.Values(speeds[name]))
		return s[len(s)/2]
	}
	limit := median("accept-all")
	fmt.Fprintf(os.Stderr, "\n| bulk, one connection | Gbit/s, median | spread | of accept-all | of none |\n|---|---|---|---|---|\n")
	for _, row := range bulkRows {
		s := slices.Sorted(slices.Values(speeds[row.name]))
		m := median(row.name)
		fmt.Fprintf(os.Stderr, "| %s | %.2f | %.2f to %.2f | %.2f | %.2f |\n", row.name, m, s[0], s[len(s)-1], m/limit, m/median("none"))
		b.ReportMetric(m/limit, row.name+"/accept-all")
	}
}

// BenchmarkIntegrationOffloaded compares downloads that are left to the kernel with
// plain forwarding, in many short pairs: on a machine that others use too a few long
// ones say little.
func BenchmarkIntegrationOffloaded(b *testing.B) {
	pairs, size := 81, int64(256<<20)
	if testing.Short() {
		pairs, size = 5, 64<<20
	}
	l := labtest.New(b, lab.Options{})
	server := serveRecords(b, l, size)
	var plain, offloaded, ratios []float64
	for range b.N {
		for pair := range pairs {
			var none, left float64
			for turn := range 2 {
				if turn == pair%2 {
					none = download(b, l, server, size)
					continue
				}
				stop := firewallRow(partnerPolicy)(b, l)
				left = download(b, l, server, size)
				stop()
			}
			plain, offloaded, ratios = append(plain, none), append(offloaded, left), append(ratios, left/none)
		}
	}
	for _, s := range [][]float64{plain, offloaded, ratios} {
		slices.Sort(s)
	}
	fmt.Fprintf(os.Stderr, "\n| %d pairs of %d MiB | quartiles | | |\n|---|---|---|---|\n", len(ratios), size>>20)
	for _, row := range []struct {
		name   string
		values []float64
	}{{"none (plain forwarding), Gbit/s", plain}, {"partner policy, offload on, Gbit/s", offloaded}, {"ratio, pair by pair", ratios}} {
		n := len(row.values)
		fmt.Fprintf(os.Stderr, "| %s | %.2f | %.2f | %.2f |\n", row.name, row.values[n/4], row.values[n/2], row.values[n*3/4])
	}
	b.ReportMetric(offloaded[len(offloaded)/2]/plain[len(plain)/2], "offloaded/none")
}

// serveRecords answers each connection with a TLS 1.2 handshake and size bytes in
// records of application data that are not encrypted.
func serveRecords(b *testing.B, l *lab.Lab, size int64) string {
	cert, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		b.Fatal(err)
	}
	listener, err := l.Server.Listen("tcp", "198.18.2.2:443")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12})
				if conn.Handshake() != nil {
					return
				}
				record := make([]byte, 5+16384)
				copy(record, []byte{23, 3, 3, 0x40, 0})
				many := slices.Repeat(record, 16)
				for sent := int64(0); sent < size; {
					n, err := raw.Write(many)
					if err != nil {
						return
					}
					sent += int64(n)
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// download returns the speed of one download in Gbit/s.
func download(b *testing.B, l *lab.Lab, server string, size int64) float64 {
	raw, err := l.Client.Dial("tcp", server)
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err := conn.Handshake(); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{raw}, make([]byte, 1<<18))
	if err != nil || n < size {
		b.Fatalf("%d of %d bytes: %v", n, size, err)
	}
	return float64(n) * 8 / time.Since(start).Seconds() / 1e9
}
