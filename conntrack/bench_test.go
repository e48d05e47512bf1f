package conntrack

import (
	"testing"
	"unsafe"

	"tlsgate/conntrack/packet"
)

func TestSize(t *testing.T) {
	if got := unsafe.Sizeof(Conn[struct{}]{}); got > 256 {
		t.Errorf("an entry has %d bytes, want 256 at most", got)
	}
}

// opened returns a table of n connections that have completed their handshake.
func opened(n int) *Table[int] {
	tab := New[int](Config{}, nil)
	for i := range n {
		for _, p := range handshakeOf(i) {
			tab.Track(&p, epoch)
		}
	}
	return tab
}

func handshakeOf(i int) [3]packet.Parsed {
	return [3]packet.Parsed{
		seg(host(i), server, packet.SYN, 0, 0, 0),
		seg(server, host(i), packet.SYN|packet.ACK, 0, 1, 0),
		seg(host(i), server, packet.ACK, 1, 1, 0),
	}
}

func TestNoAllocs(t *testing.T) {
	tab := opened(1000)
	now, i := epoch, 0
	t.Run("known", func(t *testing.T) {
		if got := testing.AllocsPerRun(5000, func() {
			i, now = (i+1)%1000, now+1000
			p := seg(host(i), server, packet.ACK, 1, 1, 100)
			tab.Track(&p, now)
		}); got != 0 {
			t.Errorf("%v allocations", got)
		}
	})
	t.Run("churn", func(t *testing.T) {
		churn := func() {
			i++
			now += second
			for _, p := range handshakeOf(i%3000 + 5000) {
				tab.Track(&p, now)
			}
			p := seg(host(i%3000+5000), server, packet.RST, 1, 0, 0)
			tab.Track(&p, now)
			tab.Expire(now)
		}
		for range 20000 {
			churn()
		}
		if got := testing.AllocsPerRun(5000, churn); got != 0 {
			t.Errorf("%v allocations", got)
		}
	})
}

func BenchmarkTrackKnown(b *testing.B) {
	for name, n := range map[string]int{"one": 1, "round_robin_100000": 100000} {
		b.Run(name, func(b *testing.B) {
			tab := opened(n)
			ps := make([]packet.Parsed, n)
			for i := range ps {
				ps[i] = seg(host(i), server, packet.ACK, 1, 1, 100)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if tab.Track(&ps[i], epoch).Outcome != Known {
					b.Fatal("not known")
				}
				if i++; i == n {
					i = 0
				}
			}
		})
	}
}

// BenchmarkChurn opens a connection, resets it, and lets it expire later.
func BenchmarkChurn(b *testing.B) {
	tab := New[int](Config{}, nil)
	now := epoch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now += second / 100
		h := handshakeOf(i)
		for j := range h {
			tab.Track(&h[j], now)
		}
		p := seg(host(i), server, packet.RST, 1, 0, 0)
		tab.Track(&p, now)
		tab.Expire(now)
	}
}
