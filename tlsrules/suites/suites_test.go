package suites

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want uint16
	}{
		{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xC02F},
		{"ECDHE-RSA-AES128-GCM-SHA256", 0xC02F},
		{"TLS_ECDHE_RSA_AES_128_GCM_SHA256", 0xC02F},
		{"ecdhe-rsa-aes128-gcm-sha256", 0xC02F},
		{"0xC02F", 0xC02F},
		{"0xc0,0x2f", 0xC02F},
		{"0xC0, 0x2F", 0xC02F},
		{"AES128-SHA", 0x002F},
		{"0x2f", 0x002F},
		{"tls_aes_128_gcm_sha256", 0x1301},
		{"TLS_CHACHA20_POLY1305_SHA256", 0x1303},
		{"SSL_RSA_WITH_RC4_128_MD5", 0x0004},                    // RFC 6101, Appendix A.6
		{"DHE-RSA-DES-CBC3-SHA", 0x0016},                        // since OpenSSL 1.1.0; EDH- before
		{"EDH-RSA-DES-CBC3-SHA", 0x0016},                        //
		{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xCCA8}, // not the draft's 0xCC13
		{"TLS_DHE_PSK_WITH_AES_128_CCM_8", 0xC0AA},              // RFC 6655 says PSK_DHE
		{"TLS_FALLBACK_SCSV", 0x5600},
	} {
		got, ok := Lookup(tt.in)
		if !ok || got.Code != tt.want {
			t.Errorf("Lookup(%q) = 0x%04X, %v, want 0x%04X", tt.in, got.Code, ok, tt.want)
		}
	}
	for _, in := range []string{"", "-", "0x", "0xC02FF", "0xFFFF", "0x1,0x100", "0xC0,", "AES128", "ECDHE-RSA-AES128-GCM-SHA256 "} {
		if got, ok := Lookup(in); ok {
			t.Errorf("Lookup(%q) = %s, want none", in, got.IANA)
		}
	}
}

func TestEveryNameLeadsBack(t *testing.T) {
	n := 0
	for s := range All() {
		n++
		for _, name := range []string{s.IANA, s.OpenSSL, s.GnuTLS} {
			if name == "" {
				continue
			}
			for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
				if got, ok := Lookup(spelled); !ok || got != s {
					t.Errorf("Lookup(%q) = %v, %v, want %v", spelled, got, ok, s)
				}
			}
		}
		if got, ok := ByCode(s.Code); !ok || got != s {
			t.Errorf("ByCode(0x%04X) = %v, %v, want %v", s.Code, got, ok, s)
		}
		if Name(s.Code) == "" || OpenSSLName(s.Code) == "" {
			t.Errorf("0x%04X has no name", s.Code)
		}
		if !slices.Contains(Classes(), s.Class) {
			t.Errorf("0x%04X is of class %q", s.Code, s.Class)
		}
		if s.MinVersion > s.MaxVersion || (s.Class == "tls13") != (s.MinVersion == VersionTLS13 && s.Enc != "NULL") {
			t.Errorf("0x%04X: class %s from %s to %s", s.Code, s.Class, VersionName(s.MinVersion), VersionName(s.MaxVersion))
		}
		if IsGREASE(s.Code) != (s.Class == "grease") || IsSCSV(s.Code) != (s.Class == "scsv") {
			t.Errorf("0x%04X is of class %s", s.Code, s.Class)
		}
	}
	if n != len(table) {
		t.Errorf("All returned %d suites, want %d", n, len(table))
	}
}

func TestAgreesWithCryptoTLS(t *testing.T) {
	for _, want := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		got, ok := ByCode(want.ID)
		if !ok || got.IANA != want.Name {
			t.Errorf("0x%04X is %q, want %q", want.ID, got.IANA, want.Name)
		}
		if last := want.SupportedVersions[len(want.SupportedVersions)-1]; got.MaxVersion != last {
			t.Errorf("%s ends with %s, want %s", want.Name, VersionName(got.MaxVersion), VersionName(last))
		}
		if first := want.SupportedVersions[0]; got.MinVersion > first {
			t.Errorf("%s begins with %s, want %s", want.Name, VersionName(got.MinVersion), VersionName(first))
		}
	}
}

func TestUnknownSuite(t *testing.T) {
	if got := Name(0x0A0B); got != "0x0A0B" {
		t.Errorf("Name = %q, want 0x0A0B", got)
	}
	if got := OpenSSLName(0xC0FF); got != "TLS_ECJPAKE_WITH_AES_128_CCM_8" {
		t.Errorf("OpenSSLName without an OpenSSL name = %q", got)
	}
}

func TestSuggest(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"ECDHE-RSA-AES128-GCM-SHA265", "ECDHE-RSA-AES128-GCM-SHA256"},
		{"ECDHE_RSA_AES128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"},
		{"ecdhe-rsa-aes-128-gcm-sha256", "ECDHE-RSA-AES128-GCM-SHA256"},
		{"TLS_RSA_WITH_AES_128_CBC_SHA1", "TLS_RSA_WITH_AES_128_CBC_SHA"},
		{"AES128SHA", "AES128-SHA"},
		{"bananas", ""},
		{"", ""},
		{strings.Repeat("TLS_", 100), ""},
	} {
		if got := Suggest(tt.in); got != tt.want {
			t.Errorf("Suggest(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	for _, tt := range []struct{ got, want string }{
		{SuggestClass("fs-aed"), "fs-aead"},
		{SuggestGroup("x25591"), "x25519"},
		{SuggestAlert("handshake_failed"), "handshake_failure"},
		{SuggestExtension("server-nmae"), "server_name"},
		{SuggestSignature("rsa_pss_rsae_sha265"), "rsa_pss_rsae_sha256"},
	} {
		if tt.got != tt.want {
			t.Errorf("suggested %q, want %q", tt.got, tt.want)
		}
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	got := testing.AllocsPerRun(100, func() {
		Lookup("ecdhe-rsa-aes128-gcm-sha256")
		Lookup("0xC0,0x2F")
		ByCode(0xC02F)
		Name(0xC02F)
		OpenSSLName(0xC02F)
		GroupName(29)
		GroupByName("X25519")
		AlertName(40)
		AlertByName("handshake_failure")
		ExtensionName(0)
		ExtensionByName("SNI")
		VersionName(VersionTLS12)
		ParseVersion("TLSv1.2")
	})
	if got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

func TestIsGREASE(t *testing.T) {
	n := 0
	for v := range 1 << 16 {
		if IsGREASE(uint16(v)) {
			n++
		}
	}
	if n != 16 || !IsGREASE(0x0A0A) || !IsGREASE(0xFAFA) || IsGREASE(0x0A1A) {
		t.Errorf("%d GREASE values, want the 16 of RFC 8701", n)
	}
}
