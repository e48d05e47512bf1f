package tlswire

import (
	"bytes"
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read collects the bodies of messages of one type, copied.
func read(c *Conn, flights []flight, next cut, want HandshakeType) (from []Side, bodies [][]byte) {
	for _, f := range flights {
		for b := f.data; len(b) > 0; {
			piece := bytes.Clone(b[:max(1, min(len(b), next(len(b))))])
			b = b[len(piece):]
			for len(piece) > 0 {
				n, _, st := c.Consume(f.from, piece)
				if st == Message && c.LastMessage.Type == want {
					from, bodies = append(from, f.from), append(bodies, bytes.Clone(c.Message()))
				}
				clear(piece[:n]) // nothing of it may be needed later
				piece = piece[n:]
			}
		}
	}
	return from, bodies
}

// collect is the certificates of a list.
func collect(body []byte) (all [][]byte) {
	for der := range CertificateList(body).All() {
		all = append(all, bytes.Clone(der))
	}
	return all
}

// The certificates of both sides, as crypto/tls sent them, however cut.
func TestCertificates(t *testing.T) {
	certs := certificates()
	long := certs
	for range 40 { // over several records
		long[1].Certificate = append(slices.Clip(long[1].Certificate), certs[1].Certificate[0])
	}
	tests := []struct {
		name           string
		server, client *tls.Config
		chains         [2][][]byte
	}{
		{"server", &tls.Config{Certificates: certs[1:]}, &tls.Config{}, [2][][]byte{Server: certs[1].Certificate}},
		{"long", &tls.Config{Certificates: long[1:]}, &tls.Config{}, [2][][]byte{Server: long[1].Certificate}},
		{"both", &tls.Config{Certificates: certs[:1], ClientAuth: tls.RequireAnyClientCert}, &tls.Config{Certificates: certs[1:]},
			[2][][]byte{certs[1].Certificate, certs[0].Certificate}},
		{"empty_of_the_client", &tls.Config{Certificates: certs[:1], ClientAuth: tls.RequestClientCert}, &tls.Config{}, [2][][]byte{Server: certs[0].Certificate}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.server.MaxVersion = tls.VersionTLS12
			tt.client.InsecureSkipVerify = true
			flights, state := talk(tt.client, tt.server)
			if !state.HandshakeComplete {
				t.Fatal("no handshake")
			}
			if tt.name != "long" { // in records of one byte it is too long
				checkSplits(t, flights)
			}
			for i, next := range []cut{whole, oneByte, func(int) int { return 700 }} {
				for j, f := range [][]flight{flights, refragment(flights, 1000)} {
					c := Conn{Buffers: new(Buffers)}
					var chains [2][][]byte
					from, bodies := read(&c, f, next, TypeCertificate)
					for k, body := range bodies {
						if CertificateList(body).Broken() {
							t.Errorf("a broken list: %x", body)
						}
						chains[from[k]] = collect(body)
					}
					if diff := cmp.Diff(tt.chains, chains); diff != "" {
						t.Errorf("cut %d, records %d (-sent +read):\n%s", i, j, diff)
					}
					if asked := tt.server.ClientAuth != tls.NoClientCert; len(bodies) != 1 && !asked || len(bodies) != 2 && asked || !c.HandshakeDone {
						t.Errorf("%d messages, %v", len(bodies), c.Fault)
					}
				}
			}
		})
	}
}

// The bytes of a certificate are read, and told with its last one.
func TestCertificateIsRead(t *testing.T) {
	body := certificateList([]byte("certificate"))
	b := records(VersionTLS12, message(TypeCertificate, body), 1000)
	var c Conn
	consume(&c, Client, hello)
	consume(&c, Server, hello12)
	for i := range b {
		n, opaque, st := c.Consume(Server, b[i:i+1])
		want := NeedMore
		switch i {
		case recordHeaderLen - 1:
			want = Record
		case len(b) - 1:
			want = Message
		}
		if n != 1 || opaque || st != want || (c.Message() != nil) != (i == len(b)-1) {
			t.Errorf("byte %d: %d, %v, %v, a body of %d", i, n, opaque, st, len(c.Message()))
		}
	}
	if !bytes.Equal(c.Message(), body) {
		t.Errorf("got %x, want %x", c.Message(), body)
	}
	c.Consume(Server, nil)
	if c.Message() != nil {
		t.Error("a view after the next Consume")
	}
}

// Handshakes with and without a Certificate that receivers take, or may judge for
// themselves.
func TestMessageOrder(t *testing.T) {
	server := func(messages ...[]byte) []flight {
		return []flight{{Client, hello}, {Server, cat(hello12, records(VersionTLS12, cat(messages...), 1000))}}
	}
	tests := []struct {
		name    string
		flights []flight
	}{
		{"server_hello", []flight{{Client, hello}, {Server, hello12}}},
		{"tls13", []flight{{Client, hello}, {Server, hello13}}},
		{"retry", []flight{{Client, hello}, {Server, records(VersionTLS12, retryRequest(0x1301), 1000)}}},
		{"certificate", server(message(TypeCertificate, certificateList([]byte{1})))},
		{"empty_list", server(message(TypeCertificate, certificateList()))},
		{"broken_list", server(message(TypeCertificate, []byte{9}))},
		{"no_body", server(message(TypeCertificate, nil))},
		{"anonymous", server(message(TypeServerKeyExchange, []byte{0}))},
		{"psk", server(message(TypeServerHelloDone, nil))},
		{"resumed", []flight{{Client, hello}, {Server, cat(hello12, spec)}}},
		{"resumed_with_ticket", server(message(TypeNewSessionTicket, make([]byte, 6)))},
		{"supplemental_data_comes_before", server(message(23, make([]byte, 6)))},
		{"hello_request", server(message(TypeHelloRequest, nil))},
		{"what_the_client_says", []flight{{Client, hello}, {Server, hello12}, {Client, cat(records(VersionTLS12, cat(
			message(TypeCertificate, certificateList()), message(TypeClientKeyExchange, nil)), 1000), spec)}}},
	}
	for _, tt := range tests {
		c, _ := checkSplits(t, tt.flights)
		if !c.Fault.OK() {
			t.Errorf("%s: %v", tt.name, c.Fault)
		}
	}
}

func TestCertificateList(t *testing.T) {
	a, b := []byte("aaa"), []byte("b")
	good := certificateList(a, b)
	tests := []struct {
		name   string
		list   []byte
		want   [][]byte
		broken bool
	}{
		{"two", good, [][]byte{a, b}, false},
		{"empty", certificateList(), nil, false},
		{"empty_certificate", certificateList(a, nil), [][]byte{a, {}}, true},
		{"nothing", nil, nil, true},
		{"length_cut", good[:2], nil, true},
		{"list_cut", good[:len(good)-1], [][]byte{a}, true},
		{"bytes_after_the_list", append(bytes.Clone(good), 0), [][]byte{a, b}, true},
		{"certificate_longer_than_the_list", []byte{0, 0, 4, 0, 0, 2, 1}, nil, true},
		{"certificate_without_its_bytes", []byte{0, 0, 3, 0, 0, 2}, nil, true},
		{"length_of_a_certificate_cut", []byte{0, 0, 2, 0, 0}, nil, true},
		{"length_of_16_megabytes", []byte{255, 255, 255, 0, 0, 1, 'b'}, [][]byte{b}, true},
	}
	for _, tt := range tests {
		got := collect(tt.list)
		if !slices.EqualFunc(got, tt.want, bytes.Equal) || CertificateList(tt.list).Broken() != tt.broken {
			t.Errorf("%s: got %q, broken %v", tt.name, got, CertificateList(tt.list).Broken())
		}
		for range CertificateList(tt.list).All() {
			break
		}
	}
}

// What certificates are is negotiated: RFC 7250, RFC 6091.
func TestCertificateType(t *testing.T) {
	const x509, pgp, raw = CertificateX509, CertificateOpenPGP, CertificateRawPublicKey
	tests := []struct {
		name           string
		exts           []ext
		client, server CertificateType
	}{
		{"none", nil, x509, x509},
		{"server", []ext{{extensionServerCertificateType, []byte{2}}}, x509, raw},
		{"client", []ext{{extensionClientCertificateType, []byte{2}}}, raw, x509},
		{"both", []ext{{extensionALPN, []byte("\x00\x03\x02h2")}, {extensionServerCertificateType, []byte{0}}, {extensionClientCertificateType, []byte{2}}}, raw, x509},
		{"openpgp", []ext{{extensionCertType, []byte{1}}}, pgp, pgp},
		{"a_list_as_clients_send_it", []ext{{extensionServerCertificateType, []byte{1, 2}}}, x509, x509},
		{"empty", []ext{{extensionServerCertificateType, nil}}, x509, x509},
	}
	for _, tt := range tests {
		c, _ := checkSplits(t, []flight{{Client, hello}, {Server, records(VersionTLS12, serverHello(VersionTLS12, 0xc02f, tt.exts...), 1000)}})
		if c.CertificateType != [2]CertificateType{tt.client, tt.server} {
			t.Errorf("%s: got %v", tt.name, c.CertificateType)
		}
	}
	if got := CertificateList("\x00\x00\x04spki").RawPublicKey(); string(got) != "spki" {
		t.Errorf("got %q", got)
	}
}

func TestCertificateRequest(t *testing.T) {
	tests := []struct {
		name    string
		body    string
		version uint16
		want    CertificateRequest
		whole   bool
	}{
		{"tls12", "\x02\x01\x40\x00\x04\x04\x03\x08\x04\x00\x07\x00\x02ab\x00\x01c", VersionTLS12,
			CertificateRequest{[]byte{1, 64}, []uint16{0x0403, 0x0804}, 2}, true},
		{"tls10", "\x02\x01\x02\x00\x00", VersionTLS10, CertificateRequest{[]byte{1, 2}, nil, 0}, true},
		{"nothing", "", VersionTLS12, CertificateRequest{}, false},
		{"types_cut", "\x02\x01", VersionTLS12, CertificateRequest{}, false},
		{"odd_schemes", "\x00\x00\x03\x04\x03\x08\x00\x00", VersionTLS12, CertificateRequest{nil, []uint16{0x0403}, 0}, false},
		{"authority_cut", "\x00\x00\x00\x00\x05\x00\x01a\x00\x02", VersionTLS12, CertificateRequest{nil, nil, 1}, false},
		{"more_schemes_than_are_kept", "\x00\x02\x00" + strings.Repeat("\x04\x03", 256) + "\x00\x00", VersionTLS12,
			CertificateRequest{nil, slices.Repeat([]uint16{0x0403}, maxSchemes), 0}, true},
		{"bytes_after", "\x00\x00\x00\x00", VersionTLS11, CertificateRequest{}, false},
	}
	used := CertificateRequest{[]byte{9, 9, 9}, []uint16{9, 9, 9}, 9}
	for _, tt := range tests {
		whole := ParseCertificateRequest([]byte(tt.body), tt.version, &used)
		same := bytes.Equal(used.Types, tt.want.Types) && slices.Equal(used.SignatureAlgorithms, tt.want.SignatureAlgorithms) && used.Authorities == tt.want.Authorities
		if whole != tt.whole || !same {
			t.Errorf("%s: got %v, %+v", tt.name, whole, used)
		}
	}
}

// What crypto/tls and OpenSSL say besides.
func TestFlightOfServer(t *testing.T) {
	certs := certificates()
	certs[0].OCSPStaple = []byte("stapled")
	server := &tls.Config{Certificates: certs[:1], MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	client := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "a.example"}
	flights, state := talk(client, server)
	c, _ := checkSplits(t, flights)
	if !c.OCSPStapled || string(state.OCSPResponse) != "stapled" || c.SignatureScheme != 0x0403 || c.DHBits != 0 {
		t.Errorf("stapled %v, scheme %#04x, %d bits", c.OCSPStapled, c.SignatureScheme, c.DHBits)
	}
	_, bodies := read(new(Conn), flights, oneByte, TypeNewSessionTicket)
	if len(bodies) != 1 {
		t.Fatalf("%d tickets", len(bodies))
	}
	if ticket, ok := ParseSessionTicket(bodies[0]); !ok || len(ticket.Ticket) < 32 {
		t.Errorf("got %v, %+v", ok, ticket)
	}
	_, bodies = read(new(Conn), flights, oneByte, TypeCertificateRequest)
	var request CertificateRequest
	if len(bodies) != 1 || !ParseCertificateRequest(bodies[0], VersionTLS12, &request) || !slices.Contains(request.SignatureAlgorithms, 0x0804) {
		t.Errorf("got %+v of %x", request, bodies)
	}

	c, _ = checkSplits(t, readFlights(t, "tls12_dhe"))
	if c.DHBits < 1024 || c.SignatureScheme == 0 || c.ServerGroup != 0 {
		t.Errorf("got %d bits, scheme %#04x, group %d", c.DHBits, c.SignatureScheme, c.ServerGroup)
	}
	c, _ = checkSplits(t, readFlights(t, "tls12_ecdhe_psk"))
	if c.SignatureScheme != 0 || c.DHBits != 0 {
		t.Errorf("PSK: scheme %#04x, %d bits", c.SignatureScheme, c.DHBits)
	}
}

func TestSessionTicket(t *testing.T) {
	for _, tt := range []struct {
		body     string
		lifetime uint32
		ticket   string
		ok       bool
	}{
		{"\x00\x00\x1c\x20\x00\x03abc", 7200, "abc", true},
		{"\x00\x00\x00\x00\x00\x00", 0, "", true},
		{"\x00\x00\x00\x00\x00\x04abc", 0, "", false},
		{"\x00\x00\x00\x00\x00\x00x", 0, "", false},
		{"", 0, "", false},
	} {
		got, ok := ParseSessionTicket([]byte(tt.body))
		if ok != tt.ok || ok && (got.Lifetime != tt.lifetime || string(got.Ticket) != tt.ticket) {
			t.Errorf("%q: got %v, %+v", tt.body, ok, got)
		}
	}
}

// What follows a ServerKeyExchange's length is the sender's, and for us to read
// without harm.
func FuzzMessages(f *testing.F) {
	f.Add(certificateList([]byte("a"), []byte("bc")), uint16(0xc02f))
	f.Add([]byte("\x02\x01\x40\x00\x04\x04\x03\x08\x04\x00\x07\x00\x02ab\x00\x01c"), uint16(0xcc14))
	f.Add([]byte("\x00\x00\x1c\x20\x00\x03abc"), uint16(0x0034))
	f.Add([]byte("\x00\x03\x00\x01\x02\x00\x01\x02\x00\x01\x05\x08\x04\x00\x01x"), uint16(0x009e))
	f.Fuzz(func(t *testing.T, body []byte, suite uint16) {
		n := 0
		for der := range CertificateList(body).All() {
			n += 3 + len(der)
		}
		if broken := CertificateList(body).Broken(); n > len(body) || !broken && n != len(body)-3 {
			t.Fatalf("%d of %d bytes, broken %v", n, len(body), broken)
		}
		var r CertificateRequest
		for _, version := range []uint16{VersionTLS10, VersionTLS12} {
			ParseCertificateRequest(body, version, &r)
			c := Conn{Version: version}
			c.ServerHello.CipherSuite = suite
			c.keyExchange(body)
			if int(c.DHBits) > 8*len(body) || c.DHBits != 0 && c.ServerGroup != 0 {
				t.Fatalf("%d bits, group %d", c.DHBits, c.ServerGroup)
			}
		}
		ParseSessionTicket(body)
	})
}
