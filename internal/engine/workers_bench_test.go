package engine

import (
	"fmt"
	"sync"
	"testing"
)

// BenchmarkWorkers is the handshake mix judged by engines that share sessions and pins,
// as the daemon's workers do, each on a thread of its own: what one more adds, the
// kernel's queues aside.
func BenchmarkWorkers(b *testing.B) {
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			cfg, policy := unoffloaded(), partner()
			cfg.Sessions = NewSessions(0, [16]byte{})
			traffics, rounds := make([]*traffic, workers), make([]func(), workers)
			packets := 0
			for i := range workers {
				x := handshakes(b, 60)
				x.e = New(cfg, policy)
				traffics[i], rounds[i] = x, engineRound(b, x)
				x.next()
				rounds[i]()
				packets += len(x.packets)
			}
			b.ReportAllocs()
			b.ResetTimer()
			var running sync.WaitGroup
			for i, x := range traffics {
				running.Go(func() {
					for range b.N {
						x.next()
						rounds[i]()
					}
				})
			}
			running.Wait()
			b.ReportMetric(float64(b.N*packets)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
		})
	}
}
