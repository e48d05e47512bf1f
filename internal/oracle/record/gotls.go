package main

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"golang.org/x/crypto/cryptobyte"
)

// outerName is what a client with Encrypted Client Hello says in clear.
const outerName = "public.lab.example"

func (s *stage) goServer(c net.Conn, keys []tls.EncryptedClientHelloKey) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "ec.pem"), filepath.Join(s.dir, "ec.key"))
	if err != nil {
		return
	}
	conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, EncryptedClientHelloKeys: keys})
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil {
		io.WriteString(conn, line)
	}
}

func serveGo(s *stage, c net.Conn) { s.goServer(c, nil) }

func serveECH(s *stage, c net.Conn) {
	config, private := s.ech()
	s.goServer(c, []tls.EncryptedClientHelloKey{{Config: config, PrivateKey: private}})
}

func goClient(ctx context.Context, s *stage) error {
	return s.goVisit(ctx, &tls.Config{})
}

func goECH(ctx context.Context, s *stage) error {
	config, _ := s.ech()
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(config) })
	list, err := b.Bytes()
	if err != nil {
		return err
	}
	err = s.goVisit(ctx, &tls.Config{MinVersion: tls.VersionTLS13, EncryptedClientHelloConfigList: list})
	var rejected *tls.ECHRejectionError
	if errors.As(err, &rejected) {
		return nil
	}
	return err
}

func (s *stage) goVisit(ctx context.Context, config *tls.Config) error {
	c, err := s.lab.Client.DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", s.lab.Server.IPv4, port))
	if err != nil {
		return err
	}
	defer c.Close()
	config.InsecureSkipVerify = true
	config.ServerName = "server.lab.example"
	// A rejected ECH has the outer name verified, whatever else is said.
	config.EncryptedClientHelloRejectionVerify = func(tls.ConnectionState) error { return nil }
	conn := tls.Client(c, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	fmt.Fprintln(conn, "hello")
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		return err
	}
	return conn.Close()
}

// ech returns the lab's ECHConfig (RFC 9849, Section 4) and its private key.
func (s *stage) ech() (config, private []byte) {
	s.echOnce.Do(func() {
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		var b cryptobyte.Builder
		b.AddUint16(0xfe0d)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint8(77)      // config id
			b.AddUint16(0x0020) // DHKEM(X25519, HKDF-SHA256)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint16(1) // HKDF-SHA256
				b.AddUint16(1) // AES-128-GCM
			})
			b.AddUint8(32) // maximum name length
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(outerName)) })
			b.AddUint16(0) // no extensions
		})
		s.echConfig, s.echKey = b.BytesOrPanic(), key.Bytes()
	})
	return s.echConfig, s.echKey
}
