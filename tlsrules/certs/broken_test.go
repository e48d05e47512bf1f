package certs

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

type brokenCase struct {
	name    string
	der     []byte
	problem string                    // how it begins
	want    func(c *Certificate) bool // what is read all the same
}

// broken are certificates that crypto/x509 refuses, or that one might think it
// does, each with what can be read of it.
func broken() []brokenCase {
	with := func(change func(p *parts)) []byte {
		p := ordinary()
		change(&p)
		return p.encode()
	}
	subject := func(tag uint8, value string) []byte {
		return with(func(p *parts) { p.subject = sequence(attribute(common, tag, value)) })
	}
	validity := func(tag uint8, from, to string) []byte {
		return with(func(p *parts) { p.validity = sequence(tlv(tag, []byte(from)), tlv(tag, []byte(to))) })
	}
	names := func(names ...[]byte) []byte {
		return with(func(p *parts) { p.extensions = tlv(0xa3, sequence(extension("0603551d11", sequence(names...)))) })
	}
	isFull := func(c *Certificate) bool {
		return c.Serial == "0A:0B" && c.Issuer == "C=US, CN=Example CA" && c.CommonName == "api.example" &&
			c.Key.String() == "ecdsa-P-256" && c.Signature == "ecdsa-with-SHA256" && len(c.SANs) == 1 && !c.NotAfter.IsZero()
	}
	named := func(want string) func(c *Certificate) bool {
		return func(c *Certificate) bool { return c.Subject == want && c.Key.Kind == ECDSA }
	}
	from, to := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	valid := func(c *Certificate) bool { return c.NotBefore.Equal(from) && c.NotAfter.Equal(to) }
	whole := ordinary().encode()
	san := tlv(0x82, []byte("api.example"))
	return []brokenCase{
		{"ordinary", whole, "", isFull},
		{"empty", nil, "malformed", func(c *Certificate) bool { return c.Length == 0 && c.SHA256[0] == 0xe3 }},
		{"garbage", []byte("-----BEGIN CERTIFICATE-----"), "malformed", func(c *Certificate) bool { return c.Version == 0 }},
		{"trailing_data", append(bytes.Clone(whole), 0), "trailing data", isFull},
		{"cut_in_the_signature", whole[:len(whole)-4], "malformed", isFull},
		{"cut_in_the_key", whole[:len(whole)/2], "malformed", func(c *Certificate) bool { return c.CommonName == "api.example" && c.Serial == "0A:0B" }},
		{"indefinite_length", append([]byte{0x30, 0x80}, append(bytes.Clone(whole[4:]), 0, 0)...), "malformed", isFull},
		{"length_longer_than_need_be", append([]byte{0x30, 0x84, 0, 0}, whole[2:]...), "malformed", isFull},
		{"length_of_no_end", append([]byte{0x30, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0}, whole[4:]...), "malformed", func(c *Certificate) bool { return c.Version == 0 }},
		{"negative_serial", with(func(p *parts) { p.serial = tlv(tagInteger, []byte{0x8a, 1}) }), "negative serial", func(c *Certificate) bool { return c.Serial == "8A:01" && c.CommonName != "" }},
		{"serial_of_no_octets", with(func(p *parts) { p.serial = tlv(tagInteger) }), "malformed serial", func(c *Certificate) bool { return c.Serial == "" && c.CommonName != "" }},
		{"serial_of_a_thousand_octets", with(func(p *parts) { p.serial = tlv(tagInteger, bytes.Repeat([]byte{1}, 1000)) }), "", func(c *Certificate) bool { return len(c.Serial) == 3*maxSerial-1 }},
		{"version_9", with(func(p *parts) { p.version = tlv(0xa0, tlv(tagInteger, []byte{8})) }), "invalid version", func(c *Certificate) bool { return c.Version == 9 && c.CommonName != "" }},
		{"version_1_with_extensions", with(func(p *parts) { p.version = nil }), "", func(c *Certificate) bool { return c.Version == 1 && len(c.SANs) == 1 }},
		{"unknown_curve", with(func(p *parts) { p.key = bytes.Replace(p.key, unhex("2a8648ce3d030107"), unhex("2a8648ce3d030163"), 1) }), "unsupported elliptic curve", func(c *Certificate) bool { return c.Key.String() == "ecdsa-1.2.840.10045.3.1.99" }},
		{"point_not_on_the_curve", with(func(p *parts) { p.key[len(p.key)-1] ^= 1 }), "P256 point not on curve", isFull},
		{"unknown_key", with(func(p *parts) { p.key = sequence(sequence(unhex("06032a0304")), tlv(tagBitString, []byte{0, 1})) }), "", func(c *Certificate) bool { return c.Key.String() == "unknown-1.2.3.4" }},
		{"rsa_of_an_even_modulus_of_8_bits", with(func(p *parts) {
			p.key = sequence(sequence(unhex("06092a864886f70d0101010500")), tlv(tagBitString, []byte{0}, sequence(tlv(tagInteger, []byte{0, 0x80}), tlv(tagInteger, []byte{3}))))
		}), "", func(c *Certificate) bool { return c.Key.String() == "rsa-8" }},
		{"rsa_negative_modulus", with(func(p *parts) {
			p.key = sequence(sequence(unhex("06092a864886f70d0101010500")), tlv(tagBitString, []byte{0}, sequence(tlv(tagInteger, []byte{0x80, 1}), tlv(tagInteger, []byte{3}))))
		}), "RSA modulus is not a positive number", func(c *Certificate) bool { return c.Key.String() == "rsa-16" }},
		{"rsa_without_parameters", with(func(p *parts) {
			p.key = sequence(sequence(unhex("06092a864886f70d010101")), tlv(tagBitString, []byte{0}, sequence(tlv(tagInteger, []byte{3}), tlv(tagInteger, []byte{3}))))
		}), "RSA key missing NULL", func(c *Certificate) bool { return c.Key.String() == "rsa-2" }},
		{"md2_signature", with(func(p *parts) { p.algorithm = sequence(unhex("06092a864886f70d0101020500")) }), "", func(c *Certificate) bool { return c.Signature == "md2WithRSAEncryption" }},
		{"unknown_signature", with(func(p *parts) { p.algorithm = sequence(unhex("06032a0304")) }), "", func(c *Certificate) bool { return c.Signature == "1.2.3.4" }},
		{"time_without_seconds", validity(tagUTCTime, "2601010000Z", "2701010000Z"), "", valid},
		{"time_with_an_offset", validity(tagUTCTime, "260101023000+0230", "261231190000-0500"), "", valid},
		{"time_with_a_fraction", validity(tagGeneralizedTime, "20260101000000.000Z", "20270101000000,0Z"), "malformed GeneralizedTime", valid},
		{"time_of_no_zone", validity(tagGeneralizedTime, "20260101000000", "20270101000000"), "malformed GeneralizedTime", valid},
		{"time_of_the_last_century", validity(tagUTCTime, "500101000000Z", "270101000000Z"), "", func(c *Certificate) bool { return c.NotBefore.Year() == 1950 }},
		{"time_of_another_type", validity(tagPrintableString, "260101000000Z", "270101000000Z"), "unsupported time format", func(c *Certificate) bool { return c.NotAfter.IsZero() && c.CommonName != "" && c.Expired(from) }},
		{"time_of_no_day", validity(tagUTCTime, "260231000000Z", "270101000000Z"), "malformed UTCTime", func(c *Certificate) bool { return c.NotBefore.IsZero() && c.NotAfter.Equal(to) && c.Expired(from) }},
		{"times_missing", with(func(p *parts) { p.validity = sequence() }), "unsupported time format", func(c *Certificate) bool { return c.CommonName != "" && c.Expired(from) }},
		{"broken_utf8", subject(tagUTF8String, "a\xff\xfeb"), "invalid RDNSequence: invalid attribute value", named("CN=a\uFFFDb")},
		{"t61", subject(tagT61String, "M\xfcller"), "", named("CN=Müller")},
		{"latin1_in_a_printable_string", subject(tagPrintableString, "M\xfcller"), "invalid RDNSequence: invalid attribute value", named("CN=M\uFFFDller")},
		{"bmp", subject(tagBMPString, "\x00H\x00\xfc\xd8\x3d\xde\x00"), "invalid RDNSequence", named("CN=Hü😀")},
		{"bmp_of_odd_length", subject(tagBMPString, "\x00H\x00"), "invalid RDNSequence", named("CN=H")},
		{"universal_beyond_unicode", subject(tagUniversalString, "\x00\x00\x00A\x7f\xff\xff\xff"), "invalid RDNSequence", named("CN=A\uFFFD")},
		{"nul_in_the_name", subject(tagUTF8String, "bank.example\x00.evil.example"), "", named("CN=bank.example\x00.evil.example")},
		{"name_of_no_string", subject(tagInteger, "\x05"), "invalid RDNSequence", named("CN=#020105")},
		{"name_that_looks_like_two", subject(tagUTF8String, "a, O=Bank"), "", named("CN=a, O=Bank")},
		{"name_without_end", subject(tagUTF8String, strings.Repeat("ü", 2000)), "", named("CN=" + strings.Repeat("ü", 126) + "...")},
		{"duplicate_extension", with(func(p *parts) {
			e := extension("0603551d11", sequence(san))
			p.extensions = tlv(0xa3, sequence(e, e))
		}), "certificate contains duplicate extension", func(c *Certificate) bool { return len(c.SANs) == 2 }},
		{"extensions_cut", with(func(p *parts) {
			p.extensions = tlv(0xa3, sequence(extension("0603551d11", sequence(san)), []byte{0x30, 0x10, 0x06}))
		}), "malformed", func(c *Certificate) bool { return len(c.SANs) == 1 }},
		{"address_of_five_octets", names(tlv(0x87, []byte{1, 2, 3, 4, 5}), san), "cannot parse IP address", func(c *Certificate) bool {
			return len(c.SANs) == 2 && c.SANs[0] == Name{IPAddress, "#0102030405"}
		}},
		{"name_not_in_ascii", names(tlv(0x82, []byte("\xff.example")), san), "SAN dNSName is malformed", func(c *Certificate) bool {
			return len(c.SANs) == 2 && c.SANs[0] == Name{DNSName, "\uFFFD.example"}
		}},
		{"uri_that_is_none", names(tlv(0x86, []byte("http://[::1"))), "cannot parse URI", func(c *Certificate) bool {
			return len(c.SANs) == 1 && c.SANs[0] == Name{URIName, "http://[::1"}
		}},
		{"name_of_no_kind", names(tlv(0x89, []byte("x")), tlv(0x02, []byte("x")), san), "", func(c *Certificate) bool { return len(c.SANs) == 1 }},
		{"more_names_than_are_kept", names(bytes.Repeat(tlv(0x82, []byte("a")), maxSANs+7)), "", func(c *Certificate) bool { return len(c.SANs) == maxSANs && c.MoreSANs == 7 }},
	}
}

// Nothing is too broken to say what can be read of it.
func TestBroken(t *testing.T) {
	for _, tt := range broken() {
		t.Run(tt.name, func(t *testing.T) {
			c := Parse(tt.der)
			if !strings.HasPrefix(c.Problem, tt.problem) || (c.Problem == "") != (tt.problem == "") {
				t.Errorf("got problem %q, want %q", c.Problem, tt.problem)
			}
			if c.Length != len(tt.der) || !tt.want(c) {
				t.Errorf("got %+v", c)
			}
		})
	}
}

// Whose name is signed with whose key.
func TestSelfSigned(t *testing.T) {
	keyID := func(subject, authority string) func(p *parts) {
		return func(p *parts) {
			p.subject = p.issuer
			p.extensions = tlv(0xa3, sequence(extension("0603551d0e", tlv(tagOctetString, []byte(subject))),
				extension("0603551d23", sequence(tlv(0x80, []byte(authority))))))
		}
	}
	for _, tt := range []struct {
		name   string
		change func(p *parts)
		want   bool
	}{
		{"other_issuer", func(p *parts) {}, false},
		{"same_name", func(p *parts) { p.subject = p.issuer }, true},
		{"same_name_in_other_octets", func(p *parts) {
			p.issuer = sequence(attribute(common, tagUTF8String, "a"))
			p.subject = sequence(attribute(common, tagPrintableString, "a"))
		}, false},
		{"same_key", keyID("1", "1"), true},
		{"another_key_of_the_same_name", keyID("1", "2"), false},
		{"signature_of_another_kind_of_key", func(p *parts) {
			p.subject, p.algorithm = p.issuer, sequence(unhex("06092a864886f70d01010b0500"))
		}, false},
	} {
		p := ordinary()
		tt.change(&p)
		if c := Parse(p.encode()); c.SelfSigned != tt.want {
			t.Errorf("%s: got %v: %+v", tt.name, c.SelfSigned, c)
		}
	}
}
