package certs

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// file reads a certificate of testdata.
func file(t testing.TB, name string) []byte {
	t.Helper()
	der, err := os.ReadFile(filepath.Join("testdata", name+".der"))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// files are the names of all certificates of testdata.
func files(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/*.der")
	if err != nil || len(names) < 20 {
		t.Fatalf("%d certificates, %v", len(names), err)
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(filepath.Base(name), ".der")
	}
	return names
}

// tlv encodes an element.
func tlv(tag uint8, parts ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.Tag(tag), func(b *cryptobyte.Builder) {
		for _, p := range parts {
			b.AddBytes(p)
		}
	})
	return b.BytesOrPanic()
}

func sequence(parts ...[]byte) []byte { return tlv(tagSequence, parts...) }

// unhex is for octets that are easier to read in hex.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// attribute is one relative distinguished name.
func attribute(oid string, tag uint8, value string) []byte {
	return tlv(tagSet, sequence(unhex(oid), tlv(tag, []byte(value))))
}

const (
	country = "0603550406"
	common  = "0603550403"
)

// parts are the fields of a certificate a test builds.
type parts struct {
	version, serial, algorithm, issuer, validity, subject, key, extensions, signature []byte
	after                                                                             []byte // the certificate
}

// ordinary are the parts of a certificate that nobody objects to.
func ordinary() parts {
	return parts{
		version:   tlv(0xa0, tlv(tagInteger, []byte{2})),
		serial:    tlv(tagInteger, []byte{0x0a, 0x0b}),
		algorithm: sequence(unhex("06082a8648ce3d040302")),
		issuer:    sequence(attribute(country, tagPrintableString, "US"), attribute(common, tagUTF8String, "Example CA")),
		validity:  sequence(tlv(tagUTCTime, []byte("260101000000Z")), tlv(tagUTCTime, []byte("270101000000Z"))),
		subject:   sequence(attribute(common, tagUTF8String, "api.example")),
		key: unhex("3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" +
			"4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
		extensions: tlv(0xa3, sequence(extension("0603551d11", sequence(tlv(0x82, []byte("api.example")))))),
		signature:  tlv(tagBitString, []byte{0}, sequence(tlv(tagInteger, []byte{1}), tlv(tagInteger, []byte{1}))),
	}
}

func extension(oid string, value []byte) []byte {
	return sequence(unhex(oid), tlv(tagOctetString, value))
}

func (p parts) encode() []byte {
	tbs := sequence(p.version, p.serial, p.algorithm, p.issuer, p.validity, p.subject, p.key, p.extensions)
	return append(sequence(tbs, p.algorithm, p.signature), p.after...)
}
