package policytest

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"tlsgate/config"
	"tlsgate/tlsrules/tlswire"
)

// Extensions that a hello is built of: RFC 8446, Section 4.2, and its like.
const (
	extensionServerName           = 0
	extensionStatusRequest        = 5
	extensionSupportedGroups      = 10
	extensionECPointFormats       = 11
	extensionSignatureAlgorithms  = 13
	extensionALPN                 = 16
	extensionExtendedMasterSecret = 23
	extensionSessionTicket        = 35
	extensionPreSharedKey         = 41
	extensionEarlyData            = 42
	extensionSupportedVersions    = 43
	extensionCookie               = 44
	extensionPSKModes             = 45
	extensionSignatureCert        = 50
	extensionKeyShare             = 51
	extensionECH                  = 0xfe0d
	extensionRenegotiationInfo    = 0xff01
)

// What a session is known by.
var (
	sessionID = filler(16, 1) // not 32 bytes, which beside TLS 1.3 would say nothing
	madeUpID  = filler(32, 77)
	ticket    = filler(192, 9)
)

// clientHello is the first hello, or the one that answers a HelloRetryRequest.
type clientHello struct {
	*config.TestClient
	shares []uint16
	retry  bool
	// session: the client asks to resume one.
	resumes tlswire.Resumes
}

func (h *clientHello) offers13() bool { return h.Versions[0] >= tlswire.VersionTLS13 }

// id is the session id. Beside TLS 1.3 and beside a ticket clients make one up:
// RFC 8446, Appendix D.4, and RFC 5077, Section 3.4.
func (h *clientHello) id() []byte {
	switch {
	case h.resumes&tlswire.ResumesSessionID != 0:
		return sessionID
	case h.offers13(), h.resumes&tlswire.ResumesTicket != 0:
		return madeUpID
	}
	return nil
}

func (h *clientHello) append(dst []byte) []byte {
	legacy := min(h.Versions[0], tlswire.VersionTLS12)
	msg := message(tlswire.TypeClientHello, func(b *cryptobyte.Builder) {
		b.AddUint16(legacy)
		b.AddBytes(h.Random[:])
		list8(b, h.id())
		list16(b, h.Ciphers)
		list8(b, []byte{0})
		if legacy >= tlswire.VersionTLS10 {
			b.AddUint16LengthPrefixed(h.extensions)
		}
	})
	return append(dst, record(tlswire.RecordTypeHandshake, min(legacy, tlswire.VersionTLS10), msg)...)
}

// extensions stand in the order OpenSSL sends them; those a test adds come
// before pre_shared_key, which is the last (RFC 8446, Section 4.2.11).
func (h *clientHello) extensions(b *cryptobyte.Builder) {
	seen := map[uint16]bool{}
	add := func(id uint16, body func(b *cryptobyte.Builder)) {
		if !seen[id] {
			seen[id] = true
			b.AddUint16(id)
			b.AddUint16LengthPrefixed(body)
		}
	}
	add(extensionRenegotiationInfo, extensionBody(extensionRenegotiationInfo))
	if h.ServerName != "" {
		add(extensionServerName, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint8(0)
				bytes16(b, []byte(h.ServerName))
			})
		})
	}
	add(extensionECPointFormats, extensionBody(extensionECPointFormats))
	add(extensionSupportedGroups, func(b *cryptobyte.Builder) { list16(b, h.Groups) })
	if h.Versions[len(h.Versions)-1] < tlswire.VersionTLS13 {
		add(extensionSessionTicket, func(b *cryptobyte.Builder) {
			if h.resumes&tlswire.ResumesTicket != 0 {
				b.AddBytes(ticket)
			}
		})
	}
	if len(h.ALPN) > 0 {
		add(extensionALPN, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, p := range h.ALPN {
					list8(b, []byte(p))
				}
			})
		})
	}
	add(extensionExtendedMasterSecret, extensionBody(extensionExtendedMasterSecret))
	if h.Versions[0] >= tlswire.VersionTLS12 {
		add(extensionSignatureAlgorithms, func(b *cryptobyte.Builder) { list16(b, h.Signatures) })
	}
	if h.offers13() {
		h.extensions13(add)
	}
	if h.ECH {
		add(extensionECH, func(b *cryptobyte.Builder) { // RFC 9849, Section 5: X25519, AES-128-GCM
			b.AddBytes([]byte{0, 0, 1, 0, 1, 42})
			bytes16(b, filler(32, 5))
			bytes16(b, filler(208, 6))
		})
	}
	for _, id := range h.Extensions {
		add(id, extensionBody(id))
	}
	if h.resumes&tlswire.ResumesPSK != 0 {
		add(extensionPreSharedKey, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				bytes16(b, ticket)
				b.AddUint32(0x01020304)
			})
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { list8(b, filler(32, 8)) })
		})
	}
}

// extensions13 are those of TLS 1.3.
func (h *clientHello) extensions13(add func(uint16, func(*cryptobyte.Builder))) {
	add(extensionSupportedVersions, func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, v := range h.Versions {
				b.AddUint16(v)
			}
		})
	})
	if h.retry {
		add(extensionCookie, extensionBody(extensionCookie))
	}
	add(extensionPSKModes, extensionBody(extensionPSKModes))
	if h.EarlyData && !h.retry && h.resumes&tlswire.ResumesPSK != 0 {
		add(extensionEarlyData, func(*cryptobyte.Builder) {})
	}
	add(extensionKeyShare, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, g := range h.shares {
				b.AddUint16(g)
				bytes16(b, filler(shareSize(g), byte(g)))
			}
		})
	})
}

// shareSize is the size of a group's key, where it is not that of x25519.
func shareSize(group uint16) int {
	switch group {
	case 23:
		return 65
	case 24:
		return 97
	case 25:
		return 133
	case 30: // x448
		return 56
	case 256, 257, 258, 259, 260: // RFC 7919
		return []int{256, 384, 512, 768, 1024}[group-256]
	case 0x11ec: // X25519MLKEM768
		return 1184 + 32
	}
	return 32
}

// extensionBody is what an extension says that a test only names; of most that
// is nothing.
func extensionBody(id uint16) func(b *cryptobyte.Builder) {
	body := map[uint16][]byte{
		1:                             {4},
		extensionStatusRequest:        {1, 0, 0, 0, 0},
		extensionECPointFormats:       {1, 0},
		15:                            {1},                // heartbeat: RFC 6520
		27:                            {2, 0, 2},          // compress_certificate: RFC 8879
		28:                            {0x40, 0x01},       // record_size_limit: RFC 8449
		34:                            {0, 2, 0x04, 0x03}, // delegated_credential: RFC 9345
		extensionCookie:               {0, 4, 1, 2, 3, 4},
		extensionPSKModes:             {1, 1},
		extensionSignatureCert:        {0, 2, 0x04, 0x03},
		extensionRenegotiationInfo:    {0},
		extensionExtendedMasterSecret: {},
	}[id]
	return func(b *cryptobyte.Builder) { b.AddBytes(body) }
}

// sslv2Hello is a hello in the format of RFC 5246, Appendix E.2.
func sslv2Hello(c *config.TestClient) []byte {
	var specs []byte
	for _, code := range c.Ciphers {
		specs = append(specs, 0, byte(code>>8), byte(code))
	}
	body := []byte{byte(tlswire.TypeClientHello), byte(c.Versions[0] >> 8), byte(c.Versions[0]), byte(len(specs) >> 8), byte(len(specs)), 0, 0, 0, 32}
	body = slices.Concat(body, specs, c.Random[:])
	return append([]byte{0x80 | byte(len(body)>>8), byte(len(body))}, body...)
}
