package capture

import "encoding/binary"

// Protocol numbers of IP, and extension headers of IPv6 (RFC 8200, Section 4).
const (
	ipHopByHop    = 0
	ipInIP        = 4
	ipTCP         = 6
	ipUDP         = 17
	ipIPv6        = 41
	ipRouting     = 43
	ipFragment    = 44
	ipGRE         = 47
	ipDestination = 60
	ipMPLS        = 137
)

// Ports of UDP that tunnels are called at.
const (
	portGTP     = 2152
	portVXLAN   = 4789
	portVXLANOf = 8472 // Linux, before there was a number
	portGeneve  = 6081
	portMPLS    = 6635
)

const (
	udpHeader = 8

	// maxTunnels bounds tunnels in tunnels.
	maxTunnels = 8
)

// tunnelled returns the IP packet that another one carries; nil if it is no
// tunnel, or carries something else. What may be no tunnel at all, for anyone may
// send UDP to any port, must be sound to be taken for one, and all there unless
// the capture has cut it.
func tunnelled(ip []byte, cut bool) []byte {
	protocol, b := payload(ip)
	var inner []byte
	switch protocol {
	case ipInIP, ipIPv6:
		inner = versioned(b)
	case ipMPLS:
		inner = carried(etherMPLS, b)
	case ipGRE:
		inner = gre(b)
	case ipUDP:
		inner = datagram(b)
	}
	if inner != nil && sound(inner) && (cut || length(inner) <= len(inner)) {
		return inner
	}
	return nil
}

// payload returns what an IP packet carries, without what follows its length,
// and the protocol; nil for fragments and what is broken.
func payload(ip []byte) (protocol byte, b []byte) {
	if !sound(ip) {
		return 0, nil
	}
	if n := length(ip); n > 0 && n < len(ip) {
		ip = ip[:n]
	}
	if ip[0]>>4 == 4 {
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return 0, nil
		}
		return ip[9], after(ip, int(ip[0]&15)*4)
	}
	protocol, b = ip[6], ip[ipv6Header:]
	for range maxLayers {
		switch protocol {
		case ipHopByHop, ipRouting, ipDestination:
			if len(b) < 8 {
				return 0, nil
			}
			protocol, b = b[0], after(b, 8+int(b[1])*8)
		case ipFragment: // one that is a whole packet, RFC 6946
			if len(b) < 8 || binary.BigEndian.Uint16(b[2:])&0xfff9 != 0 {
				return 0, nil
			}
			protocol, b = b[0], after(b, 8)
		default:
			return protocol, b
		}
	}
	return 0, nil
}

// gre takes off a header of RFC 2784 with the fields of RFC 2890, or the one of
// RFC 2637 (PPTP), whose acknowledgement is a field of its own.
func gre(b []byte) []byte {
	const checksum, routing, key, sequence, acknowledgement = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
	if len(b) < 4 {
		return nil
	}
	flags, kind := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	version := flags & 7
	if flags&routing != 0 || version > 1 || version == 1 && kind != etherPPP || kind < etherLeast {
		return nil
	}
	n := 4
	for _, field := range [...]uint16{checksum, key, sequence} {
		if flags&field != 0 {
			n += 4
		}
	}
	if version == 1 && flags&acknowledgement != 0 {
		n += 4
	}
	if kind == etherERSPAN && flags&sequence == 0 { // type I has no header of its own
		kind = plainEthernet
	}
	return carried(kind, after(b, n))
}

// datagram finds the packet in a tunnel through UDP.
func datagram(b []byte) []byte {
	if len(b) <= udpHeader {
		return nil
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch b = b[udpHeader:]; port {
	case portVXLAN, portVXLANOf: // RFC 7348, Section 5
		if len(b) > 8 && b[0]&0x08 != 0 && b[7] == 0 {
			return carried(plainEthernet, b[8:])
		}
	case portGeneve: // RFC 8926, Section 3.4
		if len(b) > 8 && b[0]>>6 == 0 {
			kind := binary.BigEndian.Uint16(b[2:])
			return carried(kind, after(b, 8+int(b[0]&0x3f)*4))
		}
	case portMPLS: // RFC 7510
		return carried(etherMPLS, b)
	case portGTP:
		return gtp(b)
	}
	return nil
}

// gtp takes off the header of GTP-U version 1 (3GPP TS 29.281, Section 5.1).
func gtp(b []byte) []byte {
	const protocolType, options, extension, userData = 0x10, 0x07, 0x04, 255
	if len(b) < 8 || b[0]>>5 != 1 || b[0]&protocolType == 0 || b[1] != userData {
		return nil
	}
	flags := b[0]
	if b = b[8:]; flags&options == 0 {
		return versioned(b)
	}
	if len(b) < 4 {
		return nil
	}
	next := b[3]
	b = b[4:]
	for range maxLayers {
		if flags&extension == 0 || next == 0 {
			return versioned(b)
		}
		if len(b) == 0 {
			return nil
		}
		n := int(b[0]) * 4
		if n == 0 || n > len(b) {
			return nil
		}
		next, b = b[n-1], b[n:]
	}
	return nil
}
