package tlswire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseServerHello(t *testing.T) {
	share := append([]byte{0, 29, 0, 32}, make([]byte, 32)...)
	tests := []struct {
		name string
		msg  []byte
		want ServerHello
	}{
		{"ssl3_without_extensions", serverHello(VersionSSL30, 0x0a), ServerHello{LegacyVersion: VersionSSL30, Version: VersionSSL30, CipherSuite: 0x0a}},
		{"tls12", serverHello(VersionTLS12, 0xc02f, ext{extensionALPN, []byte("\x00\x03\x02h2")}, ext{extensionSessionTicket, nil},
			ext{extensionExtendedMasterSecret, nil}, ext{extensionEncryptThenMAC, nil}, ext{extensionRenegotiationInfo, []byte{0}}, ext{extensionServerName, nil}),
			ServerHello{LegacyVersion: VersionTLS12, Version: VersionTLS12, CipherSuite: 0xc02f, ALPN: []byte("h2"), SessionTicket: true,
				ExtendedMasterSecret: true, EncryptThenMAC: true, RenegotiationInfo: true, Extensions: []uint16{16, 35, 23, 22, 0xff01, 0}}},
		{"tls13", serverHello(VersionTLS12, 0x1301, ext{extensionKeyShare, share}, ext{extensionSupportedVersions, []byte{3, 4}}, ext{extensionPreSharedKey, []byte{0, 0}}),
			ServerHello{LegacyVersion: VersionTLS12, Version: VersionTLS13, CipherSuite: 0x1301, Group: 29, PSK: true, Extensions: []uint16{51, 43, 41}}},
		{"server_name_with_data_is_not_ours_to_judge", serverHello(VersionTLS12, 0x2f, ext{extensionServerName, []byte{0, 0}}),
			ServerHello{LegacyVersion: VersionTLS12, Version: VersionTLS12, CipherSuite: 0x2f, Extensions: []uint16{0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got ServerHello
			if f := ParseServerHello(tt.msg, &got); !f.OK() {
				t.Fatal(f)
			}
			got.octets = nil
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(ServerHello{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The retry random counts only where TLS 1.3 is negotiated.
func TestRetry(t *testing.T) {
	var h ServerHello
	m := serverHello(VersionTLS12, 0x1301, ext{extensionSupportedVersions, []byte{3, 4}}, ext{extensionKeyShare, []byte{0, 23}})
	copy(m[6:], helloRetryRequestRandom[:])
	if f := ParseServerHello(m, &h); !f.OK() || !h.Retry || h.Group != 23 || !h.TLS13() {
		t.Errorf("got retry %v, group %d, %v", h.Retry, h.Group, f)
	}
	m = serverHello(VersionTLS12, 0x2f)
	copy(m[6:], helloRetryRequestRandom[:])
	if f := ParseServerHello(m, &h); !f.OK() || h.Retry {
		t.Errorf("TLS 1.2: got retry %v, %v", h.Retry, f)
	}
}

func TestMalformedServerHello(t *testing.T) {
	one := func(e ...ext) []byte { return serverHello(VersionTLS12, 0x1301, e...) }
	plain := one()
	tests := []struct {
		name string
		msg  []byte
		want FaultField
	}{
		{"empty", message(TypeServerHello, nil), FaultVersion},
		{"version_cut", message(TypeServerHello, plain[4:5]), FaultVersion},
		{"random_cut", message(TypeServerHello, plain[4:30]), FaultRandom},
		{"session_id_cut", message(TypeServerHello, plain[4:38]), FaultSessionID},
		{"suite_cut", message(TypeServerHello, plain[4:40]), FaultCipherSuites},
		{"compression_cut", message(TypeServerHello, plain[4:41]), FaultCompressionMethods},
		{"trailing_garbage", message(TypeServerHello, append(plain[4:], 1)), FaultExtensions},
		{"two_versions_two_readers", one(ext{43, []byte{3, 4}}, ext{43, []byte{3, 3}}), FaultDuplicateExtension},
		{"versions_as_a_list", one(ext{43, []byte{2, 3, 4}}), FaultSupportedVersions},
		{"two_protocols", one(ext{16, []byte("\x00\x06\x02h2\x02h3")}), FaultALPN},
		{"key_share_cut", one(ext{51, []byte{0, 29, 0, 32, 1}}), FaultKeyShare},
		{"identity_cut", one(ext{41, []byte{0}}), FaultPreSharedKey},
		{"version_of_no_tls", serverHello(VersionSSL20, 0x2f), FaultVersion},
		{"another_message", plain[1:], FaultMessageOrder},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h ServerHello
			if got := ParseServerHello(tt.msg, &h); got.Field != tt.want {
				t.Errorf("got %v at %d, want %v", got.Field, got.Offset, tt.want)
			}
		})
	}
}
