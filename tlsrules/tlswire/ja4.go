package tlswire

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// ja4Len is the length of a JA4 fingerprint: ten characters, and two hashes of
// twelve.
const ja4Len = 36

const hexDigits = "0123456789abcdef"

// A ja4Hash is the half of a part that is hashed: 12 hexadecimal digits.
type ja4Hash [6]byte

// JA4 returns the client's JA4 fingerprint, printable, as FoxIO's
// technical_details/JA4.md of github.com/FoxIO-LLC/ja4 defines it. It is
// computed once for a hello. The same holds for the answer to a
// HelloRetryRequest as for JA3.
//
// GREASE is ignored wherever it stands. Among ALPN protocols that means the
// first one that is not GREASE counts; implementations differ in that.
func (h *ClientHello) JA4() [ja4Len]byte {
	f := &h.prints
	if f.answer {
		return h.seldom.first.ja4
	}
	if !f.hasJA4 {
		f.ja4, f.hasJA4 = [2]ja4Hash{h.ja4Suites(), h.ja4Extensions()}, true
	}
	var out [ja4Len]byte
	b := h.appendJA4a(out[:0])
	for _, hash := range f.ja4 {
		b = append(b, '_')
		b = hex.AppendEncode(b, hash[:])
	}
	return out
}

// AppendJA4 appends the fingerprint JA4 returns.
func (h *ClientHello) AppendJA4(dst []byte) []byte {
	ja4 := h.JA4()
	return append(dst, ja4[:]...)
}

// appendJA4a appends the part that is not hashed.
func (h *ClientHello) appendJA4a(dst []byte) []byte {
	dst = append(dst, 't')
	dst = append(dst, h.ja4Version()...)
	if slices.Contains(h.Extensions, extensionServerName) {
		dst = append(dst, 'd')
	} else {
		dst = append(dst, 'i')
	}
	for _, list := range [...][]uint16{h.CipherSuites, h.Extensions} {
		n := 0
		for _, v := range list {
			if !isGREASE(v) {
				n++
			}
		}
		n = min(n, 99)
		dst = append(dst, '0'+byte(n/10), '0'+byte(n%10))
	}
	return h.appendJA4ALPN(dst)
}

// ja4Version is the highest version of supported_versions, or the hello's own
// without that extension.
func (h *ClientHello) ja4Version() string {
	version := h.LegacyVersion
	if h.SupportedVersions != nil {
		version = 0
		for _, v := range h.SupportedVersions {
			if !isGREASE(v) {
				version = max(version, v)
			}
		}
	}
	switch version {
	case VersionTLS13:
		return "13"
	case VersionTLS12:
		return "12"
	case VersionTLS11:
		return "11"
	case VersionTLS10:
		return "10"
	case VersionSSL30:
		return "s3"
	case VersionSSL20:
		return "s2"
	case 0xfeff: // DTLS 1.0
		return "d1"
	case 0xfefd:
		return "d2"
	case 0xfefc:
		return "d3"
	}
	return "00"
}

// appendJA4ALPN appends the first and last character of the first protocol, or
// of its hexadecimal form unless both are letters or digits.
func (h *ClientHello) appendJA4ALPN(dst []byte) []byte {
	for p := range h.ALPN.All() {
		if len(p) == 2 && isGREASE(uint16(p[0])<<8|uint16(p[1])) {
			continue
		}
		first, last := p[0], p[len(p)-1]
		if !isAlphanumeric(first) || !isAlphanumeric(last) {
			first, last = hexDigits[first>>4], hexDigits[last&0xf]
		}
		return append(dst, first, last)
	}
	return append(dst, "00"...)
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

func (h *ClientHello) ja4Suites() ja4Hash {
	var numbers [128]uint16
	var text [640]byte
	list := appendNoGREASE(numbers[:0], h.CipherSuites)
	slices.Sort(list)
	return hashJA4(appendHexList(text[:0], list))
}

// ja4Extensions leaves out the server name and ALPN, which the part before has.
// Signature algorithms are not sorted.
func (h *ClientHello) ja4Extensions() ja4Hash {
	var numbers [128]uint16
	var text [640]byte
	list := slices.DeleteFunc(appendNoGREASE(numbers[:0], h.Extensions), func(id uint16) bool {
		return id == extensionServerName || id == extensionALPN
	})
	if len(list) == 0 {
		return ja4Hash{}
	}
	slices.Sort(list)
	b := appendHexList(text[:0], list)
	if list = appendNoGREASE(list[:0], h.SignatureAlgorithms); len(list) > 0 {
		b = append(b, '_')
		b = appendHexList(b, list)
	}
	return hashJA4(b)
}

// hashJA4 hashes a list; an empty one gives zeros, not the hash of nothing.
func hashJA4(text []byte) (hash ja4Hash) {
	if len(text) > 0 {
		sum := sha256.Sum256(text)
		copy(hash[:], sum[:])
	}
	return hash
}

func appendNoGREASE(dst, list []uint16) []uint16 {
	for _, v := range list {
		if !isGREASE(v) {
			dst = append(dst, v)
		}
	}
	return dst
}

// appendHexList appends numbers as JA4 writes them: 1301,1302.
func appendHexList(dst []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, hexDigits[v>>12], hexDigits[v>>8&0xf], hexDigits[v>>4&0xf], hexDigits[v&0xf])
	}
	return dst
}
