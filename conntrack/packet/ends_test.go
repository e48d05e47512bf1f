package packet

import (
	"net/netip"
	"testing"
)

// TestEnds: who a decodable packet is from and for is what Decode says, and no prefix of
// one, nor any byte changed, makes Ends panic.
func TestEnds(t *testing.T) {
	for _, ends := range [][2]string{{"192.0.2.1:40000", "203.0.113.1:443"}, {"[2001:db8::1]:40000", "[2001:db8::2]:443"}} {
		src, dst := netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
		b := (&Segment{Src: src.Addr(), Dst: dst.Addr(), SrcPort: src.Port(), DstPort: dst.Port(), Flags: ACK, Payload: make([]byte, 8)}).Append(nil)
		if from, to := Ends(b); from != src || to != dst {
			t.Errorf("got %s to %s, want %s to %s", from, to, src, dst)
		}
		for n := range b {
			Ends(b[:n])
			for _, v := range []byte{0, 0x4f, 0x45, 0x60, 0xff} {
				changed := append([]byte(nil), b...)
				changed[n] = v
				for m := range changed {
					Ends(changed[:m])
				}
			}
		}
	}
}
