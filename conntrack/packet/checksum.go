package packet

import (
	"encoding/binary"
	"math/bits"
)

// sum adds b to the one's complement sum acc and returns the new sum. An odd
// last octet is padded, so only the last piece of a message may be odd. It
// reads little-endian: RFC 1071, Section 2(B) says the order does not matter
// until the end, and the eight-octet words of 2(C) are measured 5 times as
// fast as 16-bit ones.
func sum(acc uint64, b []byte) uint64 {
	var c uint64
	for len(b) >= 64 {
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[0:8]), 0)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:16]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:24]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:32]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[32:40]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[40:48]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[48:56]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[56:64]), c)
		acc += c // c is 1 only if acc wrapped, to at most 2^64-2
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b), 0)
		acc += c
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(last[:]), 0)
		acc += c
	}
	return acc
}

// fold returns the 16-bit sum in network order.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return bits.ReverseBytes16(uint16(acc))
}

// headerSum is the sum of the IPv4 header at the start of raw: 0xffff when
// its checksum is right.
func headerSum(raw []byte) uint16 {
	return fold(sum(0, raw[:int(raw[0]&0x0f)*4]))
}

// tcpSum is the sum of the TCP segment at off and of its pseudo-header, RFC
// 9293, Section 3.1 and RFC 8200, Section 8.1: 0xffff when its checksum is
// right.
func tcpSum(raw []byte, off int) uint16 {
	addrs := raw[12:20]
	if raw[0]>>4 == 6 {
		addrs = raw[8:40]
	}
	var tail [8]byte // length and protocol
	binary.BigEndian.PutUint32(tail[0:], uint32(len(raw)-off))
	tail[7] = protocolTCP
	return fold(sum(sum(sum(0, addrs), tail[:]), raw[off:]))
}

// ChecksumOK reports whether the TCP checksum and, in IPv4, the header
// checksum are right. It is false for what Decode did not find OK. Do not ask
// about a packet whose checksum the kernel leaves to the network card
// (NFQA_SKB_CSUMNOTREADY, as all GSO packets): it is not computed yet.
func (p *Parsed) ChecksumOK() bool {
	if p.TCPOffset == 0 {
		return false
	}
	if p.Raw[0]>>4 == 4 && headerSum(p.Raw) != 0xffff {
		return false
	}
	return tcpSum(p.Raw, p.TCPOffset) == 0xffff
}

// setChecksums computes the checksums of the packet raw, TCP beginning at off.
func setChecksums(raw []byte, off int) {
	if raw[0]>>4 == 4 {
		raw[10], raw[11] = 0, 0
		binary.BigEndian.PutUint16(raw[10:], ^headerSum(raw))
	}
	t := raw[off:]
	t[16], t[17] = 0, 0
	binary.BigEndian.PutUint16(t[16:], ^tcpSum(raw, off))
}
