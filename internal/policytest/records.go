package policytest

import (
	"golang.org/x/crypto/cryptobyte"

	"tlsgate/tlsrules/tlswire"
)

// maxPlaintext is of RFC 8446, Section 5.1.
const maxPlaintext = 1 << 14

// record builds records of one type around a body.
func record(t tlswire.ContentType, version uint16, body []byte) (out []byte) {
	for {
		n := min(len(body), maxPlaintext)
		out = append(out, byte(t), byte(version>>8), byte(version), byte(n>>8), byte(n))
		out = append(out, body[:n]...)
		if body = body[n:]; len(body) == 0 {
			return out
		}
	}
}

// recordVersion is what stands in the records of a version: TLS 1.3 calls itself
// 1.2 there (RFC 8446, Section 5.1).
func recordVersion(v uint16) uint16 { return min(v, tlswire.VersionTLS12) }

// sealed is a record whose body nobody can read.
func sealed(t tlswire.ContentType, version uint16, n int) []byte {
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(0xa5 ^ i*7)
	}
	return record(t, recordVersion(version), body)
}

func changeCipherSpec(version uint16) []byte {
	return record(tlswire.RecordTypeChangeCipherSpec, recordVersion(version), []byte{1})
}

func alert(version uint16, a tlswire.AlertMessage) []byte {
	return record(tlswire.RecordTypeAlert, recordVersion(version), []byte{byte(a.Level), a.Description})
}

// message builds a handshake message.
func message(t tlswire.HandshakeType, body func(b *cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	b.AddUint8(uint8(t))
	b.AddUint24LengthPrefixed(body)
	return b.BytesOrPanic()
}

// list16 and list8 put numbers or bytes behind their length.
func list16(b *cryptobyte.Builder, numbers []uint16) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, n := range numbers {
			b.AddUint16(n)
		}
	})
}

func list8(b *cryptobyte.Builder, octets []byte) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(octets) })
}

func bytes16(b *cryptobyte.Builder, octets []byte) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(octets) })
}

// filler is n bytes that mean nothing, other ones for another seed.
func filler(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i)*3
	}
	return b
}
