package capture

import (
	"encoding/binary"
	"fmt"
)

// Link types, as the registry of draft-ietf-opsawg-pcaplinktype has them.
const (
	linkNull      = 0
	linkEthernet  = 1
	linkPPP       = 9
	linkRawBSD    = 12
	linkRawBSDI   = 14
	linkPPPSerial = 50
	linkPPPEther  = 51
	linkRaw       = 101
	linkCiscoHDLC = 104
	linkLoop      = 108
	linkLinuxSLL  = 113
	linkPPPDir    = 204
	linkMPLS      = 219
	linkIPv4      = 228
	linkIPv6      = 229
	linkNflog     = 239
	linkLinuxSLL2 = 276
)

// otherLinks names what people do record and this room does not read.
var otherLinks = map[uint16]string{
	6: "IEEE802_5", 8: "SLIP", 10: "FDDI", 11: "ATM_RFC1483", 100: "ATM_RFC1483", 105: "IEEE802_11", 107: "FRELAY",
	117: "PFLOG", 119: "IEEE802_11_PRISM", 122: "IP_OVER_FC", 127: "IEEE802_11_RADIOTAP", 138: "APPLE_IP_OVER_IEEE1394",
	147: "USER0", 163: "IEEE802_11_AVS", 187: "BLUETOOTH_HCI_H4", 189: "USB_LINUX", 192: "PPI", 195: "IEEE802_15_4_WITHFCS",
	201: "BLUETOOTH_HCI_H4_WITH_PHDR", 220: "USB_LINUX_MMAPPED", 227: "CAN_SOCKETCAN", 240: "NETANALYZER", 242: "IP_OVER_IB_PCAP",
	243: "MPEG_2_TS", 247: "INFINIBAND", 249: "USBPCAP", 253: "NETLINK", 258: "IEEE802_15_4_NOFCS", 266: "USB_DARWIN",
}

// EtherTypes, RFC 9542, Appendix B.1, and those of tunnels that have no other list.
const (
	etherIPv4      = 0x0800
	etherIPv6      = 0x86dd
	etherVLAN      = 0x8100
	etherQinQ      = 0x88a8
	etherQinQOld   = 0x9100
	etherPPP       = 0x880b
	etherMPLS      = 0x8847
	etherMPLSOther = 0x8848
	etherPPPoE     = 0x8864
	etherBackbone  = 0x88e7 // IEEE 802.1ah
	etherMetadata  = 0x8909 // Cisco's, with a security group tag
	etherBridged   = 0x6558 // Ethernet, in GRE
	etherERSPAN    = 0x88be
	etherERSPAN3   = 0x22eb
	etherLeast     = 0x0600 // below it is a length, IEEE 802.3

	// Ours, for what no EtherType announces; all lie below etherLeast.
	plainIP       = 1
	plainEthernet = 2
)

const (
	etherHeader = 14
	vlanHeader  = 4
	sllHeader   = 16
	sll2Header  = 20
	loopHeader  = 4
	pppoeHeader = 6

	metadataHeader = 8 // version, length, option, value, EtherType
	mplsLabel      = 4
	ipv4Header     = 20
	ipv6Header     = 40
	sllProtocol    = 14 // offset
	etherProtocol  = 12 // offset

	// maxLayers bounds the headers before an IP packet. Provider bridges with
	// an MPLS stack and a pseudowire in it come to about ten.
	maxLayers = 16
)

// supported reports whether network knows the link type.
func supported(link uint16) bool {
	switch link {
	case linkNull, linkEthernet, linkPPP, linkRawBSD, linkRawBSDI, linkPPPSerial, linkPPPEther, linkRaw, linkCiscoHDLC,
		linkLoop, linkLinuxSLL, linkPPPDir, linkMPLS, linkIPv4, linkIPv6, linkNflog, linkLinuxSLL2:
		return true
	}
	return false
}

// linkError says of a link type that it is not read.
func linkError(link uint16) error {
	if name := otherLinks[link]; name != "" {
		return fmt.Errorf("%w %d (%s) is not supported", ErrLinkType, link, name)
	}
	return fmt.Errorf("%w %d is not supported", ErrLinkType, link)
}

// network takes the link layer off a frame; nil if what it carries is not IP.
func network(link uint16, b []byte) []byte {
	switch link {
	case linkEthernet:
		return carried(plainEthernet, b)
	case linkLinuxSLL:
		return announced(b, sllProtocol, sllHeader)
	case linkLinuxSLL2:
		return announced(b, 0, sll2Header)
	case linkCiscoHDLC:
		return announced(b, 2, 4)
	case linkPPP, linkPPPSerial:
		return carried(etherPPP, b)
	case linkPPPDir:
		return carried(etherPPP, after(b, 1))
	case linkPPPEther:
		return carried(etherPPPoE, b)
	case linkMPLS:
		return carried(etherMPLS, b)
	case linkNflog:
		return nflog(b)
	case linkNull, linkLoop:
		// The header is an address family in the byte order and with the numbers
		// of the host that captured; the version in the packet says the same.
		return versioned(after(b, loopHeader))
	default:
		return versioned(b)
	}
}

// announced finds the packet behind a header of the given length, whose EtherType
// is at protocol.
func announced(b []byte, protocol, header int) []byte {
	if len(b) < header {
		return nil
	}
	return carried(binary.BigEndian.Uint16(b[protocol:]), b[header:])
}

// carried finds the IP packet in what an EtherType announces, behind whatever
// other headers there are.
func carried(kind uint16, b []byte) []byte {
	for range maxLayers {
		switch kind {
		case etherIPv4, etherIPv6:
			return after(b, 0)
		case plainIP:
			return versioned(b)
		}
		if kind, b = inside(kind, b); b == nil {
			return nil
		}
	}
	return nil
}

// inside takes off one header, and says what it announces; nil if it is cut or
// leads to nothing that is read here.
func inside(kind uint16, b []byte) (uint16, []byte) {
	switch kind {
	case etherVLAN, etherQinQ, etherQinQOld:
		if len(b) < vlanHeader {
			return 0, nil
		}
		return binary.BigEndian.Uint16(b[2:]), b[vlanHeader:]
	case plainEthernet, etherBridged:
		return bridged(b)
	case etherBackbone:
		return plainEthernet, after(b, 4)
	case etherPPPoE: // RFC 2516, Section 4: version and type 1, code 0 in a session
		if len(b) < pppoeHeader || b[0] != 0x11 || b[1] != 0 {
			return 0, nil
		}
		length := int(binary.BigEndian.Uint16(b[4:])) // what follows is padding
		if b = b[pppoeHeader:]; length > 0 && length < len(b) {
			b = b[:length]
		}
		return etherPPP, b
	case etherMetadata:
		if len(b) < metadataHeader {
			return 0, nil
		}
		return binary.BigEndian.Uint16(b[metadataHeader-2:]), b[metadataHeader:]
	case etherPPP:
		return pointToPoint(b)
	case etherMPLS, etherMPLSOther:
		return labelled(b)
	case etherERSPAN:
		return plainEthernet, after(b, 8)
	case etherERSPAN3:
		return erspan3(b)
	}
	return 0, nil
}

// bridged takes off an Ethernet header. A length in place of an EtherType is
// followed by LLC, and an EtherType in SNAP (RFC 1042).
func bridged(b []byte) (uint16, []byte) {
	if len(b) < etherHeader {
		return 0, nil
	}
	kind := binary.BigEndian.Uint16(b[etherProtocol:])
	if b = b[etherHeader:]; kind >= etherLeast {
		return kind, b
	}
	if len(b) < 8 || [6]byte(b) != [6]byte{0xaa, 0xaa, 3} {
		return 0, nil
	}
	if kind = binary.BigEndian.Uint16(b[6:]); kind < etherLeast {
		return 0, nil
	}
	return kind, b[8:]
}

// pointToPoint takes off a PPP header (RFC 1661, Section 2), in which address and
// control (RFC 1662, Section 3.1) and the protocol's first octet may be left out.
func pointToPoint(b []byte) (uint16, []byte) {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		b = b[2:]
	}
	if len(b) < 2 {
		return 0, nil
	}
	protocol, n := uint16(b[0]), 1
	if b[0]&1 == 0 {
		protocol, n = binary.BigEndian.Uint16(b), 2
	}
	switch protocol {
	case 0x0021:
		return etherIPv4, b[n:]
	case 0x0057:
		return etherIPv6, b[n:]
	case 0x0281: // RFC 3032, Section 4.3
		return etherMPLS, b[n:]
	}
	return 0, nil
}

// labelled takes off a stack of MPLS labels (RFC 3032, Section 2.1). Nothing says
// what is under it: an IP version, or a pseudowire's control word, whose first
// four bits are 0 (RFC 4385, Section 3), or an Ethernet frame without one.
func labelled(b []byte) (uint16, []byte) {
	for range maxLayers {
		if len(b) <= mplsLabel {
			return 0, nil
		}
		bottom := b[2]&1 != 0
		if b = b[mplsLabel:]; !bottom {
			continue
		}
		switch {
		case versioned(b) != nil && sound(b):
			return plainIP, b
		case b[0]>>4 == 0 && leads(after(b, 4)):
			return plainEthernet, b[4:]
		}
		return plainEthernet, b
	}
	return 0, nil
}

// leads reports whether b looks like an Ethernet frame that leads somewhere.
func leads(b []byte) bool {
	if len(b) < etherHeader {
		return false
	}
	switch binary.BigEndian.Uint16(b[etherProtocol:]) {
	case etherIPv4, etherIPv6, etherVLAN, etherQinQ, etherQinQOld, etherMPLS, etherMPLSOther, etherPPPoE:
		return true
	}
	return false
}

// erspan3 takes off the header of ERSPAN type III, in which one bit says that a
// subheader follows.
func erspan3(b []byte) (uint16, []byte) {
	if len(b) < 12 {
		return 0, nil
	}
	n := 12
	if b[11]&1 != 0 {
		n += 8
	}
	return plainEthernet, after(b, n)
}

// nflog finds the payload among the attributes of a packet that netfilter logged.
func nflog(b []byte) []byte {
	const header, payload = 4, 9
	for b = after(b, header); len(b) >= 4; {
		// Their lengths are in the byte order of the host that captured: the one
		// in which this attribute fits into the frame is taken.
		n, kind := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])
		if big := int(binary.BigEndian.Uint16(b)); n < 4 || n > len(b) || kind > 0xff && big >= 4 && big <= len(b) {
			n, kind = big, binary.BigEndian.Uint16(b[2:])
		}
		if kind == payload {
			return versioned(after(b[:min(max(n, 4), len(b))], 4))
		}
		if n = (n + 3) &^ 3; n < 4 || n > len(b) {
			return nil
		}
		b = b[n:]
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
