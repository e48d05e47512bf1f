package tlswire

import (
	"iter"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// A CertificateType is what a Certificate message holds, by the registry of RFC
// 7250. The zero CertificateType is X.509.
type CertificateType uint8

const (
	CertificateX509         CertificateType = 0
	CertificateOpenPGP      CertificateType = 1 // RFC 6091
	CertificateRawPublicKey CertificateType = 2 // RFC 7250
)

const (
	extensionCertType              uint16 = 9 // RFC 6091: both sides'
	extensionClientCertificateType uint16 = 19
	extensionServerCertificateType uint16 = 20

	statusTypeLen = 1 // of a CertificateStatus: RFC 6066, Section 8
)

// certificateTypes reads which types a ServerHello, which has been parsed,
// chooses. One that is not a type is left for the client to judge.
func (c *Conn) certificateTypes(hello []byte) {
	client, server := c.ClientHelloFrom, c.ClientHelloFrom.Other()
	chosen := func(id uint16) bool { return slices.Contains(c.ServerHello.Extensions, id) }
	if !chosen(extensionCertType) && !chosen(extensionClientCertificateType) && !chosen(extensionServerCertificateType) {
		return
	}
	s := cryptobyte.String(hello)
	var field cryptobyte.String
	s.Skip(2 + len(c.ServerHello.Random))
	s.ReadUint8LengthPrefixed(&field)
	s.Skip(2 + 1) // suite and compression
	var extensions cryptobyte.String
	s.ReadUint16LengthPrefixed(&extensions)
	var id uint16
	for extensions.ReadUint16(&id) && extensions.ReadUint16LengthPrefixed(&field) {
		if len(field) != 1 {
			continue
		}
		switch t := CertificateType(field[0]); id {
		case extensionCertType:
			c.CertificateType = [2]CertificateType{t, t}
		case extensionClientCertificateType:
			c.CertificateType[client] = t
		case extensionServerCertificateType:
			c.CertificateType[server] = t
		}
	}
}

// A CertificateList is the body of a Certificate message up to TLS 1.2: RFC
// 5246, Section 7.4.2. An empty one is legal from a client.
type CertificateList []byte

// All iterates over the certificates in the order of the wire, up to where the
// list is broken. They are views of the list.
func (l CertificateList) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		rest, _ := l.certificates()
		var certificate cryptobyte.String
		for rest.ReadUint24LengthPrefixed(&certificate) {
			if !yield(certificate) {
				return
			}
		}
	}
}

// Broken reports whether lengths do not add up, or a certificate is empty: no
// receiver takes the list.
func (l CertificateList) Broken() bool {
	rest, whole := l.certificates()
	var certificate cryptobyte.String
	for whole && !rest.Empty() {
		whole = rest.ReadUint24LengthPrefixed(&certificate) && !certificate.Empty()
	}
	return !whole
}

// certificates strips the length of the list, also of one that is cut.
func (l CertificateList) certificates() (rest cryptobyte.String, whole bool) {
	s := cryptobyte.String(l)
	if s.ReadUint24LengthPrefixed(&rest) {
		return rest, s.Empty()
	}
	s = cryptobyte.String(l)
	s.Skip(3)
	return s, false
}

// RawPublicKey returns the SubjectPublicKeyInfo that stands in the place of the
// list where CertificateRawPublicKey was chosen (RFC 7250, Section 3).
func (l CertificateList) RawPublicKey() []byte {
	rest, _ := l.certificates()
	return rest
}

// A CertificateRequest is what a server asks of a client's certificate up to
// TLS 1.2: RFC 5246, Section 7.4.4. The zero CertificateRequest is ready for
// ParseCertificateRequest, and owns its memory.
type CertificateRequest struct {
	Types               []byte   // ClientCertificateType
	SignatureAlgorithms []uint16 // TLS 1.2; the first of them
	Authorities         int      // how many distinguished names
}

// maxSchemes is how many signature algorithms of a CertificateRequest are kept.
const maxSchemes = 128

// ParseCertificateRequest reads the body of a CertificateRequest of a version
// into r, whose memory is used again. It reports whether it is whole; else what
// stands before the fault is read.
func ParseCertificateRequest(body []byte, version uint16, r *CertificateRequest) bool {
	*r = CertificateRequest{Types: r.Types[:0], SignatureAlgorithms: r.SignatureAlgorithms[:0]}
	s := cryptobyte.String(body)
	var field, name cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&field) {
		return false
	}
	r.Types = append(r.Types, field...)
	if version >= VersionTLS12 {
		if !s.ReadUint16LengthPrefixed(&field) {
			return false
		}
		var scheme uint16
		for field.ReadUint16(&scheme) {
			if len(r.SignatureAlgorithms) < maxSchemes {
				r.SignatureAlgorithms = append(r.SignatureAlgorithms, scheme)
			}
		}
		if !field.Empty() {
			return false
		}
	}
	if !s.ReadUint16LengthPrefixed(&field) {
		return false
	}
	for ; !field.Empty(); r.Authorities++ {
		if !field.ReadUint16LengthPrefixed(&name) {
			return false
		}
	}
	return s.Empty()
}

// A SessionTicket is the body of a NewSessionTicket up to TLS 1.2: RFC 5077,
// Section 3.3.
type SessionTicket struct {
	Lifetime uint32 // seconds, a hint; 0 says nothing
	Ticket   []byte // a view; empty where the server has changed its mind
}

// ParseSessionTicket reads the body of a NewSessionTicket. It reports whether it
// is whole; else it is not to be used.
func ParseSessionTicket(body []byte) (t SessionTicket, ok bool) {
	s := cryptobyte.String(body)
	var ticket cryptobyte.String
	ok = s.ReadUint32(&t.Lifetime) && s.ReadUint16LengthPrefixed(&ticket) && s.Empty()
	t.Ticket = ticket
	return t, ok
}
