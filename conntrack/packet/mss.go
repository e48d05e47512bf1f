package packet

import "encoding/binary"

// LimitMSS appends a copy of the packet in which no MSS option says more than most:
// on a SYN or SYN-ACK, who gets it sends no larger segments (RFC 9293, Section
// 3.7.1). As for StripMPTCP, a wrong checksum is mended, dst may be Raw[:0], and what
// Decode did not find OK appends nothing. A Signed packet is left as it is: changed,
// it would be refused.
func (p *Parsed) LimitMSS(dst []byte, most uint16) []byte {
	if p.TCPOffset == 0 {
		return dst
	}
	start := len(dst)
	dst = append(dst, p.Raw...)
	if p.Signed {
		return dst
	}
	raw := dst[start:]
	o := raw[p.TCPOffset+tcpHeaderLen : len(raw)-len(p.Payload)]
	for len(o) > 0 {
		kind, body, rest, ok := nextOption(o)
		if !ok {
			break
		}
		if kind == optionMSS && len(body) == 2 && binary.BigEndian.Uint16(body) > most {
			binary.BigEndian.PutUint16(body, most)
		}
		o = rest
	}
	setChecksums(raw, p.TCPOffset)
	return dst
}
