package nfq

import (
	"bytes"
	"encoding/binary"
)

// ipTCP cuts an IPv4 or IPv6 packet without extension headers into its headers
// and what TCP carries. The parts lie in the packet.
func ipTCP(p []byte) (ip, tcp, data []byte) {
	n := 40
	if p[0]>>4 == 4 {
		n = int(p[0]&15) * 4
	}
	end := n + int(p[n+12]>>4)*4
	return p[:n], p[n:end], p[end:]
}

// carries reports whether a packet has TCP payload.
func carries(p []byte) bool {
	_, _, data := ipTCP(p)
	return len(data) > 0
}

// seal fills in lengths and checksums, IPv4's header apart, which is the kernel's
// when it sends and must be right when it forwards.
func seal(p []byte) {
	ip, tcp, _ := ipTCP(p)
	segment := p[len(ip):]
	addresses := ip[8:]
	if ip[0]>>4 == 4 {
		addresses = ip[12:20]
		binary.BigEndian.PutUint16(ip[2:], uint16(len(p)))
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], sum(ip))
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(segment)))
	}
	tcp[16], tcp[17] = 0, 0
	pseudo := append(bytes.Clone(addresses), 0, 6, byte(len(segment)>>8), byte(len(segment)))
	binary.BigEndian.PutUint16(tcp[16:], sum(append(pseudo, segment...)))
}

// sum is RFC 1071's checksum.
func sum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i&1))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

const flagRST, flagACK = 4, 16

// resetForReceiver is a packet made the reset of its connection.
func resetForReceiver(p []byte) []byte {
	ip, tcp, _ := ipTCP(p)
	r := append(bytes.Clone(ip), tcp[:20]...)
	t := r[len(ip):]
	t[12], t[13] = 5<<4, flagRST|flagACK
	seal(r)
	return r
}

// resetForSender is the reset its receiver might have answered a packet with.
func resetForSender(p []byte) []byte {
	r := resetForReceiver(p)
	ip, tcp, _ := ipTCP(r)
	addresses := ip[8:]
	if ip[0]>>4 == 4 {
		addresses = ip[12:20]
	}
	half := len(addresses) / 2
	swap(addresses[:half], addresses[half:])
	swap(tcp[0:2], tcp[2:4])
	copy(tcp[4:8], tcp[8:12]) // what it acknowledged is what it expects
	clear(tcp[8:12])
	tcp[13] = flagRST
	seal(r)
	return r
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}
