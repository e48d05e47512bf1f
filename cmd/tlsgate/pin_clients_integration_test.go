package main

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// curlLines are what curl prints of each transfer: how many connections it made for
// it, and what came.
const curlLines = "%{num_connects} %{http_version} %{http_code} %{size_download}\\n"

// TestIntegrationPinCurl: curl uses the connection that has the pin again, for one
// request after the other and, by HTTP/2, for many at once; a second connection does
// not pass beside it, and a retry does once the first has ended.
func TestIntegrationPinCurl(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	const size = 300_000
	dir := files(t, l, size)
	startNginx(t, l, dir, "443 ssl http2")
	f := startFirewall(t, l, fmt.Sprintf(pinPolicy, `per = ["source"]`))
	families(t, l, func(t *testing.T, server netip.Addr) {
		url := fmt.Sprintf("https://%s/file", netip.AddrPortFrom(server, 443))
		fetch := func(n int, args ...string) *said {
			for i := range n {
				if i > 0 {
					args = append(args, url)
				}
				args = append(args, "-o", "/dev/null")
			}
			return curl(t, l, url, append([]string{"-w", curlLines}, args...)...)
		}
		free := func() bool { return within(5*time.Second, func() bool { return len(f.pins(l)) == 0 }) }

		one, two := fmt.Sprintf("1 1.1 200 %d\n", size), fmt.Sprintf("0 1.1 200 %d\n", size)
		if s := fetch(3, "--http1.1"); s.exit != nil || s.out != one+two+two || !free() {
			t.Errorf("one after the other: %s", s)
		}
		s := fetch(5, "--http2", "--parallel")
		if s.exit != nil || strings.Count(s.out, fmt.Sprintf(" 2 200 %d\n", size)) != 5 || strings.Count(s.out, "1 2 ") != 1 || !free() {
			t.Errorf("at once by HTTP/2: %s", s)
		}
		f.forget()
		s = fetch(4, "--http1.1", "--parallel", "--parallel-immediate", "--limit-rate", "200k")
		three := func() bool { return len(f.drops()) == 3 }
		if n := strings.Count(s.out, fmt.Sprintf("1 1.1 200 %d\n", size)); n != 1 || s.exit == nil || !within(5*time.Second, three) || !free() {
			t.Errorf("at once by HTTP/1.1: %d come, %d refused: %s", n, len(f.drops()), s)
		}
		for _, d := range f.drops() {
			if d.Ours.Reason != "pin.taken" {
				t.Errorf("refused: %+v", d.Ours)
			}
		}

		holder := tlsClient(t, l, netip.AddrPortFrom(server, 443).String(), tls.VersionTLS13)
		if err := holder.Handshake(); err != nil {
			t.Fatal(err)
		}
		f.forget()
		var waits sync.WaitGroup
		var again *said
		waits.Go(func() { again = fetch(1, "--http1.1", "--retry", "9", "--retry-all-errors", "--retry-delay", "1") })
		refused := within(5*time.Second, func() bool { return len(f.drops()) > 0 })
		holder.Close()
		waits.Wait()
		if !refused || again.exit != nil || !strings.HasSuffix(again.out, one) || !free() {
			t.Errorf("a retry (refused first: %v): %s", refused, again)
		}
	})
}

// fixedRandom has a client's random be what a test knows.
type fixedRandom byte

func (r fixedRandom) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r)
	}
	return len(b), nil
}

// TestIntegrationPinReserved keeps the pin for the connection with a client random,
// and for the session with an id: all others are refused until it comes.
func TestIntegrationPinReserved(t *testing.T) {
	labtest.Program(t, "openssl")
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	startServer(t, l, files(t, l, 1), "openssl", "s_server", "-accept", "8443", "-www", "-no_ticket", "-cert", "rsa.pem", "-key", "rsa.key")
	awaitPort(t, l, 8443)
	f := startFirewall(t, l, strings.Replace(fmt.Sprintf(pinPolicy, `per = ["source"]`), "port = 443", "port = [443, 8443]", 1))
	families(t, l, func(t *testing.T, server netip.Addr) {
		to := netip.AddrPortFrom(server, 443)
		source := l.Client.IPv4
		if server.Is6() {
			source = l.Client.IPv6
		}
		reserve := func(args ...string) {
			t.Helper()
			args = append([]string{"pin", "--rule", "one", "--group", "source=" + source.String()}, args...)
			if out, errs, code := f.ask(l, args...); code != 0 || !strings.Contains(out, "is kept for it") {
				t.Fatalf("%v: %d: %s%s", args, code, out, errs)
			}
		}
		shake := func(random byte, version uint16) (*tls.Conn, error) {
			c := dial(t, l, to)
			c.SetDeadline(time.Now().Add(visitTime))
			conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "server.lab.example", MinVersion: version, MaxVersion: version, Rand: fixedRandom(random)})
			return conn, conn.Handshake()
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			reserve("--client-random", hex.EncodeToString(bytes.Repeat([]byte{7}, 32)))
			_, err := shake(8, version)
			wasReset(t, "another client random", err)
			conn, err := shake(7, version)
			if err != nil {
				t.Fatalf("%s: the one for which the pin is kept: %v", tls.VersionName(version), err)
			}
			_, err = shake(8, version)
			wasReset(t, "another one, beside it", err)
			if list := f.pins(l); len(list) != 1 || !list[0].ByHand || list[0].Awaits != "" {
				t.Errorf("held by %+v", list)
			}
			conn.Close()
			if !within(5*time.Second, func() bool { return len(f.pins(l)) == 0 }) {
				t.Errorf("it has ended, and the pin is held by %+v", f.pins(l))
			}
		}

		session := filepath.Join(t.TempDir(), "session")
		visit := func(args ...string) *said {
			args = append([]string{"s_client", "-tls1_2", "-connect", netip.AddrPortFrom(server, 8443).String(), "-servername", "server.lab.example"}, args...)
			return runOn(t, l.Client, "GET / HTTP/1.0\r\n\r\n", "openssl", args...)
		}
		if s := visit("-sess_out", session); s.exit != nil {
			t.Fatalf("the session: %s", s)
		}
		id := regexp.MustCompile(`Session-ID: ([0-9A-F]{64})`).FindStringSubmatch(output(t, l.Client, "openssl", "sess_id", "-in", session, "-noout", "-text"))
		if id == nil {
			t.Fatal("no session id")
		}
		reserve("--session-id", id[1])
		if s := visit(); s.exit == nil {
			t.Errorf("another session passes: %s", s)
		}
		if s := visit("-sess_in", session); s.exit != nil || !strings.Contains(s.out, "Reused, ") {
			t.Errorf("the session for which the pin is kept: %s", s)
		}
		if !within(5*time.Second, func() bool { return len(f.pins(l)) == 0 }) {
			t.Errorf("its connection has ended, and the pin is held by %+v", f.pins(l))
		}
	})
}
