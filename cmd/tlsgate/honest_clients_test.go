package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// honestClient is a program that says something to a server and tells what it heard.
// Those that speak HTTP by themselves are given the body and a number of bytes to ask
// for instead.
type honestClient struct {
	name  string
	start func(t *testing.T, x *honestStage, to []netip.AddrPort)
	run   func(t *testing.T, x *honestStage, to netip.AddrPort, say string) (heard string, err error)
	waits bool // until the server hangs up
	http  func(t *testing.T, x *honestStage, to netip.AddrPort, n, m int64) (heard string, err error)
}

// goHonest is Go's crypto/tls with all that can be done with it.
type goHonest struct {
	max     uint16 // version; 0 is 1.3
	curves  []tls.CurveID
	cert    bool
	piece   int    // bytes to write at once
	header  string // of the request, besides
	half    bool   // the client's half ends before the server's begins
	resumes bool
	mptcp   bool
}

func (g goHonest) client(name string) honestClient {
	return honestClient{name: name, run: func(t *testing.T, x *honestStage, to netip.AddrPort, say string) (string, error) {
		config := &tls.Config{
			InsecureSkipVerify: true, ServerName: "server.lab.example", MinVersion: g.max, MaxVersion: g.max, CurvePreferences: g.curves,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA},
		}
		if g.cert {
			c, err := x.l.Certificate(lab.KeyECDSA)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{c}
		}
		if !g.resumes {
			return g.visit(x, to, config, say)
		}
		config.ClientSessionCache = tls.NewLRUClientSessionCache(2)
		if heard, err := g.visit(x, to, config, say); err != nil {
			return heard, err
		}
		config.VerifyConnection = func(s tls.ConnectionState) error {
			if !s.DidResume {
				return errors.New("not resumed")
			}
			return nil
		}
		return g.visit(x, to, config, say)
	}}
}

func (g goHonest) visit(x *honestStage, to netip.AddrPort, config *tls.Config, say string) (heard string, err error) {
	var raw net.Conn
	err = x.l.Client.Run(func() (err error) {
		d := net.Dialer{Timeout: visitTime, Control: x.network.socket}
		d.SetMultipathTCP(g.mptcp)
		raw, err = d.Dial("tcp", to.String())
		return err
	})
	if err != nil {
		return "", err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(visitTime))
	if some, err := raw.(*net.TCPConn).MultipathTCP(); err != nil || some {
		return "", fmt.Errorf("multipath TCP: %v, %v", some, err)
	}
	c := tls.Client(raw, config)
	if err := c.Handshake(); err != nil {
		return "", err
	}
	if g.header != "" {
		say = strings.Replace(say, "\r\nHost:", "\r\n"+g.header+"\r\nHost:", 1)
	}
	var wrote error
	var writing sync.WaitGroup
	writing.Go(func() {
		wrote = honestWrite(c, say, g.piece)
		if g.half {
			wrote = errors.Join(wrote, c.CloseWrite(), raw.(*net.TCPConn).CloseWrite())
		}
	})
	b := make([]byte, 0, len(say))
	for err == nil && (x.want == 0 || len(b) < x.want) { // some servers do not hang up
		var n int
		if cap(b) == len(b) {
			b = append(b, make([]byte, len(b)+512)...)[:len(b)]
		}
		n, err = c.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
	}
	writing.Wait()
	if err == io.EOF {
		err = nil
	}
	if !g.half {
		err = errors.Join(err, c.Close())
	}
	return string(b), errors.Join(wrote, err)
}

// programHonest is a program that is given what it says on its standard input, and ends
// with the connection.
func programHonest(name, program string, args func(x *honestStage, to netip.AddrPort) []string) honestClient {
	return honestClient{name: name, waits: true, run: func(t *testing.T, x *honestStage, to netip.AddrPort, say string) (string, error) {
		labtest.Program(t, program)
		ctx, cancel := context.WithTimeout(t.Context(), visitTime)
		defer cancel()
		cmd := x.l.Client.Command(ctx, program, args(x, to)...)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return "", err
		}
		var errs bytes.Buffer
		ended := false
		out := &untilHeard{last: x.last, enough: func() {
			if program == "tstclnt" { // it does not end with the connection
				ended = true
				cmd.Process.Signal(syscall.SIGTERM)
			}
		}}
		cmd.Stdout, cmd.Stderr = out, &errs
		if err := cmd.Start(); err != nil {
			return "", err
		}
		go io.WriteString(stdin, say)
		if err = cmd.Wait(); ended {
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("%w: %s", err, clip(errs.String()))
		}
		return out.heard.String(), err
	}}
}

// untilHeard keeps what is written until its end is what is to come last.
type untilHeard struct {
	heard  bytes.Buffer // not embedded: it would read by itself
	last   string
	enough func()
}

func (u *untilHeard) Write(b []byte) (int, error) {
	n, err := u.heard.Write(b)
	if bytes.HasSuffix(u.heard.Bytes(), []byte(u.last)) {
		u.enough()
	}
	return n, err
}

func opensslHonestClient(name string, more ...string) honestClient {
	return programHonest(name, "openssl", func(x *honestStage, to netip.AddrPort) []string {
		args := []string{"s_client", "-quiet", "-connect", to.String(), "-servername", "server.lab.example"}
		for _, m := range more {
			args = append(args, strings.ReplaceAll(m, "DIR", x.dir))
		}
		return args
	})
}

func gnutlsHonestClient(name, priority string) honestClient {
	return programHonest(name, "gnutls-cli", func(_ *honestStage, to netip.AddrPort) []string {
		return []string{"--insecure", "--logfile=/dev/null", "--sni-hostname=server.lab.example", "--priority=" + priority,
			"--port", fmt.Sprint(to.Port()), to.Addr().String()}
	})
}

func nssHonestClient(name string, more ...string) honestClient {
	return programHonest(name, "tstclnt", func(_ *honestStage, to netip.AddrPort) []string {
		return append([]string{"-h", to.Addr().String(), "-p", fmt.Sprint(to.Port()), "-D", "-o", "-a", "server.lab.example", "-f"}, more...)
	})
}

// curlHonestClient sends and asks by HTTP.
func curlHonestClient(name string, more ...string) honestClient {
	return honestClient{name: name, http: func(t *testing.T, x *honestStage, to netip.AddrPort, n, m int64) (string, error) {
		args := []string{"--data-binary", "@" + filepath.Join(x.dir, "body"), "-H", "Expect:", "-m", "20"}
		for _, a := range more {
			args = append(args, strings.ReplaceAll(a, "DIR", x.dir))
		}
		s := curl(t, x.l, fmt.Sprintf("https://%s/%d", to, m), args...)
		if s.exit != nil {
			return s.out, fmt.Errorf("%w: %s", s.exit, clip(s.err))
		}
		return s.out, nil
	}}
}

// honestPlain is the port of the client's own host at which a proxy asks a server.
func honestPlain(to netip.AddrPort) uint16 {
	if to.Addr().Is6() {
		return to.Port() + 20000
	}
	return to.Port() + 10000
}

// askPlain asks the proxy of the client's host.
func askPlain(_ *testing.T, x *honestStage, to netip.AddrPort, n, m int64) (string, error) {
	transport := &http.Transport{DialContext: x.l.Client.DialContext}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport, Timeout: visitTime}).Post(
		fmt.Sprintf("http://127.0.0.1:%d/%d", honestPlain(to), m), "application/octet-stream", lab.Pattern(n))
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status)
	}
	return string(b), err
}

func plainPorts(to []netip.AddrPort) (ports []uint16) {
	for _, d := range to {
		ports = append(ports, honestPlain(d))
	}
	return ports
}

// nginxHonestClient and haproxyHonestClient are proxies that speak TLS to the server.
var (
	nginxHonestClient = honestClient{name: "nginx", http: askPlain, start: func(t *testing.T, x *honestStage, to []netip.AddrPort) {
		var b strings.Builder
		for _, d := range to {
			fmt.Fprintf(&b, "server { listen 127.0.0.1:%d; location / { proxy_pass https://%s; proxy_ssl_server_name on; proxy_ssl_name server.lab.example; } }\n", honestPlain(d), d)
		}
		x.startNginx(t, x.l.Client, "nc", b.String(), plainPorts(to))
	}}
	haproxyHonestClient = honestClient{name: "haproxy", http: askPlain, start: func(t *testing.T, x *honestStage, to []netip.AddrPort) {
		var b strings.Builder
		for _, d := range to {
			p := honestPlain(d)
			fmt.Fprintf(&b, "frontend f%[1]d\n  bind 127.0.0.1:%[1]d\n  default_backend b%[1]d\nbackend b%[1]d\n  server s %[2]s ssl verify none sni str(server.lab.example)\n", p, d)
		}
		x.startHaproxy(t, x.l.Client, "hc", b.String(), plainPorts(to))
	}}
)

// earlyHonest asks for a session first, and brings what it says as early data then.
var earlyHonest = honestClient{name: "openssl", run: func(t *testing.T, x *honestStage, to netip.AddrPort, say string) (string, error) {
	session := filepath.Join(t.TempDir(), "session")
	args := []string{"s_client", "-connect", to.String(), "-servername", "server.lab.example", "-ign_eof"}
	first := runOn(t, x.l.Client, "GET /0 HTTP/1.0\r\n\r\n", "openssl", append(args, "-sess_out", session)...)
	if first.exit != nil {
		return "", fmt.Errorf("the first session: %w: %s", first.exit, clip(first.err))
	}
	s := runOn(t, x.l.Client, "", "openssl", append(args, "-sess_in", session, "-early_data", x.file(t, "early", say))...)
	if s.exit != nil || !strings.Contains(s.out, "Early data was accepted") {
		return s.out, fmt.Errorf("early data was not accepted: %v: %s", s.exit, clip(s.err))
	}
	_, heard, _ := strings.Cut(s.out, "HTTP/1.")
	return strings.TrimSuffix(honestTickets.ReplaceAllString(heard, ""), "closed\n"), nil
}}

// honestTickets is what openssl prints among the rest when a ticket comes.
var honestTickets = regexp.MustCompile(`(?s)---\nPost-Handshake New Session Ticket arrived:\n.*?\n---\nread R BLOCK\n`)
