package suites

import (
	"crypto/tls"
	"regexp"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{GroupName(23), "secp256r1"},
		{GroupName(29), "x25519"},
		{GroupName(0x11EC), "X25519MLKEM768"},
		{GroupName(0xABCD), "0xABCD"},
		{SignatureName(0x0804), "rsa_pss_rsae_sha256"},
		{SignatureName(0xFE0B), "0xFE0B"},
		{ExtensionName(16), "application_layer_protocol_negotiation"},
		{ExtensionName(65281), "renegotiation_info"},
		{ExtensionName(65000), "65000"},
		{AlertName(0), "close_notify"},
		{AlertName(40), "handshake_failure"},
		{AlertName(86), "inappropriate_fallback"},
		{AlertName(255), "255"},
		{ContentTypeName(23), "application_data"},
		{ContentTypeName(99), "99"},
		{HandshakeTypeName(1), "client_hello"},
		{HandshakeTypeName(200), "200"},
		{VersionName(VersionTLS12), "TLS 1.2"},
		{VersionName(0x7F1C), "0x7F1C"},
		{VersionKey(VersionSSL30), "ssl3"},
		{VersionKey(VersionTLS13), "1.3"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestByName(t *testing.T) {
	group := func(s string) (int, bool) { v, ok := GroupByName(s); return int(v), ok }
	signature := func(s string) (int, bool) { v, ok := SignatureByName(s); return int(v), ok }
	extension := func(s string) (int, bool) { v, ok := ExtensionByName(s); return int(v), ok }
	alert := func(s string) (int, bool) { v, ok := AlertByName(s); return int(v), ok }
	content := func(s string) (int, bool) { v, ok := ContentTypeByName(s); return int(v), ok }
	message := func(s string) (int, bool) { v, ok := HandshakeTypeByName(s); return int(v), ok }
	const none = -1
	for _, tt := range []struct {
		of   func(string) (int, bool)
		in   string
		want int
	}{
		{group, "X25519", 29},
		{group, "P-256", 23},
		{group, "prime256v1", 23},
		{group, "0x11ec", 4588},
		{group, "4588", 4588},
		{group, "x25518", none},
		{group, "65536", none},
		{group, "", none},
		{signature, "ecdsa_secp256r1_sha256", 0x0403},
		{extension, "ALPN", 16},
		{extension, "server_name", 0},
		{extension, "99999", none},
		{alert, "Handshake_Failure", 40},
		{alert, "40", 40},
		{alert, "256", none},
		{content, "heartbeat", 24},
		{message, "finished", 20},
	} {
		got, ok := tt.of(tt.in)
		if !ok {
			got = none
		}
		if got != tt.want {
			t.Errorf("%q is %d, want %d", tt.in, got, tt.want)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want uint16
	}{
		{"ssl2", VersionSSL20},
		{"ssl3", VersionSSL30},
		{"SSLv3", VersionSSL30},
		{"SSL 3.0", VersionSSL30},
		{"1.0", VersionTLS10},
		{"TLSv1", VersionTLS10},
		{"TLSv1.1", VersionTLS11},
		{"tls1.2", VersionTLS12},
		{"TLS 1.2", VersionTLS12},
		{"1.3", VersionTLS13},
		{"0x0303", VersionTLS12},
		{"0x7f1c", 0x7F1C},
		{"", 0},
		{"1", 0},
		{"3", 0},
		{"1.4", 0},
		{"ssl1.2", 0},
		{"tls3", 0},
		{"tls", 0},
		{">=1.2", 0},
	} {
		got, ok := ParseVersion(tt.in)
		if got != tt.want && ok || ok != (tt.want != 0) {
			t.Errorf("ParseVersion(%q) = 0x%04X, %v, want 0x%04X", tt.in, got, ok, tt.want)
		}
	}
	for _, v := range []uint16{VersionSSL20, VersionSSL30, VersionTLS10, VersionTLS11, VersionTLS12, VersionTLS13, 0x7F1C} {
		for _, s := range []string{VersionName(v), VersionKey(v)} {
			if got, ok := ParseVersion(s); !ok || got != v {
				t.Errorf("ParseVersion(%q) = 0x%04X, %v, want 0x%04X", s, got, ok, v)
			}
		}
	}
}

// TestAlertsAgreeWithCryptoTLS compares alert numbers with the texts of
// crypto/tls, which says most of the names in words.
func TestAlertsAgreeWithCryptoTLS(t *testing.T) {
	words := strings.NewReplacer("bad record MAC", "bad record mac", "certificate authority", "ca", "unknown_PSK_identity", "unknown_psk_identity")
	same := 0
	for code := range 256 {
		text := words.Replace(strings.TrimPrefix(tls.AlertError(code).Error(), "tls: "))
		if AlertName(uint8(code)) == strings.ReplaceAll(text, " ", "_") {
			same++
		}
	}
	if same < 20 {
		t.Errorf("only %d alerts are called alike", same)
	}
}

func TestRegistriesAreSorted(t *testing.T) {
	spelling := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	for i, r := range []*registry{&groups, &signatures, &extensions, &alerts, &contentTypes, &handshakeTypes} {
		for j, e := range r.codes {
			if j > 0 && r.codes[j-1].code >= e.code {
				t.Errorf("registry %d: %d out of order", i, e.code)
			}
			if got, ok := r.code(e.name); !ok || got != e.code {
				t.Errorf("registry %d: %q is %d, want %d", i, e.name, got, e.code)
			}
			if !spelling.MatchString(e.name) {
				t.Errorf("registry %d: %q is no name", i, e.name)
			}
		}
		for j, e := range r.names {
			if j > 0 && compareFold(r.names[j-1].name, e.name) >= 0 {
				t.Errorf("registry %d: %q out of order", i, e.name)
			}
		}
	}
}

func TestIsPostQuantum(t *testing.T) {
	want := map[string]bool{"X25519MLKEM768": true, "SecP256r1MLKEM768": true, "SecP384r1MLKEM1024": true, "curveSM2MLKEM768": true, "MLKEM512": true,
		"X25519Kyber768Draft00": true, "X25519Kyber512Draft00": true, "CECPQ2": true,
		"x25519": false, "x448": false, "secp384r1": false, "ffdhe8192": false, "curveSM2": false}
	for name, pq := range want {
		if code, ok := GroupByName(name); !ok || IsPostQuantum(code) != pq {
			t.Errorf("%s: %v, want %v", name, !pq, pq)
		}
	}
	pattern := regexp.MustCompile("mlkem|kyber|cecpq")
	for code := range uint16(0xffff) { // the names tell
		name := strings.ToLower(GroupName(code))
		if got, want := IsPostQuantum(code), pattern.MatchString(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, code := range []uint16{0, 0x0a0a, 0xffff} {
		if IsPostQuantum(code) {
			t.Errorf("%#04x is not", code)
		}
	}
}
