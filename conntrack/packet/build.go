package packet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"tlsgate/conntrack/seqnum"
)

// Reset is a RST segment to be sent in the name of Src. The zero value builds
// nothing.
type Reset struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	Seq, Ack         seqnum.Value
	HasAck           bool // send Ack, and the ACK flag
}

// Append appends the whole IP packet to dst and returns it. Addresses that
// are not of one family append nothing; zones are ignored.
func (r *Reset) Append(dst []byte) []byte {
	const (
		ttl          = 64
		dontFragment = 0x40
	)
	switch start := len(dst); {
	case r.Src.Is4() && r.Dst.Is4():
		dst = extend(dst, ipv4HeaderLen+tcpHeaderLen)
		b := dst[start:]
		src, to := r.Src.As4(), r.Dst.As4()
		b[0] = 4<<4 | ipv4HeaderLen/4
		b[3] = ipv4HeaderLen + tcpHeaderLen
		b[6] = dontFragment // so the identification may be 0, RFC 6864, Section 4.1
		b[8] = ttl
		b[9] = protocolTCP
		copy(b[12:], src[:])
		copy(b[16:], to[:])
		r.put(b, ipv4HeaderLen)
	case r.Src.Is6() && r.Dst.Is6():
		dst = extend(dst, ipv6HeaderLen+tcpHeaderLen)
		b := dst[start:]
		src, to := r.Src.As16(), r.Dst.As16()
		b[0] = 6 << 4
		b[5] = tcpHeaderLen
		b[6] = protocolTCP
		b[7] = ttl
		copy(b[8:], src[:])
		copy(b[24:], to[:])
		r.put(b, ipv6HeaderLen)
	}
	return dst
}

// put writes the TCP header at off and the checksums of the packet b.
func (r *Reset) put(b []byte, off int) {
	t := b[off:]
	binary.BigEndian.PutUint16(t[0:], r.SrcPort)
	binary.BigEndian.PutUint16(t[2:], r.DstPort)
	binary.BigEndian.PutUint32(t[4:], uint32(r.Seq))
	flags := RST
	if r.HasAck {
		flags |= ACK
		binary.BigEndian.PutUint32(t[8:], uint32(r.Ack))
	}
	t[12] = tcpHeaderLen / 4 << 4
	t[13] = byte(flags)
	setChecksums(b, off)
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
