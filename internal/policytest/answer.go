package policytest

import (
	"golang.org/x/crypto/cryptobyte"

	"tlsgate/config"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// retryRandom makes a ServerHello a HelloRetryRequest: RFC 8446, Section 4.1.3.
var retryRandom = []byte{
	0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
	0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
}

// serverHello is the answer to a hello.
type serverHello struct {
	*config.TestServer
	retry     bool
	sessionID []byte
	psk       bool
	ticket    bool // a NewSessionTicket follows
	bare      bool // the client's hello had no extensions to answer
}

func (h *serverHello) message() []byte {
	return message(tlswire.TypeServerHello, func(b *cryptobyte.Builder) {
		b.AddUint16(min(h.Version, tlswire.VersionTLS12))
		if h.retry {
			b.AddBytes(retryRandom)
		} else {
			b.AddBytes(filler(32, 200))
		}
		list8(b, h.sessionID)
		b.AddUint16(h.Cipher)
		b.AddUint8(0)
		if !h.bare {
			b.AddUint16LengthPrefixed(h.extensions)
		}
	})
}

func (h *serverHello) extensions(b *cryptobyte.Builder) {
	add := func(id uint16, body func(b *cryptobyte.Builder)) {
		b.AddUint16(id)
		b.AddUint16LengthPrefixed(body)
	}
	if h.Version < tlswire.VersionTLS13 {
		add(extensionRenegotiationInfo, extensionBody(extensionRenegotiationInfo))
		add(extensionExtendedMasterSecret, extensionBody(extensionExtendedMasterSecret))
		if h.ticket {
			add(extensionSessionTicket, func(*cryptobyte.Builder) {})
		}
		if h.ALPN != "" {
			add(extensionALPN, func(b *cryptobyte.Builder) {
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { list8(b, []byte(h.ALPN)) })
			})
		}
		return
	}
	add(extensionSupportedVersions, func(b *cryptobyte.Builder) { b.AddUint16(h.Version) })
	add(extensionKeyShare, func(b *cryptobyte.Builder) {
		b.AddUint16(h.Group)
		if !h.retry {
			bytes16(b, filler(shareSize(h.Group), 3))
		}
	})
	if h.retry {
		add(extensionCookie, extensionBody(extensionCookie))
	} else if h.psk {
		add(extensionPreSharedKey, func(b *cryptobyte.Builder) { b.AddUint16(0) })
	}
}

// certificateMessage is RFC 5246, Section 7.4.2.
func certificateMessage(chain [][]byte) []byte {
	return message(tlswire.TypeCertificate, func(b *cryptobyte.Builder) {
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, der := range chain {
				b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
			}
		})
	})
}

// keyExchange is the ServerKeyExchange, nil where the suite has none: RFC 5246,
// Section 7.4.3, and RFC 8422, Section 5.4.
func keyExchange(s *config.TestServer) []byte {
	suite, _ := suites.ByCode(s.Cipher)
	if s.Group == 0 && s.DHBits == 0 {
		return nil
	}
	return message(tlswire.TypeServerKeyExchange, func(b *cryptobyte.Builder) {
		if suite.Auth == "PSK" { // an identity hint: RFC 4279, Section 3
			b.AddUint16(0)
		}
		if s.Group != 0 {
			b.AddUint8(3) // named_curve
			b.AddUint16(s.Group)
			list8(b, filler(shareSize(s.Group), 3))
		} else {
			p := number(s.DHBits, 11)
			bytes16(b, p)
			bytes16(b, []byte{2})
			bytes16(b, number(s.DHBits-1, 12))
		}
		switch suite.Auth {
		case "PSK", "anon":
			return
		}
		if s.Version == tlswire.VersionTLS12 {
			b.AddUint16(0x0401)
		}
		bytes16(b, filler(256, 13))
	})
}

// number is an odd number of so many bits.
func number(bits int, seed byte) []byte {
	b := filler((bits+7)/8, seed)
	top := byte(1) << ((bits + 7) % 8)
	b[0] = b[0]&(top-1) | top
	b[len(b)-1] |= 1
	return b
}

func serverHelloDone() []byte {
	return message(tlswire.TypeServerHelloDone, func(*cryptobyte.Builder) {})
}

// sessionTicket is RFC 5077, Section 3.3.
func sessionTicket() []byte {
	return message(tlswire.TypeNewSessionTicket, func(b *cryptobyte.Builder) {
		b.AddUint32(7200)
		bytes16(b, ticket)
	})
}

// clientKeyExchange is RFC 5246, Section 7.4.7: nobody reads what is in it.
func clientKeyExchange() []byte {
	return message(tlswire.TypeClientKeyExchange, func(b *cryptobyte.Builder) { list8(b, filler(32, 14)) })
}
