package policytest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"testing"

	"tlsgate/config"
	"tlsgate/tlsrules/tlswire"
)

// TestHelloIsReal: crypto/tls takes the hellos of tests, and reads of them what
// the tests say.
func TestHelloIsReal(t *testing.T) {
	for _, text := range []string{
		``,
		`sni = "a.example", alpn = ["h2", "http/1.1"]`,
		`version = "1.2", offers = "openssl-1.0.2d:ALL"`,
		`version = "1.0", resumes = "session_id"`,
		`version = ["1.3", "1.1"], resumes = "ticket"`,
		`resumes = "psk", early_data = true, sni = "a.example"`,
		`groups = ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1", "secp521r1"], key_shares = ["X25519MLKEM768", "secp521r1"]`,
		`ech = true, fallback = true, signatures = ["ed25519", "rsa_pss_rsae_sha512"]`,
		`extensions = ["status_request", "compress_certificate", "60000", "encrypt_then_mac", "heartbeat", "record_size_limit", "delegated_credential", "cookie", "signature_algorithms_cert", "signed_certificate_timestamp"]`,
	} {
		c, err := config.Parse("p", []byte("[[test]]\nexpect.verdict = \"accept\"\nclient = { "+text+" }\n"), "")
		if err != nil {
			t.Fatal(err)
		}
		test := &c.Tests[0]
		hello := talk(test, false)[0].bytes
		got, err := read(hello)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want := &test.Client
		if got.ServerName != want.ServerName || !slices.Equal(got.SupportedProtos, want.ALPN) || !slices.Equal(got.CipherSuites, want.Ciphers) {
			t.Errorf("%s: crypto/tls reads %+v", text, got)
		}
		if want.Versions[0] >= tlswire.VersionTLS13 && !slices.Equal(got.SupportedVersions, want.Versions) {
			t.Errorf("%s: crypto/tls reads the versions %#x", text, got.SupportedVersions)
		}
		for i, g := range want.Groups {
			if got.SupportedCurves[i] != tls.CurveID(g) {
				t.Errorf("%s: crypto/tls reads the groups %v", text, got.SupportedCurves)
			}
		}
		for _, id := range want.Extensions {
			if !slices.Contains(got.Extensions, id) {
				t.Errorf("%s: crypto/tls does not see the extension %d", text, id)
			}
		}
	}
}

// read gives a hello to a server of crypto/tls.
func read(hello []byte) (got *tls.ClientHelloInfo, err error) {
	client, server := net.Pipe()
	go func() {
		client.Write(hello)
		var answer bytes.Buffer
		answer.ReadFrom(client)
	}()
	seen := errors.New("seen")
	err = tls.Server(server, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		got = info
		return nil, seen
	}}).Handshake()
	server.Close()
	client.Close()
	if got != nil {
		err = nil
	}
	return got, err
}
