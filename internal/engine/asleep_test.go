package engine

import (
	"testing"

	"tlsgate/conntrack"
)

// TestPasses: a packet of a connection that rests does not wake it, unless it has
// something to do with it, or few are awake.
func TestPasses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(e *Engine, handle *uint32)
		want   [2]bool // by direction
	}{
		{"as it was", func(*Engine, *uint32) {}, [2]bool{true, true}},
		{"who is next is not known", func(e *Engine, _ *uint32) { e.out = 0 }, [2]bool{true, true}},
		{"few others are awake", func(e *Engine, _ *uint32) { e.maxAwake = 2 }, [2]bool{}},
		{"under another policy", func(e *Engine, _ *uint32) { e.adoption++ }, [2]bool{}},
		{"at a gate", func(e *Engine, n *uint32) { e.rested.at(*n).what.gate |= atGate }, [2]bool{}},
		{"left to the kernel", func(e *Engine, n *uint32) { e.rested.at(*n).what.offloaded = true }, [2]bool{}},
		{"it may be left to the kernel", func(e *Engine, _ *uint32) { e.cfg.Offload = true }, [2]bool{}},
		{"from another interface", func(e *Engine, _ *uint32) { e.in = 7 }, [2]bool{}},
		{"to another interface", func(e *Engine, _ *uint32) { e.out = 7 }, [2]bool{}},
		{"one that is read", func(_ *Engine, n *uint32) { *n |= readHandle }, [2]bool{}},
	} {
		for d := conntrack.Original; d <= conntrack.Reply; d++ {
			cfg := config()
			cfg.Offload = false
			l := newLab(t, cfg, policy(acceptAll))
			k := l.link4()
			k.open()
			k.play(recording(t, "tls13"), strategies["mss"])
			l.e.maxAwake = 0
			c := k.conn()
			if c.Resting() {
				t.Fatal("it rests already")
			}
			handle, ok := l.e.pack(c)
			if !ok || handle&readHandle != 0 {
				t.Fatalf("%s: packed %v, handle %#x", tt.name, ok, handle)
			}
			l.e.in, l.e.out = 1+uint32(d), 2-uint32(d)
			tt.change(l.e, &handle)
			if got := l.e.passes(handle, d); got != tt.want[d] {
				t.Errorf("%s, %v: %v", tt.name, d, got)
			}
		}
	}
}
