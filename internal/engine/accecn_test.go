package engine

import (
	"encoding/binary"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestAccECN: ends that negotiate ECN (RFC 3168) or Accurate ECN (RFC 9768), with the
// reserved bit in any combination with the others on any packet, lose nothing.
func TestAccECN(t *testing.T) {
	turns := recording(t, "tls13")
	for ecn := range uint16(8) { // AE, CWR, ECE
		for _, six := range []bool{false, true} {
			l := newLab(t, config(), named("api.bank.example"))
			n := uint16(0)
			l.alter = func(p *nfq.Packet) {
				at, ect0 := 20, byte(0x02)
				if six {
					at, ect0 = 40, 0x20
				}
				bits := ecn
				if n++; n > 3 { // behind the handshake they count what was marked
					bits = (ecn + n) & 7
				}
				p.Payload[at+12] |= byte(bits >> 2)
				p.Payload[at+13] |= byte(bits << 6)
				p.Payload[1] |= ect0
				var seg packet.Parsed
				p.Payload[at+16], p.Payload[at+17] = 0, 0
				if packet.Decode(p.Payload, &seg) == packet.OK {
					pseudo := append(seg.Src.AsSlice(), seg.Dst.AsSlice()...)
					length := len(p.Payload) - at
					pseudo = append(pseudo, 0, 6, byte(length>>8), byte(length))
					binary.BigEndian.PutUint16(p.Payload[at+16:], ^sum(sum(0, pseudo), p.Payload[at:]))
				}
				if !six {
					p.Payload[10], p.Payload[11] = 0, 0
					binary.BigEndian.PutUint16(p.Payload[10:], ^sum(0, p.Payload[:20]))
				}
			}
			k := l.link4()
			if six {
				k = l.link6()
			}
			k.play(turns, strategies["mss"])
			k.close()
			if !k.complete(turns) || len(l.sink.drop) != 0 || l.drops != 0 {
				t.Errorf("bits %03b, IPv6 %v: %d and %d bytes came, %d packets dropped, %+v", ecn, six, len(k.ends[1].got), len(k.ends[0].got), l.drops, l.sink.drop)
			}
		}
	}
}
