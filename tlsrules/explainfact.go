package tlsrules

import (
	"fmt"
	"strings"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/via"
)

func offeredOrNot(is bool, what string) string {
	if is {
		return "client offered " + what
	}
	return "client offered no " + what
}

// viaNames says how TLS began.
func viaNames(kinds via.Kinds) string {
	var names []string
	for _, k := range via.All() {
		if kinds.Has(k) {
			names = append(names, k.String())
		}
	}
	switch {
	case len(names) == 0:
		return "in a way that is not known"
	case kinds.Has(via.Direct):
		return "with the first byte"
	}
	return "by way of " + strings.Join(names, ", ")
}

// seenText names the texts of a condition on contains that were found.
func (c *Condition) seenText(v *view) string {
	if c.found(v) != yes {
		return "the cleartext has none of them"
	}
	return "the cleartext contains " + enumerate(c.text)
}

func seenResumed(v *view) string {
	switch v.Resumed {
	case ResumedKnown:
		return "the server resumed a session whose beginning was seen"
	case ResumedUnknown:
		return "the server resumed a session whose beginning was not seen"
	}
	return "the server resumed no session"
}

// seenCertificate says what the certificate has.
func (c *Condition) seenCertificate(f *Facts) string {
	if len(f.Chain) == 0 {
		return "the server sent no certificate"
	}
	leaf := f.Chain[0]
	switch c.key {
	case KeyCertSubject:
		return fmt.Sprintf("the certificate's subject is %q", leaf.Subject)
	case KeyCertIssuer:
		return fmt.Sprintf("the certificate's issuer is %q", leaf.Issuer)
	case KeyCertName:
		return "the certificate is for " + enumerate(certNames(leaf))
	case KeyCertSHA256:
		return fmt.Sprintf("the certificate's SHA-256 is %x", leaf.SHA256)
	case KeyCertSPKISHA256:
		return fmt.Sprintf("the SHA-256 of the certificate's key is %x", leaf.SPKISHA256)
	case KeyCertKey:
		return "the certificate's key is " + leaf.Key.String()
	case KeyCertExpired:
		return fmt.Sprintf("the certificate is valid from %s to %s", leaf.NotBefore.Format("2006-01-02"), leaf.NotAfter.Format("2006-01-02"))
	case KeyCertSelfSigned:
		if leaf.SelfSigned {
			return "the certificate is self-signed"
		}
		return fmt.Sprintf("the certificate was issued by %q", leaf.Issuer)
	}
	return c.key.String()
}

// certNames are the names a certificate is for.
func certNames(c *certs.Certificate) (names []string) {
	for _, n := range c.SANs {
		if n.Kind == certs.DNSName || n.Kind == certs.IPAddress {
			names = append(names, n.Value)
		}
	}
	if len(names) == 0 && c.CommonName != "" {
		names = append(names, c.CommonName)
	}
	if len(names) == 0 {
		names = append(names, "no name")
	}
	return names
}
