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
	} {
		list, err := parseSuites(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
		}
		var codes []string
		for _, s := range list {
			codes = append(codes, strings.TrimPrefix(suiteCode(s), "0x"))
		}
		if got := strings.Join(codes, " "); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
	if all, err := parseSuites(" "); err != nil || len(all) < 400 {
		t.Errorf("no expression: %d suites, %v, want all", len(all), err)
	}
}

func TestParseSuitesRefuses(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"AES128-SAH", `unknown suite "AES128-SAH"; did you mean "AES128-SHA"?`},
		{"bananas", `unknown suite "bananas"`},
		{"0xABCD", `unknown suite "0xABCD"`},
		{"0x2F", `number "0x2F" needs four digits, as in 0xC02F`},
		{"class:fs-aed", `unknown class "fs-aed"; did you mean "fs-aead"?`},
		{"class:", "class: without a name; the classes are " + strings.Join(suites.Classes(), ", ")},
		{"openssl:DEFAULT", "openssl: expressions are not supported yet"},
		{"AES128-SHA,aws:ELBSecurityPolicy-2016-08", "aws: expressions are not supported yet"},
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
	if err := printSuitesJSON(&got, list); err != nil {
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
