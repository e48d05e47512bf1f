package capture

import "encoding/binary"

// sound reports whether b begins with the whole header of an IP packet whose
// lengths do not contradict each other. It is asked of what is found in a place
// where other things than IP could lie.
func sound(b []byte) bool {
	switch {
	case len(b) >= ipv4Header && b[0]>>4 == 4:
		header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		return header >= ipv4Header && total >= header
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		return true
	}
	return false
}

// length is how long an IP packet says it is; 0 if it does not say.
func length(ip []byte) int {
	switch {
	case len(ip) >= ipv4Header && ip[0]>>4 == 4:
		return int(binary.BigEndian.Uint16(ip[2:]))
	case len(ip) >= ipv6Header && ip[0]>>4 == 6:
		if n := int(binary.BigEndian.Uint16(ip[4:])); n > 0 {
			return n + ipv6Header
		}
	}
	return 0
}

// whole reports whether an IP packet is all there by its own length, so that
// only padding was cut. Offloading may leave the length zero: then it is not
// known to be.
func whole(ip []byte) bool {
	n := length(ip)
	return n > 0 && n <= len(ip)
}

// measured gives an IPv4 packet without a length the one it had in the frame:
// Windows records what it leaves to the network card to cut into segments so.
// Longer than the field can say is BIG TCP, and known to the decoder.
func measured(ip []byte, sent int) {
	if len(ip) >= ipv4Header && ip[0]>>4 == 4 && ip[2] == 0 && ip[3] == 0 && sent >= ipv4Header && sent <= 0xffff {
		binary.BigEndian.PutUint16(ip[2:], uint16(sent))
	}
}
