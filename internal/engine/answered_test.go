package engine

import (
	"fmt"
	"slices"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// TestAnsweredFastOpen: a daemon that begins between a SYN with data and its SYN-ACK has
// missed what was on the SYN (RFC 7413): the hello, or some of it. The connection goes on.
// A ServerHello that comes while the client says its hello is none.
func TestAnsweredFastOpen(t *testing.T) {
	turns := recording(t, "tls13")
	hello := turns[0].bytes
	early := []byte{23, 3, 3, 0, 4, 1, 2, 3, 4}
	for _, mode := range []Midstream{MidstreamAccept, MidstreamInspect} {
		for _, tt := range []struct {
			said   int // on the SYN
			behind []byte
			passes bool
		}{
			{0, hello, true},
			{1, hello[1:], true},
			{100, hello[100:], true},
			{len(hello), nil, true},
			{len(hello), early, true},
			{0, hello[:len(hello)-1], false},
		} {
			what := fmt.Sprintf("midstream %d, %d on the SYN, %d behind it", mode, tt.said, len(tt.behind))
			cfg := config()
			cfg.Default.Midstream = mode
			l := newLab(t, cfg, blocked("api.evil.example"))
			k := l.link4()
			k.ends[1].got = slices.Clone(hello[:tt.said])
			k.synAck()
			k.ack(original)
			k.talk(slices.Concat([]turn{{original, tt.behind}}, turns[1:]), strategies["mss"])
			for range 40 {
				l.now += second
				l.e.Tick(l.now)
			}
			passes := k.raw(k.segment(original, len(k.ends[1].got), early, packet.ACK))
			if passes != tt.passes {
				t.Errorf("%s: passes %v, %+v", what, passes, l.sink.drop)
			}
			if !tt.passes && (len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Reason != tlsrules.ReasonMalformedHandshake) {
				t.Errorf("%s: %+v", what, l.sink.drop)
			}
		}
	}
}
