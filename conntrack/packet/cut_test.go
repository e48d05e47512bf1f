package packet_test

import (
	"bytes"
	"testing"

	"github.com/google/gopacket/layers"

	"tlsgate/conntrack/packet"
)

// TestDecodeCut: wherever a packet is cut, what is told of it is what is told of
// the whole, but for the payload, whose missing bytes are counted.
func TestDecodeCut(t *testing.T) {
	for name, b := range map[string][]byte{
		"IPv4": plain4(t), "IPv6": plain6(t), "options": rawOptions(t, packet.ACK, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2),
	} {
		var whole packet.Parsed
		if st := packet.Decode(b, &whole); st != packet.OK {
			t.Fatal(st)
		}
		for n := range len(b) + 1 {
			var p, strict packet.Parsed
			st := packet.DecodeCut(b[:n], &p)
			if n < len(b) && packet.Decode(b[:n], &strict) == packet.OK {
				t.Fatalf("%s of %d: Decode takes a cut packet", name, n)
			}
			if n < whole.TCPOffset+20 {
				if st == packet.OK || p.Missing != 0 {
					t.Errorf("%s of %d: %v, %d missing", name, n, st, p.Missing)
				}
				continue
			}
			same := p.Seq == whole.Seq && p.Flags == whole.Flags && p.SegLen() == whole.SegLen() && p.PayloadLen() == len(whole.Payload)
			if st != packet.OK || !same || !bytes.HasPrefix(whole.Payload, p.Payload) || n >= whole.TCPOffset+20+12 && p.Size() != len(b) {
				t.Errorf("%s of %d: %v, %+v", name, n, st, p)
			}
		}
	}
}

// TestDecodeCutSYN: a window scale that is cut off may be any.
func TestDecodeCutSYN(t *testing.T) {
	b := build(t, src4, dst4, layers.TCP{SrcPort: 1, DstPort: 2, SYN: true, Window: 9, Options: []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}},
		{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
	}}, nil)
	for n, want := range map[int]uint8{len(b): 7, len(b) - 1: 7, 44: 14, 40: 14} {
		var p packet.Parsed
		if st := packet.DecodeCut(b[:n], &p); st != packet.OK || p.WindowScale != want || p.SegLen() != 1 {
			t.Errorf("%d bytes: %v, scale %d, want %d", n, st, p.WindowScale, want)
		}
	}
}
