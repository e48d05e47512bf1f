package packet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"tlsgate/conntrack/seqnum"
)

// Segment is a TCP segment to be sent in the name of Src. The zero value builds
// nothing.
type Segment struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	Seq, Ack         seqnum.Value // Ack counts with the flag ACK
	Flags            Flags
	Window           uint16
	// HasTimestamp: send TSVal and TSEcr, which a connection that has them wants
	// on everything but an RST (RFC 7323, Section 3.2).
	HasTimestamp bool
	TSVal, TSEcr uint32
	Payload      []byte
	Void         bool // its checksum is wrong on purpose: no receiver takes it
}

// Append appends the whole IP packet to dst and returns it. Addresses that are
// not of one family append nothing, nor does a payload that no packet holds;
// zones are ignored.
func (g *Segment) Append(dst []byte) []byte {
	const (
		ttl          = 64
		dontFragment = 0x40
	)
	length := tcpHeaderLen + len(g.Payload)
	if g.HasTimestamp {
		length += timestampLen
	}
	if length > maxLength-ipv4HeaderLen {
		return dst
	}
	switch start := len(dst); {
	case g.Src.Is4() && g.Dst.Is4():
		dst = extend(dst, ipv4HeaderLen+length)
		b := dst[start:]
		src, to := g.Src.As4(), g.Dst.As4()
		b[0] = 4<<4 | ipv4HeaderLen/4
		binary.BigEndian.PutUint16(b[2:], uint16(ipv4HeaderLen+length))
		b[6] = dontFragment // so the identification may be 0, RFC 6864, Section 4.1
		b[8] = ttl
		b[9] = protocolTCP
		copy(b[12:], src[:])
		copy(b[16:], to[:])
		g.put(b, ipv4HeaderLen)
	case g.Src.Is6() && g.Dst.Is6():
		dst = extend(dst, ipv6HeaderLen+length)
		b := dst[start:]
		src, to := g.Src.As16(), g.Dst.As16()
		b[0] = 6 << 4
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		b[6] = protocolTCP
		b[7] = ttl
		copy(b[8:], src[:])
		copy(b[24:], to[:])
		g.put(b, ipv6HeaderLen)
	}
	return dst
}

// timestampLen is of the option and two NOPs before it, as everybody sends it
// (RFC 7323, Appendix A).
const timestampLen = 12

// put writes the TCP segment at off and the checksums of the packet b.
func (g *Segment) put(b []byte, off int) {
	t := b[off:]
	binary.BigEndian.PutUint16(t[0:], g.SrcPort)
	binary.BigEndian.PutUint16(t[2:], g.DstPort)
	binary.BigEndian.PutUint32(t[4:], uint32(g.Seq))
	if g.Flags.Has(ACK) {
		binary.BigEndian.PutUint32(t[8:], uint32(g.Ack))
	}
	header := tcpHeaderLen
	if g.HasTimestamp {
		o := t[tcpHeaderLen:]
		o[0], o[1], o[2], o[3] = optionNOP, optionNOP, optionTimestamps, timestampLen-2
		binary.BigEndian.PutUint32(o[4:], g.TSVal)
		binary.BigEndian.PutUint32(o[8:], g.TSEcr)
		header += timestampLen
	}
	t[12] = byte(header / 4 << 4)
	t[13] = byte(g.Flags)
	binary.BigEndian.PutUint16(t[14:], g.Window)
	copy(t[header:], g.Payload)
	setChecksums(b, off)
	if g.Void {
		t[16] ^= 0xff
	}
}

// Reset is a RST segment to be sent in the name of Src. The zero value builds
// nothing.
type Reset struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	Seq, Ack         seqnum.Value
	HasAck           bool // send Ack, and the ACK flag
}

// Append appends the whole IP packet to dst and returns it, as Segment.Append.
func (r *Reset) Append(dst []byte) []byte {
	g := Segment{Src: r.Src, Dst: r.Dst, SrcPort: r.SrcPort, DstPort: r.DstPort, Seq: r.Seq, Ack: r.Ack, Flags: RST}
	if r.HasAck {
		g.Flags |= ACK
	}
	return g.Append(dst)
}

// extend returns dst with n zero octets more.
func extend(dst []byte, n int) []byte {
	start := len(dst)
	dst = slices.Grow(dst, n)[:start+n]
	clear(dst[start:])
	return dst
}

// StripMPTCP appends a copy of the packet in which every MPTCP option is
// overwritten by NOPs: on a SYN or SYN-ACK, both ends fall back to plain TCP,
// RFC 8684, Section 3.7. The checksums are computed anew, so a wrong one is
// mended: ask ChecksumOK first. A Signed packet will be refused by its
// receiver. dst may be Raw[:0]. What Decode did not find OK appends nothing.
func (p *Parsed) StripMPTCP(dst []byte) []byte {
	if p.TCPOffset == 0 {
		return dst
	}
	start := len(dst)
	dst = append(dst, p.Raw...)
	raw := dst[start:]
	o := raw[p.TCPOffset+tcpHeaderLen : len(raw)-len(p.Payload)]
	for len(o) > 0 {
		kind, _, rest, ok := nextOption(o)
		if kind == optionMPTCP {
			// One cut short would end the receiver's list: blank it all.
			for i := range o[:len(o)-len(rest)] {
				o[i] = optionNOP
			}
		}
		if !ok {
			break
		}
		o = rest
	}
	setChecksums(raw, p.TCPOffset)
	return dst
}
