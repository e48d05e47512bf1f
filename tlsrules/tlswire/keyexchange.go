package tlswire

import (
	"math"
	"math/bits"

	"golang.org/x/crypto/cryptobyte"
)

// A keyExchange is what a ServerKeyExchange message says.
type keyExchange uint8

const (
	otherExchange keyExchange = iota
	ecdhe                     // ServerECDHParams: RFC 8422, Section 5.4
	ecdhAnon                  // the same without a signature
	ecdhePSK                  // an identity hint before them, no signature: RFC 5489, Section 2
	dhe                       // ServerDHParams: RFC 5246, Section 7.4.3
	dhAnon                    // the same without a signature
	dhePSK                    // an identity hint before them, no signature: RFC 4279, Section 3
)

func (k keyExchange) elliptic() bool { return k == ecdhe || k == ecdhAnon || k == ecdhePSK }
func (k keyExchange) hint() bool     { return k == ecdhePSK || k == dhePSK }
func (k keyExchange) signed() bool   { return k == ecdhe || k == dhe }

// exchanges are the ranges of suites with an ephemeral or anonymous exchange.
// Static ECDH stands within, but sends no ServerKeyExchange. The message itself
// does not tell: that of a 6144-bit DHE exchange begins with the same byte as
// that of a named curve.
var exchanges = [...]struct {
	first, last uint16
	kind        keyExchange
}{
	{0x0011, 0x0016, dhe},
	{0x0017, 0x001b, dhAnon},
	{0x002d, 0x002d, dhePSK},
	{0x0032, 0x0033, dhe},
	{0x0034, 0x0034, dhAnon},
	{0x0038, 0x0039, dhe},
	{0x003a, 0x003a, dhAnon},
	{0x0040, 0x0040, dhe},
	{0x0044, 0x0045, dhe}, // Camellia
	{0x0046, 0x0046, dhAnon},
	{0x0063, 0x0063, dhe}, // of draft-ietf-tls-56-bit-ciphersuites
	{0x0065, 0x0066, dhe},
	{0x0067, 0x0067, dhe},
	{0x006a, 0x006b, dhe},
	{0x006c, 0x006d, dhAnon},
	{0x0087, 0x0088, dhe}, // Camellia
	{0x0089, 0x0089, dhAnon},
	{0x008e, 0x0091, dhePSK},
	{0x0099, 0x009a, dhe}, // SEED
	{0x009b, 0x009b, dhAnon},
	{0x009e, 0x009f, dhe},
	{0x00a2, 0x00a3, dhe},
	{0x00a6, 0x00a7, dhAnon},
	{0x00aa, 0x00ab, dhePSK},
	{0x00b2, 0x00b5, dhePSK},
	{0x00bd, 0x00be, dhe}, // Camellia
	{0x00bf, 0x00bf, dhAnon},
	{0x00c3, 0x00c4, dhe},
	{0x00c5, 0x00c5, dhAnon},
	{0xc001, 0xc014, ecdhe},
	{0xc015, 0xc019, ecdhAnon},
	{0xc023, 0xc032, ecdhe},
	{0xc033, 0xc03b, ecdhePSK},
	{0xc042, 0xc045, dhe}, // ARIA CBC
	{0xc046, 0xc047, dhAnon},
	{0xc048, 0xc04f, ecdhe},
	{0xc052, 0xc053, dhe}, // ARIA GCM
	{0xc056, 0xc057, dhe},
	{0xc05a, 0xc05b, dhAnon},
	{0xc05c, 0xc063, ecdhe},
	{0xc066, 0xc067, dhePSK},
	{0xc06c, 0xc06d, dhePSK},
	{0xc070, 0xc071, ecdhePSK},
	{0xc072, 0xc079, ecdhe}, // Camellia CBC
	{0xc07c, 0xc07d, dhe},   // Camellia GCM
	{0xc080, 0xc081, dhe},
	{0xc084, 0xc085, dhAnon},
	{0xc086, 0xc08d, ecdhe},
	{0xc090, 0xc091, dhePSK},
	{0xc096, 0xc097, dhePSK},
	{0xc09a, 0xc09b, ecdhePSK},
	{0xc09e, 0xc09f, dhe}, // AES CCM
	{0xc0a2, 0xc0a3, dhe},
	{0xc0a6, 0xc0a7, dhePSK},
	{0xc0aa, 0xc0ab, dhePSK},
	{0xc0ac, 0xc0af, ecdhe},
	{0xcc13, 0xcc14, ecdhe}, // ChaCha20 before RFC 7905
	{0xcc15, 0xcc15, dhe},
	{0xcca8, 0xcca9, ecdhe}, // ChaCha20
	{0xccaa, 0xccaa, dhe},
	{0xccac, 0xccac, ecdhePSK},
	{0xccad, 0xccad, dhePSK},
	{0xd001, 0xd005, ecdhePSK},
	{0xe412, 0xe415, ecdhe}, // of draft-mavrogiannopoulos-chacha-tls
	{0xe418, 0xe419, ecdhePSK},
	{0xe41c, 0xe41d, dhePSK},
	{0xe41e, 0xe41f, dhe},
}

func keyExchangeOf(suite uint16) keyExchange {
	for _, r := range exchanges {
		if suite <= r.last {
			if suite >= r.first {
				return r.kind
			}
			break
		}
	}
	return otherExchange
}

const namedCurve = 3 // RFC 8422, Section 5.4

// keyExchange reads the body of a ServerKeyExchange: the group, or the length of
// the prime, and the signature's scheme. What is broken is not told, and is for
// the client to judge.
func (c *Conn) keyExchange(body []byte) {
	kind := keyExchangeOf(c.ServerHello.CipherSuite)
	s := cryptobyte.String(body)
	var field cryptobyte.String
	if kind.hint() && !s.ReadUint16LengthPrefixed(&field) {
		return
	}
	switch {
	case kind == otherExchange:
		return
	case kind.elliptic():
		var curveType uint8
		var group uint16
		if !s.ReadUint8(&curveType) || curveType != namedCurve || !s.ReadUint16(&group) {
			return
		}
		c.ServerGroup = group
		if !s.ReadUint8LengthPrefixed(&field) {
			return
		}
	default:
		var prime cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&prime) {
			return
		}
		c.DHBits = uint16(min(bitLen(prime), math.MaxUint16))
		var generator, public cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&generator) || !s.ReadUint16LengthPrefixed(&public) {
			return
		}
	}
	if kind.signed() && c.Version == VersionTLS12 {
		s.ReadUint16(&c.SignatureScheme)
	}
}

// bitLen is the length of a number without zeros before it.
func bitLen(b []byte) int {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0
	}
	return 8*(len(b)-1) + bits.Len8(b[0])
}
