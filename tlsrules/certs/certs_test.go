package certs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What was sent is kept, unless it is long, and says the same when it is read again.
func TestDER(t *testing.T) {
	der := file(t, "rsa_2048_all_names")
	c := Parse(der)
	if diff := cmp.Diff(c, Parse(c.DER)); diff != "" || &c.DER[0] == &der[0] {
		t.Errorf("read again, or not a copy: %s", diff)
	}
	for n, kept := range map[int]bool{0: true, MaxDER: true, MaxDER + 1: false} {
		for _, parse := range []func([]byte) *Certificate{Parse, ParsePublicKey} {
			if c := parse(make([]byte, n)); (len(c.DER) == n) != kept || c.Length != n {
				t.Errorf("%d bytes: %d kept", n, len(c.DER))
			}
		}
	}
}

// Certificates of openssl and certtool, by kind of key and oddity.
func TestKinds(t *testing.T) {
	tests := []struct {
		name       string
		key        string
		bits       int
		signature  string
		version    int
		selfSigned bool
		problem    string // how it begins
	}{
		{"rsa_2048_all_names", "rsa-2048", 2048, "sha256WithRSAEncryption", 3, true, ""},
		{"rsa_512_md5", "rsa-512", 512, "md5WithRSAEncryption", 1, true, ""},
		{"rsa_1024_sha1", "rsa-1024", 1024, "sha1WithRSAEncryption", 1, true, ""},
		{"rsa_pss_2048", "rsa-pss-2048", 2048, "rsassaPss", 1, true, ""},
		{"rsa_signed_pss", "rsa-2048", 2048, "rsassaPss", 1, true, ""},
		{"ec_p256", "ecdsa-P-256", 256, "ecdsa-with-SHA256", 3, true, ""},
		{"ec_p521", "ecdsa-P-521", 521, "ecdsa-with-SHA512", 1, true, ""},
		{"ec_secp256k1", "ecdsa-secp256k1", 256, "ecdsa-with-SHA256", 1, true, "unsupported elliptic curve"},
		{"ec_brainpool", "ecdsa-brainpoolP320r1", 320, "ecdsa-with-SHA256", 1, true, "unsupported elliptic curve"},
		{"ec_sect233", "ecdsa-sect233k1", 233, "ecdsa-with-SHA256", 1, true, "unsupported elliptic curve"},
		{"ec_explicit", "ecdsa-explicit-256", 256, "ecdsa-with-SHA256", 1, true, "invalid ECDSA parameters"},
		{"ec_explicit_two", "ecdsa-explicit-283", 283, "ecdsa-with-SHA256", 1, true, "invalid ECDSA parameters"},
		{"ec_sm2", "ecdsa-sm2", 256, "SM2-with-SM3", 1, true, "unsupported elliptic curve"},
		{"ed25519", "ed25519", 255, "ED25519", 1, true, ""},
		{"ed448", "ed448", 448, "ED448", 1, true, ""},
		{"dsa_1024", "dsa-1024", 1024, "dsa_with_SHA256", 1, true, ""},
		{"negative_serial", "ecdsa-P-256", 256, "ecdsa-with-SHA256", 1, true, "negative serial number"},
		{"multi_valued", "ecdsa-P-256", 256, "ecdsa-with-SHA256", 1, true, ""},
		{"no_subject", "ecdsa-P-256", 256, "ecdsa-with-SHA256", 3, true, ""},
		{"far_future", "ecdsa-P-256", 256, "ecdsa-with-SHA256", 1, true, ""},
		{"ca", "ecdsa-P-256", 256, "ecdsa-with-SHA256", 1, true, ""},
		{"issued_x25519", "x25519", 255, "ecdsa-with-SHA256", 1, false, ""},
		{"issued_x448", "x448", 448, "ecdsa-with-SHA256", 1, false, ""},
		{"issued_dh", "dh-2048", 2048, "ecdsa-with-SHA256", 1, false, ""},
		{"issued_rsa_4096_v1", "rsa-4096", 4096, "ecdsa-with-SHA256", 1, false, ""},
		{"gnutls_gost_256", "gost-2012-256", 256, "GOST R 34.10-2012 with GOST R 34.11-2012 (256 bit)", 3, true, ""},
		{"gnutls_gost_512", "gost-2012-512", 512, "GOST R 34.10-2012 with GOST R 34.11-2012 (512 bit)", 3, true, ""},
		{"gnutls_ecdsa", "ecdsa-P-256", 256, "ecdsa-with-SHA256", 3, true, ""},
		{"gnutls_rsa", "rsa-3072", 3072, "sha256WithRSAEncryption", 3, true, ""},
	}
	if len(tests) != len(files(t)) {
		t.Errorf("%d of %d certificates", len(tests), len(files(t)))
	}
	for _, tt := range tests {
		c := Parse(file(t, tt.name))
		if c.Key.String() != tt.key || c.Key.Bits != tt.bits || c.Signature != tt.signature || c.Version != tt.version || c.SelfSigned != tt.selfSigned {
			t.Errorf("%s: got %v, %d bits, %s, version %d, self-signed %v", tt.name, c.Key, c.Key.Bits, c.Signature, c.Version, c.SelfSigned)
		}
		if !strings.HasPrefix(c.Problem, tt.problem) || (c.Problem == "") != (tt.problem == "") {
			t.Errorf("%s: got problem %q, want %q", tt.name, c.Problem, tt.problem)
		}
		if c.NotBefore.IsZero() || !c.NotBefore.Before(c.NotAfter) || !c.HasSPKI {
			t.Errorf("%s: valid from %v to %v, key %v", tt.name, c.NotBefore, c.NotAfter, c.HasSPKI)
		}
	}
}

// Names as Suricata 7.0.10 printed them for the same certificates.
func TestNames(t *testing.T) {
	const all = "C=US, ST=Te, xas, L=Hüt, O=Example, Inc., OU=a=b, CN=first, CN=api.example, Email=a@b.example, serialNumber=7, OID(1.3.6.1.4.1.55555.1)=value"
	names := []Name{{DNSName, "api.example"}, {DNSName, "*.api.example"}, {IPAddress, "192.0.2.1"}, {IPAddress, "2001:db8::1"},
		{URIName, "https://api.example/a"}, {EmailName, "a@api.example"}, {RegisteredID, "1.2.3.4"},
		{OtherName, "1.3.6.1.4.1.311.20.2.3"}, {DirectoryName, "C=CH, CN=dir name"}}
	tests := []struct {
		name                             string
		subject, issuer, common, serials string
		sans                             []Name
	}{
		{"rsa_2048_all_names", all, all, "api.example", "00:80:01:F0", names},
		{"ec_p256", "C=DE, O=A + O=B, CN=p256", "C=DE, O=A + O=B, CN=p256", "p256", "", names},
		{"multi_valued", "C=US, O=A + OU=B, CN=multi + uid=u1", "C=US, O=A + OU=B, CN=multi + uid=u1", "multi", "", nil},
		{"no_subject", "", "", "", "", []Name{{DNSName, "only.example"}}},
		{"issued_dh", "CN=issued_dh", "O=Example, CN=Example CA", "issued_dh", "0A", nil},
		{"negative_serial", "CN=negative", "CN=negative", "negative", "ED:CC", nil},
		{"gnutls_rsa", "C=GR, O=GnuTLS, CN=gnutls_rsa", "C=GR, O=GnuTLS, CN=gnutls_rsa", "gnutls_rsa", "0A:0B", []Name{{DNSName, "gnutls_rsa.example"}}},
	}
	for _, tt := range tests {
		c := Parse(file(t, tt.name))
		if c.Subject != tt.subject || c.Issuer != tt.issuer || c.CommonName != tt.common || tt.serials != "" && c.Serial != tt.serials {
			t.Errorf("%s: got %q, %q, %q, %s", tt.name, c.Subject, c.Issuer, c.CommonName, c.Serial)
		}
		if diff := cmp.Diff(tt.sans, c.SANs); diff != "" || c.MoreSANs != 0 {
			t.Errorf("%s: %d more, (-want +got):\n%s", tt.name, c.MoreSANs, diff)
		}
	}
}

// A validity period includes both its ends, to the second.
func TestExpired(t *testing.T) {
	from, to := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	c := Parse(ordinary().encode())
	if !c.NotBefore.Equal(from) || !c.NotAfter.Equal(to) {
		t.Fatalf("got %v to %v", c.NotBefore, c.NotAfter)
	}
	for _, tt := range []struct {
		at   time.Time
		want bool
	}{
		{from.Add(-1), true}, {from, false}, {to, false}, {to.Add(time.Second - 1), false}, {to.Add(time.Second), true},
		{time.Time{}, true}, {time.Unix(0, 0), true},
	} {
		if got := c.Expired(tt.at); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.at, got, tt.want)
		}
	}
	if zero := new(Certificate); !zero.Expired(from) {
		t.Error("a certificate without times is valid")
	}
	if raw := ParsePublicKey(ordinary().key); raw.Expired(from) {
		t.Error("a key without a certificate is expired")
	}
}

func TestPublicKey(t *testing.T) {
	p := ordinary()
	whole, bare := Parse(p.encode()), ParsePublicKey(p.key)
	if !bare.RawPublicKey || bare.Key != whole.Key || bare.SPKISHA256 != whole.SPKISHA256 || bare.SHA256 != bare.SPKISHA256 || bare.Problem != "" {
		t.Errorf("got %+v of %+v", bare, whole)
	}
	for _, broken := range [][]byte{nil, {0x30}, []byte("ssh-rsa AAAA"), p.encode()} {
		if got := ParsePublicKey(broken); got.Problem == "" || got.Length != len(broken) {
			t.Errorf("%x: got %+v", broken, got)
		}
	}
}

func TestFingerprint(t *testing.T) {
	const want = "da:39:a3:ee:5e:6b:4b:0d:32:55:bf:ef:95:60:18:90:af:d8:07:09" // of nothing
	if got := Parse(nil).Fingerprint(); got != want {
		t.Errorf("got %s", got)
	}
}

func TestAttributeType(t *testing.T) {
	for _, tt := range []struct{ abbreviation, oid string }{{"CN", "2.5.4.3"}, {"o", "2.5.4.10"}, {"DC", "0.9.2342.19200300.100.1.25"}, {"XX", ""}, {"", ""}} {
		if oid, ok := AttributeType(tt.abbreviation); oid != tt.oid || ok != (oid != "") {
			t.Errorf("%s: got %q, %t", tt.abbreviation, oid, ok)
		}
	}
	seen := map[string]bool{}
	for _, abbreviation := range []string{"CN", "surname", "serialNumber", "C", "L", "ST", "O", "OU", "title", "name", "uid", "DC", "Email"} {
		oid, ok := AttributeType(abbreviation)
		if !ok || seen[oid] {
			t.Errorf("%s: got %q, %t", abbreviation, oid, ok)
		}
		seen[oid] = true
	}
}
