package capture

import "encoding/binary"

// Link types, as the registry of draft-ietf-opsawg-pcaplinktype has them.
const (
	linkNull      = 0
	linkEthernet  = 1
	linkRawBSD    = 12
	linkRawBSDI   = 14
	linkRaw       = 101
	linkLoop      = 108
	linkLinuxSLL  = 113
	linkIPv4      = 228
	linkIPv6      = 229
	linkLinuxSLL2 = 276
)

// EtherTypes, RFC 9542, Appendix B.1.
const (
	etherIPv4     = 0x0800
	etherIPv6     = 0x86dd
	etherVLAN     = 0x8100
	etherQinQ     = 0x88a8
	etherQinQOld  = 0x9100
	maxVLANs      = 8
	etherHeader   = 14
	vlanHeader    = 4
	sllHeader     = 16
	sll2Header    = 20
	loopHeader    = 4
	ipv4Header    = 20
	ipv6Header    = 40
	sllProtocol   = 14 // offset
	etherProtocol = 12 // offset
)

// supported reports whether network knows the link type.
func supported(link uint16) bool {
	switch link {
	case linkNull, linkEthernet, linkRawBSD, linkRawBSDI, linkRaw, linkLoop, linkLinuxSLL, linkIPv4, linkIPv6, linkLinuxSLL2:
		return true
	}
	return false
}

// network takes the link layer off a frame; nil if what it carries is not IP.
func network(link uint16, b []byte) []byte {
	switch link {
	case linkEthernet:
		return ethernet(b, etherProtocol, etherHeader)
	case linkLinuxSLL:
		return ethernet(b, sllProtocol, sllHeader)
	case linkLinuxSLL2:
		return ethernet(b, 0, sll2Header)
	case linkNull, linkLoop:
		// The header is an address family in the byte order and with the numbers
		// of the host that captured; the version in the packet says the same.
		return versioned(after(b, loopHeader))
	default:
		return versioned(b)
	}
}

// ethernet finds the packet behind a header of the given length, whose EtherType
// is at protocol.
func ethernet(b []byte, protocol, header int) []byte {
	if len(b) < header {
		return nil
	}
	return untagged(binary.BigEndian.Uint16(b[protocol:]), b[header:])
}

// untagged finds the packet in what an EtherType announces, behind VLAN tags.
func untagged(kind uint16, b []byte) []byte {
	for range maxVLANs + 1 {
		switch kind {
		case etherIPv4, etherIPv6:
			return after(b, 0)
		case etherVLAN, etherQinQ, etherQinQOld:
			if len(b) < vlanHeader {
				return nil
			}
			kind = binary.BigEndian.Uint16(b[2:])
			b = b[vlanHeader:]
		default:
			return nil
		}
	}
	return nil
}

// versioned returns b if it begins as an IP packet.
func versioned(b []byte) []byte {
	if len(b) > 0 && (b[0]>>4 == 4 || b[0]>>4 == 6) {
		return b
	}
	return nil
}

// after returns what follows the first n bytes; nil if nothing does.
func after(b []byte, n int) []byte {
	if len(b) <= n {
		return nil
	}
	return b[n:]
}

// whole reports whether an IP packet is all there by its own length, so that
// only padding was cut. Offloading may leave the length zero: then it is not
// known to be.
func whole(ip []byte) bool {
	var n int
	switch {
	case len(ip) >= ipv4Header && ip[0]>>4 == 4:
		n = int(binary.BigEndian.Uint16(ip[2:]))
	case len(ip) >= ipv6Header && ip[0]>>4 == 6:
		if n = int(binary.BigEndian.Uint16(ip[4:])); n > 0 {
			n += ipv6Header
		}
	}
	return n > 0 && n <= len(ip)
}
