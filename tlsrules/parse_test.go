package tlsrules

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConditionValues(t *testing.T) {
	for _, tt := range []struct {
		key    string
		values []string
		want   []string
	}{
		{"source", []string{"192.0.2.1/32", "2001:DB8::/32"}, []string{"192.0.2.1", "2001:db8::/32"}},
		{"port", []string{"443", " 9000 - 9099", "443-443"}, []string{"443", "9000-9099"}},
		{"version", []string{">=1.2", "TLSv1.2"}, []string{"1.2", "1.3"}},
		{"version", []string{"<1.0"}, []string{"ssl2", "ssl3"}},
		{"version", []string{">1.1", "<=ssl2"}, []string{"1.2", "1.3", "ssl2"}},
		{"cipher", []string{"ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "0xC02F", "0xFDFD"},
			[]string{"ECDHE-RSA-AES128-GCM-SHA256", "0xFDFD"}},
		{"cipher", []string{"openssl:AES256-SHA:AES128-SHA", "AES128-SHA", "openssl-1.0.2:RC4+kRSA+MD5"},
			[]string{"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256", "AES256-SHA", "AES128-SHA", "RC4-MD5"}},
		{"offers_cipher", []string{"class:scsv"}, []string{"TLS_EMPTY_RENEGOTIATION_INFO_SCSV", "TLS_FALLBACK_SCSV"}},
		{"offers_only_cipher", []string{"mozilla:modern", "aws:ELBSecurityPolicy-FS-1-2-Res-2020-10"},
			[]string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
				"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"}},
		{"sni", []string{"API.bank.example.", "*.Pay.example", "NONE"}, []string{"api.bank.example", "*.pay.example", "none"}},
		{"alpn", []string{"h2", "h2"}, []string{"h2"}},
		{"alert", []string{"Fatal", "close_notify", "0"}, []string{"fatal", "close_notify"}},
		{"content_type", []string{"Application_Data"}, []string{"application_data"}},
	} {
		c := cond(t, tt.key, tt.values...)
		if diff := cmp.Diff(tt.want, c.Values()); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", tt.key, tt.values, diff)
		}
	}
}

func TestParseConditionErrors(t *testing.T) {
	for _, tt := range []struct{ key, value, want, hint string }{
		{"source", "bank.example", `"bank.example" is not an address or prefix`, "write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32, or @name for a set of those"},
		{"source", "203.0.113.7/24", `"203.0.113.7/24" has bits set behind the prefix length`, "did you mean 203.0.113.0/24, or 203.0.113.7?"},
		{"source", "fe80::1%eth0", `"fe80::1%eth0" has a zone, which packets do not carry`, "leave out %eth0 and match in_interface"},
		{"source", "::ffff:192.0.2.1", `"::ffff:192.0.2.1" is an IPv4 address in IPv6 form`, "write 192.0.2.1"},
		{"port", "https", `"https" is not a port`, `write a number from 0 to 65535, or a range as in "9000-9099"`},
		{"port", "65536", `"65536" is not a port`, `write a number from 0 to 65535, or a range as in "9000-9099"`},
		{"port", "9099-9000", `"9099-9000" is a range that ends before it begins`, `did you mean "9000-9099"?`},
		{"in_interface", "e*h", `"e*h" has a star that is not at the end`, `write "eth*"`},
		{"in_interface", "an-interface-too-long", `"an-interface-too-long" is not an interface name`, "the kernel's names have at most 15 letters, no space, no colon and no slash"},
		{"protocol", "htpt", `"htpt" is not a protocol`, `did you mean "http"?`},
		{"protocol", "smtp", `"smtp" is not a protocol`, "known are tls, sslv2, http, ssh, unknown"},
		{"sni", "https://bank.example/", `"https://bank.example/" is not a host name`, "leave out scheme, port and path"},
		{"sni", "a.*.example", `"a.*.example" has a star that is not the first label`, `"*.example.com" is every name below example.com; a star cannot be part of a label`},
		{"sni", "bücher.example", `"bücher.example" has letters outside ASCII`, `write the name as it stands in the hello, as in "xn--bcher-kva.example"`},
		{"sni", "a b.example", `"a b.example" has ' ', which no host name has`, ""},
		{"sni", "a..example", `"a..example" is not a host name`, "labels have 1 to 63 letters"},
		{"sni", strings.Repeat("a.", 150) + "a", "is longer than 255 letters", ""},
		{"alpn", "H2", `"H2" is not a protocol of ALPN: case counts there`, `did you mean "h2"?`},
		{"version", "1.4", `"1.4" is not a version`, `known are ssl2, ssl3, 1.0, 1.1, 1.2, 1.3, and for example ">=1.2"`},
		{"version", "=>1.2", `"=>1.2" is not a version`, "comparisons are >=, >, <= and <"},
		{"version", ">1.3", `">1.3" is no version at all`, ""},
		{"cipher", "ECDHE-RSA-AES128-GCM-SHA265", `"ECDHE-RSA-AES128-GCM-SHA265" is not a cipher suite`, `did you mean "ECDHE-RSA-AES128-GCM-SHA256"?`},
		{"cipher", "HIGH:!aNULL", `"HIGH:!aNULL" is not a cipher suite`, `did you mean "openssl:HIGH:!aNULL"?`},
		{"cipher", "openssl:HIGH:!aNUL", `"openssl:HIGH:!aNUL" has "aNUL", which OpenSSL does not know and reads over`, `did you mean "aNULL"?`},
		{"cipher", "openssl:ALL:!ALL", `"openssl:ALL:!ALL" selects no suite of OpenSSL 3.0`, ""},
		{"offers_cipher", "openssl:RC4", `"openssl:RC4" selects no suite of OpenSSL 3.0`, `OpenSSL 1.0.2 has some: "openssl-1.0.2:..."`},
		{"offers_only_cipher", "class:fs-aed", `"class:fs-aed" names a class that is not known: "fs-aed"`, `did you mean "fs-aead"?`},
		{"cipher", "mozilla:intermedate", `"mozilla:intermedate" names a guideline that Mozilla does not have: "intermedate"`, `did you mean "intermediate"?`},
		{"cipher", "aws:ELBSecurityPolicy-TLS13-1-3-RFC9151-FIPS-2023-07",
			`"aws:ELBSecurityPolicy-TLS13-1-3-RFC9151-FIPS-2023-07" names a policy of AWS of which only name and versions are known, not the suites: "ELBSecurityPolicy-TLS13-1-3-RFC9151-FIPS-2023-07"`,
			"aws elbv2 describe-ssl-policies --names ELBSecurityPolicy-TLS13-1-3-RFC9151-FIPS-2023-07 tells them: list them by name"},
		{"group", "x25591", `"x25591" is not a group`, `did you mean "x25519"?`},
		{"offers_extension", "server-nam", `"server-nam" is not an extension`, `did you mean "server_name"?`},
		{"offers_signature", "rsa_pss_rsae_sha266", `"rsa_pss_rsae_sha266" is not a signature scheme`, `did you mean "rsa_pss_rsae_sha256"?`},
		{"client_random", "abcd", `"abcd" is not a client random`, "write its 32 bytes as 64 hexadecimal digits"},
		{"content_type", "aplication_data", `"aplication_data" is not a content type`, `did you mean "application_data"?`},
		{"alert", "handshake_falure", `"handshake_falure" is not an alert`, `did you mean "handshake_failure"?`},
	} {
		k, _ := ParseKey(tt.key)
		_, err := ParseCondition(k, []string{tt.value})
		var bad *ValueError
		if !errors.As(err, &bad) {
			t.Errorf("%s = %q: got %v", tt.key, tt.value, err)
			continue
		}
		if got := bad.Error(); !strings.HasSuffix(got, tt.want) || bad.Hint != tt.hint {
			t.Errorf("%s = %q: got %s\n  hint %s", tt.key, tt.value, got, bad.Hint)
		}
	}
	if _, err := ParseCondition(KeyPort, nil); err == nil {
		t.Error("a condition without values was taken")
	}
}

func TestNewErrors(t *testing.T) {
	cipher := cond(t, "cipher", "AES128-SHA")
	accept := Defaults{Accept, Accept, false}
	for _, tt := range []struct {
		name  string
		rules []Rule
		def   Defaults
		want  string
	}{
		{"means nothing", []Rule{{Name: "a", Match: conds(cipher)}}, accept, `rule "a": has neither require nor action, so it means nothing`},
		{"require after a refusal", []Rule{{Name: "a", Require: conds(cipher), HasAction: true, Action: Drop}}, accept,
			`rule "a": is never asked, because action = "drop" refuses first`},
		{"otherwise accepts", []Rule{{Name: "a", Require: conds(cipher), Otherwise: Accept}}, accept,
			`rule "a": "accept" would let a violated requirement pass`},
		{"two of a name", []Rule{{Name: "a", HasAction: true}, {Name: "a", HasAction: true}}, accept, `rule "a": rule 1 has this name already`},
		{"condition without a key", []Rule{{Match: make([]Condition, 1), HasAction: true}}, accept, `rule "rule 1": has a condition without a key`},
		{"action out of range", []Rule{{Name: "a", HasAction: true, Action: 77}}, accept, `rule "a": is no action of a rule`},
		{"default continues", nil, Defaults{Continue, Accept, false}, `default.action = "continue" decides nothing`},
		{"all at once", []Rule{{Name: "a"}, {Name: "b"}}, accept,
			"rule \"a\": has neither require nor action, so it means nothing\nrule \"b\": has neither require nor action, so it means nothing"},
	} {
		_, err := New(tt.rules, tt.def)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
