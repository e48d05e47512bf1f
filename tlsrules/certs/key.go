package certs

import (
	"crypto/sha256"
	"math/bits"
	"strconv"

	"golang.org/x/crypto/cryptobyte"
)

// A Key is the public key of a certificate. The zero Key could not be read.
type Key struct {
	Kind KeyKind
	Bits int // of the modulus, the prime or the field; 0 if that is not known
	// Parameters are what else tells keys of a kind apart: the curve
	// ("P-256", "explicit", or a dotted OID), "pss" for an RSA key that signs
	// no other way, the parameter set ("65" of ML-DSA), the dotted OID of an
	// unknown kind.
	Parameters string
}

// A KeyKind is what a public key is for.
type KeyKind uint8

const (
	UnknownKey KeyKind = iota
	RSA
	DSA
	ECDSA // or ECDH: an elliptic curve key does not say
	Ed25519
	Ed448
	X25519
	X448
	DH
	GOST // R 34.10
	MLDSA
	SLHDSA
)

var keyKinds = [...]string{"unknown", "rsa", "dsa", "ecdsa", "ed25519", "ed448", "x25519", "x448", "dh", "gost", "ml-dsa", "slh-dsa"}

// String returns the kind as policies name it.
func (k KeyKind) String() string {
	if int(k) < len(keyKinds) {
		return keyKinds[k]
	}
	return "unknown"
}

// KeyKinds returns all kinds that have a name in policies.
func KeyKinds() []KeyKind {
	all := make([]KeyKind, 0, len(keyKinds)-1)
	for k := RSA; int(k) < len(keyKinds); k++ {
		all = append(all, k)
	}
	return all
}

// String writes a key for events: "rsa-2048", "ecdsa-P-256", "ed25519".
func (k Key) String() string {
	s := k.Kind.String()
	if k.Parameters != "" {
		s += "-" + k.Parameters
	}
	switch k.Kind {
	case RSA, DSA, DH:
		s += "-" + strconv.Itoa(k.Bits)
	case ECDSA:
		if k.Parameters == explicit && k.Bits != 0 {
			s += "-" + strconv.Itoa(k.Bits)
		}
	}
	return s
}

const explicit = "explicit" // RFC 3279, Section 2.3.5: no name, the whole curve

// keyAlgorithms are the algorithms of a SubjectPublicKeyInfo: RFC 3279, 4055,
// 8410, 7091, 9881, 9909.
var keyAlgorithms = map[string]Key{
	"1.2.840.113549.1.1.1":    {Kind: RSA},
	"1.2.840.113549.1.1.10":   {Kind: RSA, Parameters: "pss"},
	"2.5.8.1.1":               {Kind: RSA}, // X.509's own
	"1.2.840.10040.4.1":       {Kind: DSA},
	"1.2.840.10045.2.1":       {Kind: ECDSA},
	"1.3.132.1.12":            {Kind: ECDSA}, // id-ecDH
	"1.3.101.110":             {X25519, 255, ""},
	"1.3.101.111":             {X448, 448, ""},
	"1.3.101.112":             {Ed25519, 255, ""},
	"1.3.101.113":             {Ed448, 448, ""},
	"1.2.840.10046.2.1":       {Kind: DH},
	"1.2.840.113549.1.3.1":    {Kind: DH},
	"1.2.643.2.2.19":          {GOST, 256, "2001"},
	"1.2.643.2.2.20":          {GOST, 1024, "94"},
	"1.2.643.7.1.1.1.1":       {GOST, 256, "2012-256"},
	"1.2.643.7.1.1.1.2":       {GOST, 512, "2012-512"},
	"2.16.840.1.101.3.4.3.17": {MLDSA, 0, "44"},
	"2.16.840.1.101.3.4.3.18": {MLDSA, 0, "65"},
	"2.16.840.1.101.3.4.3.19": {MLDSA, 0, "87"},
	"2.16.840.1.101.3.4.3.20": {SLHDSA, 0, "sha2-128s"},
	"2.16.840.1.101.3.4.3.21": {SLHDSA, 0, "sha2-128f"},
	"2.16.840.1.101.3.4.3.22": {SLHDSA, 0, "sha2-192s"},
	"2.16.840.1.101.3.4.3.23": {SLHDSA, 0, "sha2-192f"},
	"2.16.840.1.101.3.4.3.24": {SLHDSA, 0, "sha2-256s"},
	"2.16.840.1.101.3.4.3.25": {SLHDSA, 0, "sha2-256f"},
	"2.16.840.1.101.3.4.3.26": {SLHDSA, 0, "shake-128s"},
	"2.16.840.1.101.3.4.3.27": {SLHDSA, 0, "shake-128f"},
	"2.16.840.1.101.3.4.3.28": {SLHDSA, 0, "shake-192s"},
	"2.16.840.1.101.3.4.3.29": {SLHDSA, 0, "shake-192f"},
	"2.16.840.1.101.3.4.3.30": {SLHDSA, 0, "shake-256s"},
	"2.16.840.1.101.3.4.3.31": {SLHDSA, 0, "shake-256f"},
}

// curves are the named ones: SEC 2, RFC 5639, GB/T 32918.5.
var curves = map[string]struct {
	name string
	bits int
}{
	"1.2.840.10045.3.1.1":   {"P-192", 192},
	"1.3.132.0.33":          {"P-224", 224},
	"1.2.840.10045.3.1.7":   {"P-256", 256},
	"1.3.132.0.34":          {"P-384", 384},
	"1.3.132.0.35":          {"P-521", 521},
	"1.3.132.0.6":           {"secp112r1", 112},
	"1.3.132.0.7":           {"secp112r2", 112},
	"1.3.132.0.28":          {"secp128r1", 128},
	"1.3.132.0.29":          {"secp128r2", 128},
	"1.3.132.0.9":           {"secp160k1", 160},
	"1.3.132.0.8":           {"secp160r1", 160},
	"1.3.132.0.30":          {"secp160r2", 160},
	"1.3.132.0.31":          {"secp192k1", 192},
	"1.3.132.0.32":          {"secp224k1", 224},
	"1.3.132.0.10":          {"secp256k1", 256},
	"1.3.132.0.4":           {"sect113r1", 113},
	"1.3.132.0.5":           {"sect113r2", 113},
	"1.3.132.0.22":          {"sect131r1", 131},
	"1.3.132.0.23":          {"sect131r2", 131},
	"1.3.132.0.1":           {"sect163k1", 163},
	"1.3.132.0.2":           {"sect163r1", 163},
	"1.3.132.0.15":          {"sect163r2", 163},
	"1.3.132.0.24":          {"sect193r1", 193},
	"1.3.132.0.25":          {"sect193r2", 193},
	"1.3.132.0.26":          {"sect233k1", 233},
	"1.3.132.0.27":          {"sect233r1", 233},
	"1.3.132.0.3":           {"sect239k1", 239},
	"1.3.132.0.16":          {"sect283k1", 283},
	"1.3.132.0.17":          {"sect283r1", 283},
	"1.3.132.0.36":          {"sect409k1", 409},
	"1.3.132.0.37":          {"sect409r1", 409},
	"1.3.132.0.38":          {"sect571k1", 571},
	"1.3.132.0.39":          {"sect571r1", 571},
	"1.3.36.3.3.2.8.1.1.1":  {"brainpoolP160r1", 160},
	"1.3.36.3.3.2.8.1.1.3":  {"brainpoolP192r1", 192},
	"1.3.36.3.3.2.8.1.1.5":  {"brainpoolP224r1", 224},
	"1.3.36.3.3.2.8.1.1.7":  {"brainpoolP256r1", 256},
	"1.3.36.3.3.2.8.1.1.9":  {"brainpoolP320r1", 320},
	"1.3.36.3.3.2.8.1.1.11": {"brainpoolP384r1", 384},
	"1.3.36.3.3.2.8.1.1.13": {"brainpoolP512r1", 512},
	"1.2.156.10197.1.301":   {"sm2", 256},
}

// signatures are the signature algorithms as OpenSSL calls them, with the kind
// of key that makes them.
var signatures = map[string]struct {
	name string
	kind KeyKind
}{
	"1.2.840.113549.1.1.2":    {"md2WithRSAEncryption", RSA},
	"1.2.840.113549.1.1.3":    {"md4WithRSAEncryption", RSA},
	"1.2.840.113549.1.1.4":    {"md5WithRSAEncryption", RSA},
	"1.2.840.113549.1.1.5":    {"sha1WithRSAEncryption", RSA},
	"1.3.14.3.2.29":           {"sha1WithRSA", RSA},
	"1.2.840.113549.1.1.10":   {"rsassaPss", RSA},
	"1.2.840.113549.1.1.11":   {"sha256WithRSAEncryption", RSA},
	"1.2.840.113549.1.1.12":   {"sha384WithRSAEncryption", RSA},
	"1.2.840.113549.1.1.13":   {"sha512WithRSAEncryption", RSA},
	"1.2.840.113549.1.1.14":   {"sha224WithRSAEncryption", RSA},
	"1.2.840.113549.1.1.15":   {"sha512-224WithRSAEncryption", RSA},
	"1.2.840.113549.1.1.16":   {"sha512-256WithRSAEncryption", RSA},
	"2.16.840.1.101.3.4.3.13": {"RSA-SHA3-224", RSA},
	"2.16.840.1.101.3.4.3.14": {"RSA-SHA3-256", RSA},
	"2.16.840.1.101.3.4.3.15": {"RSA-SHA3-384", RSA},
	"2.16.840.1.101.3.4.3.16": {"RSA-SHA3-512", RSA},
	"1.3.36.3.3.1.2":          {"ripemd160WithRSA", RSA},
	"1.2.840.10040.4.3":       {"dsaWithSHA1", DSA},
	"2.16.840.1.101.3.4.3.1":  {"dsa_with_SHA224", DSA},
	"2.16.840.1.101.3.4.3.2":  {"dsa_with_SHA256", DSA},
	"2.16.840.1.101.3.4.3.3":  {"dsa_with_SHA384", DSA},
	"2.16.840.1.101.3.4.3.4":  {"dsa_with_SHA512", DSA},
	"1.2.840.10045.4.1":       {"ecdsa-with-SHA1", ECDSA},
	"1.2.840.10045.4.3.1":     {"ecdsa-with-SHA224", ECDSA},
	"1.2.840.10045.4.3.2":     {"ecdsa-with-SHA256", ECDSA},
	"1.2.840.10045.4.3.3":     {"ecdsa-with-SHA384", ECDSA},
	"1.2.840.10045.4.3.4":     {"ecdsa-with-SHA512", ECDSA},
	"2.16.840.1.101.3.4.3.9":  {"ecdsa_with_SHA3-224", ECDSA},
	"2.16.840.1.101.3.4.3.10": {"ecdsa_with_SHA3-256", ECDSA},
	"2.16.840.1.101.3.4.3.11": {"ecdsa_with_SHA3-384", ECDSA},
	"2.16.840.1.101.3.4.3.12": {"ecdsa_with_SHA3-512", ECDSA},
	"1.2.156.10197.1.501":     {"SM2-with-SM3", ECDSA},
	"1.3.101.112":             {"ED25519", Ed25519},
	"1.3.101.113":             {"ED448", Ed448},
	"1.2.643.2.2.3":           {"GOST R 34.11-94 with GOST R 34.10-2001", GOST},
	"1.2.643.7.1.1.3.2":       {"GOST R 34.10-2012 with GOST R 34.11-2012 (256 bit)", GOST},
	"1.2.643.7.1.1.3.3":       {"GOST R 34.10-2012 with GOST R 34.11-2012 (512 bit)", GOST},
	"2.16.840.1.101.3.4.3.17": {"ML-DSA-44", MLDSA},
	"2.16.840.1.101.3.4.3.18": {"ML-DSA-65", MLDSA},
	"2.16.840.1.101.3.4.3.19": {"ML-DSA-87", MLDSA},
}

// publicKey reads a SubjectPublicKeyInfo: RFC 5280, Section 4.1.2.7.
func (c *Certificate) publicKey(whole, s cryptobyte.String) {
	c.HasSPKI, c.SPKISHA256 = true, sha256.Sum256(whole)
	oid, parameters, ok := algorithm(&s)
	if !ok {
		return
	}
	key, known := keyAlgorithms[oid]
	if !known {
		c.Key = Key{Parameters: oid}
		return
	}
	switch key.Kind {
	case RSA: // RSAPublicKey: RFC 8017, Appendix A.1.1
		value, _, _ := expect(&s, tagBitString)
		value.Skip(1)
		numbers, _, _ := expect(&value, tagSequence)
		modulus, _, _ := expect(&numbers, tagInteger)
		key.Bits = bitLen(modulus)
	case DSA, DH: // the prime comes first: RFC 3279, Sections 2.3.2 and 2.3.3
		numbers, _, _ := expect(&parameters, tagSequence)
		prime, _, _ := expect(&numbers, tagInteger)
		key.Bits = bitLen(prime)
	case ECDSA:
		key.Parameters, key.Bits = curve(parameters)
	}
	c.Key = key
}

// curve reads EcpkParameters: RFC 3279, Section 2.3.5.
func curve(s cryptobyte.String) (name string, length int) {
	if id, _, ok := expect(&s, tagOID); ok {
		oid := dotted(id)
		if known, ok := curves[oid]; ok {
			return known.name, known.bits
		}
		return oid, 0
	}
	domain, _, ok := expect(&s, tagSequence)
	if !ok {
		return "", 0 // implicitly the issuer's
	}
	expect(&domain, tagInteger)
	field, _, _ := expect(&domain, tagSequence)
	expect(&field, tagOID)
	if prime, _, ok := expect(&field, tagInteger); ok {
		return explicit, bitLen(prime)
	}
	characteristicTwo, _, _ := expect(&field, tagSequence)
	if m, _, ok := expect(&characteristicTwo, tagInteger); ok && len(m) <= 2 {
		for _, v := range m {
			length = length<<8 | int(v)
		}
	}
	return explicit, length
}

// bitLen is the length of a number; of a negative one that of its octets, which
// its writer may have meant to be positive.
func bitLen(octets []byte) int {
	for i, v := range octets {
		if v != 0 {
			return 8*(len(octets)-i-1) + bits.Len8(v)
		}
	}
	return 0
}
