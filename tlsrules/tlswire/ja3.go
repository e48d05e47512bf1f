package tlswire

import (
	"crypto/md5"
	"strconv"
)

// fingerprints are what was computed of a ClientHello.
type fingerprints struct {
	ja3            [md5.Size]byte
	ja4            [2]ja4Hash // of the cipher suites, of extensions and signature algorithms
	hasJA3, hasJA4 bool
	answer         bool // to a HelloRetryRequest: those of the first hello count
}

// A firstHello is what stays of the ClientHello that a HelloRetryRequest
// answered. The fingerprints of a client are published as those of the first
// hello; the second has a cookie more and early data less.
type firstHello struct {
	text []byte // JA3's
	ja3  [md5.Size]byte
	ja4  [ja4Len]byte
}

// JA3 returns the client's JA3 fingerprint as github.com/salesforce/ja3 defines
// it: the MD5 of AppendJA3. It is computed once for a hello.
//
// Of the hello that answers a HelloRetryRequest a Conn gives JA3 and JA4 of the
// hello before it.
func (h *ClientHello) JA3() [md5.Size]byte {
	f := &h.prints
	switch {
	case f.answer:
		return h.seldom.first.ja3
	case !f.hasJA3:
		var buf [512]byte
		f.ja3, f.hasJA3 = md5.Sum(h.AppendJA3(buf[:0])), true
	}
	return f.ja3
}

// AppendJA3 appends the text that JA3 hashes: the legacy version, cipher suites,
// extensions, groups and point formats in the order of the wire, without GREASE.
// What a hello does not have is empty.
func (h *ClientHello) AppendJA3(dst []byte) []byte {
	if h.prints.answer {
		return append(dst, h.seldom.first.text...)
	}
	dst = strconv.AppendUint(dst, uint64(h.LegacyVersion), 10)
	for _, list := range [...][]uint16{h.CipherSuites, h.Extensions, h.SupportedGroups} {
		dst = append(dst, ',')
		start := len(dst)
		for _, v := range list {
			if !isGREASE(v) {
				dst = appendDashed(dst, start, v)
			}
		}
	}
	dst = append(dst, ',')
	start := len(dst)
	for _, v := range h.ECPointFormats {
		dst = appendDashed(dst, start, uint16(v))
	}
	return dst
}

// appendDashed appends a number of the list that begins at start.
func appendDashed(dst []byte, start int, v uint16) []byte {
	if len(dst) > start {
		dst = append(dst, '-')
	}
	return strconv.AppendUint(dst, uint64(v), 10)
}

// JA3S returns the server's JA3S fingerprint as github.com/salesforce/ja3
// defines it: the MD5 of AppendJA3S. It is one block of MD5, and not kept.
func (h *ServerHello) JA3S() [md5.Size]byte {
	var buf [256]byte
	return md5.Sum(h.AppendJA3S(buf[:0]))
}

// AppendJA3S appends the text that JA3S hashes: the legacy version, cipher suite
// and extensions in the order of the wire. GREASE a server has none to send.
func (h *ServerHello) AppendJA3S(dst []byte) []byte {
	dst = strconv.AppendUint(dst, uint64(h.LegacyVersion), 10)
	dst = append(dst, ',')
	dst = strconv.AppendUint(dst, uint64(h.CipherSuite), 10)
	dst = append(dst, ',')
	start := len(dst)
	for _, v := range h.Extensions {
		dst = appendDashed(dst, start, v)
	}
	return dst
}

// isGREASE reports whether v is one of the values of RFC 8701, Section 2.
func isGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// keepFingerprints keeps those of a hello for the one that answers a
// HelloRetryRequest.
func (h *ClientHello) keepFingerprints() {
	first := &h.more().first
	*first = firstHello{text: h.AppendJA3(first.text[:0]), ja3: h.JA3(), ja4: h.JA4()}
}
