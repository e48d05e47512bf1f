package tlsrules

import (
	"slices"
	"strings"

	"tlsgate/tlsrules/certs"
)

// certified asks a condition on the server's certificate: the leaf, whose key
// the server has shown to hold. Who sent no certificate has none of anything.
func (c *Condition) certified(f *Facts) bool {
	if len(f.Chain) == 0 {
		return false
	}
	leaf := f.Chain[0]
	switch c.key {
	case KeyCertSubject:
		return c.hasParts(leaf.Subject, leaf.SubjectParts)
	case KeyCertIssuer:
		return c.hasParts(leaf.Issuer, leaf.IssuerParts)
	case KeyCertName:
		return c.names.certified(leaf.CommonName) || slices.ContainsFunc(leaf.SANs, func(n certs.Name) bool {
			return (n.Kind == certs.DNSName || n.Kind == certs.IPAddress) && c.names.certified(n.Value)
		})
	case KeyCertSHA256:
		return c.hasOctets(leaf.SHA256[:])
	case KeyCertSPKISHA256:
		return leaf.HasSPKI && c.hasOctets(leaf.SPKISHA256[:])
	case KeyCertKey:
		return slices.ContainsFunc(c.keys, func(k keyKind) bool {
			return k.kind == leaf.Key.Kind && k.bits.first <= leaf.Key.Bits && leaf.Key.Bits <= k.bits.last
		})
	case KeyCertExpired:
		return c.bits&boolBit(f.CertExpired) != 0
	case KeyCertSelfSigned:
		return c.bits&boolBit(leaf.SelfSigned) != 0
	}
	return false
}

// hasParts reports whether a name is one of the values or has all parts of one.
// Case does not count (RFC 5280, Section 7.1).
func (c *Condition) hasParts(name string, parts []string) bool {
	for _, value := range c.words {
		if strings.EqualFold(value, name) {
			return true
		}
		all := true
		for rest := value; all && rest != ""; {
			var part string
			part, rest = nextPart(rest)
			all = slices.ContainsFunc(parts, func(p string) bool { return strings.EqualFold(p, part) })
		}
		if all {
			return true
		}
	}
	return false
}

// nextPart cuts the first part off a name: "O=Bank, Inc., CN=a" has two, for
// what begins a part has a type.
func nextPart(name string) (part, rest string) {
	const separator = ", "
	for i := 0; ; {
		n := strings.Index(name[i:], separator)
		if n < 0 {
			return name, ""
		}
		i += n + len(separator)
		if next, _, _ := strings.Cut(name[i:], separator); strings.Contains(next, "=") {
			return name[:i-len(separator)], name[i:]
		}
	}
}

// certified reports whether a certificate for a name is one for a name of the
// set: the name is in it, or a name in it is one that the star of the
// certificate's stands for (RFC 9525, Section 6.3: one label).
func (s *nameSet) certified(name string) bool {
	if name == "" || len(name) > longestName {
		return false
	}
	if s.has([]byte(name)) {
		return true
	}
	stem, star := strings.CutPrefix(name, "*")
	if !star {
		return false
	}
	for exact := range s.exact {
		if i := strings.IndexByte(exact, '.'); i > 0 && strings.EqualFold(exact[i:], stem) {
			return true
		}
	}
	return false
}
