package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// What a client offers that names nothing else.
var (
	defaultGroups     = []uint16{29, 23, 24} // x25519, secp256r1, secp384r1
	defaultSignatures = []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0807, 0x0806, 0x0601, 0x0201}
)

const (
	fallbackSCSV = 0x5600              // RFC 7507
	allTLS13     = suites.VersionTLS13 // what has no supported_versions ends below
	oldest       = suites.VersionSSL30 // of what a server can answer a hello with
	none         = "none"              // of a name or protocol: it is not there
	offerDefault = "openssl:DEFAULT"   // what a client offers that names no suites
	helloHint    = "an SSL 2.0 hello has no extensions"
	notTLSHint   = "leave it out, or protocol"
	addrPortHint = `write for example "192.0.2.10", "203.0.113.10:443" or "[2001:db8::1]:443"`
)

// readClient reads what the client is and says. Whether the server can answer it
// is for agree to ask.
func (r *testReader) readClient() {
	t, c := r.client, &r.test.Client
	r.addresses()
	c.InInterface = r.interfaceName("in_interface", tlsrules.KeyInInterface)
	c.OutInterface = r.interfaceName("out_interface", tlsrules.KeyOutInterface)
	c.Protocol = tlswire.ProtocolTLS
	if v := r.value(t, "protocol", tlsrules.KeyProtocol); v != "" {
		protocols := []tlswire.Protocol{tlswire.ProtocolTLS, tlswire.ProtocolSSLv2, tlswire.ProtocolHTTP, tlswire.ProtocolSSH, tlswire.ProtocolUnknown}
		c.Protocol = protocols[slices.IndexFunc(protocols, func(p tlswire.Protocol) bool { return p.String() == v })]
	}
	c.Via = r.via()
	c.Text = r.text()
	c.Ciphers = r.offers()
	r.versions()
	r.suitesOfVersions()
	if c.ServerName = r.value(t, "sni", tlsrules.KeyServerName); c.ServerName == none {
		c.ServerName = ""
	}
	if strings.HasPrefix(c.ServerName, "*") {
		t.fail("sni", "write a name that the star stands for", "%q is not a name that a hello has", c.ServerName)
	}
	c.ALPN = slices.DeleteFunc(r.values(t, "alpn", tlsrules.KeyALPN), func(s string) bool { return s == none })
	r.groups()
	if c.Signatures = r.numbers(t, "signatures", tlsrules.KeyOffersSignature, suites.SignatureByName); c.Signatures == nil {
		c.Signatures = defaultSignatures
	}
	c.Extensions = r.numbers(t, "extensions", tlsrules.KeyOffersExtension, suites.ExtensionByName)
	for _, id := range c.Extensions {
		if k := extensionKeys[id]; k != "" {
			t.fail("extensions", "leave it out", "%s has a key of its own: %s", suites.ExtensionName(id), k)
		}
	}
	if v := r.value(t, "random", tlsrules.KeyClientRandom); v != "" {
		b, _ := hex.DecodeString(v)
		copy(c.Random[:], b)
	} else {
		for i := range c.Random {
			c.Random[i] = byte(0x40 + i)
		}
	}
	c.Resumes = r.resumes()
	c.ECH, c.EarlyData, c.Fallback = t.boolean("ech", false), t.boolean("early_data", false), t.boolean("fallback", false)
	if c.Fallback && !slices.Contains(c.Ciphers, fallbackSCSV) {
		c.Ciphers = append(c.Ciphers, fallbackSCSV)
	}
	c.Alert = r.alert(t)
	c.Sends = r.sends(t)
	t.finish()
	r.onlyOf(c.Protocol)
}

// extensionKeys are the extensions whose contents other keys say.
var extensionKeys = map[uint16]string{
	0: "sni", 10: "groups", 13: "signatures", 16: "alpn", 41: "resumes", 42: "early_data",
	43: "version", 51: "key_shares", 0xfe0d: "ech",
}

// onlyOf refuses keys of what the client does not speak.
func (r *testReader) onlyOf(p tlswire.Protocol) {
	extensions := []string{"sni", "alpn", "groups", "key_shares", "signatures", "extensions", "resumes", "ech", "early_data"}
	if k, bad := r.client.given("text"); bad && (p == tlswire.ProtocolTLS || p == tlswire.ProtocolSSLv2) {
		r.client.fail(k, `add protocol = "unknown", "http" or "ssh"`, "is what is said in clear, and protocol is %q", p)
	}
	switch p {
	case tlswire.ProtocolTLS:
	case tlswire.ProtocolSSLv2:
		if k, bad := r.client.given(extensions...); bad {
			r.client.fail(k, helloHint, "contradicts protocol = %q", p)
		}
	default:
		if k, bad := r.client.given(append(extensions, "via", "offers", "version", "random", "fallback", "alert", "sends")...); bad {
			r.client.fail(k, notTLSHint, "is of TLS, and protocol is %q", p)
		}
		for k := range r.server.m {
			r.server.fail(k, notTLSHint, "is of TLS, and client.protocol is %q", p)
			break
		}
	}
}

// via reads what comes before TLS.
func (r *testReader) via() (kinds []via.Kind) {
	for _, v := range r.values(r.client, "via", tlsrules.KeyVia) {
		for _, k := range via.All() {
			if k.String() == v {
				kinds = append(kinds, k)
			}
		}
	}
	for i, k := range kinds {
		switch {
		case k == via.Direct && len(kinds) > 1:
			r.client.fail("via", "leave it out", "has %s among others", k)
		case k == via.Proxy && i > 0:
			r.client.fail("via", `write "proxy" first`, "has a PROXY header behind %s", kinds[i-1])
		case strings.HasPrefix(k.String(), startTLS) && i < len(kinds)-1:
			r.client.fail("via", "name one, the last: what leads to it stands before", "goes on behind %s", k)
		default:
			continue
		}
		return nil
	}
	if len(kinds) == 1 && kinds[0] == via.Direct {
		return nil
	}
	return kinds
}

const startTLS = "starttls:"

// text reads what a client says in clear: text, or bytes after "hex:".
func (r *testReader) text() []byte {
	s := r.client.str("text", "")
	digits, isHex := strings.CutPrefix(s, "hex:")
	if !isHex {
		return []byte(s)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		r.client.fail("text", `write two digits a byte, as in "hex:16 03 01"`, "%q is not hexadecimal", s)
	}
	return b
}

// addresses reads from and to; one of them says of which family the other is.
func (r *testReader) addresses() {
	c := &r.test.Client
	from, to := r.client.addrPort("from"), r.client.addrPort("to")
	six := from.Addr().Is6() || to.Addr().Is6()
	if from.IsValid() && to.IsValid() && from.Addr().Is4() != to.Addr().Is4() {
		r.client.fail("from", "both are of one family", "%s cannot connect to %s", from.Addr(), to.Addr())
	}
	fill := func(a netip.AddrPort, v4, v6 string, port uint16) netip.AddrPort {
		addr := a.Addr()
		if !addr.IsValid() {
			addr = netip.MustParseAddr(v4)
			if six {
				addr = netip.MustParseAddr(v6)
			}
		}
		if a.Port() != 0 {
			port = a.Port()
		}
		return netip.AddrPortFrom(addr, port)
	}
	c.From = fill(from, "192.0.2.10", "2001:db8::10", 40887)
	c.To = fill(to, "203.0.113.10", "2001:db8:1::10", 443)
	if c.From == c.To {
		r.client.fail("from", "", "is where it connects to")
	}
}

// addrPort takes an address, with a port or not: then it is 0.
func (t *table) addrPort(k string) (a netip.AddrPort) {
	s := t.str(k, "")
	if s == "" {
		return a
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
		if err != nil {
			t.fail(k, addrPortHint, "%q is not an address, nor one with a port", s)
			return netip.AddrPort{}
		}
		a = netip.AddrPortFrom(addr, 0)
	} else if a.Port() == 0 {
		t.fail(k, addrPortHint, "%q has no port that TCP could use", s)
		return netip.AddrPort{}
	}
	switch addr := a.Addr(); {
	case addr.Zone() != "", addr.Is4In6(), addr.IsUnspecified(), addr.IsMulticast():
		t.fail(k, addrPortHint, "%s is no address that a packet has", addr)
		return netip.AddrPort{}
	}
	return a
}

func (r *testReader) interfaceName(name string, k tlsrules.Key) string {
	v := r.value(r.client, name, k)
	if strings.HasSuffix(v, "*") {
		r.client.fail(name, "write a name that the star stands for", "%q is not an interface", v)
	}
	return v
}

// offers reads the suites that the client offers.
func (r *testReader) offers() []uint16 {
	if list := r.numbers(r.client, "offers", tlsrules.KeyOffersCipher, suiteByName); list != nil {
		return list
	}
	e, _ := suites.Expand(offerDefault)
	return slices.Clone(e.Codes)
}

// versions reads what the client offers: where it does not say, TLS 1.2 and 1.3
// as far as there are suites for them, or the newest there is one for.
func (r *testReader) versions() {
	c := &r.test.Client
	c.Versions = r.numbers(r.client, "version", tlsrules.KeyOffersVersion, suites.ParseVersion)
	if i := slices.Index(c.Versions, suites.VersionSSL20); i >= 0 && len(c.Versions) > 1 {
		c.Versions = slices.Delete(c.Versions, i, i+1) // of "<=1.2": no hello of TLS says so
	}
	if len(c.Versions) == 1 && c.Versions[0] == suites.VersionSSL20 {
		r.client.fail("version", `for a hello in the format of SSL 2.0: protocol = "sslv2"`, "SSL 2.0 is not what a hello of TLS can offer")
		c.Versions = nil
	}
	newest := suites.VersionTLS13
	if c.Protocol == tlswire.ProtocolSSLv2 {
		newest = suites.VersionTLS12
		if slices.Contains(c.Versions, allTLS13) {
			r.client.fail("version", helloHint, "offers TLS 1.3, and protocol is %q", c.Protocol)
			c.Versions = nil
		}
	}
	if len(c.Versions) == 0 {
		for v := newest; v >= oldest; v-- {
			if (v >= suites.VersionTLS12 || len(c.Versions) == 0) && slices.ContainsFunc(c.Ciphers, func(code uint16) bool { return inVersion(code, v) }) {
				c.Versions = append(c.Versions, v)
			}
		}
		if len(c.Versions) == 0 { // of suites that nobody knows
			c.Versions = []uint16{suites.VersionTLS12}
		}
	}
	slices.Sort(c.Versions)
	slices.Reverse(c.Versions)
}

// inVersion reports whether a suite may be selected in a version; one that is
// not registered may in any.
func inVersion(code, version uint16) bool {
	s, ok := suites.ByCode(code)
	if !ok {
		return true
	}
	return s.MinVersion != 0 && s.MinVersion <= version && version <= s.MaxVersion
}

// suitesOfVersions leaves out suites that no offered version has, as clients do.
// One that the test names itself is a contradiction.
func (r *testReader) suitesOfVersions() {
	c := &r.test.Client
	named := map[uint16]bool{}
	values, _ := strs(r.client.m["offers"])
	for _, v := range values {
		if code, ok := suiteByName(v); ok {
			named[code] = true
		}
	}
	all := c.Ciphers
	c.Ciphers = nil
	for _, code := range all {
		s, ok := suites.ByCode(code)
		if !ok || s.MinVersion == 0 || s.MinVersion <= c.Versions[0] && s.MaxVersion >= r.lowest() {
			c.Ciphers = append(c.Ciphers, code)
		} else if named[code] {
			r.client.fail("offers", "offer the version, or leave out the suite", "%s is not a suite of a version that the client offers (%s)",
				suites.OpenSSLName(code), versionKeys(c.Versions))
		}
	}
	if len(c.Ciphers) == 0 {
		r.client.fail("offers", "", "has no suite of a version that the client offers (%s)", versionKeys(c.Versions))
	}
}

// lowest is the lowest version that the client's hello allows: without
// supported_versions that is any.
func (r *testReader) lowest() uint16 {
	if v := r.test.Client.Versions; v[0] == allTLS13 {
		return v[len(v)-1]
	}
	return oldest
}

// allows reports whether the hello allows a version.
func (r *testReader) allows(v uint16) bool {
	c := &r.test.Client
	if c.Versions[0] == allTLS13 {
		return slices.Contains(c.Versions, v)
	}
	return oldest <= v && v <= c.Versions[0]
}

func versionKeys(versions []uint16) string {
	var names []string
	for _, v := range versions {
		names = append(names, suites.VersionKey(v))
	}
	return strings.Join(names, ", ")
}

// groups reads the groups that the client offers, and those it sends a key for:
// the first.
func (r *testReader) groups() {
	c := &r.test.Client
	if c.Groups = r.numbers(r.client, "groups", tlsrules.KeyOffersGroup, suites.GroupByName); c.Groups == nil {
		c.Groups = defaultGroups
	}
	if c.KeyShares = r.numbers(r.client, "key_shares", tlsrules.KeyOffersGroup, suites.GroupByName); c.KeyShares == nil {
		c.KeyShares = c.Groups[:1]
	}
	if len(c.KeyShares) > mostShares {
		r.client.fail("key_shares", "", "has %d groups, more than the %d that a test can have", len(c.KeyShares), mostShares)
	}
	for _, g := range c.KeyShares {
		if !slices.Contains(c.Groups, g) {
			r.client.fail("key_shares", "add it to groups", "%s is not among the groups that the client offers", suites.GroupName(g))
		}
	}
}

// resumes reads by which ways the client asks to resume a session.
func (r *testReader) resumes() (ways tlswire.Resumes) {
	values := r.values(r.client, "resumes", tlsrules.KeyResumes)
	for _, way := range []tlswire.Resumes{tlswire.ResumesSessionID, tlswire.ResumesTicket, tlswire.ResumesPSK} {
		if slices.Contains(values, way.String()) {
			ways |= way
		}
	}
	if slices.Contains(values, none) && ways != 0 {
		r.client.fail("resumes", `write "none" alone`, "has none among others")
	}
	if ways&tlswire.ResumesPSK != 0 && r.test.Client.Versions[0] != allTLS13 {
		r.client.fail("resumes", fmt.Sprintf("up to TLS 1.2 it is by %q or %q", tlswire.ResumesSessionID, tlswire.ResumesTicket), "is by psk, and the client does not offer TLS 1.3")
	}
	return ways
}
