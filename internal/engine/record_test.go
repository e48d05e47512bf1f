package engine

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules/via"
)

// turn is what one side writes before the other answers.
type turn struct {
	dir   conntrack.Direction
	bytes []byte
}

// identity is a certificate for the tests.
func identity(key crypto.Signer) tls.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"api.bank.example"},
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var (
	rsaIdentity = sync.OnceValue(func() tls.Certificate {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return identity(key)
	})
	ecdsaIdentity = sync.OnceValue(func() tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return identity(key)
	})
)

// tap writes down what passes a net.Pipe, which does not wait for its reader.
type tap struct {
	net.Conn
	dir conntrack.Direction
	mu  *sync.Mutex
	log *[]turn
	out chan []byte
}

func newTap(c net.Conn, dir conntrack.Direction, mu *sync.Mutex, log *[]turn) *tap {
	p := &tap{c, dir, mu, log, make(chan []byte, 64)}
	go func() {
		for b := range p.out {
			c.Write(b)
		}
		c.Close()
	}()
	return p
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b = append([]byte(nil), b...)
	if n := len(*c.log); n > 0 && (*c.log)[n-1].dir == c.dir {
		(*c.log)[n-1].bytes = append((*c.log)[n-1].bytes, b...)
	} else {
		*c.log = append(*c.log, turn{c.dir, b})
	}
	c.out <- bytes.Clone(b)
	return len(b), nil
}

func (c *tap) Close() error {
	close(c.out)
	return nil
}

const request, response = "GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"

// recordTLS records a whole connection: handshake, a request, an answer, and
// the end. The answer is one record of application data from each side.
func recordTLS(t testing.TB, client, server *tls.Config) []turn {
	t.Helper()
	a, b := net.Pipe()
	var log []turn
	var mu sync.Mutex
	cc := tls.Client(newTap(a, original, &mu, &log), client)
	sc := tls.Server(newTap(b, reply, &mu, &log), server)
	failed := make(chan error, 1)
	go func() {
		buf := make([]byte, 256)
		_, err := io.ReadFull(sc, buf[:len(request)])
		if err == nil {
			_, err = sc.Write([]byte(response))
		}
		if err == nil {
			sc.Read(buf) // the client's close_notify
		}
		sc.NetConn().Close()
		failed <- err
	}()
	buf := make([]byte, 256)
	_, err := cc.Write([]byte(request))
	if err == nil {
		_, err = io.ReadFull(cc, buf[:len(response)])
	}
	cc.Close()
	if serr := <-failed; err != nil || serr != nil {
		t.Fatalf("recording: client %v, server %v", err, serr)
	}
	return log
}

// configs are the two sides' settings for versions and suites.
func configs(cert tls.Certificate, version uint16, suites ...uint16) (client, server *tls.Config) {
	client = &tls.Config{InsecureSkipVerify: true, ServerName: "api.bank.example", MinVersion: version, MaxVersion: version, CipherSuites: suites}
	server = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version, CipherSuites: suites}
	return client, server
}

// recordings are conversations by name, made once.
var recordings = struct {
	sync.Mutex
	made map[string][]turn
}{made: map[string][]turn{}}

var kinds = []string{"tls10", "tls11", "tls12 ecdhe", "tls12 rsa", "tls12 ecdsa", "tls12 resumed", "tls12 client cert",
	"tls13", "tls13 ecdsa", "tls13 retry", "tls13 post-quantum", "tls13 resumed", "tls13 client cert"}

func recording(t testing.TB, kind string) []turn {
	t.Helper()
	recordings.Lock()
	defer recordings.Unlock()
	if r, ok := recordings.made[kind]; ok {
		return r
	}
	const ecdheRSA = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	var client, server *tls.Config
	before := 0
	switch kind {
	case "tls10":
		client, server = configs(rsaIdentity(), tls.VersionTLS10, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA)
	case "tls11":
		client, server = configs(rsaIdentity(), tls.VersionTLS11, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA)
	case "tls12 ecdhe":
		client, server = configs(rsaIdentity(), tls.VersionTLS12, ecdheRSA)
	case "tls12 rsa":
		client, server = configs(rsaIdentity(), tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_CBC_SHA)
		client.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, ecdheRSA}
	case "tls12 ecdsa":
		client, server = configs(ecdsaIdentity(), tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
	case "tls12 resumed":
		client, server = configs(rsaIdentity(), tls.VersionTLS12, ecdheRSA)
		before = 1
	case "tls12 client cert":
		client, server = configs(rsaIdentity(), tls.VersionTLS12, ecdheRSA)
		client.Certificates, server.ClientAuth = server.Certificates, tls.RequireAnyClientCert
	case "tls13":
		client, server = configs(rsaIdentity(), tls.VersionTLS13)
		client.CurvePreferences = []tls.CurveID{tls.X25519}
	case "tls13 ecdsa":
		client, server = configs(ecdsaIdentity(), tls.VersionTLS13)
		client.CurvePreferences = []tls.CurveID{tls.CurveP256}
	case "tls13 retry":
		client, server = configs(ecdsaIdentity(), tls.VersionTLS13)
		client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
		server.CurvePreferences = []tls.CurveID{tls.CurveP256}
	case "tls13 post-quantum":
		client, server = configs(rsaIdentity(), tls.VersionTLS13)
		client.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768, tls.X25519}
		client.NextProtos = []string{"h2", "http/1.1", "a-protocol-whose-name-makes-the-hello-longer-than-one-segment-may-be-in-the-end"}
	case "tls13 resumed":
		client, server = configs(rsaIdentity(), tls.VersionTLS13)
		before = 1
	case "tls13 client cert":
		client, server = configs(rsaIdentity(), tls.VersionTLS13)
		client.Certificates, server.ClientAuth = server.Certificates, tls.RequireAnyClientCert
	default:
		t.Fatalf("no recording %q", kind)
	}
	for {
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for range before {
			recordTLS(t, client, server)
		}
		r := recordTLS(t, client, server)
		if !new(via.Conn).Ahead(r[0].bytes, true) { // one hello of a hundred is: refused where it comes early
			recordings.made[kind] = r
			return r
		}
	}
}
