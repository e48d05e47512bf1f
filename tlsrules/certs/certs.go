// Package certs reads X.509 certificates (RFC 5280) as an onlooker must: all
// of them. What a certificate says is read by a reader of our own, which goes
// on where crypto/x509 refuses; crypto/x509 is asked as well, and what it
// objects to is kept as Problem. A certificate that is broken is a fact to
// tell and to judge, never an error.
//
// Nothing is verified: who trusts a certificate is for its receiver to say. The
// package does not know packets, policies, or the time.
package certs

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
)

// A Certificate is what one certificate says. It owns its memory and is not
// changed once it is returned: it may be shared. A field that could not be read
// is zero.
type Certificate struct {
	Length     int      // of the encoding as it was sent, bytes
	SHA1       [20]byte // of the same
	SHA256     [32]byte
	SPKISHA256 [32]byte // of the SubjectPublicKeyInfo, if HasSPKI
	HasSPKI    bool
	// DER is the encoding itself, for who reads it again later; nil if it is
	// longer than MaxDER.
	DER []byte

	// RawPublicKey is set for a bare SubjectPublicKeyInfo (RFC 7250), which
	// has a key, and nothing else of what follows.
	RawPublicKey bool

	Version int    // 1, 2 or 3, or what it claims to be
	Serial  string // all its octets: "0A:0B"
	// Subject and Issuer are in the certificate's order, "C=US, O=Example,
	// CN=api.example". Values are not escaped, as Suricata's EVE does not: a
	// value may look like several.
	Subject, Issuer string
	// SubjectParts and IssuerParts are the same, "CN=api.example", one by one.
	SubjectParts, IssuerParts []string
	CommonName                string // of the subject, the last one
	SANs                      []Name // the first of the subjectAltName's names
	MoreSANs                  int    // how many more there are
	// NotBefore and NotAfter are zero if they could not be read.
	NotBefore, NotAfter time.Time
	Key                 Key
	Signature           string // the algorithm as OpenSSL calls it, or its dotted OID
	// SelfSigned as OpenSSL has it: subject and issuer are the same bytes, and
	// key identifiers and the kind of the signature do not say otherwise. No
	// signature is checked: to have us check some would cost a sender nothing.
	SelfSigned bool

	// Problem says why a strict parser refuses the certificate; "" if it does
	// not.
	Problem string
}

// Bounds of what is kept of one certificate. Texts that are longer end in "...".
const (
	maxSANs    = 1000
	maxName    = 1024 // a Subject, an Issuer, bytes
	maxValue   = 256  // one value in them, or one of SANs
	maxSerial  = 64   // octets; RFC 5280, Section 4.1.2.2 allows 20
	maxProblem = 200
)

// MaxDER is the longest encoding that is kept: most have a tenth.
const MaxDER = 16 << 10

// keep copies an encoding that is not too long.
func keep(der []byte) []byte {
	if len(der) > MaxDER {
		return nil
	}
	return bytes.Clone(der)
}

// A Name is one name of a subjectAltName (RFC 5280, Section 4.2.1.6).
type Name struct {
	Kind  NameKind
	Value string // an IP address in the form of netip.Addr, a directory name as Subject
}

// A NameKind is the kind of a Name: the tag of a GeneralName.
type NameKind uint8

const (
	OtherName     NameKind = 0 // Value is the dotted type
	EmailName     NameKind = 1
	DNSName       NameKind = 2
	X400Name      NameKind = 3 // without a Value
	DirectoryName NameKind = 4
	EDIPartyName  NameKind = 5 // without a Value
	URIName       NameKind = 6
	IPAddress     NameKind = 7
	RegisteredID  NameKind = 8
)

var nameKinds = [...]string{"other", "email", "dns", "x400", "directory", "edi", "uri", "ip", "registered_id"}

func (k NameKind) String() string {
	if int(k) < len(nameKinds) {
		return nameKinds[k]
	}
	return "unknown"
}

// Parse reads a certificate. It never fails: of bytes that are no certificate
// at all the fingerprints and the Problem remain. der itself is not kept.
func Parse(der []byte) *Certificate {
	c := &Certificate{Length: len(der), SHA1: sha1.Sum(der), SHA256: sha256.Sum256(der), DER: keep(der)}
	c.read(der)
	if _, err := x509.ParseCertificate(der); err != nil {
		c.Problem = problem(err)
	}
	return c
}

// ParsePublicKey reads a SubjectPublicKeyInfo that stands in a certificate's
// place (RFC 7250, Section 3), as Parse reads certificates.
func ParsePublicKey(der []byte) *Certificate {
	c := &Certificate{Length: len(der), SHA1: sha1.Sum(der), SHA256: sha256.Sum256(der), DER: keep(der), RawPublicKey: true}
	s := cryptobyte.String(der)
	if body, whole, ok := expect(&s, tagSequence); ok {
		c.publicKey(whole, body)
	}
	if _, err := x509.ParsePKIXPublicKey(der); err != nil {
		c.Problem = problem(err)
	}
	return c
}

func problem(err error) string {
	text := strings.TrimPrefix(err.Error(), "x509: ")
	return clip(strings.ToValidUTF8(text, "\uFFFD"), maxProblem)
}

// ValidAt reports whether the time, in whole seconds, lies in the validity
// period, both ends of which belong to it (RFC 5280, Section 4.1.2.5).
func (c *Certificate) ValidAt(t time.Time) bool {
	s := t.Unix()
	return !c.NotBefore.IsZero() && !c.NotAfter.IsZero() && c.NotBefore.Unix() <= s && s <= c.NotAfter.Unix()
}

// Expired reports whether a receiver who looks at the time would refuse the
// certificate: it is expired, not valid yet, or does not say. A raw public key
// has no validity and never expires.
func (c *Certificate) Expired(t time.Time) bool { return !c.RawPublicKey && !c.ValidAt(t) }

// Fingerprint writes the SHA-1 as EVE does: "aa:bb:...".
func (c *Certificate) Fingerprint() string { return colons(lowerHex, c.SHA1[:]) }

const lowerHex, upperHex = "0123456789abcdef", "0123456789ABCDEF"

// colons writes octets with colons between them.
func colons(digits string, octets []byte) string {
	b := make([]byte, 0, 3*len(octets))
	for _, v := range octets {
		b = append(b, digits[v>>4], digits[v&15], ':')
	}
	return string(b[:max(0, len(b)-1)])
}

// clip bounds a text.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("...")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
