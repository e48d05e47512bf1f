package certs

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
)

const oidCommonName = "2.5.4.3"

// attributes are the types of attributes as EVE abbreviates them, which OpenSSL
// and RFC 4514 do too for the common ones.
var attributes = map[string]string{
	oidCommonName:                "CN",
	"2.5.4.4":                    "surname",
	"2.5.4.5":                    "serialNumber",
	"2.5.4.6":                    "C",
	"2.5.4.7":                    "L",
	"2.5.4.8":                    "ST",
	"2.5.4.9":                    "streetAddress",
	"2.5.4.10":                   "O",
	"2.5.4.11":                   "OU",
	"2.5.4.12":                   "title",
	"2.5.4.13":                   "description",
	"2.5.4.15":                   "businessCategory",
	"2.5.4.17":                   "postalCode",
	"2.5.4.41":                   "name",
	"2.5.4.42":                   "givenName",
	"2.5.4.43":                   "initials",
	"2.5.4.44":                   "generationQualifier",
	"2.5.4.46":                   "dnQualifier",
	"0.9.2342.19200300.100.1.1":  "uid",
	"0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.1":       "Email",
	"1.3.6.1.4.1.311.60.2.1.1":   "msJurisdictionLocality",
	"1.3.6.1.4.1.311.60.2.1.2":   "msJurisdictionStateOrProvince",
	"1.3.6.1.4.1.311.60.2.1.3":   "msJurisdictionCountry",
}

// distinguishedName writes a Name (RFC 5280, Section 4.1.2.4) as EVE does, whole
// and in parts, and returns the last common name in it.
func distinguishedName(s cryptobyte.String) (name string, parts []string, common string) {
	var b strings.Builder
	for len(s) > 0 {
		set, _, ok := expect(&s, tagSet)
		if !ok {
			break
		}
		separator := ", "
		for len(set) > 0 {
			attribute, _, ok := expect(&set, tagSequence)
			if !ok {
				break
			}
			oid, _, _ := expect(&attribute, tagOID)
			tag, value, whole, ok := element(&attribute)
			if !ok {
				continue
			}
			v := clip(text(tag, value), maxValue)
			if !isText(tag) { // RFC 4514, Section 2.4
				v = "#" + hex.EncodeToString(whole[:min(len(whole), maxValue/2)])
			}
			id := dotted(oid)
			if id == oidCommonName {
				common = v
			}
			if b.Len() > maxName {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(separator)
			}
			short, ok := attributes[id]
			if !ok {
				short = "OID(" + id + ")"
			}
			parts = append(parts, short+"="+v)
			b.WriteString(parts[len(parts)-1])
			separator = " + "
		}
	}
	return clip(b.String(), maxName), parts, common
}

func isText(tag uint8) bool {
	switch tag {
	case tagUTF8String, tagNumericString, tagPrintableString, tagT61String, tagIA5String,
		tagVisibleString, tagUniversalString, tagBMPString:
		return true
	}
	return false
}

// text turns a string of some type into UTF-8. Octets that are none become
// U+FFFD; T.61, which nobody ever wrote, is Latin-1.
func text(tag uint8, b []byte) string {
	b = b[:min(len(b), 4*maxValue)]
	switch tag {
	case tagT61String:
		runes := make([]rune, len(b))
		for i, v := range b {
			runes[i] = rune(v)
		}
		return string(runes)
	case tagBMPString:
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(b[2*i:])
		}
		return string(utf16.Decode(units))
	case tagUniversalString:
		runes := make([]rune, len(b)/4)
		for i := range runes {
			runes[i] = rune(binary.BigEndian.Uint32(b[4*i:]))
		}
		return string(runes)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// dotted writes an object identifier (X.690, Section 8.19). Arcs of more than
// 63 bits, and what does not end, become "?".
func dotted(oid []byte) string {
	if len(oid) == 0 {
		return ""
	}
	b := make([]byte, 0, 32)
	var v uint64
	over, first := false, true
	for i, o := range oid {
		over = over || v >= 1<<56
		v = v<<7 | uint64(o&0x7f)
		if o&0x80 != 0 {
			if i == len(oid)-1 {
				return string(append(b, ".?"...))
			}
			continue
		}
		if first {
			top := min(v/40, 2)
			b = strconv.AppendUint(b, top, 10)
			v -= 40 * top
			first = false
		}
		if b = append(b, '.'); over {
			b = append(b, '?')
		} else {
			b = strconv.AppendUint(b, v, 10)
		}
		if len(b) > maxValue/2 {
			return string(append(b, "..."...))
		}
		v, over = 0, false
	}
	return string(b)
}

// AttributeType returns the dotted OID of an attribute that names abbreviate so.
func AttributeType(abbreviation string) (oid string, ok bool) {
	for oid, name := range attributes {
		if strings.EqualFold(name, abbreviation) {
			return oid, true
		}
	}
	return "", false
}
