package suites

import "strings"

// VersionName returns a protocol version's name as its RFC has it: "TLS 1.2",
// "SSL 3.0"; or "0x1234".
func VersionName(v uint16) string {
	switch v {
	case VersionSSL20:
		return "SSL 2.0"
	case VersionSSL30:
		return "SSL 3.0"
	case VersionTLS10:
		return "TLS 1.0"
	case VersionTLS11:
		return "TLS 1.1"
	case VersionTLS12:
		return "TLS 1.2"
	case VersionTLS13:
		return "TLS 1.3"
	}
	return hex(v)
}

// VersionKey returns a protocol version as a policy spells it: "1.2", "ssl3";
// or "0x1234".
func VersionKey(v uint16) string {
	switch v {
	case VersionSSL20:
		return "ssl2"
	case VersionSSL30:
		return "ssl3"
	case VersionTLS10:
		return "1.0"
	case VersionTLS11:
		return "1.1"
	case VersionTLS12:
		return "1.2"
	case VersionTLS13:
		return "1.3"
	}
	return hex(v)
}

// ParseVersion reads a protocol version: "1.2", "TLS 1.2", "TLSv1.2", "TLSv1",
// "ssl3", "SSLv3", or a number as in "0x0303". Numbers of unknown versions are
// taken as they are.
func ParseVersion(s string) (uint16, bool) {
	if v, ok := parseHex(s); ok {
		return v, true
	}
	kind, number := "", s
	if len(s) > 3 && (strings.EqualFold(s[:3], "tls") || strings.EqualFold(s[:3], "ssl")) {
		kind, number = s[:3], strings.TrimLeft(s[3:], " ")
		if number != "" && lower(number[0]) == 'v' {
			number = number[1:]
		}
	}
	if strings.EqualFold(kind, "ssl") {
		switch number {
		case "2", "2.0":
			return VersionSSL20, true
		case "3", "3.0":
			return VersionSSL30, true
		}
		return 0, false
	}
	switch number {
	case "1":
		return VersionTLS10, kind != "" // OpenSSL's TLSv1; a lone 1 says too little
	case "1.0":
		return VersionTLS10, true
	case "1.1":
		return VersionTLS11, true
	case "1.2":
		return VersionTLS12, true
	case "1.3":
		return VersionTLS13, true
	}
	return 0, false
}
