package tlswire

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

const (
	extensionServerName             uint16 = 0
	extensionMaxFragmentLength      uint16 = 1
	extensionStatusRequest          uint16 = 5
	extensionSupportedGroups        uint16 = 10
	extensionECPointFormats         uint16 = 11
	extensionSignatureAlgorithms    uint16 = 13
	extensionHeartbeat              uint16 = 15
	extensionALPN                   uint16 = 16
	extensionSCT                    uint16 = 18
	extensionEncryptThenMAC         uint16 = 22
	extensionExtendedMasterSecret   uint16 = 23
	extensionCompressCertificate    uint16 = 27
	extensionRecordSizeLimit        uint16 = 28
	extensionDelegatedCredential    uint16 = 34
	extensionSessionTicket          uint16 = 35
	extensionPreSharedKey           uint16 = 41
	extensionEarlyData              uint16 = 42
	extensionSupportedVersions      uint16 = 43
	extensionCookie                 uint16 = 44
	extensionPSKModes               uint16 = 45
	extensionSignatureAlgorithmCert uint16 = 50
	extensionKeyShare               uint16 = 51
	extensionEncryptedClientHello   uint16 = 0xfe0d
	extensionRenegotiationInfo      uint16 = 0xff01

	cipherSuiteRenegotiationSCSV uint16 = 0x00ff // RFC 5746, Section 3.3
	cipherSuiteFallbackSCSV      uint16 = 0x5600
)

// appendExtensions appends the types of all extensions to ids and checks that
// each is whole and none stands twice. offset is where list begins in its
// message.
func appendExtensions(ids []uint16, list cryptobyte.String, offset int) ([]uint16, Fault) {
	first, length := len(ids), len(list)
	for !list.Empty() {
		at := offset + length - len(list)
		var id uint16
		var data cryptobyte.String
		if !list.ReadUint16(&id) || !list.ReadUint16LengthPrefixed(&data) {
			return ids, faultAt(FaultExtensions, at)
		}
		ids = append(ids, id)
	}
	if duplicate(ids[first:]) {
		return ids, faultAt(FaultDuplicateExtension, offset)
	}
	return ids, Fault{}
}

// duplicate reports whether an id stands twice. A hello can hold 16,000 empty
// extensions: to compare them pair by pair would take a packet's sender nothing
// and us a tenth of a second.
func duplicate(ids []uint16) bool {
	if len(ids) > 64 {
		var seen [1 << 16 / 64]uint64
		for _, id := range ids {
			if seen[id/64]&(1<<(id%64)) != 0 {
				return true
			}
			seen[id/64] |= 1 << (id % 64)
		}
		return false
	}
	var low uint64
	for i, id := range ids {
		if id < 64 {
			if low&(1<<id) != 0 {
				return true
			}
			low |= 1 << id
		} else if slices.Contains(ids[:i], id) {
			return true
		}
	}
	return false
}

// bytes keeps a copy of b.
func (h *ClientHello) bytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	start := len(h.octets)
	h.octets = append(h.octets, b...)
	return h.octets[start:len(h.octets):len(h.octets)]
}

// numbers sets *list to the 16-bit numbers of s; an odd length is false.
func (h *ClientHello) numbers(list *[]uint16, s cryptobyte.String) bool {
	if len(s)%2 != 0 {
		return false
	}
	start := len(h.words)
	var v uint16
	for s.ReadUint16(&v) {
		h.words = append(h.words, v)
	}
	*list = h.words[start:len(h.words):len(h.words)]
	return true
}

// numberList reads a non-empty list of numbers that is all of s.
func (h *ClientHello) numberList(list *[]uint16, s cryptobyte.String) bool {
	var l cryptobyte.String
	return s.ReadUint16LengthPrefixed(&l) && !l.Empty() && s.Empty() && h.numbers(list, l)
}

// extension reads one extension; last says that none follows. What is refused
// here crypto/tls refuses too, and nothing else.
func (h *ClientHello) extension(id uint16, s cryptobyte.String, last bool) FaultField {
	var l cryptobyte.String
	switch id {
	case extensionServerName:
		return fails(!h.serverName(s), FaultServerName)
	case extensionStatusRequest: // RFC 6066, Section 8
		var statusType uint8
		h.StatusRequest = true
		return fails(!s.ReadUint8(&statusType) || !s.ReadUint16LengthPrefixed(&l) ||
			!s.ReadUint16LengthPrefixed(&l) || !s.Empty(), FaultStatusRequest)
	case extensionSupportedGroups:
		return fails(!h.numberList(&h.SupportedGroups, s), FaultSupportedGroups)
	case extensionECPointFormats:
		if !s.ReadUint8LengthPrefixed(&l) || l.Empty() || !s.Empty() {
			return FaultECPointFormats
		}
		h.ECPointFormats = h.bytes(l)
	case extensionSignatureAlgorithms:
		return fails(!h.numberList(&h.SignatureAlgorithms, s), FaultSignatureAlgorithms)
	case extensionSignatureAlgorithmCert:
		return fails(!s.ReadUint16LengthPrefixed(&l) || l.Empty() || len(l)%2 != 0 || !s.Empty(), FaultSignatureAlgorithms)
	case extensionALPN:
		return fails(!h.protocols(s), FaultALPN)
	case extensionSessionTicket:
		h.sessionTicket(s)
	case extensionEncryptThenMAC: // RFC 7366; crypto/tls does not know it
		h.EncryptThenMAC = true
	case extensionExtendedMasterSecret:
		h.ExtendedMasterSecret = true
		return fails(!s.Empty(), FaultFlagExtension)
	case extensionSCT:
		return fails(!s.Empty(), FaultFlagExtension)
	case extensionEarlyData:
		h.EarlyData = true
		return fails(!s.Empty(), FaultFlagExtension)
	case extensionRenegotiationInfo:
		h.RenegotiationInfo = true
		return fails(!s.ReadUint8LengthPrefixed(&l) || !s.Empty(), FaultRenegotiationInfo)
	case extensionSupportedVersions:
		return fails(!s.ReadUint8LengthPrefixed(&l) || l.Empty() || !s.Empty() ||
			!h.numbers(&h.SupportedVersions, l), FaultSupportedVersions)
	case extensionCookie:
		h.Cookie = true
		return fails(!s.ReadUint16LengthPrefixed(&l) || l.Empty() || !s.Empty(), FaultCookie)
	case extensionKeyShare:
		return fails(!h.keyShares(s), FaultKeyShare)
	case extensionPSKModes:
		if !s.ReadUint8LengthPrefixed(&l) || !s.Empty() {
			return FaultPSKModes
		}
		for _, v := range l {
			h.PSKModes |= pskModeOf(v)
		}
	case extensionPreSharedKey: // RFC 8446, Section 4.2.11: the last extension
		return fails(!last || !h.preSharedKey(s), FaultPreSharedKey)
	case extensionEncryptedClientHello:
		return fails(!h.ECH.parse(s), FaultECH)
	default:
		h.unread(id, s)
	}
	return FaultNone
}

// unread reads the extensions that crypto/tls does not: what is broken in them
// is not there, and no fault.
func (h *ClientHello) unread(id uint16, s cryptobyte.String) {
	switch id {
	case extensionMaxFragmentLength:
		h.MaxFragmentLength = soleByte(s)
	case extensionHeartbeat:
		h.Heartbeat = HeartbeatMode(soleByte(s))
	case extensionRecordSizeLimit:
		h.RecordSizeLimit = soleNumber(s)
	case extensionDelegatedCredential:
		h.DelegatedCredential = true
	case extensionCompressCertificate:
		h.CertificateCompression.parse(s)
	}
}

// soleByte reads an extension that is one byte; another length is 0.
func soleByte(s cryptobyte.String) (v uint8) {
	if len(s) == 1 {
		s.ReadUint8(&v)
	}
	return v
}

// soleNumber reads an extension that is one 16-bit number; another length is 0.
func soleNumber(s cryptobyte.String) (v uint16) {
	if len(s) == 2 {
		s.ReadUint16(&v)
	}
	return v
}

func fails(broken bool, f FaultField) FaultField {
	if broken {
		return f
	}
	return FaultNone
}

// serverName reads RFC 6066, Section 3. A trailing dot is refused, as the RFC
// and crypto/tls have it. A NUL inside is kept: it is for rules to compare.
func (h *ClientHello) serverName(s cryptobyte.String) bool {
	var list, value cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) || list.Empty() || !s.Empty() {
		return false
	}
	for !list.Empty() {
		var nameType uint8
		if !list.ReadUint8(&nameType) || !list.ReadUint16LengthPrefixed(&value) || value.Empty() {
			return false
		}
		if nameType != 0 {
			continue
		}
		if h.HasServerName || value[len(value)-1] == '.' {
			return false
		}
		h.HasServerName = true
		h.ServerName = h.bytes(value)
	}
	return true
}

// protocols reads RFC 7301, Section 3.1.
func (h *ClientHello) protocols(s cryptobyte.String) bool {
	var list, p cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) || list.Empty() || !s.Empty() {
		return false
	}
	for rest := list; !rest.Empty(); {
		if !rest.ReadUint8LengthPrefixed(&p) || p.Empty() {
			return false
		}
	}
	h.ALPN = h.bytes(list)
	return true
}

// keyShares reads RFC 8446, Section 4.2.8. An empty list is legal: it asks for
// a HelloRetryRequest.
func (h *ClientHello) keyShares(s cryptobyte.String) bool {
	var list, key cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) || !s.Empty() {
		return false
	}
	start := len(h.words)
	for !list.Empty() {
		var group uint16
		if !list.ReadUint16(&group) || !list.ReadUint16LengthPrefixed(&key) || key.Empty() {
			return false
		}
		h.words = append(h.words, group)
	}
	h.KeyShares = h.words[start:len(h.words):len(h.words)]
	return true
}

// parse reads RFC 9849, Section 5. As crypto/tls has it, an empty extension is
// none, and what follows the encrypted hello is not looked at.
func (e *ECH) parse(s cryptobyte.String) bool {
	const outer, inner = 0, 1
	if s.Empty() {
		return true
	}
	e.Present = true
	var form uint8
	s.ReadUint8(&form)
	switch form {
	case inner:
		e.Inner = true
		return s.Empty()
	case outer:
		var enc, payload cryptobyte.String
		ok := s.ReadUint16(&e.KDF) && s.ReadUint16(&e.AEAD) && s.ReadUint8(&e.ConfigID) &&
			s.ReadUint16LengthPrefixed(&enc) && s.ReadUint16LengthPrefixed(&payload)
		e.EncLength, e.Length = uint16(len(enc)), uint16(len(payload))
		return ok
	}
	return false
}
