package config

import (
	"encoding/pem"
	"net/netip"
	"path/filepath"
	"strings"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
)

// certificateKeys say what the server's certificate is.
var certificateKeys = []string{"cert_subject", "cert_issuer", "cert_name", "cert_key", "cert_expired", "cert_self_signed", "certificate"}

// Sizes of keys that are not said to be of another.
var keySizes = map[certs.KeyKind]int{certs.RSA: 2048, certs.DSA: 2048, certs.ECDSA: 256, certs.Ed25519: 255}

// readCertificate reads what the server's certificate is, and leaves it nil
// where the test says nothing of it.
func (r *testReader) readCertificate() {
	t, c := r.server, &TestCertificate{}
	c.Subject = t.distinguishedName("cert_subject")
	c.Issuer = t.distinguishedName("cert_issuer")
	c.Names = r.values(t, "cert_name", tlsrules.KeyCertName)
	c.Key = r.certificateKey()
	c.Expired = t.boolean("cert_expired", false)
	c.selfSigned = t.boolean("cert_self_signed", false)
	if c.selfSigned && c.Issuer != nil {
		t.fail("cert_issuer", "leave it out", "is the subject where cert_self_signed = true")
	}
	file := t.str("certificate", "")
	_, said := t.given(certificateKeys...)
	if !said {
		return
	}
	r.test.Server.Certificate = c
	if k, bad := t.given("cert_subject", "cert_issuer", "cert_name", "cert_key", "cert_self_signed"); bad && file != "" {
		t.fail(k, "leave it out", "is said by the certificate %s already", file)
		return
	}
	if file != "" {
		r.readPEM(file, c)
	}
}

const longestDN = 1024

// distinguishedName takes a name as events print it; nil is none.
func (t *table) distinguishedName(k string) (name []NamePart) {
	const hint = `write it as events do: "CN=api.example", or "O=Example, CN=api.example"`
	s := t.str(k, "")
	if len(s) > longestDN {
		t.fail(k, "", "is longer than the %d letters that a test can have", longestDN)
		return nil
	}
	for _, part := range strings.Split(s, ", ") {
		kind, value, ok := strings.Cut(part, "=")
		switch oid, known := certs.AttributeType(kind); {
		case s == "":
			return nil
		case ok && known:
			name = append(name, NamePart{oid, value})
		case len(name) > 0 && !ok: // a comma in a value
			name[len(name)-1].Value += ", " + part
		default:
			t.fail(k, hint, "%q is not a part of a name", part)
			return nil
		}
	}
	return name
}

// certificateKey takes a kind of key with a size behind it or not, as a
// condition does, or as events print it: "rsa=2048", "rsa-2048".
func (r *testReader) certificateKey() (key certs.Key) {
	const hint = `write for example "rsa=2048", "ecdsa=256", "ed25519"`
	t := r.server
	s, ok := t.m["cert_key"].(string)
	if !ok {
		r.value(t, "cert_key", tlsrules.KeyCertKey)
		return key
	}
	t.take("cert_key")
	name, size, sized := strings.Cut(strings.ReplaceAll(strings.ToLower(s), " ", ""), "=")
	if before, after, ok := strings.Cut(name, "-"); ok && !sized {
		name, size, sized = before, strings.TrimPrefix(after, "p-"), true
	}
	for kind, bits := range keySizes {
		if kind.String() != name {
			continue
		}
		if sized {
			if n := bitsOf(size); n > 0 {
				bits = n
			} else {
				bits = -1
			}
		}
		key = certs.Key{Kind: kind, Bits: bits}
	}
	switch bits := key.Bits; {
	case key.Kind == certs.UnknownKey:
		t.fail("cert_key", hint, "%q is not a key that a test can make", s)
	case key.Kind == certs.ECDSA && bits != 256 && bits != 384 && bits != 521,
		key.Kind == certs.Ed25519 && bits != keySizes[certs.Ed25519],
		key.Kind != certs.Ed25519 && bits < 256, bits > 16384:
		t.fail("cert_key", hint, "%q is not a size that a test can make", s)
		return certs.Key{}
	}
	return key
}

// readPEM reads the certificates of a file.
func (r *testReader) readPEM(file string, c *TestCertificate) {
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.l.dir, path)
	}
	data, err := readFile(path)
	if err != nil {
		r.server.fail("certificate", "paths are relative to the policy file", "cannot read %s: %s", path, systemText(err))
		return
	}
	r.l.hash.Write(data)
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			c.DER = append(c.DER, block.Bytes)
		}
	}
	size := 0
	for _, der := range c.DER {
		size += len(der)
	}
	switch {
	case len(c.DER) == 0:
		r.server.fail("certificate", "", "%s has no certificate in PEM", path)
	case size > 64<<10:
		r.server.fail("certificate", "name a file with the server's chain alone", "%s has %d certificates, more than a server sends", path, len(c.DER))
	default:
		leaf := certs.Parse(c.DER[0])
		c.Key = leaf.Key
		if leaf.NotBefore.IsZero() || leaf.NotAfter.IsZero() {
			r.server.fail("certificate", "", "%s: it cannot be read from when to when it is valid", path)
		}
	}
}

// agreeCertificate fills in the certificate, where the version has one in clear
// and the suite has one at all.
func (r *testReader) agreeCertificate() {
	s := &r.test.Server
	k, said := r.server.given(certificateKeys...)
	kind := keyOf(s.Cipher)
	switch {
	case s.Version >= allTLS13:
		if said {
			r.server.fail(k, `leave it out, or write version = "1.2"`, "TLS 1.3 encrypts the certificate: no firewall sees it")
		}
		return
	case s.Resumed == tlsrules.ResumedUnknown:
		if said {
			r.server.fail(k, `leave it out, or write resumed = "known"`, "a session that began unseen shows no certificate")
		}
		return
	case kind == "":
		if said {
			r.server.fail(k, "leave it out", "%s has no certificate", suites.OpenSSLName(s.Cipher))
		}
		return
	}
	if s.Certificate == nil {
		s.Certificate = &TestCertificate{}
	}
	c := s.Certificate
	if len(c.DER) > 0 {
		return
	}
	if len(c.Names) == 0 && c.Subject == nil && r.test.Client.ServerName != "" {
		c.Names = []string{r.test.Client.ServerName}
	}
	if c.Subject == nil {
		c.Subject = nameOf(c.Names)
	}
	if c.selfSigned {
		c.Issuer = c.Subject
	}
	if c.Issuer == nil {
		c.Issuer = []NamePart{{commonName, "Example CA"}}
	}
	if c.Key.Kind == certs.UnknownKey {
		for k, bits := range keySizes {
			if k.String() == kind {
				c.Key = certs.Key{Kind: k, Bits: bits}
			}
		}
	}
}

const commonName = "2.5.4.3"

// nameOf is the subject of a certificate for some names.
func nameOf(names []string) []NamePart {
	for _, n := range names {
		if _, err := netip.ParseAddr(n); err != nil {
			return []NamePart{{commonName, n}}
		}
	}
	return []NamePart{{commonName, "server.example"}}
}
