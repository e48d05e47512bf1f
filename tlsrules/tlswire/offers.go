package tlswire

import (
	"iter"

	"golang.org/x/crypto/cryptobyte"
)

// Compressions are compression methods as bits: most hellos have null and
// nothing else, and no receiver takes more of them than that one.
type Compressions uint8

const (
	CompressionNull    Compressions = 1 << iota // RFC 5246, Section 7.4.1.2
	CompressionDEFLATE                          // RFC 3749, Section 2
	CompressionLZS                              // RFC 3943, Section 2
	CompressionOther
)

var compressionNames = [...]string{"null", "deflate", "lzs", "other"}

// CompressionOf returns a compression method by its number.
func CompressionOf(method uint8) Compressions {
	switch method {
	case 0:
		return CompressionNull
	case 1:
		return CompressionDEFLATE
	case 64:
		return CompressionLZS
	}
	return CompressionOther
}

// All iterates over the names.
func (c Compressions) All() iter.Seq[string] { return namesOf(uint8(c), compressionNames[:]) }

// PSKModes are the modes of a psk_key_exchange_modes extension (RFC 8446,
// Section 4.2.9) as bits.
type PSKModes uint8

const (
	PSKModeKE    PSKModes = 1 << iota // the key alone
	PSKModeDHEKE                      // with a key exchange
	PSKModeOther                      // GREASE, mostly
)

var pskModeNames = [...]string{"psk_ke", "psk_dhe_ke", "other"}

func pskModeOf(mode uint8) PSKModes {
	if mode > 1 {
		return PSKModeOther
	}
	return PSKModeKE << mode
}

// All iterates over the names.
func (m PSKModes) All() iter.Seq[string] { return namesOf(uint8(m), pskModeNames[:]) }

// CertificateCompressions are the algorithms of a compress_certificate
// extension (RFC 8879) as bits.
type CertificateCompressions uint8

const (
	CertificateCompressionZlib CertificateCompressions = 1 << iota
	CertificateCompressionBrotli
	CertificateCompressionZstd
	CertificateCompressionOther
)

var certificateCompressionNames = [...]string{"zlib", "brotli", "zstd", "other"}

// All iterates over the names.
func (c CertificateCompressions) All() iter.Seq[string] {
	return namesOf(uint8(c), certificateCompressionNames[:])
}

// parse reads RFC 8879, Section 3.
func (c *CertificateCompressions) parse(s cryptobyte.String) {
	var list cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&list) {
		return
	}
	var v uint16
	for list.ReadUint16(&v) {
		if v < 1 || v > 3 {
			v = 4
		}
		*c |= 1 << (v - 1)
	}
}

// namesOf iterates over the names of the bits that are set.
func namesOf(bits uint8, names []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, name := range names {
			if bits&(1<<i) != 0 && !yield(name) {
				return
			}
		}
	}
}
