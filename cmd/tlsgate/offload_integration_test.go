package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// offloadPolicy is the partner's, with suites of TLS 1.3.
const offloadPolicy = `
[[rule]]
name      = "partner"
match     = { port = 443 }
require   = { cipher = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"] }
action    = "accept"
otherwise = "reset"
`

// offloadClients fetch a file, with a hello that fits one segment.
var offloadClients = []struct {
	name  string
	fetch func(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16) (body string, err error)
}{
	{"openssl", func(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16) (string, error) {
		args := []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}
		if version == tls.VersionTLS13 {
			args = []string{"-tls1_3", "-groups", "X25519"}
		}
		s := openssl(t, l, to, "GET /file HTTP/1.0\r\n\r\n", args...)
		return afterHeader(s.out), s.exit
	}},
	{"curl", func(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16) (string, error) {
		args := []string{"--tlsv1.2", "--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256"}
		if version == tls.VersionTLS13 {
			args = []string{"--tlsv1.3", "--curves", "X25519"}
		}
		s := curl(t, l, fmt.Sprintf("https://%s/file", to), append(args, "--http1.0")...)
		return s.out, s.exit
	}},
	{"Go", func(t *testing.T, l *lab.Lab, to netip.AddrPort, version uint16) (string, error) {
		c := tls.Client(dial(t, l, to), &tls.Config{
			InsecureSkipVerify: true, ServerName: "server.lab.example", MinVersion: version, MaxVersion: version,
			CurvePreferences: []tls.CurveID{tls.X25519}, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		})
		defer c.Close()
		fmt.Fprint(c, "GET /file HTTP/1.0\r\n\r\n")
		b, err := io.ReadAll(c)
		return afterHeader(string(b)), err
	}},
}

func afterHeader(s string) string {
	_, body, _ := strings.Cut(s, "\r\n\r\n")
	return body
}

// TestIntegrationOffload counts the packets that reach the queue before a
// connection is left to the kernel: with a hello in one segment at most 9 under
// TLS 1.3, what ends the connection aside. The client's acknowledgement of the
// ServerHello is the seventh. What the client has sent before that was answered
// comes to the queue too: its Finished, and what it asks for.
func TestIntegrationOffload(t *testing.T) {
	const most = 9
	for _, tt := range []struct {
		server  string
		network lab.Options
	}{
		{"nginx", lab.Options{}},
		{"openssl", lab.Options{}},
		{"nginx", lab.Options{NoOffload: true}},
	} {
		t.Run(fmt.Sprintf("%s, packets as on a wire %t", tt.server, tt.network.NoOffload), func(t *testing.T) {
			l := labtest.New(t, tt.network)
			dir := files(t, l, 4<<20)
			if tt.server == "nginx" {
				startNginx(t, l, dir, "443 ssl")
			} else {
				startServer(t, l, dir, "openssl", "s_server", "-accept", "443", "-HTTP", "-cert", "rsa.pem", "-key", "rsa.key", "-quiet")
				answer := "HTTP/1.0 200 OK\r\n\r\n" + pattern(4<<20)
				if err := os.WriteFile(filepath.Join(dir, "file"), []byte(answer), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			startFirewall(t, l, offloadPolicy)
			for _, rule := range []string{
				"! --tcp-flags FIN,RST NONE",
				"--tcp-flags FIN,RST NONE -m connmark --mark 0x1/0x00c00001", // not left to the kernel any more
				"--sport 443 --tcp-flags FIN FIN -j CONNMARK --set-xmark 1/1",
			} {
				iptables(t, l, strings.Fields("-t mangle -A PREROUTING -p tcp -m tcp "+rule)...)
			}
			families(t, l, func(t *testing.T, server netip.Addr) {
				for _, client := range offloadClients {
					for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
						before := judged(t, l)
						body, err := client.fetch(t, l, netip.AddrPortFrom(server, 443), version)
						if err != nil || body != pattern(4<<20) {
							t.Errorf("%s, %s: %d bytes, %v", client.name, tls.VersionName(version), len(body), err)
						}
						n := judged(t, l) - before
						t.Logf("%s, %s: %d packets", client.name, tls.VersionName(version), n)
						if version == tls.VersionTLS13 && n > most || n < 6 {
							t.Errorf("%s, %s: %d packets in the queue before the connection is left to the kernel, want %d at most",
								client.name, tls.VersionName(version), n, most)
						}
					}
				}
			})
		})
	}
}

// judged counts the packets that have been in the queues, but for those with FIN
// or RST, and what comes behind the server's FIN: the gateway's first two rules in
// mangle's PREROUTING count these.
func judged(t testing.TB, l *lab.Lab) (n int) {
	t.Helper()
	for _, q := range queued(t, l) {
		n += q
	}
	for _, program := range []string{"iptables", "ip6tables"} {
		lines := strings.Split(output(t, l.Gateway, program, "-w", "5", "-t", "mangle", "-L", "PREROUTING", "-v", "-n", "-x"), "\n")
		for _, line := range lines[2:4] {
			ends, err := strconv.Atoi(strings.Fields(line)[0])
			if err != nil {
				t.Fatal(err)
			}
			n -= ends
		}
	}
	return n
}
