// Package packet reads the IP and TCP headers of one packet, and builds the
// few packets we send ourselves, by RFC 791 (IPv4), RFC 8200 (IPv6) and
// RFC 9293 (TCP).
//
// Decode checks every length against every other, once; after it nobody
// indexes raw bytes. What it cannot vouch for has a Status of its own.
//
// It knows nothing of connections: whether a sequence number, a flag or an
// address makes sense is not asked here. Nor does it look into tunnels: IP in
// IP, GRE, ESP and, in IPv4, AH are NotTCP, whatever they carry.
package packet

import (
	"encoding/binary"
	"net/netip"

	"tlsgate/conntrack/seqnum"
)

// Flags are the control bits of a TCP header, RFC 9293, Section 3.1. Zero is
// a segment without any, which no TCP sends.
type Flags uint8

const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Has reports whether all flags of w are set in f.
func (f Flags) Has(w Flags) bool { return f&w == w }

// Status is what Decode makes of a packet. Zero is not fine: it is that of a
// packet nobody decoded.
type Status uint8

const (
	Malformed        Status = iota // not decoded
	OK                             // TCP, all fields of Parsed are set
	NotTCP                         // some other protocol, for others to judge
	Fragment                       // part of a datagram that may be TCP
	NotIP                          // version neither 4 nor 6
	Truncated                      // fewer bytes than the IP header announces
	BadHeaderLength                // IPv4 header length below 20 octets
	BadTotalLength                 // IPv4 total length below its header length
	BadJumbo                       // IPv6 payload length 0, not as BIG TCP has it
	BadExtension                   // IPv6 extension header cut short or out of place
	UnknownHeader                  // IPv6 next header that may hide TCP
	TooManyHeaders                 // more extension headers than anyone needs
	SourceRouted                   // the destination address is not the last hop
	ShortTCP                       // not even 20 octets of TCP header
	ShortDataOffset                // TCP data offset below 5
	BeyondDataOffset               // TCP data offset beyond the packet
	numStatus
)

// Statuses is how many there are.
const Statuses = int(numStatus)

var statusNames = [numStatus]string{
	Malformed:        "malformed",
	OK:               "ok",
	NotTCP:           "not_tcp",
	Fragment:         "fragment",
	NotIP:            "not_ip",
	Truncated:        "truncated",
	BadHeaderLength:  "ip_header_length",
	BadTotalLength:   "ip_total_length",
	BadJumbo:         "ipv6_jumbo",
	BadExtension:     "ipv6_extension",
	UnknownHeader:    "ipv6_unknown_header",
	TooManyHeaders:   "ipv6_too_many_headers",
	SourceRouted:     "source_routed",
	ShortTCP:         "tcp_short",
	ShortDataOffset:  "tcp_data_offset_short",
	BeyondDataOffset: "tcp_data_offset_beyond",
}

// String returns a name fit for a metric label.
func (s Status) String() string {
	if s >= numStatus {
		s = Malformed
	}
	return statusNames[s]
}

// Parsed is a decoded packet. The zero value is no packet: its checksum is
// not OK. It holds views into the packet given to Decode and lives no longer
// than that. It may be copied, and read from several goroutines.
//
// Addresses have no zone, and an IPv4-mapped IPv6 address stays IPv6: it is
// another host than the IPv4 address inside it.
type Parsed struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	Seq, Ack         seqnum.Value
	Flags            Flags
	TTL              uint8 // or hop limit
	Window, Urgent   uint16

	// Options. The first four count on a SYN only and are not set elsewhere:
	// a receiver ignores them there, tcp_input.c:tcp_parse_options.
	MSS            uint16 // 0: none
	WindowScale    uint8  // at most 14, RFC 7323, Section 2.3
	HasWindowScale bool
	SACKPermitted  bool

	SACKBlocks   uint8 // how many
	HasTimestamp bool
	TSVal, TSEcr uint32
	MPTCP        bool // RFC 8684
	MPTCPBegins  bool // MP_CAPABLE or MP_JOIN: this segment would begin it
	FastOpen     bool // RFC 7413, experimental form included
	Signed       bool // RFC 2385 or RFC 5925: changed, it will be refused
	BadOptions   bool // an option cut short or of a wrong length

	Payload   []byte // what follows the TCP header
	Missing   int    // bytes of it that DecodeCut was not given, behind Payload
	Raw       []byte // the IP packet without what follows its IP length
	TCPOffset int    // where the TCP header begins in Raw
}

// PayloadLen returns the length of what follows the TCP header, with what is Missing.
func (p *Parsed) PayloadLen() int { return len(p.Payload) + p.Missing }

// Size returns the length of the IP packet, with what is Missing.
func (p *Parsed) Size() int { return len(p.Raw) + p.Missing }

// SegLen returns SEG.LEN, RFC 9293, Section 3.4: the sequence numbers the
// segment occupies, SYN and FIN included.
func (p *Parsed) SegLen() uint32 {
	n := uint32(p.PayloadLen())
	if p.Flags&SYN != 0 {
		n++
	}
	if p.Flags&FIN != 0 {
		n++
	}
	return n
}

// Ends returns the addresses as numbers, high half first, those of IPv4 as mapped
// into IPv6, and the version of IP. It reads the header where there is one: that
// takes half of what netip asks for the same.
func (p *Parsed) Ends() (srcHigh, srcLow, dstHigh, dstLow uint64, version uint32) {
	const mapped = 0xffff << 32
	if b := p.Raw; len(b) >= ipv4HeaderLen && b[0]>>4 == 4 {
		return 0, mapped | uint64(binary.BigEndian.Uint32(b[12:])), 0, mapped | uint64(binary.BigEndian.Uint32(b[16:])), 4
	} else if len(b) >= ipv6HeaderLen && b[0]>>4 == 6 {
		return binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:]), binary.BigEndian.Uint64(b[32:]), 6
	}
	src, dst := p.Src.As16(), p.Dst.As16()
	if version = 4; !p.Src.Is4() {
		version = 6
	}
	return binary.BigEndian.Uint64(src[:8]), binary.BigEndian.Uint64(src[8:]), binary.BigEndian.Uint64(dst[:8]), binary.BigEndian.Uint64(dst[8:]), version
}

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	tcpHeaderLen  = 20
	protocolTCP   = 6

	// maxLength is the largest value of a 16-bit length field. Only a GSO
	// packet that was never on a wire is longer (BIG TCP).
	maxLength = 0xffff
)

// Decode reads the packet b, which begins with its IP header, into p. Bytes
// after the IP length (Ethernet padding) are left out of Raw and Payload.
//
// When the status is not OK, p is zero but for Raw, Src, Dst and TTL, which
// are set when the IP header and its lengths were found good.
func Decode(b []byte, p *Parsed) Status { return decode(b, p, false) }

// DecodeCut is Decode for the beginning of a packet, as a capture may hold it:
// its lengths are believed, and what they announce beyond b is Missing. It takes
// a TCP header of which options are cut off; a SYN's window scale is then the
// largest, as that of a connection that began unseen.
func DecodeCut(b []byte, p *Parsed) Status { return decode(b, p, true) }

func decode(b []byte, p *Parsed, cut bool) Status {
	*p = Parsed{}
	if len(b) == 0 {
		return Truncated
	}
	var st Status
	switch b[0] >> 4 {
	case 4:
		st = p.ipv4(b, cut)
	case 6:
		st = p.ipv6(b, cut)
	default:
		return NotIP
	}
	if st != OK {
		p.TCPOffset, p.Missing = 0, 0
		return st
	}
	if st = p.tcp(p.Raw[p.TCPOffset:]); st != OK {
		p.TCPOffset, p.Missing = 0, 0
	}
	return st
}

// ipv4 sets Raw, addresses, TTL and TCPOffset, or says why there is no TCP.
func (p *Parsed) ipv4(b []byte, cut bool) Status {
	if len(b) < ipv4HeaderLen {
		return Truncated
	}
	ihl := int(b[0]&0x0f) * 4
	if ihl < ipv4HeaderLen {
		return BadHeaderLength
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 && len(b) > maxLength {
		total = len(b) // BIG TCP: linux/ip.h:iph_totlen
	}
	if total < ihl {
		return BadTotalLength
	}
	if total > len(b) {
		if !cut || ihl > len(b) {
			return Truncated
		}
		p.Missing, total = total-len(b), len(b)
	}
	p.Raw = b[:total:total]
	p.TTL = b[8]
	p.Src = netip.AddrFrom4([4]byte(b[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	// The protocol is part of what fragments are matched by (RFC 791,
	// Section 3.2), so a fragment of something else never becomes TCP.
	if b[9] != protocolTCP {
		return NotTCP
	}
	// Don't-fragment is the only bit that may be set. A first fragment that
	// holds the whole TCP header is refused too: what overlays it comes later.
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return Fragment
	}
	if ihl > ipv4HeaderLen && sourceRouted(b[ipv4HeaderLen:ihl]) {
		return SourceRouted
	}
	p.TCPOffset = ihl
	return OK
}

// sourceRouted reports whether IPv4 options hold a source route with hops to
// go, RFC 791, Section 3.1. The destination is then not the receiver, and the
// TCP checksum is that of another pseudo-header.
func sourceRouted(o []byte) bool {
	const looseRoute, strictRoute = 131, 137
	for len(o) > 0 {
		kind, body, rest, ok := nextOption(o)
		if !ok {
			return false
		}
		if (kind == looseRoute || kind == strictRoute) && len(body) > 0 && int(body[0]) <= len(body)+2 {
			return true
		}
		o = rest
	}
	return false
}

// tcp reads the segment t, which is all that IP carries.
func (p *Parsed) tcp(t []byte) Status {
	if len(t) < tcpHeaderLen {
		return ShortTCP
	}
	off := int(t[12]>>4) * 4
	if off < tcpHeaderLen {
		return ShortDataOffset
	}
	short := off - len(t)
	if short > 0 && short > p.Missing {
		return BeyondDataOffset
	}
	p.SrcPort = binary.BigEndian.Uint16(t[0:])
	p.DstPort = binary.BigEndian.Uint16(t[2:])
	p.Seq = seqnum.Value(binary.BigEndian.Uint32(t[4:]))
	p.Ack = seqnum.Value(binary.BigEndian.Uint32(t[8:]))
	p.Flags = Flags(t[13])
	p.Window = binary.BigEndian.Uint16(t[14:])
	p.Urgent = binary.BigEndian.Uint16(t[18:])
	if short > 0 {
		p.Missing -= short
		off = len(t)
	}
	p.Payload = t[off:]
	if off > tcpHeaderLen {
		p.options(t[tcpHeaderLen:off])
	}
	if short > 0 && p.Flags.Has(SYN) && !p.HasWindowScale {
		p.WindowScale, p.HasWindowScale = maxWindowScale, true
	}
	return OK
}
