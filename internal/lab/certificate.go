package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// identity is the lab's certificate authority and what it issued to the server.
type identity struct {
	authority  *x509.Certificate
	rsa, ecdsa tls.Certificate
}

// names the server's certificates are for.
func names() []string {
	return []string{"server.lab.example", "*.lab.example", "lab.example", "localhost"}
}

func newIdentity() (*identity, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, wrap("make a key", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "tlsgate lab CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, caKey.Public(), caKey)
	if err != nil {
		return nil, wrap("make a certificate authority", err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, wrap("make a certificate authority", err)
	}
	id := &identity{authority: ca}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, wrap("make a key", err)
	}
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, wrap("make a key", err)
	}
	if id.rsa, err = id.issue(2, rsaKey, caKey); err != nil {
		return nil, err
	}
	id.ecdsa, err = id.issue(3, ecdsaKey, caKey)
	return id, err
}

func (id *identity) issue(serial int64, key, caKey crypto.Signer) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: names()[0]},
		NotBefore:    id.authority.NotBefore,
		NotAfter:     id.authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     names(),
		IPAddresses:  []net.IP{net.ParseIP("198.18.2.2"), net.ParseIP("2001:db8:2::2")},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, id.authority, key.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, wrap("issue a certificate", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Roots returns the lab's certificate authority, for clients in Go.
func (l *Lab) Roots() (*x509.CertPool, error) {
	id, err := l.identity()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(id.authority)
	return pool, nil
}

// Certificate returns the certificate of the lab's server for a key of KeyRSA or
// KeyECDSA, with its private key. It names server.lab.example, *.lab.example,
// lab.example, localhost, and the server's addresses.
func (l *Lab) Certificate(key Key) (tls.Certificate, error) {
	id, err := l.identity()
	switch {
	case err != nil:
		return tls.Certificate{}, err
	case key == KeyECDSA:
		return id.ecdsa, nil
	}
	return id.rsa, nil
}

// WritePEM writes ca.pem, rsa.pem, rsa.key, ecdsa.pem and ecdsa.key into dir, for
// programs such as openssl s_client -CAfile and openssl s_server.
func (l *Lab) WritePEM(dir string) error {
	id, err := l.identity()
	if err != nil {
		return err
	}
	files := map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: id.authority.Raw}}
	for name, c := range map[string]tls.Certificate{"rsa": id.rsa, "ecdsa": id.ecdsa} {
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			return wrap("write "+name+".key", err)
		}
		files[name+".pem"] = &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}
		files[name+".key"] = &pem.Block{Type: "PRIVATE KEY", Bytes: key}
	}
	for name, block := range files {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return wrap("write "+name, err)
		}
	}
	return nil
}
