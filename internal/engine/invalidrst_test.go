package engine

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestInvalidRST: an RST that the kernel's connection tracking does not know cannot clear
// its connection's mark, and does not pass where that says accepted. Any other does, and
// that of a connection that is read.
func TestInvalidRST(t *testing.T) {
	for _, flags := range []packet.Flags{packet.RST, packet.RST | packet.ACK, packet.RST | packet.URG, packet.RST | packet.FIN} {
		for _, decided := range []bool{false, true} {
			for _, untracked := range []bool{false, true} {
				l := newLab(t, config(), blocked("api.evil.example"))
				k := l.link4()
				if k.open(); decided {
					k.play(recording(t, "tls13"), strategies["mss"])
				}
				l.alter = func(p *nfq.Packet) {
					if untracked {
						p.Mark = l.marks.Untracked()
					}
				}
				passed := k.raw(k.segment(original, 0, nil, flags))
				want := !(decided && untracked)
				if !decided && flags.Has(packet.FIN) {
					want = false // as ever
				}
				if passed != want {
					t.Errorf("flags %06b, decided %v, untracked %v: passed %v", flags, decided, untracked, passed)
				}
			}
		}
	}
}
