package tlsrules

import (
	"encoding/hex"
	"strings"
	"testing"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// with changes the facts of a whole TLS 1.2 handshake.
func with(change func(f *Facts)) *Facts {
	f := atCertificate()
	change(f)
	return f
}

func leaf(change func(c *certs.Certificate)) *Facts {
	return with(func(f *Facts) { change(f.Chain[0]) })
}

func TestSessionConditions(t *testing.T) {
	began := func(kinds ...via.Kind) *Facts {
		return with(func(f *Facts) {
			f.Via = 0
			for _, k := range kinds {
				f.Via.Add(k)
			}
		})
	}
	asks := func(r tlswire.Resumes) *Facts { return with(func(f *Facts) { f.Resumes = r }) }
	fallback := with(func(f *Facts) { f.Client.CipherSuites = append(f.Client.CipherSuites, 0x5600) })
	ech := with(func(f *Facts) { f.Client.ECH.Present = true })
	notYet := with(func(f *Facts) { f.Resumed = 0 })
	ja4 := atClientHello().Client.JA4()
	first, rest, _ := strings.Cut(string(ja4[:]), "_")
	shouting := atClientHello()
	shouting.Client = &tlswire.ClientHello{LegacyVersion: tlswire.VersionTLS12, Extensions: []uint16{16}, ALPN: tlswire.ProtocolList("\x02AZ")}

	for _, tt := range []struct {
		name, key string
		values    []string
		facts     *Facts
		want      truth
	}{
		{"direct", "via", []string{"direct"}, began(via.Direct), yes},
		{"one of STARTTLS", "via", []string{"starttls"}, began(via.LDAP), yes},
		{"STARTTLS behind a proxy", "via", []string{"starttls:smtp"}, began(via.Proxy, via.SMTP), yes},
		{"another", "via", []string{"starttls:smtp", "connect"}, began(via.Proxy, via.IMAP), no},
		{"nothing asked", "resumes", []string{"none"}, asks(0), yes},
		{"asked", "resumes", []string{"none"}, asks(tlswire.ResumesPSK), no},
		{"both ways asked", "resumes", []string{"session_id"}, asks(tlswire.ResumesSessionID | tlswire.ResumesTicket), yes},
		{"the other way", "resumes", []string{"session_id", "none"}, asks(tlswire.ResumesTicket), no},
		{"resumed", "resumed", []string{"known", "unknown"}, atCertificate(), yes},
		{"not resumed", "resumed", []string{"no"}, atCertificate(), no},
		{"not clear yet", "resumed", []string{"no"}, notYet, waiting},
		{"fallback", "fallback", []string{"true"}, fallback, yes},
		{"no fallback", "fallback", []string{"true"}, atCertificate(), no},
		{"ech", "ech", []string{"TRUE"}, ech, yes},
		{"either", "ech", []string{"true", "false"}, atClientHello(), yes},
		{"ja3 with colons", "ja3", []string{strings.ToUpper(hashed(atClientHello().Client.JA3()))}, atClientHello(), yes},
		{"other ja3", "ja3", []string{strings.Repeat("ab", 16)}, atClientHello(), no},
		{"ja4", "ja4", []string{string(ja4[:])}, atClientHello(), yes},
		{"parts of ja4", "ja4", []string{first + "_*_*"}, atClientHello(), yes},
		{"other part of ja4", "ja4", []string{first + "_000000000000_*"}, atClientHello(), no},
		{"ja4 in upper case", "ja4", []string{strings.ToUpper(first[:8]) + first[8:] + "_" + strings.ToUpper(rest)}, atClientHello(), yes},
		{"ja4 of a protocol in upper case", "ja4", []string{"T12I0001AZ_*_*"}, shouting, yes},
		{"ja4 of another protocol", "ja4", []string{"t12i0001az_*_*"}, shouting, no},
		{"ja3s", "ja3s", []string{hashed(atServerHello().Server.JA3S())}, atServerHello(), yes},
		{"renegotiates", "renegotiates", []string{"false"}, with(func(f *Facts) { f.Renegotiates, f.Content = true, tlswire.Handshake }), no},
	} {
		check(t, tt.name, cond(t, tt.key, tt.values...), tt.facts, tt.want)
	}
}

func check(t *testing.T, name string, c Condition, f *Facts, want truth) {
	t.Helper()
	var v view
	v.look(f, f.Content)
	if got := c.eval(&v); got != want {
		t.Errorf("%s: got %s, want %s", name, truthNames[got], truthNames[want])
	}
}

func TestCertificateConditions(t *testing.T) {
	none := with(func(f *Facts) { f.Chain = nil })
	noName := leaf(func(c *certs.Certificate) { c.SANs = nil })
	key := func(kind certs.KeyKind, bits int) *Facts {
		return leaf(func(c *certs.Certificate) { c.Key = certs.Key{Kind: kind, Bits: bits} })
	}
	noKey := leaf(func(c *certs.Certificate) { c.HasSPKI, c.SPKISHA256 = false, [32]byte{} })
	posing := leaf(func(c *certs.Certificate) {
		c.Subject, c.SubjectParts = "CN=x, O=Bank", []string{"CN=x, O=Bank"}
	})
	zero := hex.EncodeToString(make([]byte, 32))

	for _, tt := range []struct {
		name, key string
		values    []string
		facts     *Facts
		want      truth
	}{
		{"part of the subject", "cert_subject", []string{"cn=API.bank.example"}, atCertificate(), yes},
		{"parts in another order", "cert_subject", []string{"CN=api.bank.example, C=US"}, atCertificate(), yes},
		{"all parts count", "cert_subject", []string{"CN=api.bank.example, C=DE"}, atCertificate(), no},
		{"the whole subject, a comma in it", "cert_subject", []string{"C=US, O=Bank, Inc., CN=api.bank.example"}, atCertificate(), yes},
		{"some parts, a comma in one", "cert_subject", []string{"CN=api.bank.example, O=Bank, Inc."}, atCertificate(), yes},
		{"some parts, one of them another's", "cert_subject", []string{"C=US, O=Bank, CN=api.bank.example"}, atCertificate(), no},
		{"half a part", "cert_subject", []string{"O=Bank"}, atCertificate(), no},
		{"a value that looks like two", "cert_subject", []string{"O=Bank"}, posing, no},
		{"issuer", "cert_issuer", []string{"O=Other", "O=Example"}, atCertificate(), yes},
		{"name", "cert_name", []string{"api.bank.example"}, atCertificate(), yes},
		{"name below", "cert_name", []string{"*.bank.example"}, atCertificate(), yes},
		{"name by the certificate's star", "cert_name", []string{"eu.pay.bank.example"}, atCertificate(), yes},
		{"a star is one label", "cert_name", []string{"a.eu.pay.bank.example"}, atCertificate(), no},
		{"address", "cert_name", []string{"192.0.2.7"}, atCertificate(), yes},
		{"a mail address is no name", "cert_name", []string{"mail.example"}, atCertificate(), no},
		{"name in the subject", "cert_name", []string{"api.bank.example"}, noName, yes},
		{"no certificate", "cert_name", []string{"api.bank.example"}, none, no},
		{"no certificate is not expired", "cert_expired", []string{"true", "false"}, none, no},
		{"key", "cert_key", []string{"rsa"}, atCertificate(), yes},
		{"large enough", "cert_key", []string{"rsa>=2048"}, atCertificate(), yes},
		{"too small", "cert_key", []string{"rsa>=3072", "ecdsa"}, atCertificate(), no},
		{"another kind", "cert_key", []string{"rsa>=2048", "ed25519"}, key(certs.Ed25519, 256), yes},
		{"size", "cert_key", []string{"ecdsa=256"}, key(certs.ECDSA, 384), no},
		{"no key, no hash of it", "cert_spki_sha256", []string{zero}, noKey, no},
		{"expired", "cert_expired", []string{"false"}, atCertificate(), no},
		{"prime", "dh_bits", []string{">=2048"}, atCertificate(), yes},
		{"small prime", "dh_bits", []string{">=3072"}, atCertificate(), no},
	} {
		check(t, tt.name, cond(t, tt.key, tt.values...), tt.facts, tt.want)
	}
}

// TestNoPrime: who asks for a prime of some size does not ask for one.
func TestNoPrime(t *testing.T) {
	ecdhe := atServerHello()
	ecdhe.Resumed, ecdhe.GroupSettled = ResumedNo, true
	static := atServerHello()
	static.Group, static.Resumed, static.GroupSettled = 0, ResumedNo, true
	resumed := atServerHello()
	resumed.Group, resumed.Resumed, resumed.GroupSettled = 0, ResumedUnknown, true
	for _, tt := range []struct {
		name  string
		facts *Facts
		want  truth
	}{
		{"an elliptic curve", ecdhe, moot}, {"no exchange", static, moot},
		{"a resumed session's", resumed, never}, {"not yet", atClientHello(), waiting},
	} {
		check(t, tt.name, cond(t, "dh_bits", ">=2048"), tt.facts, tt.want)
	}
	p := policy(t, Defaults{Accept, Accept, false}, Rule{Name: "dh", Require: conds(cond(t, "dh_bits", ">=2048")), HasAction: true, Action: Accept})
	var j Judgement
	if got := told(p.Decide(ecdhe, &j)); got != "accept rule dh server_hello final" {
		t.Errorf("got %q", got)
	}
}

func TestPatterns(t *testing.T) {
	p := policy(t, Defaults{Accept, Accept, false},
		Rule{Name: "a", Match: conds(cond(t, "contains", "amazinggrace", "hex:00 01")), HasAction: true, Action: Reset},
		Rule{Name: "b", Match: conds(cond(t, "contains", "how sweet")), Unless: conds(cond(t, "contains", "amazinggrace")), HasAction: true, Action: Drop})
	if got := strings.Join(p.Patterns(), "|"); got != "amazinggrace|\x00\x01|how sweet" {
		t.Errorf("patterns %q", got)
	}
	for _, tt := range []struct {
		name     string
		contains uint64
		over     bool
		want     string
	}{
		{"nothing yet", 0, false, `waits`},
		{"one", 2, false, `reset a`},
		{"nothing", 0, true, `accept`},
		{"the other rule's, the first still may", 4, false, `waits`},
		{"the other rule's", 4, true, `drop b`},
	} {
		f := atFirstBytes(tlswire.ProtocolUnknown)
		f.Contains, f.ContainsOver = tt.contains, tt.over
		var j Judgement
		d := p.Decide(f, &j)
		got := "waits"
		if d.Decided {
			got = strings.TrimSpace(d.Action.String() + " " + d.Rule)
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	var many []Rule
	for i := range maxPatterns + 1 {
		many = append(many, Rule{Match: conds(cond(t, "contains", strings.Repeat("x", i+1))), HasAction: true, Action: Drop})
	}
	if _, err := New(many[1:], Defaults{Accept, Accept, false}); err != nil {
		t.Errorf("%d patterns: %v", maxPatterns, err)
	}
	if _, err := New(many, Defaults{Accept, Accept, false}); err == nil {
		t.Errorf("%d patterns were taken", maxPatterns+1)
	}
}
