package tlsrules

import (
	"fmt"
	"strings"

	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// Explain says in a sentence why a connection was decided as d says, or what it
// waits for: what was seen, and what was allowed. The facts are those Decide
// was given. Reasons that are not of this package give their name.
func (p *Policy) Explain(d Decision, f *Facts) string {
	content := f.Content
	if f.HasAlert {
		content = tlswire.AlertContent
	}
	var v view
	v.look(f, content)
	switch {
	case !d.Decided && d.Index < 0:
		return "undecided: waits for " + d.Stage.String()
	case !d.Decided:
		return fmt.Sprintf("undecided: rule %q waits for %s", d.Rule, d.Stage)
	case d.Reason == ReasonDefault:
		return fmt.Sprintf("no rule decides; default.action is %q", d.Action)
	case d.Reason == ReasonNotTLS:
		return p.explainNotTLS(d, &v)
	case d.Index < 0 || d.Index >= len(p.rules):
		return d.Reason.String()
	case d.Reason == ReasonRule:
		return p.rules[d.Index].explainAction(&v)
	case d.Key != KeyNone:
		return p.rules[d.Index].explainRequire(d.Key, &v)
	}
	return d.Reason.String()
}

// explainNotTLS says which rule would have decided if this were TLS.
func (p *Policy) explainNotTLS(d Decision, v *view) string {
	is := "the first bytes are not TLS"
	if v.Protocol != tlswire.ProtocolUnknown {
		is = "the first bytes are " + strings.ToUpper(v.Protocol.String()) + ", not TLS"
	}
	what := "no rule decides"
	for i := range p.rules {
		r := &p.rules[i]
		if applies, _, _ := r.applies(v); applies == yes && r.Action != Continue && !(r.Observe && r.Action.Refuses()) {
			what = fmt.Sprintf("rule %q requires what only TLS has", r.Name)
			break
		}
	}
	return fmt.Sprintf("%s; %s; default.not_tls is %q", is, what, d.Action)
}

// explainAction names what matched.
func (r *rule) explainAction(v *view) string {
	said := fmt.Sprintf("rule %q has action = %q", r.Name, r.Action)
	if len(r.Match) == 0 {
		return said + " for every connection"
	}
	var seen []string
	for i := range r.Match {
		seen = append(seen, r.Match[i].seen(v))
	}
	return said + " for what it matches: " + strings.Join(seen, ", ")
}

// explainRequire names what was seen and what would have been allowed.
func (r *rule) explainRequire(k Key, v *view) string {
	for i := range r.Require {
		c := &r.Require[i]
		if c.key != k {
			continue
		}
		switch c.eval(v) {
		case yes, waiting, moot:
			continue
		case never:
			return fmt.Sprintf("%s; rule %q requires it (unseen = \"allow\" would not) and allows %s", c.unseen(v), r.Name, c.allowed())
		}
		said := fmt.Sprintf("%s; rule %q allows %s", c.seen(v), r.Name, c.allowed())
		if k == KeyCipher && v.known&stepClientHello.bit() != 0 && !v.lost(KeyOffersCipher) {
			said += c.alsoOffered(v.Client)
		}
		return said
	}
	return fmt.Sprintf("rule %q requires %s", r.Name, k)
}

// alsoOffered tells whose choice it was: the client's, which offered nothing
// else, or the server's.
func (c *Condition) alsoOffered(h *tlswire.ClientHello) string {
	var offered []string
	for _, code := range h.CipherSuites {
		if c.numbers.has(code) && !c.aside(code) && !suites.IsSCSV(code) {
			offered = append(offered, suites.OpenSSLName(code))
		}
	}
	if len(offered) == 0 {
		return "; the client offered none of them"
	}
	return "; of them the client offered " + enumerate(offered)
}

// allowed names the values, and how many there are if more than one.
func (c *Condition) allowed() string {
	what := keys[c.key]
	if len(c.text) == 1 {
		return "only " + what.one + " " + c.text[0]
	}
	return fmt.Sprintf("%d %s: %s", len(c.text), what.many, enumerate(c.text))
}

// mostNamed bounds how many values a sentence has.
const mostNamed = 12

func enumerate(values []string) string {
	if len(values) > mostNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(values[:mostNamed], ", "), len(values)-mostNamed)
	}
	return strings.Join(values, ", ")
}

// unseen says why the fact cannot be known.
func (c *Condition) unseen(v *view) string {
	tls13 := v.known&stepServerHello.bit() != 0 && v.Server.Version >= suites.VersionTLS13
	switch {
	case c.key == KeyALPNSelected && tls13:
		return "TLS 1.3 encrypts the ALPN protocol selected"
	case c.key == KeyGroup && tls13:
		return "the server resumed a session without a group"
	case c.key == KeyGroup && v.known&stepServerHello.bit() != 0:
		return "the handshake names no group"
	case c.key == KeyAlert:
		return "the alert is encrypted"
	case c.step == stepCertificate.bit() && tls13:
		return "TLS 1.3 encrypts the certificate"
	case c.step&(stepCertificate.bit()|stepDH.bit()) != 0 && v.Resumed > ResumedNo:
		return "the server resumed a session that began unseen, without sending its certificate again"
	}
	return c.key.String() + " was not seen and cannot be known any more"
}

// seen says what was found for the key.
func (c *Condition) seen(v *view) string {
	if v.known&c.step == 0 && !(c.key == KeyContains && c.found(v) == yes) {
		return c.unseen(v)
	}
	switch c.key {
	case KeyVia:
		return "TLS began " + viaNames(v.Via)
	case KeyContains:
		return c.seenText(v)
	case KeyResumed:
		return seenResumed(v)
	case KeyJA3S:
		return fmt.Sprintf("the server's JA3S fingerprint is %x", v.Server.JA3S())
	case KeyDHBits:
		return fmt.Sprintf("the Diffie-Hellman prime has %d bits", v.DHBits)
	case KeyRenegotiates:
		if v.Renegotiates {
			return "a renegotiation was begun"
		}
		return "no renegotiation was begun"
	case KeySource:
		return "the client's address is " + v.Source.Unmap().String()
	case KeyDestination:
		return "the server's address is " + v.Destination.Unmap().String()
	case KeyPort:
		return fmt.Sprintf("the server's port is %d", v.Port)
	case KeySourcePort:
		return fmt.Sprintf("the client's port is %d", v.SourcePort)
	case KeyInInterface:
		return "the connection came in at " + named(v.InInterface)
	case KeyOutInterface:
		return "the connection goes out at " + named(v.OutInterface)
	case KeyTime:
		return "the connection began at " + whenIn(c.hours, v.Began)
	case KeyProtocol:
		return "the first bytes are those of protocol " + v.Protocol.String()
	case KeyVersion:
		return "server selected " + suites.VersionName(v.Server.Version)
	case KeyCipher:
		return "server selected " + bothNames(v.Server.CipherSuite)
	case KeyGroup:
		return "server selected group " + suites.GroupName(v.Group)
	case KeyALPNSelected:
		if len(v.Server.ALPN) == 0 {
			return "server selected no ALPN protocol"
		}
		return fmt.Sprintf("server selected ALPN protocol %q", v.Server.ALPN)
	case KeyContentType:
		return "a record of type " + v.content.String() + " was sent"
	case KeyAlert:
		return "a " + v.Alert.Level.String() + " alert " + suites.AlertName(v.Alert.Description) + " was sent"
	}
	if c.step == stepCertificate.bit() {
		return c.seenCertificate(v.Facts)
	}
	if c.key == KeyResumes {
		return seenResumes(v.Resumes)
	}
	return c.seenOffered(v.Client)
}

func named(name string) string {
	if name == "" {
		return "an interface that is not known"
	}
	return name
}

// bothNames gives OpenSSL's and IANA's name of a suite.
func bothNames(code uint16) string {
	short, long := suites.OpenSSLName(code), suites.Name(code)
	if short == long {
		return short
	}
	return short + " (" + long + ")"
}

// quoted writes what a stranger has said, of which a sentence has so many bytes.
func quoted(said []byte, most int) string {
	if len(said) > most {
		return fmt.Sprintf("%q... (%d bytes)", said[:most], len(said))
	}
	return fmt.Sprintf("%q", said)
}

// seenOffered says what the client offered; for offers_only_ keys what of it
// is too much.
func (c *Condition) seenOffered(h *tlswire.ClientHello) string {
	switch c.key {
	case KeyServerName:
		if !h.HasServerName {
			return "client sent no server name"
		}
		return "client asked for server name " + quoted(h.ServerName, 255)
	case KeyALPN:
		if len(h.ALPN) == 0 {
			return "client offered no ALPN protocol"
		}
		var offered []string
		for name := range h.ALPN.All() {
			offered = append(offered, quoted(name, 50))
		}
		return "client offered ALPN " + enumerate(offered)
	case KeyOffersVersion, KeyOffersOnlyVersion:
		return "client offered " + c.numbersOffered(versionsOf(offeredVersions(h)), suites.VersionName, "version")
	case KeyOffersCipher, KeyOffersOnlyCipher:
		return "client offered " + c.numbersOffered(h.CipherSuites, suites.OpenSSLName, "cipher suite")
	case KeyOffersGroup, KeyOffersOnlyGroup:
		return "client offered " + c.numbersOffered(h.SupportedGroups, suites.GroupName, "group")
	case KeyOffersExtension:
		return "client sent extensions " + c.numbersOffered(h.Extensions, suites.ExtensionName, "extension")
	case KeyOffersSignature:
		return "client offered " + c.numbersOffered(h.SignatureAlgorithms, suites.SignatureName, "signature scheme")
	case KeyClientRandom:
		return fmt.Sprintf("the client random is %x", h.Random)
	case KeyJA3:
		return fmt.Sprintf("the client's JA3 fingerprint is %x", h.JA3())
	case KeyJA4:
		return fmt.Sprintf("the client's JA4 fingerprint is %s", h.JA4())
	case KeyECH:
		return offeredOrNot(h.ECH.Present, "encrypted_client_hello (or GREASE in its place)")
	case KeyEarlyData:
		return offeredOrNot(h.EarlyData, "early data")
	case KeyFallback:
		return offeredOrNot(h.FallbackSCSV(), "TLS_FALLBACK_SCSV")
	}
	return c.key.String()
}

func (c *Condition) numbersOffered(offered []uint16, name func(uint16) string, one string) string {
	var names, foreign []string
	for _, n := range offered {
		if suites.IsGREASE(n) {
			continue
		}
		names = append(names, name(n))
		if c.numbers != nil && !c.numbers.has(n) && !c.aside(n) {
			foreign = append(foreign, name(n))
		}
	}
	if len(names) == 0 {
		return "no " + one
	}
	if only := c.key == KeyOffersOnlyCipher || c.key == KeyOffersOnlyGroup; only && len(foreign) > 0 {
		return enumerate(foreign) + " besides"
	}
	return enumerate(names)
}

// versionsOf names the versions of a set, newest first.
func versionsOf(set uint64) (list []uint16) {
	for i := len(versions) - 1; i >= 0; i-- {
		if set>>i&1 != 0 {
			list = append(list, versions[i])
		}
	}
	return list
}
