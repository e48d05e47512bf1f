package main

import "strings"

// attributes are the short names of RFC 4519, and of Suricata where it has none.
var attributes = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
	"2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.42": "GN",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID", "1.2.840.113549.1.9.1": "Email",
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
		name = oid
	}
	return name + "=" + value, true
}

// certTime turns tshark's time into EVE's.
func certTime(tree *node) string {
	if len(tree.kids) == 0 {
		return ""
	}
	s := tree.kids[0].text // 2026-01-01 00:00:00 (UTC)
	if len(s) >= 19 {
		s = s[:10] + "T" + s[11:19]
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
