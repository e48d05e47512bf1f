package packet

import (
	"encoding/binary"
	"net/netip"
)

// Ends returns who a packet seems to be from and for, of one that cannot be decoded: its
// lengths are not looked at. Ports are 0, and addresses not valid, where they cannot be
// told. It is for a line to be read by people, and for no decision.
func Ends(b []byte) (src, dst netip.AddrPort) {
	var from, to netip.Addr
	at, protocol := 0, byte(protocolTCP)
	switch {
	case len(b) >= ipv4HeaderLen && b[0]>>4 == 4:
		from, to = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		at, protocol = int(b[0]&0x0f)*4, b[9]
	case len(b) >= ipv6HeaderLen+2 && b[0]>>4 == 6:
		from, to = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		at, protocol = ipv6HeaderLen, b[6]
		if protocol == 0 { // hop-by-hop options: the jumbo payload is one (RFC 2675)
			at, protocol = at+(int(b[41])+1)*8, b[40]
		}
	default:
		return src, dst
	}
	var ports [2]uint16
	if protocol == protocolTCP && len(b) >= at+4 {
		ports[0], ports[1] = binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	}
	return netip.AddrPortFrom(from, ports[0]), netip.AddrPortFrom(to, ports[1])
}
