package packet

import "encoding/binary"

// TCP option kinds, IANA "TCP Option Kind Numbers".
const (
	optionEnd           = 0
	optionNOP           = 1
	optionMSS           = 2
	optionWindowScale   = 3
	optionSACKPermitted = 4
	optionSACK          = 5
	optionTimestamps    = 8
	optionMD5           = 19
	optionAO            = 29
	optionMPTCP         = 30
	optionFastOpen      = 34
	optionExperiment    = 254 // RFC 6994

	experimentFastOpen = 0xf989
	maxWindowScale     = 14

	mptcpJoin = 1 // RFC 8684, Section 8.2; MP_CAPABLE is 0
)

// nextOption takes one option off o, which is not empty: IPv4 and TCP have
// the same framing. The end of the list leaves no rest. It is false for an
// option that is cut short: the receiver reads no further either.
func nextOption(o []byte) (kind byte, body, rest []byte, ok bool) {
	kind = o[0]
	switch kind {
	case optionEnd:
		return kind, nil, nil, true
	case optionNOP:
		return kind, nil, o[1:], true
	}
	if len(o) < 2 {
		return kind, nil, nil, false
	}
	n := int(o[1])
	if n < 2 || n > len(o) {
		return kind, nil, nil, false
	}
	return kind, o[2:n], o[n:], true
}

// options reads the options of a TCP header. One that has a wrong length is
// passed over, one that is cut short ends the list, and of two alike the last
// counts, all as in tcp_input.c:tcp_parse_options.
func (p *Parsed) options(o []byte) {
	// Nearly every segment after the handshake, RFC 7323, Appendix A.
	const alignedTimestamps = optionNOP<<24 | optionNOP<<16 | optionTimestamps<<8 | 10
	if len(o) == 12 && binary.BigEndian.Uint32(o) == alignedTimestamps {
		p.timestamps(o[4:])
		return
	}
	for len(o) > 0 {
		kind, body, rest, ok := nextOption(o)
		if !ok {
			// Half an MPTCP option is still a sign of it.
			p.MPTCP = p.MPTCP || kind == optionMPTCP
			p.BadOptions = true
			return
		}
		if kind > optionNOP {
			p.option(kind, body)
		}
		o = rest
	}
}

func (p *Parsed) option(kind byte, body []byte) {
	good := true
	syn := p.Flags&SYN != 0
	switch kind {
	case optionMSS:
		if good = len(body) == 2; good && syn {
			p.MSS = binary.BigEndian.Uint16(body)
		}
	case optionWindowScale:
		if good = len(body) == 1; good && syn {
			p.WindowScale = min(body[0], maxWindowScale)
			p.HasWindowScale = true
		}
	case optionSACKPermitted:
		if good = len(body) == 0; good && syn {
			p.SACKPermitted = true
		}
	case optionSACK:
		if good = len(body) > 0 && len(body)%8 == 0; good {
			p.SACKBlocks = uint8(len(body) / 8)
		}
	case optionTimestamps:
		if good = len(body) == 8; good {
			p.timestamps(body)
		}
	case optionMD5:
		p.Signed = true
		good = len(body) == 16
	case optionAO:
		p.Signed = true
		good = len(body) >= 2
	case optionMPTCP:
		p.MPTCP = true
		good = len(body) >= 1
		p.MPTCPBegins = p.MPTCPBegins || good && body[0]>>4 <= mptcpJoin
	case optionFastOpen:
		p.FastOpen = true
		good = cookieLength(len(body))
	case optionExperiment:
		if len(body) >= 2 && binary.BigEndian.Uint16(body) == experimentFastOpen {
			p.FastOpen = true
			good = cookieLength(len(body) - 2)
		}
	}
	p.BadOptions = p.BadOptions || !good
}

// cookieLength reports whether n is the length of a Fast Open cookie or of a
// request for one, RFC 7413, Section 4.1.1.
func cookieLength(n int) bool { return n == 0 || n >= 4 && n <= 16 && n%2 == 0 }

func (p *Parsed) timestamps(body []byte) {
	p.HasTimestamp = true
	p.TSVal = binary.BigEndian.Uint32(body)
	p.TSEcr = binary.BigEndian.Uint32(body[4:])
}
