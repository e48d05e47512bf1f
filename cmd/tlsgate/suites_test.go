package main

import (
	"bytes"
	"strings"
	"testing"

	"tlsgate/tlsrules/suites"
)

func TestParseSuites(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"AES128-SHA", "002F"},
		{"AES128-SHA:0xC02F", "002F C02F"},
		{"0xC0,0x2F, aes128-sha", "C02F 002F"},
		{"TLS_RSA_WITH_AES_128_CBC_SHA AES128-SHA", "002F"},
		{"class:tls13,AES128-SHA", "00C6 00C7 1301 1302 1303 1304 1305 1306 1307 C103 C104 C105 C106 002F"},
		{"AES128-SHA:CLASS:scsv", "002F 00FF 5600"},
		{"mozilla:modern AES128-SHA", "1301 1302 1303 002F"},
		{"aws:ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04:class:scsv", "1301 1302 00FF 5600"},
		{"aws:classic:ELBSecurityPolicy-2015-02:0x1301", "C02B C02F C023 C027 C009 C013 0033 C02C C030 C024 C028 C014 C00A 009C 003C 002F 009D 003D 0035 0032 1301"},
		{"openssl:AES128-SHA", "1302 1303 1301 002F"},
		{"OPENSSL:kRSA+AESGCM:+AES256", "1302 1303 1301 009C 009D"},
		{"AES128-SHA, openssl-1.0.2:AES256-SHA:AES128-SHA", "002F 0035"},
		// Without a prefix, as openssl ciphers reads it.
		{"kRSA+AESGCM", "1302 1303 1301 009D 009C"},
		{"AES128-SHA:AES256-SHA:!AES128", "1302 1303 1301 0035"},
		{"kRSA+AESGCM NULL-SHA", "1302 1303 1301 009D 009C 0002"},
	} {
		list, err := parseSuites(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		var codes []string
		for _, s := range list.suites {
			codes = append(codes, strings.TrimPrefix(suiteCode(s), "0x"))
		}
		if got := strings.Join(codes, " "); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
		if len(list.warnings) > 0 {
			t.Errorf("%q: warnings %q", tt.in, list.warnings)
		}
	}
	if all, err := parseSuites(" "); err != nil || len(all.suites) < 400 {
		t.Errorf("no expression: %v, want all", err)
	}
}

func TestParseSuitesWarns(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"HIGH:!aNUL", `"aNUL" is no word of OpenSSL's, which reads over it; did you mean "aNULL"?`},
		{"HIGH:!xyzzy", `"xyzzy" is no word of OpenSSL's, which reads over it`},
		{"TLS_AES_128_GCM_SHA256:HIGH", "TLS_AES_128_GCM_SHA256 in a cipher list means nothing to OpenSSL, which puts its TLS 1.3 suites in front of every list"},
		{"aws:ELBSecurityPolicy-TLS13-1-3-PQ-2025-09", `aws:ELBSecurityPolicy-TLS13-1-3-PQ-2025-09 rests on a third party's emulator of AWS, not on a document of AWS's (confidence "mirror"): aws elbv2 describe-ssl-policies confirms it`},
	} {
		list, err := parseSuites(tt.in)
		if err != nil || len(list.warnings) != 1 || list.warnings[0] != tt.want {
			t.Errorf("%q: got %+v, %v, want %s", tt.in, list, err, tt.want)
		}
	}
}

func TestParseSuitesRefuses(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"AES128-SAH", `unknown suite "AES128-SAH"; did you mean "AES128-SHA"?`},
		{"bananas", `unknown suite "bananas"`},
		{"DEFALT", `unknown suite "DEFALT"; did you mean "DEFAULT"?`},
		{"0xABCD", `unknown suite "0xABCD"`},
		{"0x2F", `number "0x2F" needs four digits, as in 0xC02F`},
		{"class:fs-aed", `"class:fs-aed" names a class that is not known: "fs-aed"; did you mean "fs-aead"?`},
		{"class:", `"class:" names a class that is not known: ""; the classes are ` + strings.Join(suites.Classes(), ", ")},
		{"class:tls13:kRSA", `unknown suite "kRSA"; did you mean "openssl:kRSA"?`},
		{"openssl:ALL:!ALL", `"openssl:ALL:!ALL" selects no suite of OpenSSL 3.0`},
		{"RC4+kRSA", `"openssl:RC4+kRSA" selects no suite of OpenSSL 3.0; OpenSSL 1.0.2 has some: "openssl-1.0.2:..."`},
		{"AES128-SHA,aws:ELBSecurityPolicy-2016-09", `"aws:ELBSecurityPolicy-2016-09" names a policy that is not known of AWS: "ELBSecurityPolicy-2016-09"; did you mean "ELBSecurityPolicy-2016-08"?`},
		{"aws:", `"aws:" names a policy that is not known of AWS: ""; names are as in ELBSecurityPolicy-TLS13-1-2-2021-06`},
		{"openssl:" + strings.Repeat("AES128-SHA:", 10) + "*", `"openssl:` + strings.Repeat("AES128-SHA:", 6) + `AES128..." has "*" where OpenSSL wants a word, in "*"`},
		{",", `no suite in ","`},
	} {
		_, err := parseSuites(tt.in)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: got %v, want %s", tt.in, err, tt.want)
		}
	}
}

func TestPrintSuitesJSON(t *testing.T) {
	list, err := parseSuites("0xC02F")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := printSuitesJSON(&got, list.suites); err != nil {
		t.Fatal(err)
	}
	const want = `[
  {
    "code": "0xC02F",
    "iana": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "openssl": "ECDHE-RSA-AES128-GCM-SHA256",
    "gnutls": "TLS_ECDHE_RSA_AES_128_GCM_SHA256",
    "kx": "ECDHE",
    "auth": "RSA",
    "enc": "AES-128-GCM",
    "bits": 128,
    "mac": "AEAD",
    "class": "fs-aead",
    "min_version": "1.2",
    "max_version": "1.2"
  }
]
`
	if got.String() != want {
		t.Errorf("got %s, want %s", got.String(), want)
	}
}
