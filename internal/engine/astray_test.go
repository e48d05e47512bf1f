package engine

import (
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestAstray: who is behind the client's interface does not speak as the server
// while a connection is read, unless both are behind one.
func TestAstray(t *testing.T) {
	good, evil := hellos(t)
	for _, arms := range []uint32{2, 1} {
		l := newLab(t, config(), blocked("api.evil.example"))
		k := l.link4()
		one := func(p *nfq.Packet) { p.InDev, p.OutDev = min(p.InDev, arms), min(p.OutDev, arms) }
		l.alter = one
		k.open()
		k.decoy(k.segment(original, 0, good, packet.ACK))
		l.alter = func(p *nfq.Packet) { p.InDev, p.OutDev = 1, 1 }
		forged := k.segment(reply, 0, nil, packet.ACK)
		forged.ack += uint32(len(good))
		k.decoy(forged)
		if got := l.e.counts.Invalid[conntrack.Astray]; got != uint64(arms-1) {
			t.Errorf("%d interfaces: %d packets are counted as astray", arms, got)
		}
		l.alter = one
		k.data(original, 0, evil)
		if got := len(k.ends[1].got) > 0; got != (arms == 1) { // as POLICY.md says
			t.Errorf("%d interfaces: the server has got %d bytes", arms, len(k.ends[1].got))
		}
	}
}
