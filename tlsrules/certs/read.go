package certs

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Tags of X.690, Section 8.1.2, class and form included.
const (
	tagBoolean         = 0x01
	tagInteger         = 0x02
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagOID             = 0x06
	tagUTF8String      = 0x0c
	tagNumericString   = 0x12
	tagPrintableString = 0x13
	tagT61String       = 0x14
	tagIA5String       = 0x16
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagVisibleString   = 0x1a
	tagUniversalString = 0x1c
	tagBMPString       = 0x1e
	tagSequence        = 0x30
	tagSet             = 0x31

	contextSpecific = 0x80
	constructed     = 0x20
)

// element reads one element of BER, which is more than the DER of RFC 5280: a
// length need not be as short as it could be, a length that is indefinite is
// all there is, and so is one that goes beyond. whole includes tag and length.
func element(s *cryptobyte.String) (tag uint8, body, whole cryptobyte.String, ok bool) {
	all := *s
	var first uint8
	if !s.ReadUint8(&tag) || tag&0x1f == 0x1f || !s.ReadUint8(&first) {
		return 0, nil, nil, false
	}
	length := uint64(first)
	if first >= 0x80 {
		length = 0
		for range first & 0x7f {
			var v uint8
			if length >= 1<<32 || !s.ReadUint8(&v) {
				return 0, nil, nil, false
			}
			length = length<<8 | uint64(v)
		}
		if first == 0x80 {
			length = uint64(len(*s))
		}
	}
	s.ReadBytes((*[]byte)(&body), int(min(length, uint64(len(*s)))))
	return tag, body, all[:len(all)-len(*s)], true
}

// expect reads an element of one tag, and none if the next has another.
func expect(s *cryptobyte.String, want uint8) (body, whole cryptobyte.String, ok bool) {
	rest := *s
	tag, body, whole, ok := element(&rest)
	if !ok || tag != want {
		return nil, nil, false
	}
	*s = rest
	return body, whole, true
}

// algorithm reads an AlgorithmIdentifier (RFC 5280, Section 4.1.1.2).
func algorithm(s *cryptobyte.String) (oid string, parameters cryptobyte.String, ok bool) {
	body, _, ok := expect(s, tagSequence)
	if !ok {
		return "", nil, false
	}
	id, _, ok := expect(&body, tagOID)
	return dotted(id), body, ok
}

// read reads a certificate as far as it can: RFC 5280, Section 4.1.
func (c *Certificate) read(der []byte) {
	s := cryptobyte.String(der)
	outer, _, ok := expect(&s, tagSequence)
	if !ok {
		return
	}
	tbs, _, ok := expect(&outer, tagSequence)
	if !ok {
		return
	}
	oid := c.body(tbs)
	if outside, _, ok := algorithm(&outer); ok {
		oid = outside
	}
	if oid != "" {
		c.Signature = oid
		if a, ok := signatures[oid]; ok {
			c.Signature = a.name
			c.SelfSigned = c.SelfSigned && (a.kind == UnknownKey || a.kind == c.Key.Kind)
		}
	}
}

// body reads a TBSCertificate, and returns the signature algorithm that it
// names. It ends at the first field that is not what belongs there.
func (c *Certificate) body(s cryptobyte.String) (signature string) {
	c.Version = 1
	if v, _, ok := expect(&s, contextSpecific|constructed); ok {
		if n, _, ok := expect(&v, tagInteger); ok && len(n) == 1 {
			c.Version = int(n[0]) + 1
		}
	}
	serial, _, ok := expect(&s, tagInteger)
	if !ok {
		return ""
	}
	c.Serial = colons(upperHex, serial[:min(len(serial), maxSerial)])
	if signature, _, ok = algorithm(&s); !ok {
		return signature
	}
	issuer, _, ok := expect(&s, tagSequence)
	if !ok {
		return signature
	}
	c.Issuer, c.IssuerParts, _ = distinguishedName(issuer)
	validity, _, ok := expect(&s, tagSequence)
	if !ok {
		return signature
	}
	c.NotBefore = readTime(&validity)
	c.NotAfter = readTime(&validity)
	subject, _, ok := expect(&s, tagSequence)
	if !ok {
		return signature
	}
	c.Subject, c.SubjectParts, c.CommonName = distinguishedName(subject)
	key, whole, ok := expect(&s, tagSequence)
	if !ok {
		return signature
	}
	c.publicKey(whole, key)
	subjectID, authorityID := c.extensions(s)
	c.SelfSigned = bytes.Equal(issuer, subject) &&
		(subjectID == nil || authorityID == nil || bytes.Equal(subjectID, authorityID))
	return signature
}

const (
	oidSubjectKeyID   = "2.5.29.14"
	oidSubjectAltName = "2.5.29.17"
	oidAuthorityKeyID = "2.5.29.35"
)

// extensions reads what follows the key: unique identifiers, which say nothing,
// and the extensions, whatever the version (RFC 5280, Section 4.1.2.9). Those
// that stand twice count twice.
func (c *Certificate) extensions(s cryptobyte.String) (subjectID, authorityID []byte) {
	for len(s) > 0 {
		tag, body, _, ok := element(&s)
		if !ok {
			return subjectID, authorityID
		}
		if tag != contextSpecific|constructed|3 {
			continue
		}
		list, _, _ := expect(&body, tagSequence)
		for len(list) > 0 {
			extension, _, ok := expect(&list, tagSequence)
			if !ok {
				return subjectID, authorityID
			}
			oid, _, _ := expect(&extension, tagOID)
			expect(&extension, tagBoolean)
			value, _, ok := expect(&extension, tagOctetString)
			if !ok {
				continue
			}
			switch dotted(oid) {
			case oidSubjectAltName:
				c.altNames(value)
			case oidSubjectKeyID:
				subjectID, _, _ = expect(&value, tagOctetString)
			case oidAuthorityKeyID:
				id, _, _ := expect(&value, tagSequence)
				authorityID, _, _ = expect(&id, contextSpecific)
			}
		}
	}
	return subjectID, authorityID
}

// altNames reads GeneralNames: RFC 5280, Section 4.2.1.6.
func (c *Certificate) altNames(s cryptobyte.String) {
	list, _, _ := expect(&s, tagSequence)
	for len(list) > 0 {
		tag, body, _, ok := element(&list)
		if !ok {
			return
		}
		kind := NameKind(tag & 0x1f)
		if tag&0xc0 != contextSpecific || int(kind) >= len(nameKinds) || kind.text() && tag&constructed != 0 {
			continue // in pieces a text is what no reader takes for one
		}
		if len(c.SANs) == maxSANs {
			c.MoreSANs++
			continue
		}
		c.SANs = append(c.SANs, Name{kind, clip(altName(kind, body), maxValue)})
	}
	c.SANs = append([]Name(nil), c.SANs...) // which is kept, without the room to grow
}

// text reports whether the kind is a string of octets.
func (k NameKind) text() bool {
	switch k {
	case EmailName, DNSName, URIName, IPAddress, RegisteredID:
		return true
	}
	return false
}

func altName(kind NameKind, body cryptobyte.String) string {
	switch kind {
	case EmailName, DNSName, URIName:
		return text(tagIA5String, body)
	case IPAddress:
		if a, ok := netip.AddrFromSlice(body); ok {
			return a.String()
		}
		return "#" + hex.EncodeToString(body[:min(len(body), maxValue)])
	case DirectoryName:
		name, _, _ := expect(&body, tagSequence)
		value, _, _ := distinguishedName(name)
		return value
	case RegisteredID:
		return dotted(body)
	case OtherName:
		oid, _, _ := expect(&body, tagOID)
		return dotted(oid)
	}
	return ""
}

// layouts are those of RFC 5280, Section 4.1.2.5, and after them what X.690
// and its readers allow besides.
var layouts = map[uint8][]string{
	tagUTCTime:         {"060102150405Z0700", "0601021504Z0700"},
	tagGeneralizedTime: {"20060102150405Z0700", "200601021504Z0700", "20060102150405", "2006010215Z0700"},
}

// readTime reads a Time; zero if it cannot.
func readTime(s *cryptobyte.String) time.Time {
	tag, body, _, ok := element(s)
	if !ok || len(body) > 40 {
		return time.Time{}
	}
	value := strings.Replace(string(body), ",", ".", 1) // a fraction, which time.Parse takes of itself
	for _, layout := range layouts[tag] {
		t, err := time.Parse(layout, value)
		if err != nil {
			continue
		}
		if tag == tagUTCTime && t.Year() >= 2050 {
			t = t.AddDate(-100, 0, 0)
		}
		return t.UTC()
	}
	return time.Time{}
}
