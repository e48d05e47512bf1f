package tlswire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// certificates are made once: an ECDSA and an RSA one.
var certificates = sync.OnceValue(func() (certs [2]tls.Certificate) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	rs, _ := rsa.GenerateKey(crand.Reader, 2048)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"a.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	for i, key := range []any{ec, rs} {
		var public any = &ec.PublicKey
		if i == 1 {
			public = &rs.PublicKey
		}
		der, err := x509.CreateCertificate(crand.Reader, template, template, public, key)
		if err != nil {
			panic(err)
		}
		certs[i] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return certs
})

// talk has a crypto/tls client and server shake hands, say a little and close,
// and returns what passed.
func talk(clientConfig, serverConfig *tls.Config) ([]flight, tls.ConnectionState) {
	var tp tape
	a, b := tapedPipe(&tp)
	client, server := tls.Client(a, clientConfig), tls.Server(b, serverConfig)
	text := strings.Repeat("x", 300)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(server, buf); err == nil {
			server.Write(buf)
			io.Copy(io.Discard, server)
		}
	}()
	if _, err := client.Write([]byte(text)); err == nil {
		io.ReadFull(client, make([]byte, len(text)))
	}
	state := client.ConnectionState()
	client.Close()
	<-done
	return tp.flights, state
}

func clientOf([2]tls.Certificate) *tls.Config {
	return &tls.Config{ServerName: "a.example", InsecureSkipVerify: true}
}

func serverOf(certs [2]tls.Certificate) *tls.Config { return &tls.Config{Certificates: certs[:]} }

// contents lists what the records of a side were, repetitions as one.
func contents(s story, from Side) string {
	var all []string
	for _, e := range s.Events {
		f := strings.Fields(e)
		if f[0] == from.String() && f[1] == "record" {
			all = append(all, f[5])
		}
	}
	return strings.Join(slices.Compact(all), " ")
}

// facts are what a Conn knows in the end, whatever the records were.
type facts struct {
	Client                            ClientHello
	Server                            ServerHello
	Version, Group                    uint16
	Phase                             Phase
	Retry, Settled, Done, Hello, Full bool
	From                              Side
	Fault                             Fault
	Protocol                          Protocol
	RetryGroup                        uint16
	RetryCookie                       bool
	Renegotiations                    [2]uint8
	Heartbeats                        Heartbeats
	JA3, JA3S                         [16]byte
	JA4                               [ja4Len]byte
	Resumes                           Resumes
	Stapled                           bool
	Types                             [2]CertificateType
	DHBits, Scheme                    uint16
}

func factsOf(c *Conn) facts {
	f := facts{c.ClientHello, c.ServerHello, c.Version, c.ServerGroup, c.Phase, c.Retry, c.GroupSettled,
		c.HandshakeDone, c.HasClientHello, c.HasServerHello, c.ClientHelloFrom, c.Fault, c.Protocol,
		c.RetryGroup, c.RetryCookie, c.Renegotiations, c.Heartbeats,
		c.ClientHello.JA3(), c.ServerHello.JA3S(), c.ClientHello.JA4(), c.ClientHello.Resumes(),
		c.OCSPStapled, c.CertificateType, c.DHBits, c.SignatureScheme}
	f.Client.Records = 0
	return f
}

var compareFacts = cmp.AllowUnexported(ClientHello{}, ServerHello{}, fingerprints{}, firstHello{}, tickets{}, seldom{})

// refragment puts every handshake record that is in clear into records of size
// bytes.
func refragment(flights []flight, size int) []flight {
	var out []flight
	var rest [2][]byte
	var encrypted [2]bool
	for _, f := range flights {
		b := append(rest[f.from], f.data...)
		var again []byte
		for len(b) >= recordHeaderLen {
			n := recordHeaderLen + int(b[3])<<8 + int(b[4])
			if !ContentType(b[0]).known() {
				n = len(b) // SSL 2.0, or no TLS
			}
			if len(b) < n {
				break
			}
			encrypted[f.from] = encrypted[f.from] || b[0] == byte(RecordTypeChangeCipherSpec)
			version := uint16(b[1])<<8 | uint16(b[2])
			if b[0] == byte(RecordTypeHandshake) && !encrypted[f.from] {
				again = append(again, records(version, b[recordHeaderLen:n], size)...)
			} else {
				again = append(again, b[:n]...)
			}
			b = b[n:]
		}
		rest[f.from] = slices.Clone(b)
		out = append(out, flight{f.from, again})
	}
	return append(out, flight{Client, rest[Client]}, flight{Server, rest[Server]})
}

// checkSplits holds that flights tell the same however they are cut into
// segments, and the same facts however the clear part is cut into records. It
// returns what they told.
func checkSplits(t *testing.T, flights []flight) (*Conn, story) {
	t.Helper()
	var c Conn
	want := tell(t, &c, flights, whole)
	wantFacts := factsOf(&c)
	r := rand.New(rand.NewPCG(5, 6))
	var again Conn // and it is as good as new after Reset
	for i, next := range []cut{oneByte, func(n int) int { return r.IntN(n) }, func(int) int { return r.IntN(8) }} {
		again.Reset()
		if diff := cmp.Diff(want, tell(t, &again, flights, next)); diff != "" {
			t.Errorf("cut %d (-whole +cut):\n%s", i, diff)
		}
		if diff := cmp.Diff(wantFacts, factsOf(&again), compareFacts); diff != "" {
			t.Errorf("cut %d (-whole +cut):\n%s", i, diff)
		}
		if again.Held() != 0 && again.Fault.OK() {
			t.Errorf("cut %d: %d bytes held after the last message", i, again.Held())
		}
	}
	for _, size := range []int{1, 3, 50} {
		again.Reset()
		tell(t, &again, refragment(flights, size), whole)
		if diff := cmp.Diff(wantFacts, factsOf(&again), compareFacts); diff != "" {
			t.Errorf("records of %d (-as sent +cut):\n%s", size, diff)
		}
	}
	return &c, want
}

// Real handshakes, read from outside.
func TestHandshake(t *testing.T) {
	certs := certificates()
	server := func(max uint16, change ...func(*tls.Config)) *tls.Config {
		c := &tls.Config{Certificates: certs[:], MinVersion: tls.VersionTLS10, MaxVersion: max, NextProtos: []string{"h2"}}
		for _, f := range change {
			f(c)
		}
		return c
	}
	client := func(change ...func(*tls.Config)) *tls.Config {
		c := &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, NextProtos: []string{"h2", "http/1.1"}}
		for _, f := range change {
			f(c)
		}
		return c
	}
	suites := func(ids ...uint16) func(*tls.Config) { return func(c *tls.Config) { c.CipherSuites = ids } }
	curves := func(ids ...tls.CurveID) func(*tls.Config) {
		return func(c *tls.Config) { c.CurvePreferences = ids }
	}
	askForCertificate := func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }
	withCertificate := func(i int) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = certs[i : i+1] }
	}
	const records = "handshake change_cipher_spec handshake application_data alert"
	tests := []struct {
		name           string
		client, server *tls.Config
		version, suite uint16
		group          uint16
		retry          bool
	}{
		{"tls10_rsa", client(suites(tls.TLS_RSA_WITH_AES_128_CBC_SHA)), server(tls.VersionTLS10, suites(tls.TLS_RSA_WITH_AES_128_CBC_SHA)), VersionTLS10, 0x002f, 0, false},
		{"tls10_ecdhe", client(), server(tls.VersionTLS10), VersionTLS10, 0xc009, 29, false},
		{"tls11_ecdhe", client(curves(tls.CurveP384)), server(tls.VersionTLS11), VersionTLS11, 0xc013, 24, false},
		{"tls12_gcm", client(curves(tls.CurveP256), suites(0xc02f)), server(tls.VersionTLS12), VersionTLS12, 0xc02f, 23, false},
		{"tls12_chacha", client(suites(0xcca9)), server(tls.VersionTLS12), VersionTLS12, 0xcca9, 29, false},
		{"tls12_client_certificate", client(withCertificate(1), suites(0xc02f)), server(tls.VersionTLS12, askForCertificate), VersionTLS12, 0xc02f, 29, false},
		{"tls13_mlkem", client(), server(tls.VersionTLS13), VersionTLS13, 0x1301, 0x11ec, false},
		{"tls13_x25519", client(curves(tls.X25519)), server(tls.VersionTLS13), VersionTLS13, 0x1301, 29, false},
		{"tls13_client_certificate", client(withCertificate(0)), server(tls.VersionTLS13, askForCertificate), VersionTLS13, 0x1301, 0x11ec, false},
		{"tls13_client_without_certificate", client(), server(tls.VersionTLS13, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }), VersionTLS13, 0x1301, 0x11ec, false},
		{"tls13_retry", client(curves(tls.X25519, tls.CurveP521)), server(tls.VersionTLS13, curves(tls.CurveP521)), VersionTLS13, 0x1301, 25, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flights, state := talk(tt.client, tt.server)
			if !state.HandshakeComplete {
				t.Fatal("no handshake")
			}
			c, s := checkSplits(t, flights)
			if c.Version != tt.version || c.ServerHello.CipherSuite != tt.suite || c.ServerGroup != tt.group || c.Retry != tt.retry {
				t.Errorf("got version %#04x suite %#04x group %d retry %v", c.Version, c.ServerHello.CipherSuite, c.ServerGroup, c.Retry)
			}
			if c.ServerGroup != uint16(state.CurveID) || c.Retry != state.HelloRetryRequest || c.Retry && c.RetryGroup != uint16(state.CurveID) {
				t.Errorf("crypto/tls has group %d, retry %v", state.CurveID, state.HelloRetryRequest)
			}
			if c.Renegotiates() || c.Heartbeats != (Heartbeats{}) || c.ClientHello.Resumes() != 0 {
				t.Errorf("got renegotiations %d, %+v, resumes %v", c.Renegotiations, c.Heartbeats, c.ClientHello.Resumes())
			}
			if !c.HandshakeDone || !c.GroupSettled || c.Phase != PhaseApplicationData || !c.Fault.OK() || c.Protocol != ProtocolTLS {
				t.Errorf("got done %v settled %v %v %v %v", c.HandshakeDone, c.GroupSettled, c.Phase, c.Fault, c.Protocol)
			}
			if got := string(c.ClientHello.ServerName); got != "a.example" {
				t.Errorf("got name %q", got)
			}
			if tt.version < VersionTLS13 && string(c.ServerHello.ALPN) != state.NegotiatedProtocol {
				t.Errorf("got ALPN %q, want %q", c.ServerHello.ALPN, state.NegotiatedProtocol)
			}
			for _, from := range []Side{Client, Server} {
				if got := contents(s, from); got != records {
					t.Errorf("%v: got %s\nwant %s\n%s", from, got, records, strings.Join(s.Events, "\n"))
				}
			}
		})
	}
}

// Resumption is visible in both worlds, by other means.
func TestResumption(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		certs := certificates()
		server := &tls.Config{Certificates: certs[:], MaxVersion: version}
		client := &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		talk(client, server)
		flights, state := talk(client, server)
		if !state.DidResume {
			t.Fatalf("%#04x: not resumed", version)
		}
		c, _ := checkSplits(t, flights)
		switch version {
		case tls.VersionTLS12:
			echoed := len(c.ClientHello.SessionID) > 0 && string(c.ClientHello.SessionID) == string(c.ServerHello.SessionID)
			if !c.ClientHello.HasSessionTicket || c.ClientHello.SessionTicketLength == 0 || !echoed || c.ServerGroup != 0 {
				t.Errorf("TLS 1.2: ticket of %d bytes, echoed %v, group %d", c.ClientHello.SessionTicketLength, echoed, c.ServerGroup)
			}
		case tls.VersionTLS13:
			if !c.ClientHello.PSK || !c.ServerHello.PSK || c.ClientHello.EarlyData {
				t.Errorf("TLS 1.3: psk offered %v, selected %v", c.ClientHello.PSK, c.ServerHello.PSK)
			}
		}
		if !c.HandshakeDone || !c.GroupSettled {
			t.Errorf("%#04x: done %v, settled %v", version, c.HandshakeDone, c.GroupSettled)
		}
	}
}

// Handshakes that fail say why where that can be seen.
func TestFailedHandshake(t *testing.T) {
	certs := certificates()
	name := func(c *tls.Config) *tls.Config { c.ServerName = "a.example"; return c }
	tests := []struct {
		name           string
		client, server *tls.Config
		want           AlertMessage
		from           Side
	}{
		{"no_common_version", name(&tls.Config{MaxVersion: tls.VersionTLS12}), &tls.Config{MinVersion: tls.VersionTLS13, Certificates: certs[:]},
			AlertMessage{Level: AlertLevelFatal, Description: 70}, Server},
		{"no_common_suite", name(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{0xc02b}}), &tls.Config{Certificates: certs[1:]},
			AlertMessage{Level: AlertLevelFatal, Description: 40}, Server},
		{"unknown_authority_tls12", name(&tls.Config{MaxVersion: tls.VersionTLS12}), &tls.Config{Certificates: certs[:]},
			AlertMessage{Level: AlertLevelFatal, Description: 42}, Client},
		{"unknown_authority_tls13", name(&tls.Config{}), &tls.Config{Certificates: certs[:]},
			AlertMessage{Encrypted: true, Inferred: true}, Client},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flights, _ := talk(tt.client, tt.server)
			c, s := checkSplits(t, flights)
			if !cmp.Equal(c.LastAlert, tt.want) || c.HandshakeDone || c.Phase >= PhaseHandshakeDone || !c.Fault.OK() {
				t.Errorf("got %+v, done %v, %v, %v, want %+v", c.LastAlert, c.HandshakeDone, c.Phase, c.Fault, tt.want)
			}
			if !slices.ContainsFunc(s.Events, func(e string) bool { return strings.HasPrefix(e, tt.from.String()+" alert") }) {
				t.Errorf("no alert from the %v in %q", tt.from, s.Events)
			}
		})
	}
}
