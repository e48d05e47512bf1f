package engine

import (
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
)

// TestAsymmetric: of a connection of which one direction takes another way nothing is
// delivered but the handshake of TCP, whatever the policy: who acknowledges what is not
// seen. Its end says so.
func TestAsymmetric(t *testing.T) {
	hello := recording(t, "tls13")[0].bytes
	answer := recording(t, "tls13")[1].bytes[:1200]
	for seen, code := range []string{"no_answer", "midstream"} {
		for _, mode := range []Midstream{MidstreamAccept, MidstreamInspect, MidstreamReset, MidstreamDrop} {
			cfg := config()
			cfg.Default.Midstream = mode
			l := newLab(t, cfg, named("api.bank.example"))
			k := l.link4()
			send := func(d conntrack.Direction, offset int, b []byte, flags packet.Flags) {
				s := k.segment(d, offset, b, flags)
				if !flags.Has(packet.ACK) {
					s.ack = 0
				}
				if int(d) == seen {
					k.raw(s)
				} else {
					k.deliver(s) // around the gateway
				}
			}
			send(original, -1, nil, packet.SYN)
			send(reply, -1, nil, packet.SYN|packet.ACK)
			send(original, 0, nil, packet.ACK)
			for range 3 {
				send(original, 0, hello, packet.ACK)
				send(reply, 0, nil, packet.ACK)
			}
			for range 3 {
				send(reply, 0, answer, packet.ACK)
				send(original, len(hello), nil, packet.ACK)
			}
			if got := len(k.ends[1-seen].got); got != 0 {
				t.Errorf("direction %d, midstream %d: %d bytes came", seen, mode, got)
			}
			for range 100 {
				l.now += 10_000 * second
				l.e.Tick(l.now)
			}
			if f := l.sink.flow; len(f) != 1 || f[0].Diagnosis.Code != code && f[0].Diagnosis.Code != "refused" {
				t.Errorf("direction %d, midstream %d: %+v", seen, mode, f)
			}
		}
	}
}
