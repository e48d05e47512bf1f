package engine

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestTooLong: what a message cannot hold is dropped, counted, and its ends are known,
// whatever its length field says (BIG TCP: 0, or a jumbo payload option).
func TestTooLong(t *testing.T) {
	four := (&packet.Segment{
		Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("203.0.113.1"), SrcPort: 40000, DstPort: 443,
		Flags: packet.ACK, Payload: make([]byte, 65000),
	}).Append(nil)
	binary.BigEndian.PutUint16(four[2:], 0)
	four = append(four, make([]byte, 491)...)
	six := (&packet.Segment{
		Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"), SrcPort: 40000, DstPort: 443,
		Flags: packet.ACK, Payload: make([]byte, 65000),
	}).Append(nil)
	jumbo := []byte{6, 0, 0xc2, 4, 0, 1, 0x11, 0x70} // 70000 (RFC 2675)
	six[6] = 0
	binary.BigEndian.PutUint16(six[4:], 0)
	six = append(append(append([]byte(nil), six[:40]...), jumbo...), six[40:]...)
	for name, tt := range map[string]struct {
		payload  []byte
		src, dst string
	}{
		"IPv4":    {four, "192.0.2.1:40000", "203.0.113.1:443"},
		"IPv6":    {six, "[2001:db8::1]:40000", "[2001:db8::2]:443"},
		"nothing": {nil, "invalid AddrPort", "invalid AddrPort"},
		"no IP":   {[]byte{0xff, 1, 2}, "invalid AddrPort", "invalid AddrPort"},
	} {
		l := newLab(t, config(), named("api.bank.example"))
		p := &nfq.Packet{Payload: tt.payload, CapLen: 70040, InDev: 7}
		if r := l.e.Packet(p, l.now); r.Verdict != nfq.Drop {
			t.Errorf("%s: %v", name, r.Verdict)
		}
		got := l.e.TooLong()
		if got.Size != 70040 || got.Device != 7 || got.Src.String() != tt.src || got.Dst.String() != tt.dst || l.e.counts.Dropped[DropTruncated] != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
