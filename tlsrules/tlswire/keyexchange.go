package tlswire

import "golang.org/x/crypto/cryptobyte"

// A keyExchange is what a ServerKeyExchange message begins with.
type keyExchange uint8

const (
	otherExchange keyExchange = iota
	ecdhe                     // ServerECDHParams: RFC 8422, Section 5.4
	ecdhePSK                  // an identity hint before them: RFC 5489, Section 2
)

// ecSuites are the ranges of suites with an ephemeral or anonymous elliptic
// curve exchange. Static ECDH stands within, but sends no ServerKeyExchange.
// The message itself does not tell: that of a 6144-bit DHE exchange begins with
// the same byte.
var ecSuites = [...]struct {
	first, last uint16
	kind        keyExchange
}{
	{0xc001, 0xc019, ecdhe},
	{0xc023, 0xc032, ecdhe},
	{0xc033, 0xc03b, ecdhePSK},
	{0xc048, 0xc04f, ecdhe}, // ARIA CBC
	{0xc05c, 0xc063, ecdhe}, // ARIA GCM
	{0xc070, 0xc071, ecdhePSK},
	{0xc072, 0xc079, ecdhe}, // Camellia CBC
	{0xc086, 0xc08d, ecdhe}, // Camellia GCM
	{0xc09a, 0xc09b, ecdhePSK},
	{0xc0ac, 0xc0af, ecdhe}, // AES CCM
	{0xcc13, 0xcc14, ecdhe}, // ChaCha20 before RFC 7905
	{0xcca8, 0xcca9, ecdhe}, // ChaCha20
	{0xccac, 0xccac, ecdhePSK},
	{0xd001, 0xd005, ecdhePSK},
}

func keyExchangeOf(suite uint16) keyExchange {
	for _, r := range ecSuites {
		if r.first <= suite && suite <= r.last {
			return r.kind
		}
	}
	return otherExchange
}

const (
	namedCurve    = 3 // RFC 8422, Section 5.4
	curveLen      = 3
	maxHintPrefix = 2 + 128 // longer hints leave the group unknown
)

// keyExchangePrefix returns how much of a ServerKeyExchange's body is read.
func keyExchangePrefix(suite uint16) int {
	switch keyExchangeOf(suite) {
	case ecdhe:
		return curveLen
	case ecdhePSK:
		return maxHintPrefix + curveLen
	}
	return 0
}

// keyExchangeGroup returns the group a ServerKeyExchange names, 0 if none.
func keyExchangeGroup(suite uint16, body []byte) uint16 {
	s := cryptobyte.String(body)
	var hint cryptobyte.String
	if keyExchangeOf(suite) == ecdhePSK && !s.ReadUint16LengthPrefixed(&hint) {
		return 0
	}
	var curveType uint8
	var group uint16
	if !s.ReadUint8(&curveType) || curveType != namedCurve || !s.ReadUint16(&group) {
		return 0
	}
	return group
}
