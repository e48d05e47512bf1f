package engine

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// issue makes a certificate, signed by parent's key, or by its own.
func issue(template *x509.Certificate, key crypto.Signer, parent *tls.Certificate) tls.Certificate {
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(0x0a0b)
	}
	template.NotBefore, template.NotAfter = time.Unix(1_600_000_000, 0), time.Unix(1_800_000_000, 0)
	issuer, signer := template, crypto.PrivateKey(key)
	var rest [][]byte
	if parent != nil {
		issuer, signer, rest = parent.Leaf, parent.PrivateKey, parent.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, rest...), PrivateKey: key, Leaf: leaf}
}

// bank is a chain of three with RSA keys of 4096 bits, and a leaf with so many
// names that the message takes several records; employee is a client of it.
func bank() tls.Certificate     { return chain()[0] }
func employee() tls.Certificate { return chain()[1] }

// shop is of the usual length: 4 kB.
func shop() tls.Certificate { return chain()[2] }

var chain = sync.OnceValue(func() [3]tls.Certificate {
	big, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		panic(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	ca := &x509.Certificate{Subject: pkix.Name{Country: []string{"US"}, CommonName: "Bank Root"}, IsCA: true, BasicConstraintsValid: true}
	root := issue(ca, big, nil)
	between := *ca
	between.Subject.CommonName = "Bank CA"
	authority := issue(&between, big, &root)
	names := []string{"api.bank.example"}
	for n := range 600 {
		names = append(names, fmt.Sprintf("branch-%d.in.a.far.away.town.bank.example", n))
	}
	leaf := issue(&x509.Certificate{Subject: pkix.Name{Organization: []string{"Bank, Inc."}, CommonName: "api.bank.example"}, DNSNames: names}, big, &authority)
	client := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "employee"}}, small, &authority)
	ordinary := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "shop.example"}, DNSNames: []string{"shop.example", "www.shop.example"}}, big, &authority)
	return [3]tls.Certificate{leaf, client, ordinary}
})

// banking is a conversation with the bank; the server asks who the client is.
var banking = sync.OnceValue(func() []turn {
	client, server := configs(bank(), tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	server.ClientAuth, client.Certificates = tls.RequireAnyClientCert, []tls.Certificate{employee()}
	return recordTLS(&testing.B{}, client, server)
})

// requires is a rule that must hold for every connection.
func requires(key string, values ...string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "bank", Require: []tlsrules.Condition{condition(key, values...)}, Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset,
	})
}

// bankFacts are values of each key, one that the bank's certificate has and one
// that it has not.
func bankFacts() map[string][2]string {
	leaf := bank().Leaf
	sum, spki := sha256.Sum256(leaf.Raw), sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	other := strings.Repeat("00", 32)
	return map[string][2]string{
		"cert_subject":     {"CN=api.bank.example", "CN=evil.example"},
		"cert_issuer":      {"C=US, CN=Bank CA", "C=US, CN=Bank Root"},
		"cert_name":        {"branch-599.in.a.far.away.town.bank.example", "evil.example"},
		"cert_sha256":      {hex.EncodeToString(sum[:]), other},
		"cert_spki_sha256": {hex.EncodeToString(spki[:]), other},
		"cert_key":         {"rsa>=4096", "ecdsa"},
		"cert_expired":     {"false", "true"},
		"cert_self_signed": {"false", "true"},
	}
}

// TestCertificateRequired: what a certificate has passes, what it has not is
// refused before the last byte of it is delivered, however it comes.
func TestCertificateRequired(t *testing.T) {
	turns := banking()
	dir, at := reach(t, turns, atMessage(tlswire.TypeCertificate))
	if dir != reply || at < 20000 {
		t.Fatalf("the certificate ends at %d", at)
	}
	base := 0 // where the turn begins that the last byte is in
	for _, turn := range turns {
		if turn.dir == reply && base+len(turn.bytes) >= at {
			break
		} else if turn.dir == reply {
			base += len(turn.bytes)
		}
	}
	ways := map[string]func(int) []piece{"last byte alone": func(n int) []piece {
		if last := at - base; n > last {
			return append(append(cut(last-1, 1460), piece{last - 1, last}), piece{last, n})
		}
		return cut(n, 1460)
	}}
	for name, strategy := range strategies {
		if name != "one byte" || !testing.Short() {
			ways[name] = strategy
		}
	}
	for key, values := range bankFacts() {
		for name, strategy := range ways {
			if name != "mss" && name != "last byte alone" && key != "cert_name" {
				continue // once is enough
			}
			what := key + " " + name
			l := newLab(t, config(), requires(key, values[0]))
			k := l.link4()
			k.play(turns, strategy)
			checkPassed(t, what, l, k, turns)

			l = newLab(t, config(), requires(key, values[1]))
			k = l.link6()
			k.play(turns, strategy)
			k.refuses(what, reply, at, "require."+key)
			if got := len(k.ends[original].got); (name == "one byte" || name == "last byte alone") && got != at-1 {
				t.Errorf("%s: %d bytes delivered, want all before %d", what, got, at)
			}
		}
	}
}

// TestCertificateMatched: a rule that only matches waits for the certificate
// too.
func TestCertificateMatched(t *testing.T) {
	turns := banking()
	_, at := reach(t, turns, atMessage(tlswire.TypeCertificate))
	for key, values := range bankFacts() {
		p := policy(acceptAll, tlsrules.Rule{Name: "no", Match: []tlsrules.Condition{condition(key, values[0])}, Action: tlsrules.Reset, HasAction: true})
		l := newLab(t, config(), p)
		k := l.link4()
		k.play(turns, strategies["mss"])
		k.refuses(key, reply, at, "rule")
		l = newLab(t, config(), policy(acceptAll, tlsrules.Rule{Name: "no", Match: []tlsrules.Condition{condition(key, values[1])}, Action: tlsrules.Reset, HasAction: true}))
		k = l.link4()
		k.play(turns, strategies["mss"])
		checkPassed(t, key, l, k, turns)
	}
}

// TestCertificateExpired: by the packet's clock, and what is not valid yet is as
// bad.
func TestCertificateExpired(t *testing.T) {
	turns := banking()
	for _, tt := range []struct {
		now     int64
		expired bool
	}{{1_599_999_998, true}, {1_600_000_000, false}, {1_799_999_999, false}, {1_800_000_001, true}} {
		l := newLab(t, config(), requires("cert_expired", "false"))
		l.now = tt.now * second
		k := l.link4()
		k.play(turns, strategies["mss"])
		if k.closed() != tt.expired {
			t.Errorf("at %d: closed %v", tt.now, k.closed())
		}
	}
}

// TestCertificateOverlap: a certificate is remembered as a hello is.
func TestCertificateOverlap(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	_, at := reach(t, turns, atMessage(tlswire.TypeCertificate))
	l := newLab(t, config(), requires("cert_expired", "false", "true"))
	k := l.link4()
	k.open()
	k.talk(turns[:1], strategies["mss"])
	k.data(reply, 0, turns[1].bytes[:at-5])
	changed := bytes.Clone(turns[1].bytes)
	changed[at-40] ^= 1
	k.data(reply, at-100, changed[at-100:])
	k.refuses("changed certificate", reply, at, "tcp.overlap")
}

// witness keeps what tls events say of certificates.
type witness struct {
	sink
	seen []string
}

func (s *witness) TLS(r *Report) {
	s.sink.TLS(r)
	var b strings.Builder
	switch f := r.Facts; {
	case f.Known.Has(tlsrules.StageCertificate):
		for _, c := range f.Chain {
			fmt.Fprintf(&b, "%s; ", c.Subject)
		}
		if len(f.Chain) == 0 {
			b.WriteString("none; ")
		}
	case f.Never.Has(tlsrules.StageCertificate):
		b.WriteString("never; ")
	}
	if c := r.Certificates; c != nil {
		for _, c := range c.Client {
			fmt.Fprintf(&b, "client %s; ", c.Subject)
		}
		if c.Request != nil {
			fmt.Fprintf(&b, "asked %d; ", len(c.Request.Types))
		}
		fmt.Fprintf(&b, "more %v broken %v; ", c.More, c.Broken)
	}
	if n := r.Facts.DHBits; n != 0 {
		fmt.Fprintf(&b, "dh %d; ", n)
	}
	s.seen = append(s.seen, strings.TrimSuffix(b.String(), "; "))
}

func witnessLab(t *testing.T, change func(*Config), p *tlsrules.Policy) (*lab, *witness) {
	s := &witness{}
	cfg := config()
	cfg.Sink = s
	if change != nil {
		change(&cfg)
	}
	l := newLab(t, cfg, p)
	l.sink = &s.sink
	return l, s
}

// handshakeRecord is a record with handshake messages, given by type and body.
func handshakeRecord(version uint16, messages ...[]byte) []byte {
	body := bytes.Join(messages, nil)
	return append([]byte{22, byte(version >> 8), byte(version), byte(len(body) >> 8), byte(len(body))}, body...)
}

func handshakeMessage(t tlswire.HandshakeType, body []byte) []byte {
	return append([]byte{byte(t), 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

// serverHelloOf is a ServerHello of TLS 1.2.
func serverHelloOf(suite uint16, sessionID []byte, extensions ...byte) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(append(body, byte(len(sessionID))), sessionID...)
	body = append(body, byte(suite>>8), byte(suite), 0)
	if len(extensions) > 0 {
		body = append(append(body, 0, byte(len(extensions))), extensions...)
	}
	return handshakeMessage(tlswire.TypeServerHello, body)
}

// certificateOf is a Certificate message.
func certificateOf(ders ...[]byte) []byte {
	var list []byte
	for _, der := range ders {
		list = append(append(list, byte(len(der)>>16), byte(len(der)>>8), byte(len(der))), der...)
	}
	return handshakeMessage(tlswire.TypeCertificate, append([]byte{0, byte(len(list) >> 8), byte(len(list))}, list...))
}

// dhParams is a ServerKeyExchange with a prime of so many octets.
func dhParams(octets int) []byte {
	body := append([]byte{byte(octets >> 8), byte(octets)}, bytes.Repeat([]byte{0xff}, octets)...)
	return handshakeMessage(tlswire.TypeServerKeyExchange, append(body, 0, 1, 2, 0, 1, 5))
}

// TestCertificateSettled: every way on which a handshake comes to have a
// certificate, or none. What is required of it is judged at once, and waits for
// nothing that never comes.
func TestCertificateSettled(t *testing.T) {
	small := ecdsaIdentity().Certificate[0]
	done := handshakeMessage(tlswire.TypeServerHelloDone, nil)
	spec := []byte{20, 3, 3, 0, 1, 1}
	ticket := handshakeMessage(tlswire.TypeNewSessionTicket, []byte{0, 0, 0, 9, 0, 1, 't'})
	full := recording(t, "tls12 ecdhe")
	hello := full[0].bytes
	id := hello[44 : 44+32] // of compatibility mode
	is := func(messages ...[]byte) []byte { return handshakeRecord(0x0303, messages...) }
	spki := bank().Leaf.RawSubjectPublicKeyInfo
	raw := handshakeMessage(tlswire.TypeCertificate, append([]byte{0, byte(len(spki) >> 8), byte(len(spki))}, spki...))
	many := slices.Repeat([][]byte{small}, certs.MaxChain+4)
	broken := certificateOf(small, []byte("x"))
	broken[6]-- // the list is one byte shorter than its message
	tests := []struct {
		name   string
		server []byte
		want   string
		unseen bool // passes where what is unseen may
	}{
		{"certificate", is(serverHelloOf(0xc02f, nil), certificateOf(small), done), "", false},
		{"empty list", is(serverHelloOf(0xc02f, nil), certificateOf(), done), "none", false},
		{"no certificate at all", is(serverHelloOf(0xc02f, nil), handshakeMessage(tlswire.TypeCertificate, nil), done), "none; more [0 0] broken [false true]", false},
		{"broken list", is(serverHelloOf(0xc02f, nil), broken, done), "; more [0 0] broken [false true]", false},
		{"garbage", is(serverHelloOf(0xc02f, nil), certificateOf([]byte("x")), done), "", false},
		{"long chain", is(serverHelloOf(0xc02f, nil), certificateOf(many...), done), strings.Repeat("; ", certs.MaxChain-1) + "; more [0 4] broken [false false]", false},
		{"anonymous", is(serverHelloOf(0x00a6, nil), dhParams(128), done), "none; dh 1024", false},
		{"psk", is(serverHelloOf(0x00a8, nil), done), "none", false},
		{"resumed", append(is(serverHelloOf(0xc02f, id)), spec...), "never", true},
		{"resumed by ticket", append(is(serverHelloOf(0xc02f, nil), ticket), spec...), "none", false}, // the client asks for no session
		{"id of compatibility mode echoed", is(serverHelloOf(0xc02f, id), certificateOf(small), done), "", false},
		{"raw public key", is(serverHelloOf(0xc02f, nil, 0, 20, 0, 1, 2), raw, done), "", false},
	}
	for _, tt := range tests {
		for name, strategy := range strategies {
			l, s := witnessLab(t, nil, policy(acceptAll))
			k := l.link4()
			k.play([]turn{{original, hello}, {reply, tt.server}}, strategy)
			l.e.Close(l.now)
			if len(s.seen) != 1 || s.seen[0] != tt.want || len(s.drop) != 0 {
				t.Errorf("%s, %s: got %q, want %q, %d refused", tt.name, name, s.seen, tt.want, len(s.drop))
			}
		}
		// Nothing has this name.
		for _, unseen := range []bool{false, true} {
			l, s := witnessLab(t, nil, policy(acceptAll, tlsrules.Rule{
				Require: []tlsrules.Condition{condition("cert_name", "other.example")}, UnseenAllow: unseen,
				Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset,
			}))
			k := l.link4()
			k.play([]turn{{original, hello}, {reply, tt.server}}, strategies["mss"])
			if passes := len(s.drop) == 0; passes != (unseen && tt.unseen) || k.closed() == passes {
				t.Errorf("%s, unseen allowed %v: closed %v, %d refused", tt.name, unseen, k.closed(), len(s.drop))
			}
		}
	}
}

// TestCertificateKinds: whole conversations.
func TestCertificateKinds(t *testing.T) {
	for _, kind := range kinds {
		want := "" // the subject of identity
		switch {
		case strings.HasPrefix(kind, "tls13"), kind == "tls12 resumed":
			want = "never"
		case kind == "tls12 client cert":
			want = "; client ; asked 2; more [0 0] broken [false false]"
		}
		l, s := witnessLab(t, nil, policy(acceptAll))
		k := l.link4()
		k.play(recording(t, kind), strategies["mss"])
		l.e.Close(l.now)
		if len(s.seen) != 1 || s.seen[0] != want {
			t.Errorf("%s: got %q, want %q", kind, s.seen, want)
		}
	}
}

// TestCertificateOfSession: a resumed session has the certificate it began with,
// and one that comes in its place is not taken.
func TestCertificateOfSession(t *testing.T) {
	full, again := pairOf(t, tls.VersionTLS12)
	name := requires("cert_name", "api.bank.example")
	withSessions := func(c *Config) { c.Sessions = NewSessions(8, [16]byte{}) }

	l, s := witnessLab(t, withSessions, name)
	l.link4().play(full, strategies["mss"])
	k := l.link4()
	k.play(again, strategies["mss"])
	if len(s.drop) != 0 || len(s.seen) != 2 || s.seen[0] != s.seen[1] || k.offloaded == 0 {
		t.Errorf("got %q, %d refused", s.seen, len(s.drop))
	}

	// That it had no prime is known too; of one that began unseen nothing is.
	prime := requires("dh_bits", ">=2048")
	l, s = witnessLab(t, withSessions, prime)
	l.link4().play(full, strategies["mss"])
	l.link4().play(again, strategies["mss"])
	if len(s.drop) != 0 {
		t.Errorf("refused: %s", s.drop[0].Detail)
	}
	l, s = witnessLab(t, withSessions, prime)
	l.link4().play(again, strategies["mss"])
	if len(s.drop) != 1 || s.drop[0].Decision.Reason.String() != "require.dh_bits" {
		t.Errorf("began unseen: %d refused", len(s.drop))
	}

	l, _ = witnessLab(t, withSessions, name)
	l.link4().play(full, strategies["mss"])
	k = l.link4()
	suite := tlswire.ServerHello{}
	sh := again[1].bytes[5 : 9+int(again[1].bytes[7])<<8+int(again[1].bytes[8])]
	if f := tlswire.ParseServerHello(sh, &suite); !f.OK() {
		t.Fatal(f)
	}
	evil := handshakeRecord(0x0303, sh, certificateOf(ecdsaIdentity().Certificate[0]), handshakeMessage(tlswire.TypeServerHelloDone, nil))
	k.play([]turn{again[0], {reply, evil}}, strategies["one byte"])
	k.refuses("certificate in a resumed handshake", reply, len(evil)-4, "malformed.handshake")
}

// TestClientCertificate: the tls event waits for it, not the time to decide.
func TestClientCertificate(t *testing.T) {
	turns := banking()
	for name, strategy := range strategies {
		l, s := witnessLab(t, nil, partner())
		k := l.link4()
		k.open()
		k.talk(turns[:2], strategy)
		k.ack(original)
		if len(s.seen) != 0 {
			t.Errorf("%s: told before the client has answered: %q", name, s.seen)
		}
		l.now += int64(time.Minute)
		l.e.Tick(l.now)
		k.talk(turns[2:], strategy)
		want := "O=Bank, Inc., CN=api.bank.example; C=US, CN=Bank CA; C=US, CN=Bank Root; client CN=employee; client C=US, CN=Bank CA; client C=US, CN=Bank Root; asked 2; more [0 0] broken [false false]"
		if len(s.seen) != 1 || s.seen[0] != want || len(s.drop) != 0 {
			t.Errorf("%s: got %q, want %q, %d refused", name, s.seen, want, len(s.drop))
		}
		checkPassed(t, name, l, k, turns)
	}
}

// TestClientCertificateNever: the event comes when the client says none.
func TestClientCertificateNever(t *testing.T) {
	request := handshakeMessage(tlswire.TypeCertificateRequest, []byte{1, 1, 0, 0, 0, 0})
	server := handshakeRecord(0x0303, serverHelloOf(0xc02f, nil), certificateOf(ecdsaIdentity().Certificate[0]), request, handshakeMessage(tlswire.TypeServerHelloDone, nil))
	hello := recording(t, "tls12 ecdhe")[0]
	exchange := handshakeMessage(tlswire.TypeClientKeyExchange, []byte{1, 2})
	for name, answer := range map[string][]byte{
		"empty list":      handshakeRecord(0x0303, certificateOf()),
		"key exchange":    handshakeRecord(0x0303, exchange),
		"change":          {20, 3, 3, 0, 1, 1},
		"end of all":      nil,
		"broken and long": handshakeRecord(0x0303, certificateOf(slices.Repeat([][]byte{{1}}, 20)...)),
	} {
		l, s := witnessLab(t, nil, policy(acceptAll))
		k := l.link4()
		k.play([]turn{hello, {reply, server}}, strategies["mss"])
		if len(s.seen) != 0 {
			t.Errorf("%s: told too early", name)
		}
		if answer == nil {
			l.e.Close(l.now)
		} else {
			k.talk([]turn{{original, answer}}, strategies["mss"])
		}
		if len(s.seen) != 1 || !strings.Contains(s.seen[0], "asked 1") || strings.Contains(s.seen[0], "client") != (name == "broken and long") {
			t.Errorf("%s: got %q", name, s.seen)
		}
	}
}

// TestDHBits: a short prime is refused with the last byte of its message.
func TestDHBits(t *testing.T) {
	hello := recording(t, "tls12 ecdhe")[0]
	small := ecdsaIdentity().Certificate[0]
	flight := func(octets int) []byte {
		return handshakeRecord(0x0303, serverHelloOf(0x009e, nil), certificateOf(small), dhParams(octets), handshakeMessage(tlswire.TypeServerHelloDone, nil))
	}
	for octets, pass := range map[int]bool{64: false, 128: false, 255: false, 256: true, 1024: true} {
		server := flight(octets)
		for name, strategy := range strategies {
			l := newLab(t, config(), requires("dh_bits", ">=2048"))
			k := l.link4()
			turns := []turn{hello, {reply, server}}
			k.play(turns, strategy)
			what := fmt.Sprintf("%d octets, %s", octets, name)
			if !pass {
				k.refuses(what, reply, len(server)-4, "require.dh_bits")
			} else if got := k.ends[original].got; len(l.sink.drop) != 0 || !bytes.Equal(got, server) {
				t.Errorf("%s: %d refused, %d bytes delivered", what, len(l.sink.drop), len(got))
			}
		}
	}
}

// TestKeyExchanges: the decoder's table of suites with an ephemeral exchange
// agrees with the registry.
func TestKeyExchanges(t *testing.T) {
	dh := dhParams(128)
	ecdh := handshakeMessage(tlswire.TypeServerKeyExchange, []byte{3, 0, 29, 1, 9})
	hinted := func(m []byte) []byte {
		return handshakeMessage(tlswire.TypeServerKeyExchange, append([]byte{0, 0}, m[4:]...))
	}
	hello := recording(t, "tls12 ecdhe")[0].bytes
	for s := range suites.All() {
		if s.MinVersion == 0 || s.MinVersion > suites.VersionTLS12 || s.MinVersion == suites.VersionSSL20 || suites.IsSCSV(s.Code) {
			continue
		}
		psk := s.Auth == "PSK"
		wantDH := (s.KX == "DHE" || s.KX == "DH" && s.Auth == "anon") && s.MaxVersion != suites.VersionSSL20
		wantEC := s.KX == "ECDHE" || s.KX == "ECDH" && s.Auth == "anon"
		for _, m := range [][]byte{dh, ecdh} {
			if psk {
				m = hinted(m)
			}
			var c tlswire.Conn
			for _, part := range []struct {
				from tlswire.Side
				b    []byte
			}{{tlswire.Client, hello}, {tlswire.Server, handshakeRecord(0x0303, serverHelloOf(s.Code, nil), m)}} {
				for b := part.b; len(b) > 0; {
					n, _, _ := c.Consume(part.from, b)
					b = b[n:]
				}
			}
			if isDH := len(m) > 100; isDH && (c.DHBits == 1024) != wantDH || !isDH && (c.ServerGroup == 29) != wantEC && s.KX != "ECDH" {
				t.Errorf("%#04x %s (%s, %s): %d bits, group %d", s.Code, s.IANA, s.KX, s.Auth, c.DHBits, c.ServerGroup)
			}
		}
	}
}
