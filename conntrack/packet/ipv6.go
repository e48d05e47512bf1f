package packet

import (
	"encoding/binary"
	"net/netip"
)

// Next header values of the extension headers, RFC 8200, Section 4.
const (
	headerHopByHop    = 0
	headerRouting     = 43
	headerFragment    = 44
	headerAuth        = 51
	headerDestination = 60
	headerMobility    = 135
	headerHIP         = 139
	headerShim6       = 140
	headerUnassigned  = 146 // and above: unassigned, experimental, reserved
)

// maxHeaders bounds the chain of extension headers. RFC 8200, Section 4.1
// recommends an order with seven at most.
const maxHeaders = 8

// ipv6 sets Raw, addresses, TTL and TCPOffset, or says why there is no TCP.
func (p *Parsed) ipv6(b []byte, cut bool) Status {
	if len(b) < ipv6HeaderLen {
		return Truncated
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n == 0 {
		var st Status
		if n, st = jumboLength(b); st != OK {
			return st
		}
	}
	if held := len(b) - ipv6HeaderLen; n > held {
		if !cut {
			return Truncated
		}
		p.Missing, n = n-held, held
	}
	total := ipv6HeaderLen + n
	p.Raw = b[:total:total]
	p.TTL = b[7]
	p.Src = netip.AddrFrom16([16]byte(b[8:24]))
	p.Dst = netip.AddrFrom16([16]byte(b[24:40]))
	if b[6] == protocolTCP {
		p.TCPOffset = ipv6HeaderLen
		return OK
	}
	return p.extensions(b[6])
}

// jumboLength returns the payload length of a packet whose length field is 0.
// Such packets are not taken from a wire (RFC 2675 is long dead), only as the
// kernel makes BIG TCP: longer than 65535 octets, and with either nothing
// before TCP (linux/ipv6.h:ipv6_payload_len) or just the header of older
// kernels (net/ipv6.h:hop_jumbo_hdr). It is 0 for a packet without payload.
func jumboLength(b []byte) (int, Status) {
	const (
		jumboHeaderLen = 8
		optionJumbo    = 0xc2
	)
	rest := b[ipv6HeaderLen:]
	if b[6] != headerHopByHop {
		if b[6] == protocolTCP && len(rest) > maxLength {
			return len(rest), OK
		}
		return 0, OK
	}
	if len(rest) < jumboHeaderLen {
		return 0, BadJumbo
	}
	if rest[0] != protocolTCP || rest[1] != 0 || rest[2] != optionJumbo || rest[3] != 4 {
		return 0, BadJumbo
	}
	n := binary.BigEndian.Uint32(rest[4:])
	if n <= maxLength {
		return 0, BadJumbo
	}
	if uint64(n) > uint64(len(rest)) {
		return 0, Truncated
	}
	return int(n), OK
}

// extensions walks the chain that begins behind the fixed header with a
// header of type next, up to TCP.
func (p *Parsed) extensions(next byte) Status {
	off := ipv6HeaderLen
	for count := 0; ; count++ {
		if next == protocolTCP {
			p.TCPOffset = off
			return OK
		}
		if st := leadsTo(next); st != OK {
			return st
		}
		if count == maxHeaders {
			return TooManyHeaders
		}
		h := p.Raw[off:]
		if len(h) < 8 {
			return BadExtension
		}
		n := 8 + int(h[1])*8
		switch next {
		case headerHopByHop:
			if count > 0 { // RFC 8200, Section 4.1: the first or none
				return BadExtension
			}
		case headerRouting:
			if h[3] != 0 { // segments left
				return SourceRouted
			}
		case headerAuth:
			n = 8 + int(h[1])*4 // RFC 4302, Section 2.2
			if n < 12 {
				return BadExtension
			}
		case headerFragment:
			n = 8
			// An atomic fragment is a whole packet, RFC 6946. Of the others
			// only the first tells what it is a fragment of (RFC 8200,
			// Section 4.5), so one that says UDP in a later fragment gains
			// nothing: the first, which says TCP, does not pass.
			if binary.BigEndian.Uint16(h[2:])&0xfff9 != 0 {
				if st := leadsTo(h[0]); st != OK {
					return st
				}
				return Fragment
			}
		}
		if n > len(h) {
			return BadExtension
		}
		next = h[0]
		off += n
	}
}

// leadsTo is OK for a next header that is TCP or may be walked to it.
func leadsTo(next byte) Status {
	switch next {
	case protocolTCP, headerHopByHop, headerRouting, headerFragment, headerAuth, headerDestination:
		return OK
	case headerMobility, headerHIP, headerShim6:
		return UnknownHeader
	}
	if next >= headerUnassigned {
		return UnknownHeader
	}
	return NotTCP
}
