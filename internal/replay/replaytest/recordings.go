package replaytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"sync"
	"time"
)

// turn is what one side writes before the other answers; dir 0 is the client.
type turn struct {
	dir   int
	bytes []byte
}

// Name is the server's, in every hello.
const Name = "server.replay.example"

// recordings are handshakes of several kinds, made once.
var recordings = sync.OnceValue(func() [][]turn {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	server := func(key any) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{certificate(key)}, NextProtos: []string{"h2", "http/1.1"}}
	}
	client := func(version uint16) *tls.Config {
		return &tls.Config{
			ServerName: Name, InsecureSkipVerify: true, MaxVersion: version, NextProtos: []string{"h2", "http/1.1"},
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
	}
	var all [][]turn
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, key := range []any{rsaKey, ecdsaKey} {
			c, s := client(version), server(key)
			all = append(all, handshake(c, s), handshake(c, s)) // the second is resumed
		}
	}
	return all
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func certificate(key any) tls.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: Name}, DNSNames: []string{Name},
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Now().Add(24 * time.Hour),
	}
	var public any
	switch k := key.(type) {
	case *rsa.PrivateKey:
		public = &k.PublicKey
	case *ecdsa.PrivateKey:
		public = &k.PublicKey
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, public, key)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tap writes down what one end writes.
type tap struct {
	net.Conn
	dir int
	mu  *sync.Mutex
	log *[]turn
}

func (c tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	if n := len(*c.log); n > 0 && (*c.log)[n-1].dir == c.dir {
		(*c.log)[n-1].bytes = append((*c.log)[n-1].bytes, b...)
	} else {
		*c.log = append(*c.log, turn{c.dir, append([]byte(nil), b...)})
	}
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// handshake records one, and a byte from the server behind it, with which a
// client has read its session ticket.
func handshake(client, server *tls.Config) []turn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer l.Close()
	var log []turn
	var mu sync.Mutex
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err == nil {
			conn := tls.Server(tap{raw, 1, &mu, &log}, server)
			if _, err = conn.Write([]byte{1}); err == nil {
				_, err = io.ReadAll(conn)
			}
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	must(err)
	conn := tls.Client(tap{raw, 0, &mu, &log}, client)
	_, err = io.ReadFull(conn, make([]byte, 1))
	must(err)
	mu.Lock()
	recorded := log
	mu.Unlock()
	raw.Close()
	<-done
	return recorded
}
