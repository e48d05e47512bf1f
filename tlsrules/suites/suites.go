// Package suites names what TLS sends as numbers: cipher suites with their
// properties, groups, signature schemes, extensions, alerts, versions, content
// and handshake types. The tables are generated from the files in registry/,
// which hold facts of the IANA TLS registries and the names OpenSSL and GnuTLS
// give to them. It knows nothing of packets and nothing of rules.
//
// The tables are read only: all functions may be called from any goroutine,
// and looking up a known name or number does not allocate.
package suites

//go:generate go run ./gen

import (
	"iter"
	"slices"
	"strings"
)

// Suite is a cipher suite: one row of the registry. A property that the
// registry does not tell is empty or zero.
type Suite struct {
	// Code is the number on the wire.
	Code uint16
	// IANA is the registered name, or for a code point that was never
	// registered the name it is known by. A few GOST suites have none.
	IANA string
	// OpenSSL and GnuTLS are those libraries' names; GnuTLS is set only for
	// suites GnuTLS implements.
	OpenSSL, GnuTLS string
	// KX is how keys are agreed on (RSA, DHE, ECDHE, DH, ECDH, PSK, ...),
	// Auth who is authenticated how (RSA, ECDSA, DSS, PSK, anon, ...); both are
	// "any" for TLS 1.3, whose suites do not tell.
	KX, Auth string
	// Enc is cipher, key size and mode (AES-128-GCM, 3DES-EDE-CBC, NULL).
	Enc string
	// MAC is MD5, SHA1, SHA256, SHA384, NULL, or AEAD.
	MAC string
	// Hash is the hash of the key derivation from TLS 1.2 on.
	Hash string
	// Class is one of the names Classes lists.
	Class string
	// Bits is the size of the cipher's key.
	Bits uint16
	// MinVersion and MaxVersion bound the protocol versions the suite may be
	// negotiated in. Both are zero where no version has it (SCSV, GREASE).
	MinVersion, MaxVersion uint16
}

// name is one spelling of a suite's name and the suite's place in table.
type name struct {
	name string
	row  uint16
}

// Version numbers, as on the wire.
const (
	VersionSSL20 uint16 = 2
	VersionSSL30 uint16 = 768
	VersionTLS10 uint16 = 769
	VersionTLS11 uint16 = 770
	VersionTLS12 uint16 = 771
	VersionTLS13 uint16 = 772
)

// ByCode returns the suite with that number.
func ByCode(code uint16) (Suite, bool) {
	i, ok := row(code)
	if !ok {
		return Suite{}, false
	}
	return table[i], true
}

func row(code uint16) (int, bool) {
	return slices.BinarySearchFunc(table[:], code, func(s Suite, code uint16) int {
		return int(s.Code) - int(code)
	})
}

// Lookup returns the suite with that IANA, OpenSSL or GnuTLS name, in any case,
// or that number: "0xC02F" or, as openssl ciphers -V prints it, "0xC0,0x2F". A
// number that is not in the registry is not found: use ParseCode for those.
func Lookup(s string) (Suite, bool) {
	if code, ok := ParseCode(s); ok {
		return ByCode(code)
	}
	i, ok := nameRow(s)
	if !ok {
		return Suite{}, false
	}
	return table[names[i].row], true
}

// nameRow returns the place of a name, in any case, in names.
func nameRow(s string) (int, bool) {
	return slices.BinarySearchFunc(names[:], s, func(n name, s string) int {
		return compareFold(n.name, s)
	})
}

// ParseCode reads a suite's number as Lookup takes it, registered or not.
func ParseCode(s string) (uint16, bool) {
	high, low, pair := strings.Cut(s, ",")
	a, ok := parseHex(strings.TrimSpace(high))
	if !pair {
		return a, ok
	}
	b, lowOK := parseHex(strings.TrimSpace(low))
	if !ok || !lowOK || a > 0xff || b > 0xff {
		return 0, false
	}
	return a<<8 | b, true
}

// All returns every suite, signalling value and GREASE value, by number.
func All() iter.Seq[Suite] {
	return func(yield func(Suite) bool) {
		for i := range table {
			if !yield(table[i]) {
				return
			}
		}
	}
}

// Name returns the IANA name of a suite, the OpenSSL name where there is no
// IANA name, or "0x1234".
func Name(code uint16) string {
	i, ok := row(code)
	switch {
	case !ok:
		return hex(code)
	case table[i].IANA != "":
		return table[i].IANA
	}
	return table[i].OpenSSL
}

// OpenSSLName returns OpenSSL's name of a suite, or what Name returns where
// OpenSSL has none.
func OpenSSLName(code uint16) string {
	if i, ok := row(code); ok && table[i].OpenSSL != "" {
		return table[i].OpenSSL
	}
	return Name(code)
}

// Classes returns the names of the classes, best first. Forward secret (fs) or
// not (nofs), with an AEAD or with a MAC of its own, which in all but a few
// private suites means CBC; weak is 3DES; insecure has no or broken encryption,
// or no authentication; scsv and grease are no suites at all.
func Classes() []string {
	return []string{
		"tls13", "fs-aead", "fs-cbc", "nofs-aead", "nofs-cbc",
		"weak", "insecure", "other", "scsv", "grease",
	}
}

// IsGREASE reports whether v is one of the sixteen values of RFC 8701, Section
// 2, which are the same for suites, groups, extensions and versions.
func IsGREASE(v uint16) bool {
	return v&0x0f0f == 0x0a0a && v>>8 == v&0xff
}

// IsSCSV reports whether code is a signalling value, not a suite: RFC 5746,
// Section 3.3, and RFC 7507, Section 2.
func IsSCSV(code uint16) bool {
	return code == 0x00ff || code == 0x5600
}
