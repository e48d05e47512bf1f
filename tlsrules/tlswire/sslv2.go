package tlswire

import "golang.org/x/crypto/cryptobyte"

// parseSSLv2 reads an SSL 2.0 ClientHello that offers SSL 3.0 or TLS: RFC 5246,
// Appendix E.2. msg begins with the message type. OpenSSL servers answer it
// with a ServerHello of TLS 1.2, so it must not pass unread. Cipher specs that
// are not TLS suites are left out.
func (h *ClientHello) parseSSLv2(msg []byte) Fault {
	h.reserve()
	h.SSLv2 = true
	h.Length = int32(len(msg))
	s := cryptobyte.String(msg)
	var typ uint8
	var specsLen, sessionLen, challengeLen uint16
	if !s.ReadUint8(&typ) || !s.ReadUint16(&h.LegacyVersion) ||
		!s.ReadUint16(&specsLen) || !s.ReadUint16(&sessionLen) || !s.ReadUint16(&challengeLen) {
		return Fault{FaultMessageLength, 0}
	}
	if len(s) != int(specsLen)+int(sessionLen)+int(challengeLen) {
		return Fault{FaultMessageLength, 3}
	}
	var specs, session, challenge cryptobyte.String
	s.ReadBytes((*[]byte)(&specs), int(specsLen))
	s.ReadBytes((*[]byte)(&session), int(sessionLen))
	s.ReadBytes((*[]byte)(&challenge), int(challengeLen))
	if specsLen%3 != 0 {
		return Fault{FaultCipherSuites, 3}
	}
	for !specs.Empty() {
		var high uint8
		var suite uint16
		specs.ReadUint8(&high)
		specs.ReadUint16(&suite)
		if high == 0 {
			h.words = append(h.words, suite)
		}
	}
	h.CipherSuites = h.words[:len(h.words):len(h.words)]
	h.SessionID = h.bytes(session)
	// The challenge stands at the end of the random, or the other way round
	// if it is too long, as OpenSSL has it.
	challenge = challenge[:min(len(challenge), len(h.Random))]
	copy(h.Random[len(h.Random)-len(challenge):], challenge)
	return Fault{}
}
