package events

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// der reads a certificate that the room of certificates tests with.
func der(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../tlsrules/certs/testdata/" + name + ".der")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCertificates pins what is told of certificates: EVE's fields, and ours.
func TestCertificates(t *testing.T) {
	server, ca, client := certs.Parse(der(t, "issued_dh")), certs.Parse(der(t, "ca")), certs.Parse(der(t, "ec_secp256k1"))
	names := certs.Parse(der(t, "ec_p256"))
	request := &tlswire.CertificateRequest{Types: []byte{1, 64, 99}, SignatureAlgorithms: []uint16{0x0403}, Authorities: 3}
	tls12 := tlswire.Conn{HasClientHello: true, HasServerHello: true, Version: tlswire.VersionTLS12}
	raw := tls12
	raw.CertificateType[tlswire.Server] = tlswire.CertificateRawPublicKey
	reversed := tls12
	reversed.ClientHelloFrom = tlswire.Server
	stapled := tls12
	stapled.OCSPStapled, stapled.SignatureScheme = true, 0x0804
	const now = 1_800_000_000_000_000_000
	const caLink = `{"subject":"O=Example, CN=Example CA","issuer":"O=Example, CN=Example CA","serial":"64:35:E7:56:94:52:84:91:A7:0B:8E:6C:64:A5:10:32:6A:94:3F:42","fingerprint":"CA1","sha256":"CA256","notbefore":"2026-11-26T19:03:27","notafter":"2036-11-23T19:03:27","key":"ecdsa-P-256"}`
	tests := []struct {
		name   string
		report engine.Report
		tls    string
		ours   string
	}{
		{"nothing", engine.Report{TLS: &tls12, Facts: &tlsrules.Facts{}}, `{}`, `{}`},
		{"no_server_hello", engine.Report{TLS: &tlswire.Conn{}, Facts: &tlsrules.Facts{DHBits: 9}}, `{}`, `{}`},
		{"chain", engine.Report{TLS: &stapled, Facts: &tlsrules.Facts{Chain: []*certs.Certificate{server, ca}, DHBits: 2048}},
			`{"subject":"CN=issued_dh","issuerdn":"O=Example, CN=Example CA","serial":"0A","fingerprint":"S1","notbefore":"2026-11-26T19:03:27","notafter":"2036-11-23T19:03:27"}`,
			`{"certificate":{"version":1,"sha256":"S256","spki_sha256":"SK","key":"dh-2048","signature":"ecdsa-with-SHA256","self_signed":false,"expired":false},
			"chain":[{"subject":"CN=issued_dh","issuer":"O=Example, CN=Example CA","serial":"0A","fingerprint":"S1","sha256":"S256","notbefore":"2026-11-26T19:03:27","notafter":"2036-11-23T19:03:27","key":"dh-2048"},` + caLink + `],
			"ocsp_stapled":true,"dh_bits":2048,"signature_scheme":"rsa_pss_rsae_sha256"}`},
		{"expired", engine.Report{Time: 1, TLS: &tls12, Facts: &tlsrules.Facts{Chain: []*certs.Certificate{ca}}},
			`{"subject":"O=Example, CN=Example CA","issuerdn":"O=Example, CN=Example CA","serial":"64:35:E7:56:94:52:84:91:A7:0B:8E:6C:64:A5:10:32:6A:94:3F:42","fingerprint":"CA1","notbefore":"2026-11-26T19:03:27","notafter":"2036-11-23T19:03:27"}`,
			`{"certificate":{"version":1,"sha256":"CA256","spki_sha256":"CAK","key":"ecdsa-P-256","signature":"ecdsa-with-SHA256","self_signed":true,"expired":true},"chain":[` + caLink + `]}`},
		{"client", engine.Report{TLS: &tls12, Facts: &tlsrules.Facts{}, Certificates: &engine.Certificates{
			Client: []*certs.Certificate{client}, Request: request, More: [2]int{4, 0}, Broken: [2]bool{false, true}}},
			`{"client":{"subject":"CN=k1","issuerdn":"CN=k1","serial":"64:CE:FC:3C:A8:7D:B8:47:A3:7B:51:FE:EC:CF:DC:29:A9:2C:60:24","fingerprint":"C1","notbefore":"2026-11-26T19:03:26","notafter":"2036-11-23T19:03:26"}}`,
			`{"chain_broken":true,"client_certificate":{"version":1,"sha256":"C256","spki_sha256":"CK","key":"ecdsa-secp256k1","signature":"ecdsa-with-SHA256","self_signed":true,"expired":false,"problem":"unsupported elliptic curve"},
			"client_chain":[{"subject":"CN=k1","issuer":"CN=k1","serial":"64:CE:FC:3C:A8:7D:B8:47:A3:7B:51:FE:EC:CF:DC:29:A9:2C:60:24","fingerprint":"C1","sha256":"C256","notbefore":"2026-11-26T19:03:26","notafter":"2036-11-23T19:03:26","key":"ecdsa-secp256k1","problem":"unsupported elliptic curve"}],
			"client_chain_more":4,"certificate_request":{"types":["rsa_sign","ecdsa_sign","99"],"sig_algs":["ecdsa_secp256r1_sha256"],"authorities":3}}`},
		{"reversed", engine.Report{TLS: &reversed, Facts: &tlsrules.Facts{}, Certificates: &engine.Certificates{More: [2]int{4, 0}}}, `{}`, `{"chain_more":4}`},
		{"raw_public_key", engine.Report{TLS: &raw, Facts: &tlsrules.Facts{Chain: []*certs.Certificate{certs.ParsePublicKey(nil)}}},
			`{}`,
			`{"certificate":{"type":"raw_public_key","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","key":"unknown","self_signed":false,"expired":false,"problem":"asn1: syntax error: sequence truncated"},
			"chain":[{"subject":"","issuer":"","serial":"","fingerprint":"da:39:a3:ee:5e:6b:4b:0d:32:55:bf:ef:95:60:18:90:af:d8:07:09","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","key":"unknown","problem":"asn1: syntax error: sequence truncated"}]}`},
	}
	// Fingerprints are in testdata's files, and held to openssl's there.
	abbreviate := strings.NewReplacer(
		server.Fingerprint(), "S1", hexOf(server.SHA256), "S256", hexOf(server.SPKISHA256), "SK",
		ca.Fingerprint(), "CA1", hexOf(ca.SHA256), "CA256", hexOf(ca.SPKISHA256), "CAK",
		client.Fingerprint(), "C1", hexOf(client.SHA256), "C256", hexOf(client.SPKISHA256), "CK")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.report.Time == 0 {
				tt.report.Time = now
			}
			e := &event{TLS: &tlsPart{}, Ours: &ours{}}
			certify(e, &tt.report)
			part := struct {
				leaf
				Client *leaf `json:"client,omitempty"`
			}{e.TLS.leaf, e.TLS.Client}
			for _, p := range []struct {
				want string
				part any
			}{{tt.tls, part}, {tt.ours, e.Ours.credentials}} {
				got, err := json.Marshal(p.part)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(strings.NewReplacer("\n", "", "\t", "").Replace(p.want), abbreviate.Replace(string(got))); diff != "" {
					t.Errorf("-want +got\n%s", diff)
				}
			}
		})
	}
	many := *names
	many.SANs, many.MoreSANs = slices.Repeat(names.SANs[:1], maxNames+7), 10
	if got := certificateOf(&many, 0, now).MoreNames; got != 17 || len(leafOf(&many).SubjectAltName) != maxNames {
		t.Errorf("%d names, %d more", len(leafOf(&many).SubjectAltName), got)
	}
	want := []string{"api.example", "*.api.example", "192.0.2.1", "2001:db8::1", "https://api.example/a", "a@api.example", "1.2.3.4", "1.3.6.1.4.1.311.20.2.3", "C=CH, CN=dir name"}
	if diff := cmp.Diff(want, leafOf(names).SubjectAltName); diff != "" {
		t.Error(diff)
	}
}

func hexOf(sum [32]byte) string { return hex.EncodeToString(sum[:]) }
