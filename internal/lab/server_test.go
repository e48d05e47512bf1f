package lab_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

func serve(t *testing.T, l *lab.Lab, address netip.Addr, o lab.ServerOptions) *lab.Server {
	t.Helper()
	s, err := l.Server.ServeTLS(netip.AddrPortFrom(address, 0).String(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func clientConfig(t *testing.T, l *lab.Lab) *tls.Config {
	t.Helper()
	roots, err := l.Roots()
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots, ServerName: "server.lab.example", MinVersion: tls.VersionTLS10}
}

func dial(t *testing.T, l *lab.Lab, to netip.AddrPort, config *tls.Config) *tls.Conn {
	t.Helper()
	c, err := l.Client.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	return tlsOver(t, c, config)
}

func tlsOver(t *testing.T, c net.Conn, config *tls.Config) *tls.Conn {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	tc := tls.Client(c, config)
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return tc
}

// exercise echoes, downloads or uploads n bytes over new connections.
func exercise(t *testing.T, connect func() *tls.Conn, n int64) {
	t.Helper()
	want, _ := io.ReadAll(lab.Pattern(n))

	c := connect()
	fmt.Fprintf(c, "download %d\n", n)
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		t.Errorf("download: %d bytes, %v, want the %d of the pattern", len(got), err, n)
	}

	c = connect()
	fmt.Fprintf(c, "upload %d\n", n)
	if _, err := c.Write(want); err != nil {
		t.Errorf("upload: %v", err)
	}
	sum := sha256.Sum256(want)
	if got, err := io.ReadAll(c); err != nil || strings.TrimSpace(string(got)) != hex.EncodeToString(sum[:]) {
		t.Errorf("upload: %q, %v, want %x", got, err, sum)
	}

	c = connect()
	fmt.Fprintln(c, "echo")
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		t.Errorf("echo: %d bytes, %v, want %d", len(got), err, n)
	}
}

func TestIntegrationServer(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	families(t, l, func(t *testing.T, _, server netip.Addr) {
		s := serve(t, l, server, lab.ServerOptions{})
		for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			config := clientConfig(t, l)
			config.MinVersion, config.MaxVersion = version, version
			exercise(t, func() *tls.Conn {
				c := dial(t, l, s.AddrPort(), config)
				if got := c.ConnectionState().Version; got != version {
					t.Errorf("version %x, want %x", got, version)
				}
				return c
			}, 300_000)
		}
		if done, failed := s.Handshakes(); len(done) != 12 || len(failed) != 0 {
			t.Errorf("%d handshakes, failed %v, want 12", len(done), failed)
		}
	})
}

func TestIntegrationServerOptions(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	s := serve(t, l, l.Server.IPv4, lab.ServerOptions{
		MaxVersion: tls.VersionTLS12, Key: lab.KeyRSA, ALPN: []string{"http/1.1"},
		CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_RC4_128_SHA},
	})
	config := clientConfig(t, l)
	config.NextProtos = []string{"http/1.1"}
	config.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	got := dial(t, l, s.AddrPort(), config).ConnectionState()
	if got.CipherSuite != tls.TLS_RSA_WITH_AES_128_CBC_SHA || got.NegotiatedProtocol != "http/1.1" || got.Version != tls.VersionTLS12 {
		t.Errorf("got %s, %s, %s", tls.VersionName(got.Version), tls.CipherSuiteName(got.CipherSuite), got.NegotiatedProtocol)
	}
	config.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	c, err := l.Client.Dial("tcp", s.AddrPort().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := tls.Client(c, config).Handshake(); err == nil {
		t.Error("a suite the server does not have was agreed on")
	}

	mutual := serve(t, l, l.Server.IPv4, lab.ServerOptions{Key: lab.KeyECDSA, ClientCertificate: true})
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	config = clientConfig(t, l)
	config.Certificates = []tls.Certificate{certificate}
	exercise(t, func() *tls.Conn { return dial(t, l, mutual.AddrPort(), config) }, 1)
}

func TestIntegrationServerHTTP(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	s := serve(t, l, l.Server.IPv4, lab.ServerOptions{})
	client := http.Client{Transport: &http.Transport{
		DialContext: l.Client.DialContext, TLSClientConfig: clientConfig(t, l), DisableKeepAlives: true,
	}}
	for _, tt := range []struct{ path, want string }{
		{"/", "TLS 1.3 "},
		{"/bytes/5", pattern(5)},
	} {
		r, err := client.Get("https://" + s.AddrPort().String() + tt.path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || !strings.HasPrefix(string(got), tt.want) {
			t.Errorf("%s: %q, %v, want %q", tt.path, got, err, tt.want)
		}
	}
}

func pattern(n int64) string {
	b, _ := io.ReadAll(lab.Pattern(n))
	return string(b)
}

// program returns a function that fetches /bytes/100000 with a client that is
// not ours.
func program(name string, l *lab.Lab, ca string, to netip.AddrPort) (args []string, input string) {
	switch name {
	case "openssl":
		return []string{"openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", ca,
			"-servername", "server.lab.example", "-connect", to.String()}, "download 100000\n"
	case "gnutls-cli":
		return []string{"gnutls-cli", "--logfile", "/dev/null", "--x509cafile", ca, "--no-ca-verification",
			"-p", fmt.Sprint(to.Port()), to.Addr().String()}, "download 100000\n"
	}
	return []string{"curl", "-sS", "--cacert", ca, "--connect-to", "::" + to.String(),
		"https://server.lab.example/bytes/100000"}, ""
}

// fetch runs a foreign client in the client's namespace and compares what comes.
func fetch(t *testing.T, l *lab.Lab, name string, to netip.AddrPort) {
	t.Helper()
	labtest.Program(t, name)
	dir := t.TempDir()
	if err := l.WritePEM(dir); err != nil {
		t.Fatal(err)
	}
	if to.Addr().Is6() && name == "curl" {
		to = netip.AddrPortFrom(to.Addr(), to.Port())
	}
	args, input := program(name, l, filepath.Join(dir, "ca.pem"), to)
	cmd := l.Client.Command(t.Context(), args[0], args[1:]...)
	stdin, writer := io.Pipe()
	go io.WriteString(writer, input) // stays open: the end is the server's
	cmd.Stdin = stdin
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	state, _ := cmd.Process.Wait()
	writer.Close()
	cmd.Wait()
	if !strings.Contains(out.String(), pattern(100000)) {
		t.Errorf("%s: %v, %d bytes, %s", name, state, out.Len(), errs.String())
	}
}

func TestIntegrationForeignClients(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	for _, name := range []string{"openssl", "gnutls-cli", "curl"} {
		t.Run(name, func(t *testing.T) {
			families(t, l, func(t *testing.T, _, server netip.Addr) {
				fetch(t, l, name, serve(t, l, server, lab.ServerOptions{}).AddrPort())
			})
		})
	}
}
