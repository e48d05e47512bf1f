package engine

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// paced is a queue that gives a packet every so often, and notes how long each
// waited for its verdict to be sent.
type paced struct {
	packets [][]byte
	every   time.Duration
	n       int
	due     time.Time // of the packet at hand
	waits   []time.Duration
}

func (q *paced) Recv(batch []nfq.Packet, timeout time.Duration) (int, error) {
	if len(q.waits) == cap(q.waits) {
		return 0, net.ErrClosed
	}
	if q.due.IsZero() {
		q.due = time.Now()
	}
	for q.due = q.due.Add(q.every); time.Since(q.due) > time.Millisecond; { // the machine was busy elsewhere
		q.due = time.Now()
	}
	for until := time.Now().Add(timeout); time.Now().Before(q.due); {
		if time.Now().After(until) {
			return 0, nil
		}
	}
	b := q.packets[q.n%len(q.packets)]
	q.n++
	batch[0] = nfq.Packet{Payload: b, InDev: inside(b), OutDev: 3 - inside(b)}
	return 1, nil
}

func (q *paced) Verdict(uint32, nfq.Verdict, uint32, []byte) {}

func (q *paced) Flush() error {
	q.waits = append(q.waits, time.Since(q.due))
	return nil
}

// BenchmarkPacketsBesideList measures how long packets wait for their verdict,
// from when they are due, one every 20 us: while nobody asks, and while somebody
// lists 100,000 connections in a loop.
func BenchmarkPacketsBesideList(b *testing.B) {
	const connections = 100_000
	packets := script(b, policy(acceptAll), recording(b, "tls13"), strategies["mss"])
	for _, listing := range []bool{false, true} {
		b.Run(map[bool]string{false: "alone", true: "listed"}[listing], func(b *testing.B) {
			e := crowd(b, connections)
			now := Clock()
			q := &paced{packets: packets[1:3], every: 20 * time.Microsecond, waits: make([]time.Duration, 0, max(b.N, 1000))}
			ended := make(chan int)
			go func() {
				var list []Seen
				pieces, place := 0, 0
				for err := error(nil); listing && err == nil; pieces++ {
					if list, place, err = e.List(b.Context(), max(place, 0), &Filter{}, list[:0]); place < 0 {
						place = 0
					}
				}
				ended <- pieces
			}()
			b.ResetTimer()
			if err := e.Run(q, now); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			n := <-ended
			slices.Sort(q.waits)
			at := func(of int) float64 { return float64(q.waits[len(q.waits)*of/1000].Nanoseconds()) }
			b.ReportMetric(at(500), "p50-ns")
			b.ReportMetric(at(990), "p99-ns")
			b.ReportMetric(at(999), "p99.9-ns")
			b.ReportMetric(float64(n)/(connections/(stepSize*pieceSteps)), "listings")
		})
	}
}

// BenchmarkListStep is what one step of a listing keeps a worker from its
// packets, of a table of 100,000 connections that is in no cache.
func BenchmarkListStep(b *testing.B) {
	const connections = 50_000
	of := func(rest bool) *Engine {
		x := newMany(b, anyRecord(), 1<<20, true)
		for i := range connections {
			x.distinct(i)
			x.open(i)
		}
		if rest {
			x.ticks(60 * time.Second)
		}
		if n := x.e.table.AtRest(); rest != (n == connections) || !rest && n != 0 {
			b.Fatalf("%d of %d rest", n, connections)
		}
		return x.e
	}
	for _, tt := range []struct {
		name string
		e    func() *Engine
	}{
		{"half open", func() *Engine { return crowd(b, 100_000) }}, {"read", func() *Engine { return of(false) }}, {"packed", func() *Engine { return of(true) }},
	} {
		b.Run(tt.name, func(b *testing.B) {
			e := tt.e()
			var list []Seen
			place := 0
			b.ReportAllocs()
			for b.Loop() {
				list, place = e.listStep(max(place, 0), &Filter{}, list[:0])
			}
		})
	}
}

// crowd is an engine with connections that have sent their SYN.
func crowd(b *testing.B, connections int) *Engine {
	cfg := config()
	cfg.Limits.HalfOpen = connections + 1
	e := New(cfg, policy(acceptAll))
	for n := range connections {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(n / 50000)}), uint16(10000+n%50000))
		syn := segment{src: client, dst: netip.MustParseAddrPort("203.0.113.10:443"), flags: packet.SYN, seq: 1}
		e.Packet(&nfq.Packet{Payload: syn.append(nil), InDev: 1, OutDev: 2}, Clock()())
	}
	if e.table.Len() != connections {
		b.Fatalf("%d connections", e.table.Len())
	}
	return e
}
