package tlswire

import (
	"golang.org/x/crypto/cryptobyte"
)

// A ServerHello is what a server chose: RFC 8446, Section 4.1.3 and its
// predecessors, a HelloRetryRequest included.
//
// The zero ServerHello is ready for ParseServerHello. It owns its memory, as
// ClientHello does, under the same conditions.
type ServerHello struct {
	LegacyVersion uint16
	Version       uint16 // negotiated: supported_versions, or LegacyVersion without it
	CipherSuite   uint16
	Group         uint16 // of key_share, or asked for by a HelloRetryRequest; 0 if there is none
	Random        [32]byte
	SessionID     []byte
	Extensions    []uint16
	// ALPN is the protocol selected. TLS 1.3 sends it encrypted: then it
	// is never known.
	ALPN        []byte
	Compression uint8
	Heartbeat   HeartbeatMode

	PSK                  bool // pre_shared_key selected: resumed (TLS 1.3)
	Retry                bool // a HelloRetryRequest
	SessionTicket        bool // a NewSessionTicket will follow (TLS 1.2)
	ExtendedMasterSecret bool
	EncryptThenMAC       bool
	RenegotiationInfo    bool

	octets []byte
}

// TLS13 reports whether TLS 1.3 or later was negotiated.
func (h *ServerHello) TLS13() bool { return h.Version >= VersionTLS13 }

// helloRetryRequestRandom is of RFC 8446, Section 4.1.3.
var helloRetryRequestRandom = [32]byte{
	0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11,
	0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
	0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E,
	0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
}

// ParseServerHello reads the handshake message msg, with its four-byte header,
// into h. Of extensions it checks only those it reads. After a fault h is not
// to be used.
func ParseServerHello(msg []byte, h *ServerHello) Fault {
	body, fault := messageBody(msg, TypeServerHello)
	if !fault.OK() {
		return fault
	}
	return h.parse(body)
}

func (h *ServerHello) clear() {
	ids, octets := h.Extensions[:0], h.octets[:0]
	if cap(ids) > maxKept {
		ids = nil
	}
	if cap(octets) > maxKept {
		octets = nil
	}
	*h = ServerHello{Extensions: ids, octets: octets}
}

func (h *ServerHello) parse(body []byte) Fault {
	h.clear()
	length := messageHeaderLen + len(body)
	s := cryptobyte.String(body)
	at := func(f FaultField) Fault { return faultAt(f, length-len(s)) }

	var field cryptobyte.String
	if !s.ReadUint16(&h.LegacyVersion) {
		return at(FaultVersion)
	}
	h.Version = h.LegacyVersion
	if !s.CopyBytes(h.Random[:]) {
		return at(FaultRandom)
	}
	if !s.ReadUint8LengthPrefixed(&field) {
		return at(FaultSessionID)
	}
	h.SessionID = h.bytes(field)
	if !s.ReadUint16(&h.CipherSuite) {
		return at(FaultCipherSuites)
	}
	if !s.ReadUint8(&h.Compression) {
		return at(FaultCompressionMethods)
	}
	var extensions cryptobyte.String
	if !s.Empty() && (!s.ReadUint16LengthPrefixed(&extensions) || !s.Empty()) {
		return at(FaultExtensions)
	}
	var fault Fault
	h.Extensions, fault = appendExtensions(h.Extensions, extensions, length-len(extensions))
	if !fault.OK() {
		return fault
	}
	for !extensions.Empty() {
		offset := length - len(extensions)
		var id uint16
		extensions.ReadUint16(&id)
		extensions.ReadUint16LengthPrefixed(&field)
		if f := h.extension(id, field); f != FaultNone {
			return faultAt(f, offset)
		}
	}
	if h.Version>>8 < VersionSSL30>>8 {
		return Fault{FaultVersion, messageHeaderLen}
	}
	// The random means a retry only where TLS 1.3 is negotiated: a TLS 1.2
	// client takes any random.
	h.Retry = h.TLS13() && h.Random == helloRetryRequestRandom
	return Fault{}
}

// bytes keeps a copy of b.
func (h *ServerHello) bytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	start := len(h.octets)
	h.octets = append(h.octets, b...)
	return h.octets[start:len(h.octets):len(h.octets)]
}

func (h *ServerHello) extension(id uint16, s cryptobyte.String) FaultField {
	var l, p cryptobyte.String
	switch id {
	case extensionSupportedVersions:
		return fails(!s.ReadUint16(&h.Version) || !s.Empty(), FaultSupportedVersions)
	case extensionKeyShare: // a HelloRetryRequest has the group alone
		return fails(!s.ReadUint16(&h.Group) ||
			!s.Empty() && (!s.ReadUint16LengthPrefixed(&l) || !s.Empty()), FaultKeyShare)
	case extensionALPN:
		if !s.ReadUint16LengthPrefixed(&l) || !s.Empty() ||
			!l.ReadUint8LengthPrefixed(&p) || p.Empty() || !l.Empty() {
			return FaultALPN
		}
		h.ALPN = h.bytes(p)
	case extensionPreSharedKey:
		h.PSK = true
		return fails(len(s) != 2, FaultPreSharedKey)
	case extensionHeartbeat:
		h.Heartbeat = HeartbeatMode(soleByte(s))
	case extensionSessionTicket:
		h.SessionTicket = true
	case extensionExtendedMasterSecret:
		h.ExtendedMasterSecret = true
	case extensionEncryptThenMAC:
		h.EncryptThenMAC = true
	case extensionRenegotiationInfo:
		h.RenegotiationInfo = true
	}
	return FaultNone
}
