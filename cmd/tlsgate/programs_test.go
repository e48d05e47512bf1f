package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// families runs a test for each IP version of the lab.
func families(t *testing.T, l *lab.Lab, f func(t *testing.T, server netip.Addr)) {
	t.Helper()
	t.Run("IPv4", func(t *testing.T) { f(t, l.Server.IPv4) })
	t.Run("IPv6", func(t *testing.T) {
		if !l.Server.IPv6.IsValid() {
			labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
		}
		f(t, l.Server.IPv6)
	})
}

// said is what a program printed, and how it ended.
type said struct {
	out, err string
	exit     error
	ended    time.Time
}

func (s *said) String() string {
	return fmt.Sprintf("%v\n%s\n%s", s.exit, clip(s.err), clip(s.out))
}

func clip(s string) string {
	if len(s) > 2000 {
		return s[:2000] + "..."
	}
	return s
}

// runOn runs a program on a host. Its standard input stays open until it ends.
func runOn(t testing.TB, h *lab.Host, input, name string, args ...string) *said {
	t.Helper()
	labtest.Program(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), visitTime)
	defer cancel()
	cmd := h.Command(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go io.WriteString(stdin, input)
	err = cmd.Wait()
	if ctx.Err() != nil {
		t.Errorf("%s did not end in %s", name, visitTime)
	}
	return &said{stdout.String(), stderr.String(), err, time.Now()}
}

// output is what a program prints that is to succeed.
func output(t testing.TB, h *lab.Host, name string, args ...string) string {
	t.Helper()
	s := runOn(t, h, "", name, args...)
	if s.exit != nil {
		t.Fatalf("%s %s: %s", name, strings.Join(args, " "), s)
	}
	return s.out
}

// openssl is openssl s_client that says nothing but what the server says.
func openssl(t testing.TB, l *lab.Lab, server netip.AddrPort, input string, args ...string) *said {
	t.Helper()
	args = append([]string{"s_client", "-quiet", "-connect", server.String(), "-servername", "server.lab.example"}, args...)
	return runOn(t, l.Client, input, "openssl", args...)
}

// gnutls is gnutls-cli that says nothing but what the server says.
func gnutls(t testing.TB, l *lab.Lab, server netip.AddrPort, input, priority string, args ...string) *said {
	t.Helper()
	args = append([]string{"--insecure", "--sni-hostname=server.lab.example", "--priority=" + priority,
		"--port", fmt.Sprint(server.Port()), server.Addr().String()}, args...)
	return runOn(t, l.Client, input, "gnutls-cli", args...)
}

func curl(t testing.TB, l *lab.Lab, url string, args ...string) *said {
	t.Helper()
	return runOn(t, l.Client, "", "curl", append([]string{"-sS", "-k", "-m", "8", url}, args...)...)
}

// exchange says n bytes to the server and hears n bytes, in a TLS connection
// over c, which it closes. The state is nil if the handshake did not complete.
func exchange(c net.Conn, config *tls.Config, n int64) (state *tls.ConnectionState, err error) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(visitTime))
	config = config.Clone()
	config.InsecureSkipVerify = true
	if config.ServerName == "" {
		config.ServerName = "server.lab.example"
	}
	conn := tls.Client(c, config)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	after := conn.ConnectionState()
	say, hear := request(n, n)
	var heard []byte
	var reading sync.WaitGroup
	reading.Go(func() { heard, err = io.ReadAll(conn) })
	_, werr := io.WriteString(conn, say)
	reading.Wait()
	if err = errors.Join(werr, err); err == nil && string(heard) != hear {
		err = fmt.Errorf("heard %d bytes, not the %d that were said", len(heard), len(hear))
	}
	return &after, err
}

// dial is a connection from the client.
func dial(t testing.TB, l *lab.Lab, server netip.AddrPort) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), visitTime)
	defer cancel()
	c, err := l.Client.DialContext(ctx, "tcp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wasReset fails unless the end of a connection was a reset.
func wasReset(t testing.TB, who string, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s saw %v, want a reset", who, err)
	}
}

// promptly fails unless the end came within a second of the refusal.
func promptly(t testing.TB, who string, refusal event, ended time.Time) {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04:05.000000-0700", refusal.Time)
	if took := ended.Sub(at); err != nil || took > time.Second {
		t.Errorf("%s saw the end %s after the refusal, %v; want within a second", who, took, err)
	}
}

// eventOf waits for the event of a connection that the server saw.
func eventOf(t testing.TB, f *firewall, kind string, v *visit) event {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		for _, e := range f.all() {
			if e.Type == kind && netip.AddrPortFrom(e.SrcIP, e.SrcPort) == v.from {
				return e
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no %s event for the connection of %s: %+v", kind, v.from, f.all())
		}
	}
}

// within waits for something to become true.
func within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
