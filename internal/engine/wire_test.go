package engine

import (
	"encoding/binary"
	"net/netip"

	"tlsgate/conntrack/packet"
)

// segment is a TCP segment to be built. ipv4 and ipv6 packets share all but
// their first header.
type segment struct {
	src, dst netip.AddrPort
	seq, ack uint32
	flags    packet.Flags
	urgent   uint16
	options  []byte // padded by the caller
	payload  []byte
}

// append builds the whole packet, checksums included.
func (s *segment) append(b []byte) []byte {
	start := len(b)
	tcpLen := 20 + len(s.options) + len(s.payload)
	if s.src.Addr().Is4() {
		src, dst := s.src.Addr().As4(), s.dst.Addr().As4()
		total := 20 + tcpLen
		b = append(b, 0x45, 0, byte(total>>8), byte(total), 0, 0, 0x40, 0, 64, 6, 0, 0)
		b = append(append(b, src[:]...), dst[:]...)
		binary.BigEndian.PutUint16(b[start+10:], ^sum(0, b[start:]))
	} else {
		src, dst := s.src.Addr().As16(), s.dst.Addr().As16()
		b = append(b, 0x60, 0, 0, 0, byte(tcpLen>>8), byte(tcpLen), 6, 64)
		b = append(append(b, src[:]...), dst[:]...)
	}
	tcp := len(b)
	b = binary.BigEndian.AppendUint16(b, s.src.Port())
	b = binary.BigEndian.AppendUint16(b, s.dst.Port())
	b = binary.BigEndian.AppendUint32(b, s.seq)
	b = binary.BigEndian.AppendUint32(b, s.ack)
	b = append(b, byte(5+len(s.options)/4)<<4, byte(s.flags), 0xff, 0xff, 0, 0)
	b = binary.BigEndian.AppendUint16(b, s.urgent)
	b = append(append(b, s.options...), s.payload...)
	pseudo := append(s.src.Addr().AsSlice(), s.dst.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, 6, byte(tcpLen>>8), byte(tcpLen))
	binary.BigEndian.PutUint16(b[tcp+16:], ^sum(sum(0, pseudo), b[tcp:]))
	return b
}

// sum is RFC 1071's, folded.
func sum(start uint16, b []byte) uint16 {
	n := uint32(start)
	for i, v := range b {
		n += uint32(v) << (8 * (^i & 1))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
