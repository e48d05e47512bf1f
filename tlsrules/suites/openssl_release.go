package suites

import (
	"slices"
	"strings"
)

// algorithms is a set of algorithms of one kind, or of properties, as OpenSSL
// tells suites apart by them.
type algorithms uint32

const (
	kxRSA algorithms = 1 << iota
	kxDHE
	kxDHr // fixed Diffie-Hellman, by who signed the certificate
	kxDHd
	kxECDHE
	kxECDHr
	kxECDHe
	kxPSK
	kxRSAPSK
	kxDHEPSK
	kxECDHEPSK
	kxSRP
)

const (
	authRSA algorithms = 1 << iota
	authDSS
	authECDSA
	authDH
	authECDH
	authPSK
	authSRP
	authNone
)

const (
	encNone algorithms = 1 << iota
	encAES128
	encAES256
	encAES128GCM
	encAES256GCM
	encAES128CCM
	encAES256CCM
	encAES128CCM8
	encAES256CCM8
	encARIA128GCM
	encARIA256GCM
	encCamellia128
	encCamellia256
	encChaCha20
	encDES
	enc3DES
	encRC2
	encRC4
	encIDEA
	encSEED

	encGCM = encAES128GCM | encAES256GCM
	encAES = encAES128 | encAES256 | encAES128CCM | encAES256CCM | encAES128CCM8 | encAES256CCM8
)

const (
	macMD5 algorithms = 1 << iota
	macSHA1
	macSHA256
	macSHA384
	macAEAD
)

// The versions that words of the language name. A suite has the one it came
// with.
const (
	versionSSLv2 algorithms = 1 << iota
	versionSSLv3
	versionTLSv1
	versionTLSv12
)

const (
	strengthNone algorithms = 1 << iota
	strengthLow
	strengthMedium
	strengthHigh
	strengthExport40
	strengthExport56
	strengthFIPS
)

const (
	extraNotDefault algorithms = 1 << iota
	extraExport
	extraNotExport
)

// selector is what a word stands for: suites that have one of the algorithms
// in every field. A field that is zero asks nothing, and so the zero selector
// selects all.
type selector struct {
	code                     uint16 // one suite alone
	kx, auth, enc, mac       algorithms
	version, strength, extra algorithms
}

// cipher is a suite as a release of OpenSSL has it.
type cipher struct {
	name string
	selector
	bits uint16 // of strength, by which @STRENGTH sorts
}

// word is a word of the language that is not a suite's name.
type word struct {
	name string
	selector
}

// release is what one release of OpenSSL makes of a cipher list. Releases are
// read only.
type release struct {
	name     string
	ciphers  []cipher // by number
	words    []word   // by name
	tls13    []uint16 // stand in front of every list
	standard string   // what DEFAULT means
	prefer   []step   // the order before any word is read

	// byNumber: a suite's name selects that suite; else all with its algorithms.
	byNumber bool
	// level: @SECLEVEL is a command.
	level bool
	// standardNames: IANA's names of suites are words too.
	standardNames bool
	// suiteBWhole: SUITEB128 and the like count only as the whole expression,
	// else whatever follows them.
	suiteBWhole bool
	// strengthFirst: the first word that tells a strength forgets what words
	// before it in an intersection told of the default list. OpenSSL 3.0's
	// COMPLEMENTOFDEFAULT+HIGH is HIGH, and HIGH+COMPLEMENTOFDEFAULT is less.
	strengthFirst bool
}

// releases are the ones known, the first when none is named.
var releases = [...]release{
	{
		name: "3.0", ciphers: ciphers30, words: words30, prefer: preference30,
		tls13:    []uint16{0x1302, 0x1303, 0x1301},
		standard: "ALL:!COMPLEMENTOFDEFAULT:!eNULL",
		byNumber: true, level: true, strengthFirst: true,
	},
	{
		name: "3.5", ciphers: ciphers35, words: words35, prefer: preference30,
		tls13:    []uint16{0x1302, 0x1303, 0x1301},
		standard: "ALL:!COMPLEMENTOFDEFAULT:!eNULL",
		byNumber: true, level: true, strengthFirst: true, standardNames: true,
	},
	{
		name: "1.1.1", ciphers: ciphers111, words: words111, prefer: preference30,
		tls13:    []uint16{0x1302, 0x1303, 0x1301},
		standard: "ALL:!COMPLEMENTOFDEFAULT:!eNULL",
		byNumber: true, level: true, strengthFirst: true,
	},
	{
		name: "1.0.2", ciphers: ciphers102, words: words102, prefer: preference102,
		standard: "ALL:!EXPORT:!LOW:!aNULL:!eNULL:!SSLv2",
	},
	{
		name: "1.0.2d", ciphers: ciphers102d, words: words102d, prefer: preference102,
		standard: "ALL:!EXPORT:!aNULL:!eNULL:!SSLv2", suiteBWhole: true,
	},
}

// suiteB is what the words of RFC 6460 stand for, longer ones first.
var suiteB = [...]struct{ word, list string }{
	{"SUITEB128ONLY", "ECDHE-ECDSA-AES128-GCM-SHA256"},
	{"SUITEB128C2", "ECDHE-ECDSA-AES256-GCM-SHA384"},
	{"SUITEB128", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"},
	{"SUITEB192", "ECDHE-ECDSA-AES256-GCM-SHA384"},
}

// find returns what a word stands for. Case counts.
func (r *release) find(w string) (selector, bool) {
	if i, ok := nameRow(w); ok {
		suite := &table[names[i].row]
		if c := r.cipher(suite.Code); c != nil && (c.name == w || r.standardNames && suite.IANA == w) {
			s := c.selector
			s.version = 0 // a name does not tell the version
			return s, true
		}
	}
	if i, ok := r.word(w); ok {
		return r.words[i].selector, true
	}
	return selector{}, false
}

// cipher returns the suite of a number, or nil.
func (r *release) cipher(code uint16) *cipher {
	i, ok := slices.BinarySearchFunc(r.ciphers, code, func(c cipher, code uint16) int { return int(c.code) - int(code) })
	if !ok {
		return nil
	}
	return &r.ciphers[i]
}

// word returns the place of a word that is no suite's name.
func (r *release) word(w string) (int, bool) {
	return slices.BinarySearchFunc(r.words, w, func(w word, s string) int { return strings.Compare(w.name, s) })
}
