package packet

import "encoding/binary"

// Shorten appends a copy of the packet with only the first n bytes of its payload, as
// if its sender had sent no more yet: what stood behind them, a FIN and a push
// included, is gone, and urgent data that is not there is not pointed to. With all
// of the payload and no FIN it is a copy. The checksums are computed anew, as
// StripMPTCP does; a Signed packet will be refused by its receiver. dst may be
// Raw[:0]. What Decode did not find OK appends nothing.
func (p *Parsed) Shorten(dst []byte, n int) []byte {
	if p.TCPOffset == 0 {
		return dst
	}
	n = max(0, min(n, len(p.Payload)))
	start := len(dst)
	dst = append(dst, p.Raw[:len(p.Raw)-len(p.Payload)+n]...)
	raw := dst[start:]
	setLength(raw)
	t := raw[p.TCPOffset:]
	gone := Flags(t[13]) & FIN
	if n < len(p.Payload) {
		gone |= PSH
	}
	if p.Flags.Has(URG) && int(p.Urgent) > n {
		gone |= URG
		t[18], t[19] = 0, 0
	}
	t[13] &^= byte(gone)
	setChecksums(raw, p.TCPOffset)
	return dst
}

// Trim appends a copy of the packet without the first n bytes of its payload, as its
// receiver takes it that has them, or never wants them (RFC 9293, Section 3.10.7.4).
// Urgent data in front is not pointed to. Checksums are as Shorten makes them; dst may
// not be of Raw. What Decode did not find OK appends nothing.
func (p *Parsed) Trim(dst []byte, n int) []byte {
	if p.TCPOffset == 0 {
		return dst
	}
	n = max(0, min(n, len(p.Payload)))
	start := len(dst)
	dst = append(append(dst, p.Raw[:len(p.Raw)-len(p.Payload)]...), p.Payload[n:]...)
	raw := dst[start:]
	setLength(raw)
	t := raw[p.TCPOffset:]
	binary.BigEndian.PutUint32(t[4:], uint32(p.Seq.Add(uint32(n))))
	if p.Flags.Has(URG) {
		left := max(0, int(p.Urgent)-n)
		binary.BigEndian.PutUint16(t[18:], uint16(left))
		if left == 0 {
			t[13] &^= byte(URG)
		}
	}
	setChecksums(raw, p.TCPOffset)
	return dst
}

// Precede appends a copy of the packet with front in front of its payload, as if its
// sender said that again with it; it begins so much earlier. Checksums are as Shorten
// makes them; dst may not be of Raw, and the whole is to fit an IP packet. What Decode did
// not find OK appends nothing.
func (p *Parsed) Precede(dst, front []byte) []byte {
	if p.TCPOffset == 0 {
		return dst
	}
	start := len(dst)
	dst = append(append(append(dst, p.Raw[:len(p.Raw)-len(p.Payload)]...), front...), p.Payload...)
	raw := dst[start:]
	setLength(raw)
	t := raw[p.TCPOffset:]
	binary.BigEndian.PutUint32(t[4:], uint32(p.Seq.Sub(uint32(len(front)))))
	if p.Flags.Has(URG) {
		binary.BigEndian.PutUint16(t[18:], p.Urgent+uint16(len(front)))
	}
	setChecksums(raw, p.TCPOffset)
	return dst
}

// setLength makes the IP header of raw tell its length.
func setLength(raw []byte) {
	if raw[0]>>4 == 4 {
		if len(raw) <= maxLength {
			binary.BigEndian.PutUint16(raw[2:], uint16(len(raw)))
		} // else BIG TCP, and 0 stays
		return
	}
	n := len(raw) - ipv6HeaderLen
	jumbo := binary.BigEndian.Uint16(raw[4:]) == 0 && raw[6] == headerHopByHop
	switch {
	case n > maxLength && jumbo:
		binary.BigEndian.PutUint32(raw[ipv6HeaderLen+4:], uint32(n))
	case n > maxLength:
	default:
		binary.BigEndian.PutUint16(raw[4:], uint16(n))
		if jumbo { // RFC 2675, Section 3: none where the length fits; so PadN of four
			const optionPadN = 1
			o := raw[ipv6HeaderLen+2 : ipv6HeaderLen+8]
			clear(o)
			o[0], o[1] = optionPadN, 4
		}
	}
}

// Copy appends the packet with its checksums computed anew. What Decode did not find
// OK appends nothing.
func (p *Parsed) Copy(dst []byte) []byte {
	if p.TCPOffset == 0 {
		return dst
	}
	start := len(dst)
	dst = append(dst, p.Raw...)
	setChecksums(dst[start:], p.TCPOffset)
	return dst
}
