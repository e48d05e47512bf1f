package nfq

import (
	"fmt"
	"sync/atomic"
	"testing"

	"tlsgate/internal/lab/labtest"
)

// TestIntegrationSegment: packets larger than a message come cut short, and cut up when
// that is asked for, of a queue that is in use. Linux forwards none of IPv6
// (ip6_output.c:ip6_pkt_too_big counts the jumbo payload option), so there the
// firewall is the sender's own.
func TestIntegrationSegment(t *testing.T) {
	for _, backend := range backends {
		for _, f := range families {
			t.Run(fmt.Sprintf("%s/IPv%d", backend, f), func(t *testing.T) {
				n := newNetwork(t)
				labtest.BigTCP(t, n.client.try, "eth0", 200_000)
				_, _, address := n.place(Forward, f)
				at, hook := n.gateway, Forward
				if f == IPv6 {
					_, _, address = n.place(Input, f)
					n.server, at, hook = n.gateway, n.client, Output
				}
				at.install(t, Rules{Hooks: []Hook{hook}, Mark: ourBits})
				q := at.open(t, Config{Backend: backend})
				var packets, large, short atomic.Int64
				answers(q, func(p *Packet) (Verdict, uint32, []byte) {
					packets.Add(1)
					if p.GSO {
						large.Add(1)
					}
					if p.CapLen != 0 { // whole it is with the kernel
						short.Add(1)
					}
					return Repeat, ourMarks.Pass(), nil
				})
				whole := n.transfer(t, address, 64<<20)
				if large.Load() == 0 || short.Load() == 0 {
					t.Errorf("%d packets, %d large ones, %d cut short", packets.Load(), large.Load(), short.Load())
				}
				if err := q.Segment(true); err != nil {
					t.Fatal(err)
				}
				packets.Store(0)
				large.Store(0)
				short.Store(0)
				cut := n.transfer(t, address, 64<<20)
				if large.Load() != 0 || short.Load() != 0 {
					t.Errorf("cut up: %d packets, %d large ones, %d cut short", packets.Load(), large.Load(), short.Load())
				}
				if err := q.Segment(false); err != nil {
					t.Fatal(err)
				}
				n.transfer(t, address, 16<<20)
				if large.Load() == 0 {
					t.Error("cut up still")
				}
				t.Logf("%s whole, %s cut up", whole, cut)
			})
		}
	}
}
