package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// honestServer is a program that serves TLS on a port for each policy: what is said
// to it, and what it is to answer.
type honestServer struct {
	name  string
	start func(t *testing.T, x *honestStage, ports []uint16)
	talk  func(x *honestStage, n, m int64) (say, hear string) // nil: honestPost
	// abrupt: now and then it hangs up without a close_notify, with nobody in between
	// too (haproxy 2.6, 4 of 240), and what its client says of that is no fault of ours.
	abrupt bool
}

// honestBackend is where nginx and haproxy find what they serve.
const honestBackend = "127.0.0.1:8080"

// honestPost is an HTTP request that brings n bytes and asks for m. The answer is
// that to one of HTTP/1.0, after which the server hangs up.
func honestPost(_ *honestStage, n, m int64) (say, hear string) {
	body := pattern(n)
	return fmt.Sprintf("POST /%d HTTP/1.0\r\nHost: server.lab.example\r\nContent-Length: %d\r\n\r\n%s", m, n, body), honestAnswer(body, m)
}

func honestAnswer(body string, m int64) string {
	return fmt.Sprintf("%x\n%s", sha256.Sum256([]byte(body)), pattern(m))
}

// serveHonest answers one request as honestPost has it. In the request's header:
//
//	Piece: N     the answer is written in pieces of N bytes, a record each
//	Until: end   the body ends where the client's half of the connection does
func serveHonest(c net.Conn) error {
	r := bufio.NewReader(c)
	q, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	var body io.Reader = q.Body
	if q.Header.Get("Until") == "end" {
		body = r
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, body); err != nil {
		return err
	}
	m, err := strconv.ParseInt(strings.TrimPrefix(q.URL.Path, "/"), 10, 64)
	if err != nil {
		return err
	}
	answer := fmt.Sprintf("%x\n%s", hash.Sum(nil), pattern(m))
	if _, err := fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", len(answer)); err != nil {
		return err
	}
	piece, _ := strconv.Atoi(q.Header.Get("Piece"))
	return honestWrite(c, answer, piece)
}

// honestWrite writes in pieces of a size, or at once.
func honestWrite(w io.Writer, s string, piece int) error {
	if piece == 0 {
		piece = len(s)
	}
	for len(s) > 0 {
		n := min(piece, len(s))
		if _, err := io.WriteString(w, s[:n]); err != nil {
			return err
		}
		s = s[n:]
	}
	return nil
}

// acceptHonest serves what a listener accepts, with TLS or without.
func acceptHonest(l net.Listener, config *tls.Config) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(visitTime))
			if config == nil {
				serveHonest(c)
				return
			}
			conn := tls.Server(c, config)
			if serveHonest(conn) == nil {
				conn.Close()
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c) // so that nothing unread makes it a reset
			}
		}()
	}
}

// goHonestServer is Go's crypto/tls with a configuration.
func goHonestServer(name string, config *tls.Config) honestServer {
	return honestServer{name: name, start: func(t *testing.T, x *honestStage, ports []uint16) {
		certificate, err := x.l.Certificate(lab.KeyRSA)
		if err != nil {
			t.Fatal(err)
		}
		config := config.Clone()
		config.Certificates, config.MinVersion = []tls.Certificate{certificate}, tls.VersionTLS10
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			config.CipherSuites = append(config.CipherSuites, s.ID)
		}
		config.SetSessionTicketKeys([][32]byte{{1}})
		for _, port := range ports {
			var l net.Listener
			err := x.l.Server.Run(func() (err error) {
				c := net.ListenConfig{Control: x.network.socket}
				c.SetMultipathTCP(true)
				l, err = c.Listen(t.Context(), "tcp", fmt.Sprintf(":%d", port))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go acceptHonest(l, config)
		}
	}}
}

// startHonest runs a program on a host until the test ends, and waits for its ports
// there.
func startHonest(t *testing.T, h *lab.Host, dir string, ports []uint16, name string, args ...string) {
	t.Helper()
	labtest.Program(t, name)
	cmd := h.Command(context.Background(), name, args...)
	cmd.Dir = dir
	file, err := os.CreateTemp(dir, name+"*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	stdin, err := cmd.StdinPipe() // some end with it
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		stdin.Close()
		cmd.Wait()
		if said, _ := os.ReadFile(file.Name()); t.Failed() && len(said) > 0 {
			t.Logf("%s: %s", name, clip(string(said)))
		}
	})
	for _, port := range ports {
		if !within(10*time.Second, func() bool { return honestListens(h, port) }) {
			said, _ := os.ReadFile(file.Name())
			t.Fatalf("%s does not listen on port %d: %s", name, port, said)
		}
	}
}

// honestListens looks for a listening socket: a connection on trial would be one
// more that some servers wait for.
func honestListens(h *lab.Host, port uint16) (found bool) {
	h.Run(func() error {
		for _, name := range []string{"tcp", "tcp6"} {
			b, _ := os.ReadFile("/proc/thread-self/net/" + name)
			for line := range strings.Lines(string(b)) {
				f := strings.Fields(line)
				found = found || len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port))
			}
		}
		return nil
	})
	return found
}

// file writes a file of the stage and returns its path.
func (x *honestStage) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(x.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const honestNginx = `daemon off; master_process off; pid DIR/NAME.pid; error_log stderr info;
events { worker_connections 512; }
http {
  access_log off; client_max_body_size 0; server_tokens off;
  client_body_temp_path DIR/NAME1; proxy_temp_path DIR/NAME2; fastcgi_temp_path DIR/NAME3; uwsgi_temp_path DIR/NAME4; scgi_temp_path DIR/NAME5;
  SERVERS
}
`

func (x *honestStage) startNginx(t *testing.T, h *lab.Host, name, servers string, ports []uint16) {
	t.Helper()
	text := strings.NewReplacer("DIR", x.dir, "NAME", name, "SERVERS", servers).Replace(honestNginx)
	startHonest(t, h, x.dir, ports, "nginx", "-e", "stderr", "-p", x.dir, "-c", x.file(t, name+".conf", text))
}

const honestHaproxy = `
defaults
  mode http
  timeout connect 15s
  timeout client 15s
  timeout server 15s
`

func (x *honestStage) startHaproxy(t *testing.T, h *lab.Host, name, proxies string, ports []uint16) {
	t.Helper()
	startHonest(t, h, x.dir, ports, "haproxy", "-db", "-f", x.file(t, name+".cfg", honestHaproxy+proxies))
}

// nginxHonest and haproxyHonest end TLS and ask a backend without it.
var (
	nginxHonest = honestServer{name: "nginx", start: func(t *testing.T, x *honestStage, ports []uint16) {
		var b strings.Builder
		for _, port := range ports {
			fmt.Fprintf(&b, `server { listen %[1]d ssl; listen [::]:%[1]d ssl; ssl_certificate %[2]s/rsa.pem; ssl_certificate_key %[2]s/rsa.key;
			ssl_protocols TLSv1.2 TLSv1.3; ssl_early_data on; ssl_session_cache shared:x%[1]d:1m; ssl_verify_client optional_no_ca; location / { proxy_pass http://%[3]s; } }
			`, port, x.dir, honestBackend)
		}
		x.startNginx(t, x.l.Server, "ns", b.String(), ports)
	}}
	haproxyHonest = honestServer{name: "haproxy", abrupt: true, start: func(t *testing.T, x *honestStage, ports []uint16) {
		x.file(t, "rsa.both", x.read(t, "rsa.pem")+x.read(t, "rsa.key"))
		var b strings.Builder
		b.WriteString("frontend f\n")
		for _, port := range ports {
			fmt.Fprintf(&b, "  bind :::%d v4v6 ssl crt %s/rsa.both allow-0rtt\n", port, x.dir)
		}
		fmt.Fprintf(&b, "  default_backend b\nbackend b\n  server s %s\n", honestBackend)
		x.startHaproxy(t, x.l.Server, "hs", b.String(), ports)
	}}
)

// honestLines are about n bytes of text, and the same with each line backwards.
func honestLines(n int64) (forth, back string) {
	var f, b strings.Builder
	for i := range n / 100 {
		line := []byte(fmt.Sprintf("%099d", i*i*i))
		fmt.Fprintf(&f, "%s\n", line)
		slices.Reverse(line)
		fmt.Fprintf(&b, "%s\n", line)
	}
	return f.String(), b.String()
}

// opensslHonest and gnutlsHonest say back what is said, openssl each line backwards.
var (
	opensslHonest = honestServer{name: "openssl", talk: func(_ *honestStage, n, _ int64) (say, hear string) {
		return honestLines(n)
	}, start: func(t *testing.T, x *honestStage, ports []uint16) {
		for _, port := range ports {
			startHonest(t, x.l.Server, x.dir, []uint16{port}, "openssl", "s_server", "-quiet", "-accept", fmt.Sprintf("*:%d", port),
				"-cert", "rsa.pem", "-key", "rsa.key", "-cipher", "ALL:@SECLEVEL=0", "-rev")
		}
	}}
	gnutlsHonest = honestServer{name: "gnutls", talk: func(_ *honestStage, n, _ int64) (say, hear string) {
		say, _ = honestLines(n)
		return say, say
	}, start: func(t *testing.T, x *honestStage, ports []uint16) {
		for _, port := range ports {
			startHonest(t, x.l.Server, x.dir, []uint16{port}, "gnutls-serv", "--echo", "--quiet", "--port", fmt.Sprint(port),
				"--x509certfile=rsa.pem", "--x509keyfile=rsa.key", "--priority=NORMAL:+VERS-TLS1.0:+VERS-TLS1.1")
		}
	}}
	// nssHonest gives a file away; it takes no more than a request.
	nssHonest = honestServer{name: "nss", talk: func(x *honestStage, _, m int64) (say, hear string) {
		return fmt.Sprintf("GET %s/file HTTP/1.0\r\n\r\n", x.dir), pattern(honestBulk)
	}, start: func(t *testing.T, x *honestStage, ports []uint16) {
		x.makeNSS(t)
		for _, port := range ports {
			startHonest(t, x.l.Server, x.dir, []uint16{port}, "selfserv", "-p", fmt.Sprint(port), "-d", "sql:nss", "-n", "server", "-D")
		}
	}}
)

// makeNSS puts the server's certificate into a database of NSS.
func (x *honestStage) makeNSS(t *testing.T) {
	t.Helper()
	labtest.Program(t, "certutil")
	db := "sql:" + filepath.Join(x.dir, "nss")
	if err := os.Mkdir(filepath.Join(x.dir, "nss"), 0o700); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(x.dir, name) }
	output(t, x.l.Server, "certutil", "-N", "-d", db, "--empty-password")
	output(t, x.l.Server, "openssl", "pkcs12", "-export", "-in", at("rsa.pem"), "-inkey", at("rsa.key"), "-name", "server", "-passout", "pass:", "-out", at("rsa.p12"))
	output(t, x.l.Server, "pk12util", "-i", at("rsa.p12"), "-d", db, "-W", "", "-K", "")
}

func (x *honestStage) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(x.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// startBackend serves nginx and haproxy.
func (x *honestStage) startBackend(t *testing.T) {
	t.Helper()
	l, err := x.l.Server.Listen("tcp", honestBackend)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go acceptHonest(l, nil)
}

// destinations are a server's addresses on its ports.
func (x *honestStage) destinations(ports []uint16) (list []netip.AddrPort) {
	for _, port := range ports {
		list = append(list, netip.AddrPortFrom(x.l.Server.IPv4, port), netip.AddrPortFrom(x.l.Server.IPv6, port))
	}
	return list
}
