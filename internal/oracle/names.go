package main

import (
	"strings"
	"time"
)

// attributes are the names that EVE has for types of attributes.
var attributes = map[string]string{
	"2.5.4.3":                    "CN",
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

// leaf takes what tshark's own X.509 dissector says of the first certificate.
func (x *stream) leaf(tree *node, prefix string) {
	signed := tree.kid("x509af.signedCertificate_element")
	if len(signed.kids) == 0 {
		return
	}
	x.set(prefix+"subject", rdns(signed.kid("x509af.subject_tree")))
	if prefix != "" {
		return
	}
	x.set("serial", serial(signed.kid("x509af.serialNumber").text))
	x.set("issuer", rdns(signed.kid("x509af.issuer_tree")))
	validity := signed.kid("x509af.validity_element")
	x.set("not_before", certTime(validity.kid("x509af.notBefore_tree")))
	x.set("not_after", certTime(validity.kid("x509af.notAfter_tree")))
	x.set("names", "")
	extensions := signed.kid("x509af.extensions_tree")
	for i := range extensions.kids {
		e := &extensions.kids[i]
		if e.kid("x509af.extension.id").text == "2.5.29.17" {
			x.set("names", alternatives(e))
		}
	}
}

// serial writes a number as EVE does.
func serial(s string) string { return strings.ToUpper(s) }

// rdns writes a distinguished name in the order of the certificate.
func rdns(tree *node) string {
	var parts []string
	for i := range tree.kids {
		sequence := &tree.kids[i]
		for j := range sequence.kids {
			item := &sequence.kids[j]
			var pairs []string
			for k := range item.kids {
				if pair, ok := attribute(&item.kids[k]); ok {
					pairs = append(pairs, pair)
				}
			}
			if len(pairs) > 0 {
				parts = append(parts, strings.Join(pairs, "+"))
			}
		}
	}
	return plainName(strings.Join(parts, ","))
}

// attribute writes one attribute, whose value is the last text in its tree.
func attribute(n *node) (string, bool) {
	var oid, value string
	var walk func(n *node)
	walk = func(n *node) {
		for i := range n.kids {
			k := &n.kids[i]
			switch {
			case k.key == "x509if.oid" || k.key == "x509if.id":
				oid = k.text
			case len(k.kids) > 0:
				walk(k)
			default:
				value = k.text
			}
		}
	}
	walk(n)
	if oid == "" {
		return "", false
	}
	name := attributes[oid]
	if name == "" {
		name = "OID(" + oid + ")"
	}
	return name + "=" + value, true
}

// certTime turns tshark's time into EVE's.
func certTime(tree *node) string {
	if len(tree.kids) == 0 {
		return ""
	}
	s := tree.kids[0].text
	for _, form := range []string{"2006-01-02 15:04:05 (MST)", "Jan _2, 2006 15:04:05.999999999 MST"} { // UTCTime, GeneralizedTime
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC().Format("2006-01-02T15:04:05")
		}
	}
	return s
}

// alternatives writes the names of a subjectAltName extension.
func alternatives(e *node) string {
	var names []string
	var walk func(n *node)
	walk = func(n *node) {
		for i := range n.kids {
			k := &n.kids[i]
			switch k.key {
			case "x509ce.dNSName", "x509ce.uniformResourceIdentifier", "x509ce.rfc822Name":
				names = append(names, k.text)
			case "x509ce.IPAddress.ipv4", "x509ce.IPAddress.ipv6", "x509ce.iPAddress.ipv4", "x509ce.iPAddress.ipv6":
				names = append(names, k.text)
			}
			walk(k)
		}
	}
	walk(e)
	return strings.Join(names, " ")
}
