package policytest

import (
	"crypto/ecdh"
	"encoding/asn1"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"tlsgate/config"
	"tlsgate/tlsrules/certs"
)

// Algorithms: RFC 3279, 5758, 8410.
var (
	oidRSA      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAWith  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidDSA      = asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}
	oidDSAWith  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 2}
	oidEC       = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidECWith   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidEd25519  = asn1.ObjectIdentifier{1, 3, 101, 112}
	oidNames    = asn1.ObjectIdentifier{2, 5, 29, 17}
	namedCurves = map[int]struct {
		oid   asn1.ObjectIdentifier
		curve ecdh.Curve
	}{
		256: {asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, ecdh.P256()},
		384: {asn1.ObjectIdentifier{1, 3, 132, 0, 34}, ecdh.P384()},
		521: {asn1.ObjectIdentifier{1, 3, 132, 0, 35}, ecdh.P521()},
	}
)

// chain is what a server shows at a time: what was read from a file, or a
// certificate made for the test. Nobody checks a signature, so it is signed with
// bytes that mean nothing and its key has nobody who holds the other half: the
// same test makes the same certificate, at once, of any size.
func chain(c *config.TestCertificate, at time.Time) [][]byte {
	if len(c.DER) > 0 {
		return c.DER
	}
	from, to := at.AddDate(0, -1, 0), at.AddDate(0, 2, 0)
	if c.Expired {
		from, to = at.AddDate(-1, 0, 0), at.AddDate(0, 0, -1)
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
			b.AddASN1Int64(1)
			signedBy(b, c.Key.Kind)
			name(b, c.Issuer)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				validity(b, from)
				validity(b, to)
			})
			name(b, c.Subject)
			publicKey(b, c.Key)
			if len(c.Names) > 0 {
				alternativeNames(b, c.Names)
			}
		})
		signedBy(b, c.Key.Kind)
		b.AddASN1BitString(filler(64, 21))
	})
	return [][]byte{b.BytesOrPanic()}
}

// validity writes a time: RFC 5280, Section 4.1.2.5.
func validity(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC().Truncate(time.Second); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
		return
	}
	b.AddASN1GeneralizedTime(t)
}

// signedBy says that the signature is of the key's own kind, as that of a
// certificate that signs itself is.
func signedBy(b *cryptobyte.Builder, kind certs.KeyKind) {
	oid := map[certs.KeyKind]asn1.ObjectIdentifier{certs.RSA: oidRSAWith, certs.DSA: oidDSAWith, certs.ECDSA: oidECWith, certs.Ed25519: oidEd25519}[kind]
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if kind == certs.RSA {
			b.AddASN1NULL()
		}
	})
}

func name(b *cryptobyte.Builder, parts []config.NamePart) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, p := range parts {
			b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(objectIdentifier(p.OID))
					b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(p.Value)) })
				})
			})
		}
	})
}

func objectIdentifier(dotted string) (oid asn1.ObjectIdentifier) {
	for part := range strings.SplitSeq(dotted, ".") {
		n, _ := strconv.Atoi(part)
		oid = append(oid, n)
	}
	return oid
}

// publicKey writes a SubjectPublicKeyInfo.
func publicKey(b *cryptobyte.Builder, k certs.Key) {
	var key cryptobyte.Builder
	algorithm := func(*cryptobyte.Builder) {}
	switch k.Kind {
	case certs.RSA:
		algorithm = func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidRSA); b.AddASN1NULL() }
		key.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			integer(b, k.Bits)
			b.AddASN1Int64(65537)
		})
	case certs.DSA:
		algorithm = func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidDSA)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				integer(b, k.Bits)
				integer(b, 160)
				b.AddASN1Int64(2)
			})
		}
		integer(&key, k.Bits-1)
	case certs.ECDSA:
		c := namedCurves[k.Bits]
		algorithm = func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidEC); b.AddASN1ObjectIdentifier(c.oid) }
		key.AddBytes(point(c.curve, k.Bits))
	case certs.Ed25519:
		algorithm = func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidEd25519) }
		key.AddBytes(filler(32, 23))
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, algorithm)
		b.AddASN1BitString(key.BytesOrPanic())
	})
}

func integer(b *cryptobyte.Builder, bits int) {
	b.AddASN1BigInt(new(big.Int).SetBytes(number(bits, 22)))
}

// point is one on a curve, as a key has to be.
func point(c ecdh.Curve, bits int) []byte {
	scalar := make([]byte, (bits+7)/8)
	scalar[len(scalar)-1] = 3
	k, err := c.NewPrivateKey(scalar)
	if err != nil {
		panic("policytest: " + err.Error())
	}
	return k.PublicKey().Bytes()
}

// alternativeNames writes a SubjectAltName: RFC 5280, Section 4.2.1.6.
func alternativeNames(b *cryptobyte.Builder, names []string) {
	const dns, ip = 2, 7
	b.AddASN1(cbasn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidNames)
				b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						for _, n := range names {
							tag, value := cbasn1.Tag(dns), []byte(n)
							if a, err := netip.ParseAddr(n); err == nil {
								tag, value = ip, a.AsSlice()
							}
							b.AddASN1(tag.ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(value) })
						}
					})
				})
			})
		})
	})
}
