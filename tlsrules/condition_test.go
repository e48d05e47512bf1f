package tlsrules

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

var truthNames = map[truth]string{waiting: "waiting", yes: "yes", no: "no", never: "never", moot: "moot"}

// earlier are connections that have not come to the key's stage: one that
// waits, one that will never know, and one that is not TLS.
func earlier(k Key) (waits, blind, foreign *Facts) {
	stages := map[step]*Facts{
		stepSYN: {}, stepFirstBytes: atSYN(), stepClientHello: atFirstBytes(tlswire.ProtocolTLS),
		stepContains: atSYN(), stepServerHello: atClientHello(), stepALPN: atClientHello(), stepResumed: atClientHello(), stepGroup: atClientHello(),
		stepCertificate: atServerHello(), stepDH: atServerHello(), stepRecords: atSYN(),
	}
	waits = stages[keys[k].step]
	b := *waits
	for s := range StageRecords + 1 {
		b.Never.Add(s)
	}
	b.Group, b.GroupSettled, b.ContainsOver = 0, true, true
	return waits, &b, atFirstBytes(tlswire.ProtocolHTTP)
}

func TestEveryKeyAtEveryStage(t *testing.T) {
	for _, k := range Keys() {
		values := map[Key]string{
			KeySource: "192.0.2.0/24", KeyDestination: "203.0.113.10", KeyPort: "443", KeySourcePort: "1-65535",
			KeyInInterface: "eth*", KeyOutInterface: "wan0", KeyTime: "before 2026-01-01T00:00:00Z", KeyProtocol: "tls", KeyServerName: "api.bank.example",
			KeyALPN: "h2", KeyOffersVersion: "1.3", KeyOffersCipher: "AES128-SHA", KeyOffersGroup: "x25519",
			KeyOffersExtension: "server_name", KeyOffersSignature: "0x0403", KeyOffersOnlyCipher: "AES128-SHA",
			KeyOffersOnlyVersion: ">=1.2", KeyOffersOnlyGroup: "x25519",
			KeyClientRandom: "010203" + strings.Repeat("00", 29),
			KeyVersion:      "1.2", KeyCipher: "0xC02F", KeyGroup: "x25519", KeyALPNSelected: "h2",
			KeyContentType: "handshake", KeyAlert: "fatal",
			KeyVia: "direct", KeyContains: "amazinggrace", KeyJA3: hashed(atClientHello().Client.JA3()), KeyJA4: "*_*_*", KeyJA3S: hashed(atServerHello().Server.JA3S()),
			KeyResumes: "ticket", KeyResumed: "known", KeyECH: "false", KeyEarlyData: "false", KeyFallback: "false",
			KeyCertSubject: "CN=api.bank.example", KeyCertIssuer: "O=Example", KeyCertName: "*.bank.example",
			KeyCertSHA256: "0102" + strings.Repeat("00", 30), KeyCertSPKISHA256: strings.Repeat("00:", 31) + "03",
			KeyCertKey: "rsa>=2048", KeyCertExpired: "true", KeyCertSelfSigned: "false", KeyDHBits: ">=1024", KeyRenegotiates: "false",
		}
		c := cond(t, k.String(), values[k])
		if k == KeyContains {
			c.bits = 1 // as a policy numbers it
		}
		waits, blind, foreign := earlier(k)
		check := func(name string, f *Facts, want truth) {
			t.Helper()
			var v view
			v.look(f, f.Content)
			if got := c.eval(&v); got != want {
				t.Errorf("%s, %s: got %s, want %s", k, name, truthNames[got], truthNames[want])
			}
		}
		check("before its stage", waits, waiting)
		if k == KeyContains { // what is not found is not there
			check("never found", blind, no)
		} else {
			check("never known", blind, never)
		}
		if keys[k].step >= stepClientHello {
			check("not TLS", foreign, moot)
		}
		all := withAlert(atCertificate(), tlswire.AlertMessage{Level: tlswire.AlertLevelFatal, Description: 40})
		want := yes
		switch k {
		case KeyOffersOnlyCipher, KeyOffersOnlyGroup, KeyContentType:
			want = no
		}
		check("known", all, want)
	}
}

func hashed(h [16]byte) string { return hex.EncodeToString(h[:]) }

func TestConditions(t *testing.T) {
	hello := func(change func(h *tlswire.ClientHello)) *Facts {
		f := atClientHello()
		change(f.Client)
		return f
	}
	noVersions := func(legacy uint16) *Facts {
		return hello(func(h *tlswire.ClientHello) { h.SupportedVersions, h.LegacyVersion = nil, legacy })
	}
	named := func(name string) *Facts {
		return hello(func(h *tlswire.ClientHello) { h.ServerName = []byte(name) })
	}
	from := func(addr string) *Facts {
		f := atSYN()
		f.Source = netip.MustParseAddr(addr)
		return f
	}
	noServerName := hello(func(h *tlswire.ClientHello) { h.HasServerName, h.ServerName = false, nil })
	noALPN := hello(func(h *tlswire.ClientHello) { h.ALPN = nil })
	random := hex.EncodeToString(make([]byte, 32))
	captured := atSYN()
	captured.InInterface = ""
	noGroup := atServerHello()
	noGroup.Group, noGroup.GroupSettled = 0, true
	lateGroup := atServerHello()
	lateGroup.Group = 0
	noneSelected := atServerHello()
	noneSelected.Server.ALPN = nil
	retry := atServerHello()
	retry.Server.Retry = true
	fatal := tlswire.AlertMessage{Level: tlswire.AlertLevelFatal, Description: 40}

	for _, tt := range []struct {
		name   string
		key    string
		values []string
		facts  *Facts
		want   truth
	}{
		{"address", "source", []string{"192.0.2.10"}, atSYN(), yes},
		{"other address", "source", []string{"192.0.2.11", "198.51.100.0/24"}, atSYN(), no},
		{"IPv4 in IPv6 form", "source", []string{"192.0.2.0/24"}, from("::ffff:192.0.2.7"), yes},
		{"all of IPv4 is not IPv6", "source", []string{"0.0.0.0/0"}, from("2001:db8::1"), no},
		{"IPv6", "source", []string{"2001:db8::/32"}, from("2001:db8::1"), yes},
		{"zone", "source", []string{"fe80::/10"}, from("fe80::1%eth0"), yes},
		{"port range's ends", "port", []string{"400-443"}, atSYN(), yes},
		{"port", "port", []string{"442", "444-500"}, atSYN(), no},
		{"interface by star", "in_interface", []string{"eth*"}, atSYN(), yes},
		{"any interface", "in_interface", []string{"*"}, atSYN(), yes},
		{"longer interface", "in_interface", []string{"eth"}, atSYN(), no},
		{"no interface", "in_interface", []string{"*"}, captured, never},
		{"protocol", "protocol", []string{"http", "ssh"}, atFirstBytes(tlswire.ProtocolSSH), yes},
		{"protocol in capitals", "protocol", []string{"TLS"}, atFirstBytes(tlswire.ProtocolTLS), yes},

		{"sni in any case", "sni", []string{"Api.Bank.Example"}, atClientHello(), yes},
		{"sni, final dot sent", "sni", []string{"a.example"}, named("A.example."), yes},
		{"sni, final dot in the policy", "sni", []string{"a.example."}, named("a.example"), yes},
		{"sni below", "sni", []string{"*.example"}, named("a.b.example"), yes},
		{"sni is not below itself", "sni", []string{"*.b.example"}, named("b.example"), no},
		{"sni_suffix_without_dot", "sni", []string{"*.b.example"}, named("evilb.example"), no},
		{"sni_empty_label", "sni", []string{"*.b.example"}, named(".b.example"), no},
		{"sni_name_in_front", "sni", []string{"b.example"}, named("b.example.evil"), no},
		{"sni_nul", "sni", []string{"b.example"}, named("b.example\x00"), no},
		{"sni_too_long", "sni", []string{"*.b.example"}, named(strings.Repeat("a", 300) + ".b.example"), no},
		{"sni none", "sni", []string{"none"}, noServerName, yes},
		{"sni none is not a name", "sni", []string{"none"}, named("none"), no},
		{"sni missing", "sni", []string{"*.example"}, noServerName, no},

		{"alpn", "alpn", []string{"http/1.1"}, atClientHello(), yes},
		{"alpn is exact", "alpn", []string{"http"}, atClientHello(), no},
		{"alpn none", "alpn", []string{"none"}, noALPN, yes},
		{"alpn none, offered", "alpn", []string{"none", "spdy/3"}, atClientHello(), no},

		{"offers version", "offers_version", []string{"1.3"}, atClientHello(), yes},
		{"GREASE is no version", "offers_only_version", []string{">=1.2"}, atClientHello(), yes},
		{"more versions", "offers_only_version", []string{"1.3"}, atClientHello(), no},
		{"legacy 1.2 offers 1.0", "offers_version", []string{"1.0"}, noVersions(0x0303), yes},
		{"legacy 1.2 does not offer 1.3", "offers_version", []string{"1.3"}, noVersions(0x0303), no},
		{"legacy_beyond_1.2 offers 1.2", "offers_version", []string{"1.3"}, noVersions(0x0304), no},
		{"legacy 1.2 offers 1.1 too", "offers_only_version", []string{"1.2"}, noVersions(0x0303), no},
		{"legacy ssl3", "offers_only_version", []string{"ssl3"}, noVersions(0x0300), yes},
		{"unknown version besides", "offers_only_version", []string{">=ssl2"},
			hello(func(h *tlswire.ClientHello) { h.SupportedVersions = []uint16{0x0304, 0x7f1c} }), no},
		{"SSLv2 hello", "offers_version", []string{"ssl2"},
			hello(func(h *tlswire.ClientHello) { h.SSLv2, h.SupportedVersions = true, nil }), yes},

		{"offers suite by IANA name", "offers_cipher", []string{"tls_rsa_with_aes_128_cbc_sha"}, atClientHello(), yes},
		{"offers no such suite", "offers_cipher", []string{"AES256-SHA"}, atClientHello(), no},
		{"only, GREASE and SCSV aside", "offers_only_cipher", []string{"TLS_AES_128_GCM_SHA256", "0xC02F", "0xc030", "AES128-SHA"}, atClientHello(), yes},
		{"only, one besides", "offers_only_cipher", []string{"TLS_AES_128_GCM_SHA256", "0xC02F", "0xc030"}, atClientHello(), no},
		{"group", "offers_group", []string{"secp256r1"}, atClientHello(), yes},
		{"only groups", "offers_only_group", []string{"x25519", "secp256r1"}, atClientHello(), yes},
		{"no groups are only these", "offers_only_group", []string{"x25519"},
			hello(func(h *tlswire.ClientHello) { h.SupportedGroups = nil }), yes},
		{"extension by number", "offers_extension", []string{"43"}, atClientHello(), yes},
		{"signature", "offers_signature", []string{"ecdsa_secp256r1_sha256"}, atClientHello(), yes},
		{"client random", "client_random", []string{random}, atClientHello(), no},

		{"version range", "version", []string{"<1.2"}, atServerHello(), no},
		{"version range's edge", "version", []string{"<=1.2"}, atServerHello(), yes},
		{"suite", "cipher", []string{"ECDHE-RSA-AES128-GCM-SHA256"}, atServerHello(), yes},
		{"unregistered suite", "cipher", []string{"0xFDFD"}, atServerHello(), no},
		{"group of TLS 1.2", "group", []string{"x25519"}, atServerHello(), yes},
		{"group comes later", "group", []string{"x25519"}, lateGroup, waiting},
		{"no group", "group", []string{"x25519"}, noGroup, never},
		{"alpn selected", "alpn_selected", []string{"h2"}, atServerHello(), yes},
		{"alpn selected, none", "alpn_selected", []string{"none"}, noneSelected, yes},
		{"alpn selected in TLS 1.3", "alpn_selected", []string{"none"}, atTLS13(), never},
		{"HelloRetryRequest selects nothing yet", "version", []string{"1.2"}, retry, waiting},

		{"record", "content_type", []string{"handshake", "alert"}, withContent(atSYN(), tlswire.Handshake), yes},
		{"other record", "content_type", []string{"handshake"}, withContent(atSYN(), tlswire.ApplicationData), no},
		{"no alert", "alert", []string{"fatal"}, withContent(atSYN(), tlswire.Handshake), no},
		{"alert's header", "alert", []string{"fatal"}, withContent(atSYN(), tlswire.AlertContent), waiting},
		{"alert by name", "alert", []string{"handshake_failure"}, withAlert(atSYN(), fatal), yes},
		{"alert by level", "alert", []string{"warning"}, withAlert(atSYN(), fatal), no},
		{"encrypted alert", "alert", []string{"fatal", "warning"}, withAlert(atSYN(), tlswire.AlertMessage{Encrypted: true}), never},
	} {
		c := cond(t, tt.key, tt.values...)
		var v view
		v.look(tt.facts, tt.facts.Content)
		if got := c.eval(&v); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, truthNames[got], truthNames[tt.want])
		}
	}
}

func TestNumberSet(t *testing.T) {
	var s numberSet
	want := map[uint16]bool{}
	for i := range 600 {
		n := uint16(i * 40503)
		s.add(n)
		want[n] = true
	}
	for n := range 1 << 16 {
		if got := s.has(uint16(n)); got != want[uint16(n)] {
			t.Fatalf("%d: got %t", n, got)
		}
	}
	if got := len(versionsOf(1<<len(versions) - 1)); got != len(versions) {
		t.Errorf("versions: got %d", got)
	}
	if versionBit(0x0a0a) != versionBit(suites.VersionTLS13)<<1 {
		t.Error("an unknown version has a place of its own")
	}
}

func TestNumbersWithin(t *testing.T) {
	set := func(numbers ...uint16) *numberSet {
		var s numberSet
		for _, n := range numbers {
			s.add(n)
		}
		return &s
	}
	for _, tt := range []struct {
		s, t *numberSet
		want bool
	}{
		{set(), set(), true},
		{set(1, 0xc02f), set(1, 2, 0xc02f, 0xffff), true},
		{set(1, 3), set(1, 2), false},
		{set(0x1301), set(1), false},
	} {
		if got := tt.s.within(tt.t); got != tt.want {
			t.Errorf("%v in %v: got %t", slices.Collect(tt.s.all()), slices.Collect(tt.t.all()), got)
		}
	}
}
