package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// readServer reads what the server says, as far as the test says it.
func (r *testReader) readServer() {
	t, s := r.server, &r.test.Server
	s.Silent = t.boolean("silent", false)
	s.Alert = r.alert(t)
	if v := r.value(t, "version", tlsrules.KeyVersion); v != "" {
		s.Version, _ = suites.ParseVersion(v)
	}
	if v := r.value(t, "cipher", tlsrules.KeyCipher); v != "" {
		s.Cipher, _ = suiteByName(v)
	}
	if v := r.value(t, "group", tlsrules.KeyGroup); v != "" {
		s.Group, _ = suites.GroupByName(v)
	}
	if s.ALPN = r.value(t, "alpn", tlsrules.KeyALPNSelected); s.ALPN == none {
		s.ALPN = ""
	}
	if v := r.value(t, "resumed", tlsrules.KeyResumed); v != "" {
		for s.Resumed = tlsrules.ResumedNo; s.Resumed.String() != v; s.Resumed++ {
		}
	}
	s.DHBits = t.integer("dh_bits", 0, 8192)
	r.readCertificate()
	s.Sends = r.sends(t)
	t.finish()
}

// hello are the keys of what a ServerHello and its certificate say.
var hello = []string{"version", "cipher", "group", "alpn", "resumed", "dh_bits"}

// agree fills in what the test leaves out and refuses what contradicts itself.
func (r *testReader) agree() {
	c, s := &r.test.Client, &r.test.Server
	if c.Protocol != tlswire.ProtocolTLS && c.Protocol != tlswire.ProtocolSSLv2 {
		return
	}
	if c.EarlyData && (c.Resumes&tlswire.ResumesPSK == 0 || c.Versions[0] != allTLS13) {
		r.client.fail("early_data", `add resumes = "psk"`, "goes with a session of TLS 1.3 that is resumed")
	}
	if s.Silent || s.Alert.Level == tlswire.AlertLevelFatal {
		k, bad := r.server.given(append(append(hello, certificateKeys...), "sends")...)
		if s.Silent && s.Alert.Level != 0 {
			k, bad = "alert", true
		}
		if bad {
			r.server.fail(k, "leave it out", "is never sent: the server %s", map[bool]string{true: "is silent", false: "answers with a fatal alert"}[s.Silent])
		}
		return
	}
	before := len(r.l.errs)
	for _, step := range []func(){r.agreeVersion, r.agreeCipher, r.agreeResumption, r.agreeExchange, r.agreeCertificate, r.agreeRecords} {
		if step(); len(r.l.errs) > before {
			return // what follows would go by it
		}
	}
}

// agreeVersion finds the version: the highest that both have a suite for.
func (r *testReader) agreeVersion() {
	c, s := &r.test.Client, &r.test.Server
	if s.Version != 0 {
		if !r.allows(s.Version) {
			r.server.fail("version", "add it to client.version", "%q is not what the client offers (%s)", suites.VersionKey(s.Version), versionKeys(c.Versions))
		}
		return
	}
	for _, v := range c.Versions {
		if s.Cipher != 0 && inVersion(s.Cipher, v) || s.Cipher == 0 && r.selects(v) != 0 {
			s.Version = v
			return
		}
	}
	s.Version = c.Versions[0]
	for v := c.Versions[0]; v >= oldest; v-- { // of an old suite, which a hello of TLS 1.2 may offer
		if r.allows(v) && s.Cipher != 0 && inVersion(s.Cipher, v) {
			s.Version = v
			return
		}
	}
}

// selects is the first suite the client offers that a version has, and the key
// of the certificate fits; 0 is none.
func (r *testReader) selects(version uint16) uint16 {
	for _, code := range r.test.Client.Ciphers {
		if suites.IsSCSV(code) || suites.IsGREASE(code) || !inVersion(code, version) {
			continue
		}
		if version >= allTLS13 || r.fits(code) {
			return code
		}
	}
	return 0
}

// agreeCipher finds the suite.
func (r *testReader) agreeCipher() {
	c, s := &r.test.Client, &r.test.Server
	name := suites.OpenSSLName(s.Cipher)
	switch {
	case s.Cipher == 0:
		if s.Cipher = r.selects(s.Version); s.Cipher == 0 {
			r.server.fail("cipher", `a server that finds none sends an alert: server = { alert = "handshake_failure" }`,
				"is left out, and the client offers no suite that the server could select in %s", suites.VersionName(s.Version))
		}
	case !inVersion(s.Cipher, s.Version):
		r.server.fail("cipher", "", "%q is not a suite of %s", name, suites.VersionName(s.Version))
	case !slices.Contains(c.Ciphers, s.Cipher):
		r.server.fail("cipher", "add it to client.offers", "%q is not among the suites that the client offers", name)
	case s.Version < allTLS13 && !r.fits(s.Cipher):
		r.server.fail("cert_key", "", "is not the kind of key that %s takes, which is %s", name, keyOf(s.Cipher))
	}
}

// agreeResumption finds what the server does with the session asked for: where
// the test does not say, it began unseen.
func (r *testReader) agreeResumption() {
	c, s := &r.test.Client, &r.test.Server
	way := tlswire.ResumesSessionID | tlswire.ResumesTicket
	if s.Version >= allTLS13 {
		way = tlswire.ResumesPSK
	}
	_, said := r.client.given("resumes")
	switch {
	case s.Resumed == 0 && c.Resumes&way != 0:
		s.Resumed = tlsrules.ResumedUnknown
	case s.Resumed <= tlsrules.ResumedNo:
		s.Resumed = tlsrules.ResumedNo
	case said && c.Resumes&way == 0:
		r.server.fail("resumed", fmt.Sprintf("%s resumes by %s", suites.VersionName(s.Version), strings.ReplaceAll(way.String(), ",", " or ")),
			"is %q, and the client asks for no session that the server could resume", s.Resumed)
	case c.Resumes&way == 0 && way == tlswire.ResumesPSK:
		c.Resumes |= way
	case c.Resumes&way == 0:
		c.Resumes |= tlswire.ResumesSessionID
	}
	if c.Protocol == tlswire.ProtocolSSLv2 && s.Resumed != tlsrules.ResumedNo {
		r.server.fail("resumed", "", "is %q: the test's SSL 2.0 hello asks for no session", s.Resumed)
	}
}

// firstFFDHE is where the groups end that an elliptic exchange up to TLS 1.2 can
// have: RFC 7919, Section 2.
const firstFFDHE = 0x0100

// agreeExchange finds the group or the prime.
func (r *testReader) agreeExchange() {
	c, s := &r.test.Client, &r.test.Server
	suite, _ := suites.ByCode(s.Cipher)
	elliptic, finite := suite.KX == "ECDHE" || suite.KX == "ECDH" && suite.Auth == "anon", suite.KX == "DHE" || suite.KX == "DH" && suite.Auth == "anon"
	if s.Version < allTLS13 && s.Resumed != tlsrules.ResumedNo {
		elliptic, finite = elliptic && s.Resumed == tlsrules.ResumedKnown, finite && s.Resumed == tlsrules.ResumedKnown
	}
	switch {
	case s.Version >= allTLS13:
		if s.Group == 0 {
			s.Group = c.KeyShares[0]
		}
	case elliptic && s.Group == 0:
		if i := slices.IndexFunc(c.Groups, func(g uint16) bool { return g < firstFFDHE }); i >= 0 {
			s.Group = c.Groups[i]
		} else {
			r.server.fail("group", "add one to client.groups", "is left out, and the client offers no elliptic curve")
		}
	case s.Group >= firstFFDHE && elliptic:
		r.server.fail("group", "", "%q is not a curve, which %s takes", suites.GroupName(s.Group), r.exchange())
	case s.Group != 0 && !elliptic:
		r.server.fail("group", "", "%s names no group", r.exchange())
	}
	if s.Group != 0 && c.Protocol == tlswire.ProtocolTLS && !slices.Contains(c.Groups, s.Group) {
		r.server.fail("group", "add it to client.groups", "%q is not among the groups that the client offers", suites.GroupName(s.Group))
	}
	switch {
	case s.DHBits != 0 && (s.Version >= allTLS13 || !finite):
		r.server.fail("dh_bits", "", "%s has no prime", r.exchange())
	case s.DHBits == 0 && finite && s.Version < allTLS13:
		s.DHBits = 2048
	case s.DHBits != 0 && s.DHBits < 8:
		r.server.fail("dh_bits", "", "is %d: no prime of a handshake is so small", s.DHBits)
	}
}

// exchange names the handshake for a sentence.
func (r *testReader) exchange() string {
	s := &r.test.Server
	if s.Version < allTLS13 && s.Resumed == tlsrules.ResumedUnknown {
		return "a resumed handshake"
	}
	return fmt.Sprintf("%s in %s", suites.OpenSSLName(s.Cipher), suites.VersionName(s.Version))
}

// agreeRecords refuses to send what the version has not, or hides.
func (r *testReader) agreeRecords() {
	c, s := &r.test.Client, &r.test.Server
	if s.Version >= allTLS13 {
		if s.ALPN != "" {
			r.server.fail("alpn", "leave it out", "TLS 1.3 encrypts the protocol selected: no firewall sees it")
		}
		for _, side := range []struct {
			t     *table
			sends []TestRecord
		}{{r.client, c.Sends}, {r.server, s.Sends}} {
			for _, rec := range side.sends {
				if rec == SendRenegotiation || rec == SendHeartbeat {
					side.t.fail("sends", "", "%q is not what TLS 1.3 has, or shows", testRecordNames[rec])
				}
			}
		}
	} else if s.ALPN != "" && !slices.Contains(c.ALPN, s.ALPN) {
		r.server.fail("alpn", "add it to client.alpn", "%q is not among the protocols that the client offers", s.ALPN)
	}
	if c.EarlyData && s.Resumed == tlsrules.ResumedNo && s.Version < allTLS13 {
		r.client.fail("early_data", "", "no server of %s goes on with it", suites.VersionName(s.Version))
	}
}

// keyOf names the kind of key that a suite's certificate has, "" if it has none.
func keyOf(cipher uint16) string {
	s, ok := suites.ByCode(cipher)
	switch {
	case !ok, s.Auth == "RSA", s.Auth == "SRP+RSA", s.KX == "RSA": // RSA_PSK has one
		return certs.RSA.String()
	case s.Auth == "ECDSA":
		return certs.ECDSA.String()
	case s.Auth == "DSS", s.Auth == "SRP+DSS":
		return certs.DSA.String()
	}
	return ""
}

// fits reports whether the certificate of the test, if it says of what kind its
// key is, can be that of a suite.
func (r *testReader) fits(cipher uint16) bool {
	c := r.test.Server.Certificate
	if c == nil || c.Key.Kind == certs.UnknownKey {
		return true
	}
	kind := c.Key.Kind
	if kind == certs.Ed25519 || kind == certs.Ed448 { // RFC 8422, Section 5.10
		kind = certs.ECDSA
	}
	return keyOf(cipher) == kind.String()
}

func bitsOf(s string) int {
	n, _ := strconv.Atoi(strings.TrimLeft(s, "="))
	return n
}
