package engine

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestReturningInvalidRST: of a decided connection that had to make room an RST that the
// kernel's connection tracking does not know cannot clear the mark, and does not pass.
func TestReturningInvalidRST(t *testing.T) {
	for _, room := range []bool{false, true} {
		cfg := config()
		cfg.Limits.Connections = 64
		l := newLab(t, cfg, blocked("api.evil.example"))
		k, other := l.link4(), l.link4()
		k.play(recording(t, "tls13"), strategies["mss"])
		l.now += 11 * second
		for range 64 {
			l.link4().open()
		}
		l.alter = func(p *nfq.Packet) { p.Mark = foreign | l.marks.Untracked() }
		if room { // of a connection that nothing is known of
			k = other
		}
		if passed := k.raw(k.segment(original, 0, nil, packet.RST)); passed != room {
			t.Errorf("nothing known %v: passed %v", room, passed)
		}
	}
}
