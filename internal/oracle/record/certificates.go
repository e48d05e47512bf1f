package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// prepare makes keys, certificates and configurations. It is openssl that makes
// them, for not all are such as crypto/x509 would.
func (s *stage) prepare(ctx context.Context) error {
	for name, text := range files {
		text = strings.ReplaceAll(text, "DIR", s.dir)
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // for a proxy that drops root
		return err
	}
	for line := range strings.Lines(making) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		cmd := exec.CommandContext(ctx, "bash", "-c", line)
		cmd.Dir = s.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	return s.expired()
}

// expired makes a certificate of the past, which openssl needs a CA's files for.
func (s *stage) expired() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(0x0a0b), Subject: pkix.Name{CommonName: "expired.lab.example"},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames: []string{"expired.lab.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, b := range map[string]*pem.Block{
		"expired.pem": {Type: "CERTIFICATE", Bytes: der}, "expired.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// files are the programs' configurations.
var files = map[string]string{
	"ext.cnf": `
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = keyCertSign,cRLSign
[server]
basicConstraints = CA:FALSE
keyUsage = digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = DNS:server.lab.example
[wildcard]
subjectAltName = DNS:*.lab.example,DNS:lab.example,DNS:xn--bcher-kva.example
[addresses]
subjectAltName = IP:198.18.2.2,IP:2001:db8:2::2,DNS:server.lab.example,email:root@lab.example,URI:https://lab.example/
[many]
subjectAltName = @names
[client]
extendedKeyUsage = clientAuth
subjectAltName = email:alice@lab.example
[names]
` + manyNames(),
	"nginx.conf": `
daemon off; master_process off; pid DIR/nginx.pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path DIR/n1; proxy_temp_path DIR/n2; fastcgi_temp_path DIR/n3; uwsgi_temp_path DIR/n4; scgi_temp_path DIR/n5;
  server {
    listen 4433 ssl http2; listen [::]:4433 ssl http2;
    ssl_certificate DIR/chain.pem; ssl_certificate_key DIR/rsa.key;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on; ssl_session_cache shared:x:1m;
    location / { return 200 "hello\n"; }
  }
}
`,
	"nginx-proxy.conf": `
daemon off; master_process off; pid DIR/nginx.pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path DIR/n1; proxy_temp_path DIR/n2; fastcgi_temp_path DIR/n3; uwsgi_temp_path DIR/n4; scgi_temp_path DIR/n5;
  server {
    listen 4433 ssl proxy_protocol;
    ssl_certificate DIR/rsa.pem; ssl_certificate_key DIR/rsa.key;
    location / { return 200 "hello $proxy_protocol_addr\n"; }
  }
}
`,
	"haproxy.cfg": `
global
  maxconn 100
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend f
  bind :4433 ssl crt DIR/rsa.both alpn h2,http/1.1
  http-request return status 200 content-type text/plain string hello
`,
	"haproxy-plain.cfg": `
global
  maxconn 100
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend f
  bind :4433
  http-request return status 200 content-type text/plain string hello
`,
	"haproxy-accept.cfg": `
global
  maxconn 100
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend f
  bind :4433 accept-proxy ssl crt DIR/rsa.both
  http-request return status 200 content-type text/plain string hello
`,
	"haproxy-send1.cfg": sendProxy("send-proxy"),
	"haproxy-send2.cfg": sendProxy("send-proxy-v2 send-proxy-v2-ssl"),
	"squid.conf": `
http_port 3128
http_access allow all
cache deny all
access_log none
cache_log DIR/squid/cache.log
pid_filename none
coredump_dir DIR/squid
visible_hostname proxy.lab.example
shutdown_lifetime 0 seconds
pinger_enable off
`,
	"early":   "GET / HTTP/1.0\r\n\r\n",
	"psk.txt": "alice:000102030405060708090a0b0c0d0e0f\n",
}

func sendProxy(option string) string {
	return `
global
  maxconn 100
defaults
  mode tcp
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:4434
  default_backend b
backend b
  server s 198.18.2.2:4433 ` + option + `
`
}

func manyNames() string {
	var b strings.Builder
	for i := range 120 {
		fmt.Fprintf(&b, "DNS.%d = host-%03d.of-many.lab.example\n", i+1, i+1)
	}
	return b.String()
}

// making is run line by line. What the certificates of one name mean is in
// the scenarios.
const making = `
mkdir squid && chmod 777 squid
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/C=IN/O=Lab/CN=Lab CA" -keyout ca.key -out ca.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/C=DE/ST=Berlin/L=Berlin/O=Another Lab/OU=Trust/CN=Another CA" -keyout ca2.key -out ca2.pem
cat ca.pem ca2.pem > cas.pem
issue() { openssl req -new -newkey $2 -nodes -subj "$3" -utf8 -keyout $1.key -out $1.csr && openssl x509 -req -in $1.csr -CA ${5:-ca}.pem -CAkey ${5:-ca}.key -days 365 -extfile ext.cnf -extensions $4 -out $1.pem ${6:-}; }; declare -f issue > issue.sh
. ./issue.sh; issue rsa rsa:2048 "/CN=server.lab.example" server
. ./issue.sh; issue ec "ec -pkeyopt ec_paramgen_curve:P-256" "/CN=server.lab.example" server
. ./issue.sh; issue ec384 "ec -pkeyopt ec_paramgen_curve:P-384" "/CN=server.lab.example" server
. ./issue.sh; issue ed25519 ed25519 "/CN=server.lab.example" server
. ./issue.sh; issue ed448 ed448 "/CN=server.lab.example" server
. ./issue.sh; issue rsa1024 rsa:1024 "/CN=old.lab.example" server
. ./issue.sh; issue pss "rsa-pss -pkeyopt rsa_keygen_bits:2048" "/CN=server.lab.example" server
. ./issue.sh; issue wildcard rsa:2048 "/CN=*.lab.example" wildcard
. ./issue.sh; issue addresses "ec -pkeyopt ec_paramgen_curve:P-256" "/O=Lab/CN=198.18.2.2" addresses
. ./issue.sh; issue many "ec -pkeyopt ec_paramgen_curve:P-256" "/CN=host-001.of-many.lab.example" many
. ./issue.sh; issue utf8 "ec -pkeyopt ec_paramgen_curve:P-256" "/C=IN/O=प्रयोगशाला, \"Lab\" \+ Söhne/OU=a=b/CN=server.lab.example/emailAddress=root@lab.example" server
. ./issue.sh; issue client "ec -pkeyopt ec_paramgen_curve:P-256" "/O=Lab/CN=Alice" client
. ./issue.sh; issue negative "ec -pkeyopt ec_paramgen_curve:P-256" "/CN=negative.lab.example" server ca "-set_serial -5"
. ./issue.sh; issue sub1 rsa:2048 "/O=Lab/CN=Intermediate 1" ca
. ./issue.sh; issue sub2 rsa:2048 "/O=Lab/CN=Intermediate 2" ca sub1
. ./issue.sh; issue sub3 "ec -pkeyopt ec_paramgen_curve:P-384" "/O=Lab/CN=Intermediate 3" ca sub2
. ./issue.sh; issue sub4 rsa:4096 "/O=Lab/CN=Intermediate 4" ca sub3
. ./issue.sh; issue leaf rsa:2048 "/CN=deep.lab.example" server sub4
cat sub4.pem sub3.pem sub2.pem sub1.pem ca.pem > deep.pem
cat rsa.pem ca.pem > chain.pem
openssl pkey -in ec.key -pubout -out ec.pub
touch srp.txt srp.txt.attr && openssl srp -srpvfile srp.txt -add -passout pass:secret -gn 2048 alice
cat rsa.pem rsa.key > rsa.both
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=self.lab.example" -addext "subjectAltName=DNS:self.lab.example" -keyout self.key -out self.pem
openssl dsaparam -genkey -out dsa.key 2048
openssl req -new -key dsa.key -subj "/CN=dsa.lab.example" -out dsa.csr && openssl x509 -req -in dsa.csr -CA ca.pem -CAkey ca.key -days 365 -out dsa.pem
openssl dhparam -out dh1024.pem 1024
openssl genpkey -genparam -algorithm DH -pkeyopt group:modp_2048 -out dh2048.pem
openssl genpkey -genparam -algorithm DH -pkeyopt group:modp_3072 -out dh3072.pem
openssl genpkey -genparam -algorithm DH -pkeyopt group:modp_4096 -out dh4096.pem
printf 'V\t300101000000Z\t\t%s\tunknown\t/CN=server.lab.example\n' $(openssl x509 -in rsa.pem -noout -serial | cut -d= -f2) > ocsp.txt && openssl ocsp -issuer ca.pem -cert rsa.pem -reqout ocsp.req -no_nonce && openssl ocsp -index ocsp.txt -rsigner ca.pem -rkey ca.key -CA ca.pem -reqin ocsp.req -respout ocsp.der -ndays 7 -rmd sha256
mkdir nss && certutil -N -d sql:nss --empty-password && openssl pkcs12 -export -in rsa.pem -inkey rsa.key -certfile ca.pem -name server -passout pass: -out rsa.p12 && pk12util -i rsa.p12 -d sql:nss -W "" -K ""
`
