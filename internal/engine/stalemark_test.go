package engine

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestStaleMark: what ends an accepted connection, or begins another on its ports, clears
// its mark, though it was queued before the packet that it was accepted with was answered:
// its own mark says nothing of that.
func TestStaleMark(t *testing.T) {
	for _, tt := range []struct {
		name string
		ends func(k *link)
	}{
		{"an RST of the client", func(k *link) { k.raw(k.segment(original, len(k.ends[1].got), nil, packet.RST)) }},
		{"an RST of the server", func(k *link) { k.raw(k.segment(reply, len(k.ends[0].got), nil, packet.RST)) }},
		{"a FIN of the server", func(k *link) { k.raw(k.segment(reply, len(k.ends[0].got), nil, packet.FIN|packet.ACK)) }},
		{"another connection", func(k *link) { k.again(1<<20, 1<<21); k.syn(); k.synAck() }},
	} {
		l := newLab(t, config(), blocked("api.evil.example"))
		k := l.link4()
		k.play(recording(t, "tls13"), strategies["mss"])
		if k.mark != l.e.accepts() {
			t.Fatalf("%s: mark %#x", tt.name, k.mark)
		}
		l.alter = func(p *nfq.Packet) { p.Mark = foreign }
		if tt.ends(k); k.mark != 0 {
			t.Errorf("%s: mark %#x", tt.name, k.mark)
		}
	}
}
