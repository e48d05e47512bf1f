package tlswire

import "golang.org/x/crypto/cryptobyte"

// A HandshakeType is the first byte of a handshake message (RFC 8446, Section 4).
type HandshakeType uint8

const (
	TypeHelloRequest       HandshakeType = 0
	TypeClientHello        HandshakeType = 1
	TypeServerHello        HandshakeType = 2
	TypeNewSessionTicket   HandshakeType = 4 // RFC 5077, Section 3.3
	TypeCertificate        HandshakeType = 11
	TypeServerKeyExchange  HandshakeType = 12
	TypeCertificateRequest HandshakeType = 13
	TypeServerHelloDone    HandshakeType = 14
	TypeCertificateVerify  HandshakeType = 15
	TypeClientKeyExchange  HandshakeType = 16
	TypeCertificateStatus  HandshakeType = 22 // RFC 6066, Section 8
)

const messageHeaderLen = 4

// A MessageHeader is the header of a handshake message that passed in clear.
type MessageHeader struct {
	Type   HandshakeType
	Length int32 // of the body, bytes
}

// messageBody strips the header of a whole handshake message.
func messageBody(msg []byte, want HandshakeType) ([]byte, Fault) {
	s := cryptobyte.String(msg)
	var typ uint8
	var body cryptobyte.String
	if !s.ReadUint8(&typ) || HandshakeType(typ) != want {
		return nil, Fault{FaultMessageOrder, 0}
	}
	if !s.ReadUint24LengthPrefixed(&body) || !s.Empty() {
		return nil, Fault{FaultMessageLength, 1}
	}
	return body, Fault{}
}
