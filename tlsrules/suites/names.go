package suites

import (
	"slices"
	"strconv"
)

// entry is one name of a number. Names are the RFCs'.
type entry struct {
	code uint16
	name string
}

// registry is one IANA registry: its values by code, and its names (other
// spellings too) in the order of compareFold.
type registry struct {
	codes, names []entry
}

func (r *registry) name(code uint16) (string, bool) {
	i, ok := slices.BinarySearchFunc(r.codes, code, func(e entry, code uint16) int {
		return int(e.code) - int(code)
	})
	if !ok {
		return "", false
	}
	return r.codes[i].name, true
}

// code finds a name, or reads a number: decimal, or hexadecimal after 0x.
func (r *registry) code(s string) (uint16, bool) {
	i, ok := slices.BinarySearchFunc(r.names, s, func(e entry, s string) int {
		return compareFold(e.name, s)
	})
	if ok {
		return r.names[i].code, true
	}
	return parseNumber(s)
}

func (r *registry) suggest(s string) string {
	c := closest{to: s}
	for i := range r.names {
		c.offer(r.names[i].name)
	}
	return c.best
}

// GroupName returns the name of a named group, or "0x1234".
func GroupName(code uint16) string { return orHex(&groups, code) }

// GroupByName finds a group by its registered name or number, or by NIST's name
// of the curve (P-256).
func GroupByName(s string) (uint16, bool) { return groups.code(s) }

// SuggestGroup returns the group name most like s, or "".
func SuggestGroup(s string) string { return groups.suggest(s) }

// IsPostQuantum reports whether a group's key exchange has a part that a
// quantum computer is not known to break: ML-KEM, or what its drafts were
// called, alone or beside an elliptic curve.
func IsPostQuantum(group uint16) bool {
	return slices.Contains(postQuantum[:], group)
}

// SignatureName returns the name of a signature scheme, or "0x1234".
func SignatureName(code uint16) string { return orHex(&signatures, code) }

// SignatureByName finds a signature scheme by name or number.
func SignatureByName(s string) (uint16, bool) { return signatures.code(s) }

// SuggestSignature returns the signature scheme name most like s, or "".
func SuggestSignature(s string) string { return signatures.suggest(s) }

// ExtensionName returns the name of an extension, or its number in decimal.
func ExtensionName(code uint16) string { return orDecimal(&extensions, code) }

// ExtensionByName finds an extension by name, number, or common abbreviation
// (sni, alpn, ech).
func ExtensionByName(s string) (uint16, bool) { return extensions.code(s) }

// SuggestExtension returns the extension name most like s, or "".
func SuggestExtension(s string) string { return extensions.suggest(s) }

// AlertName returns the name of an alert description, or its number in decimal.
func AlertName(code uint8) string { return orDecimal(&alerts, uint16(code)) }

// AlertByName finds an alert description by name or number.
func AlertByName(s string) (uint8, bool) { return octet(alerts.code(s)) }

// SuggestAlert returns the alert name most like s, or "".
func SuggestAlert(s string) string { return alerts.suggest(s) }

// ContentTypeName returns the name of a record's content type, or its number in
// decimal.
func ContentTypeName(code uint8) string { return orDecimal(&contentTypes, uint16(code)) }

// ContentTypeByName finds a content type by name or number.
func ContentTypeByName(s string) (uint8, bool) { return octet(contentTypes.code(s)) }

// HandshakeTypeName returns the name of a handshake message's type, or its
// number in decimal.
func HandshakeTypeName(code uint8) string { return orDecimal(&handshakeTypes, uint16(code)) }

// HandshakeTypeByName finds a handshake type by name or number.
func HandshakeTypeByName(s string) (uint8, bool) { return octet(handshakeTypes.code(s)) }

func orHex(r *registry, code uint16) string {
	if s, ok := r.name(code); ok {
		return s
	}
	return hex(code)
}

func orDecimal(r *registry, code uint16) string {
	if s, ok := r.name(code); ok {
		return s
	}
	return strconv.Itoa(int(code))
}

func octet(code uint16, ok bool) (uint8, bool) {
	if !ok || code > 0xff {
		return 0, false
	}
	return uint8(code), true
}

// hex writes a number as the registries do: 0xC02F.
func hex(code uint16) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{'0', 'x', digits[code>>12], digits[code>>8&15], digits[code>>4&15], digits[code&15]})
}

// parseHex reads 0x and one to four hexadecimal digits.
func parseHex(s string) (uint16, bool) {
	if len(s) < 3 || len(s) > 6 || s[0] != '0' || lower(s[1]) != 'x' {
		return 0, false
	}
	var v uint16
	for _, c := range []byte(s[2:]) {
		switch c = lower(c); {
		case '0' <= c && c <= '9':
			v = v<<4 | uint16(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint16(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// parseNumber reads a decimal or hexadecimal number.
func parseNumber(s string) (uint16, bool) {
	if v, ok := parseHex(s); ok {
		return v, true
	}
	if s == "" || len(s) > 5 {
		return 0, false
	}
	var v uint32
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + uint32(c-'0')
	}
	return uint16(v), v <= 0xffff
}

// compareFold orders strings as if all their ASCII letters were lower case.
func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		if d := int(lower(a[i])) - int(lower(b[i])); d != 0 {
			return d
		}
	}
	return len(a) - len(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
