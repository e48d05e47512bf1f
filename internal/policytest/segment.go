package policytest

import (
	"encoding/binary"
	"net/netip"

	"tlsgate/conntrack/packet"
)

// segment is a TCP segment to be built: RFC 9293, Section 3.1. Both families of
// addresses share all but their first header.
type segment struct {
	src, dst netip.AddrPort
	seq, ack uint32
	flags    packet.Flags
	options  []byte // a multiple of four
	payload  []byte
}

// append builds the packet. The engine is told that nobody has to look at the
// checksum of TCP, as the kernel does for packets of its own.
func (s *segment) append(b []byte) []byte {
	start := len(b)
	size := 20 + len(s.options) + len(s.payload)
	if s.src.Addr().Is4() {
		src, dst := s.src.Addr().As4(), s.dst.Addr().As4()
		total := 20 + size
		b = append(b, 0x45, 0, byte(total>>8), byte(total), 0, 0, 0x40, 0, 64, 6, 0, 0)
		b = append(append(b, src[:]...), dst[:]...)
		binary.BigEndian.PutUint16(b[start+10:], ^sum(b[start:]))
	} else {
		src, dst := s.src.Addr().As16(), s.dst.Addr().As16()
		b = append(b, 0x60, 0, 0, 0, byte(size>>8), byte(size), 6, 64)
		b = append(append(b, src[:]...), dst[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, s.src.Port())
	b = binary.BigEndian.AppendUint16(b, s.dst.Port())
	b = binary.BigEndian.AppendUint32(b, s.seq)
	b = binary.BigEndian.AppendUint32(b, s.ack)
	b = append(b, byte(5+len(s.options)/4)<<4, byte(s.flags), 0xff, 0xff, 0, 0, 0, 0)
	return append(append(b, s.options...), s.payload...)
}

// sum is RFC 1071's.
func sum(b []byte) uint16 {
	var n uint32
	for i, v := range b {
		n += uint32(v) << (8 * (^i & 1))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
