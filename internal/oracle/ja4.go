package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"tlsgate/tlsrules/suites"
)

// ja4 computes JA4 from what tshark read, as its published definition has it:
// a version of tshark that prints it is newer than many. It is empty where
// tshark's text of a protocol does not tell its bytes.
func (x *stream) ja4(extensions, versions, ciphers, signatures, protocols []string) string {
	version := uint16(0)
	for _, v := range versions {
		if n := number(v); !suites.IsGREASE(n) {
			version = max(version, n)
		}
	}
	short := map[uint16]string{0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
	v := short[version]
	if version == 0 {
		for code, s := range short {
			if suites.VersionName(code) == x.conn.facts["client_version"] {
				v = s
			}
		}
	}
	if v == "" {
		v = "00"
	}
	destination := "i"
	if slices.Contains(extensions, "0") {
		destination = "d"
	}
	alpn := "00"
	if len(protocols) > 0 && protocols[0] != "" {
		if !ascii(protocols[0]) {
			return ""
		}
		alpn = ends(protocols[0])
	}
	c, e, s := hexadecimal(ciphers), hexadecimal(extensions), hexadecimal(signatures)
	head := fmt.Sprintf("t%s%s%02d%02d%s", v, destination, min(len(c), 99), min(len(e), 99), alpn)
	slices.Sort(c)
	e = slices.DeleteFunc(e, func(s string) bool { return s == "0000" || s == "0010" })
	slices.Sort(e)
	rest := strings.Join(e, ",")
	if len(s) > 0 {
		rest += "_" + strings.Join(s, ",")
	}
	if len(extensions) == 0 {
		rest = ""
	}
	return head + "_" + short12(strings.Join(c, ",")) + "_" + short12(rest)
}

// ends returns the first and last character of a protocol, or of its
// hexadecimal form if one of them is neither letter nor digit.
func ends(p string) string {
	first, last := p[0], p[len(p)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		h := hex.EncodeToString([]byte(p))
		first, last = h[0], h[len(h)-1]
	}
	return string([]byte{first, last})
}

// ascii: tshark shows the other bytes as it sees fit.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f || s[i] == '\\' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// hexadecimal writes numbers as JA4 does, without GREASE.
func hexadecimal(numbers []string) []string {
	out := make([]string, 0, len(numbers))
	for _, s := range numbers {
		if n := number(s); !suites.IsGREASE(n) {
			out = append(out, fmt.Sprintf("%04x", n))
		}
	}
	return out
}

func short12(s string) string {
	if s == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:12]
}
