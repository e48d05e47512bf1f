package suites

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"AES128-SHA", "002F"},
		{"0xC0,0x2F", "C02F"},
		{"0xFDFD", "FDFD"},
		{"openssl:AES256-SHA:AES128-SHA", "1302 1303 1301 0035 002F"},
		{"OpenSSL: AES256-SHA", "1302 1303 1301 0035"},
		{"openssl-1.0.2:AES256-SHA RC4-SHA", "0035 0005"},
		{"openssl-1.0.2D:EXPORT+kRSA", "0008 0006 0003"},
		{"openssl-3.5:TLS_RSA_WITH_AES_128_CBC_SHA", "1302 1303 1301 002F"},
		{"class:scsv", "00FF 5600"},
		{"Class: SCSV", "00FF 5600"},
		{"mozilla:modern", "1301 1302 1303"},
		{"mozilla:modern-4.0", "C02C C030 CCA9 CCA8 C02B C02F C024 C028 C023 C027"},
		{"mozilla:intermediate", "1301 1302 1303 C02B C02F C02C C030 CCA9 CCA8"},
		{"Mozilla:Intermediate-5.7", "1301 1302 1303 C02B C02F C02C C030 CCA9 CCA8 009E 009F CCAA"},
		{"aws:ELBSecurityPolicy-TLS13-1-3-2021-06", "1301 1302 1303"},
		{"aws:elbsecuritypolicy-tls13-1-2-2021-06", "1301 1302 1303 C02B C02F C023 C027 C02C C030 C024 C028"},
		{"aws:ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04", "1301 1302"},
	} {
		e, err := Expand(tt.in)
		if got := strings.Trim(fmt.Sprintf("%04X", e.Codes), "[]"); err != nil || got != tt.want || len(e.Notes) > 0 {
			t.Errorf("%q: got %s, %v, notes %q, want %s", tt.in, got, err, e.Notes, tt.want)
		}
	}
	old, _ := Expand("mozilla:old")
	if newest, _ := Expand("mozilla:old-5.8"); len(old.Codes) == 0 || !slices.Equal(old.Codes, newest.Codes) {
		t.Errorf("mozilla:old is %04X, want that of 5.8, for 6.0 has none", old.Codes)
	}
}

func TestExpandErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "is not a cipher suite"},
		{"AES128-SAH", `is not a cipher suite; did you mean "AES128-SHA"?`},
		{"HIGH:!aNULL", `is not a cipher suite; did you mean "openssl:HIGH:!aNULL"?`},
		{"kEDH", `is not a cipher suite; did you mean "openssl:kEDH"?`},
		{"opensl:HIGH", `is not a cipher suite; did you mean "openssl:HIGH"?`},
		{"mozila:modern", `is not a cipher suite; did you mean "mozilla:modern"?`},
		{"class:fs-aed", `names a class that is not known: "fs-aed"; did you mean "fs-aead"?`},
		{"class:", `names a class that is not known: ""; the classes are ` + strings.Join(Classes(), ", ")},
		{"mozilla:intermediat", `names a guideline that Mozilla does not have: "intermediat"; did you mean "intermediate"?`},
		{"mozilla:", `names a guideline that Mozilla does not have: ""; known are modern, intermediate and old, with a version as in intermediate-5.7`},
		{"mozilla:old-6.0", `names a version of Mozilla's guidelines that is not known: "old-6.0"; of old there are 4.0, 5.0, 5.7, 5.8`},
		{"mozilla:modern-", `names a version of Mozilla's guidelines that is not known: "modern-"; of modern there are 4.0, 5.0, 5.7, 5.8, 6.0`},
		{"aws:ELBSecurityPolicy-TLS13-1-2-2021-07", `names a policy that is not known of AWS: "ELBSecurityPolicy-TLS13-1-2-2021-07"; did you mean "ELBSecurityPolicy-TLS13-1-2-2021-06"?`},
		{"aws:FS-2018-06", `names a policy that is not known of AWS: "FS-2018-06"; did you mean "ELBSecurityPolicy-FS-2018-06"?`},
		{"aws:", `names a policy that is not known of AWS: ""; names are as in ELBSecurityPolicy-TLS13-1-2-2021-06`},
		{"aws:ELBSecurityPolicy-TLS13-1-3-RFC9151-FIPS-2023-07", `names a policy of AWS of which only name and versions are known, not the suites: "ELBSecurityPolicy-TLS13-1-3-RFC9151-FIPS-2023-07"; aws elbv2 describe-ssl-policies --names ELBSecurityPolicy-TLS13-1-3-RFC9151-FIPS-2023-07 tells them: list them by name`},
	} {
		_, err := Expand(tt.in)
		var bad *ExpressionError
		if !errors.As(err, &bad) || err.Error() != tt.want {
			t.Errorf("%q: got %v, want %s", tt.in, err, tt.want)
		}
	}
}

// TestConfidence: what rests on less than a document of AWS's says so.
func TestConfidence(t *testing.T) {
	for _, tt := range []struct {
		in    string
		notes []string
	}{
		{"aws:ELBSecurityPolicy-TLS13-1-2-PQ-2025-09", []string{`aws:ELBSecurityPolicy-TLS13-1-2-PQ-2025-09 rests on a third party's emulator of AWS, not on a document of AWS's (confidence "mirror"): aws elbv2 describe-ssl-policies confirms it`}},
		{"aws:elbsecuritypolicy-tls13-1-2-ext1-pq-2025-09", []string{`aws:ELBSecurityPolicy-TLS13-1-2-Ext1-PQ-2025-09 is inferred from AWS's naming scheme, not taken from a document of AWS's (confidence "inferred"): aws elbv2 describe-ssl-policies confirms it`}},
	} {
		e, err := Expand(tt.in)
		if err != nil || !slices.Equal(e.Notes, tt.notes) {
			t.Errorf("%q: %q, %v", tt.in, e.Notes, err)
		}
	}
	for i := range aws {
		switch p := &aws[i]; {
		case p.confidence == "names-and-versions-only" && len(p.codes) == 0:
		case (p.confidence == "doc" || confidences[p.confidence] != "") && len(p.codes) > 0:
		default:
			t.Errorf("%s: %d suites with confidence %q", p.name, len(p.codes), p.confidence)
		}
	}
}

// TestClassicLoadBalancers have policies of names that others have too.
func TestClassicLoadBalancers(t *testing.T) {
	const des = 0x000A
	for in, want := range map[string]bool{
		"aws:ELBSecurityPolicy-2015-05":         false,
		"aws:classic:ELBSecurityPolicy-2015-05": true,
		"aws:ELBSecurityPolicy-2015-03":         true, // there is no other
	} {
		e, err := Expand(in)
		if got := slices.Contains(e.Codes, des); err != nil || got != want {
			t.Errorf("%s has DES-CBC3-SHA: %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestIsCipherList(t *testing.T) {
	for in, want := range map[string]bool{
		"HIGH":                         true,
		"DEFAULT":                      true,
		"AES128-SHA:!aNULL":            true,
		"AES128-SHA:@STRENGTH":         true,
		"AES128-SHA:kRSA":              true,
		"ECDHE+AESGCM":                 true,
		"AES128-SHA":                   false,
		"AES128-SHA:0xC02F":            false,
		"TLS_RSA_WITH_AES_128_CBC_SHA": false,
		"bananas":                      false,
		"":                             false,
		"!":                            false,
	} {
		if got := IsCipherList(in); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}
