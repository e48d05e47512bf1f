package main

import (
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

// packedVia is what is spoken before TLS on each of our server's ports.
var packedVia = map[uint16]string{8444: "", 8445: "smtp", 8446: "connect"}

// packedTools is the first port of openssl's servers.
const packedTools = uint16(8440)

const packedPolicy = `
[intercept]
ports = ["8440-8449"]
[default]
midstream = "accept"
[[rule]]
name      = "records"
require   = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data"] }
otherwise = "reset"
`

// packedConn is one that is silent until it is packed.
type packedConn struct {
	name    string // it asks for name.lab.example
	version uint16
	to      netip.AddrPort
	raw     net.Conn
	conn    *tls.Conn
}

func (p *packedConn) String() string { return fmt.Sprintf("%s, %s", p.name, p.to) }

func (p *packedConn) port() int { return p.raw.LocalAddr().(*net.TCPAddr).Port }

// clientDialogues are the client's part of dialogues: what it says, and the end of the
// answer that it waits for.
var clientDialogues = map[string][][2]string{
	"smtp":    {{"", "ESMTP\r\n"}, {"EHLO x\r\n", "STARTTLS\r\n"}, {"STARTTLS\r\n", "go\r\n"}},
	"connect": {{"CONNECT server.lab.example:443 HTTP/1.1\r\n\r\n", "\r\n\r\n"}},
}

// packedServers says what it hears, with TLS, and notes what ended each connection.
type packedServers struct {
	mu    sync.Mutex
	ended map[int]error // by the client's port
}

func servePacked(t *testing.T, l *lab.Lab) *packedServers {
	t.Helper()
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	s, config := &packedServers{ended: map[int]error{}}, &tls.Config{Certificates: []tls.Certificate{certificate}}
	for port, via := range packedVia {
		serveEach(t, l.Server, fmt.Sprint(":", port), 2*visitTime, func(c net.Conn) { s.serve(c, via, config) })
	}
	return s
}

func (s *packedServers) serve(c net.Conn, via string, config *tls.Config) {
	c.(*net.TCPConn).SetKeepAlive(false)
	err := talk(c, dialogues[via])
	if err == nil {
		conn := tls.Server(c, config)
		_, err = io.Copy(conn, conn)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[c.RemoteAddr().(*net.TCPAddr).Port] = err
}

// wasReset fails unless the server has seen a reset of a connection.
func (s *packedServers) wasReset(t *testing.T, p *packedConn) {
	t.Helper()
	var err error
	if !within(5*time.Second, func() (ended bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		err, ended = s.ended[p.port()]
		return ended
	}) || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s: the server saw %v, want a reset", p, err)
	}
}

// open brings a connection to its silence.
func (p *packedConn) open(l *lab.Lab) error {
	err := l.Client.Run(func() (err error) {
		d := net.Dialer{Timeout: visitTime, KeepAlive: -1}
		p.raw, err = d.Dial("tcp", p.to.String())
		return err
	})
	if err != nil {
		return err
	}
	p.raw.SetDeadline(time.Now().Add(2 * visitTime))
	for _, s := range clientDialogues[packedVia[p.to.Port()]] {
		if err := talk(p.raw, []step{{say: s[0], until: s[1]}}); err != nil {
			return err
		}
	}
	p.conn = tls.Client(p.raw, &tls.Config{InsecureSkipVerify: true, ServerName: p.name + ".lab.example", MinVersion: p.version, MaxVersion: p.version})
	return p.echo(3000)
}

// echo says n bytes of the pattern, and hears them.
func (p *packedConn) echo(n int) error {
	text := pattern(int64(n))
	said := make(chan error, 1)
	go func() {
		_, err := io.WriteString(p.conn, text)
		said <- err
	}()
	b := make([]byte, n)
	_, err := io.ReadFull(p.conn, b)
	if err = errors.Join(err, <-said); err == nil && string(b) != text {
		err = errors.New("what came is not what was said")
	}
	return err
}

// packedOpenSSL is openssl s_client with a connection that is silent.
type packedOpenSSL struct {
	to    netip.AddrPort
	stdin io.WriteCloser
	ended chan struct{}

	mu  sync.Mutex
	out strings.Builder
}

func (o *packedOpenSSL) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out.Write(b)
}

func (o *packedOpenSSL) says(part string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Contains(o.out.String(), part)
}

func startPackedOpenSSL(t *testing.T, l *lab.Lab, to netip.AddrPort) *packedOpenSSL {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*visitTime)
	cmd := l.Client.Command(ctx, "openssl", "s_client", "-tls1_2", "-connect", to.String(), "-servername", "openssl.lab.example")
	o := &packedOpenSSL{to: to, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = o, o
	var err error
	if o.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(o.ended)
		cmd.Wait()
	}()
	t.Cleanup(func() { cancel(); <-o.ended })
	return o
}

// renegotiates has openssl shake hands once more, and ask for a page if it can.
func (o *packedOpenSSL) renegotiates() (page bool) {
	io.WriteString(o.stdin, "R\n") // a letter counts if it comes alone
	within(2*time.Second, func() bool { return o.says("RENEGOTIATING") })
	time.Sleep(300 * time.Millisecond)
	io.WriteString(o.stdin, "GET / HTTP/1.0\r\n\r\n")
	select {
	case <-o.ended:
	case <-time.After(5 * time.Second):
	}
	return o.says("HTTP/1.0 200")
}

// stagePacked is the connections of TestIntegrationPacked, by their names.
type stagePacked struct {
	t     *testing.T
	l     *lab.Lab
	f     *firewall
	s     *packedServers
	conns map[string][]*packedConn
	tools map[string][]*packedOpenSSL
	rest  int // so many rest
}

// TestIntegrationPacked: connections of which every record is read are silent until
// they are packed. Then data passes as before, they are listed, asked about, killed and
// forbidden by a reload; they renegotiate; and the daemon is killed.
func TestIntegrationPacked(t *testing.T) {
	labtest.Program(t, "openssl")
	l := labtest.New(t, lab.Options{})
	if !l.Server.IPv6.IsValid() {
		labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
	}
	dir := files(t, l, 1)
	for port := packedTools; port < packedTools+4; port++ { // one serves one connection at a time
		startHonest(t, l.Server, dir, []uint16{port}, "openssl", "s_server", "-accept", fmt.Sprint(port), "-www", "-client_renegotiation", "-legacy_renegotiation",
			"-cert", "rsa.pem", "-key", "rsa.key")
	}
	x := &stagePacked{t: t, l: l, s: servePacked(t, l), conns: map[string][]*packedConn{}, tools: map[string][]*packedOpenSSL{}}
	x.f = startFirewall(t, l, packedPolicy)
	x.begin()
	began := time.Now()
	if !within(20*time.Second, func() bool { return x.resting() == uint64(x.rest) }) {
		t.Fatalf("%d of %d connections are packed after 20 s", x.resting(), x.rest)
	}
	t.Logf("%d connections are packed %s after they fell silent", x.rest, time.Since(began).Round(100*time.Millisecond))
	x.listed()
	x.asked()
	x.killed()
	x.goOn("lives")
	x.renegotiate("may", true)
	if d := x.f.drops(); len(d) != 2 {
		t.Errorf("refused, beside the two that were killed: %+v", d)
	}
	x.reloaded()
	x.renegotiate("may not", false)
	x.still(len(x.conns["rests"]))
	x.f.cmd.Process.Signal(syscall.SIGKILL)
	<-x.f.ended
	x.f = startFirewall(t, l, packedPolicy)
	x.goOn("rests")
	if d := x.f.drops(); len(d) != 0 {
		t.Errorf("refused by the daemon that began again: %+v", d)
	}
}

// resting is how many connections the daemon says that rest.
func (x *stagePacked) resting() uint64 { return x.f.statsNow().Connections["resting"] }

// still fails unless so many connections still rest.
func (x *stagePacked) still(n int) {
	x.t.Helper()
	time.Sleep(150 * time.Millisecond) // until they are counted again
	if got := x.resting(); got != uint64(n) {
		x.t.Errorf("%d connections rest, want %d", got, n)
	}
}

func (x *stagePacked) begin() {
	x.t.Helper()
	var opening sync.WaitGroup
	port := packedTools
	for _, server := range []netip.Addr{x.l.Server.IPv4, x.l.Server.IPv6} {
		for _, p := range []packedConn{
			{name: "lives", version: tls.VersionTLS12, to: netip.AddrPortFrom(server, 8444)},
			{name: "lives", version: tls.VersionTLS13, to: netip.AddrPortFrom(server, 8444)},
			{name: "lives", version: tls.VersionTLS12, to: netip.AddrPortFrom(server, 8445)},
			{name: "lives", version: tls.VersionTLS13, to: netip.AddrPortFrom(server, 8446)},
			{name: "asked", version: tls.VersionTLS12, to: netip.AddrPortFrom(server, 8444)},
			{name: "killed", version: tls.VersionTLS13, to: netip.AddrPortFrom(server, 8444)},
			{name: "forbidden", version: tls.VersionTLS13, to: netip.AddrPortFrom(server, 8444)},
			{name: "forbidden", version: tls.VersionTLS12, to: netip.AddrPortFrom(server, 8445)},
			{name: "rests", version: tls.VersionTLS12, to: netip.AddrPortFrom(server, 8444)},
			{name: "rests", version: tls.VersionTLS13, to: netip.AddrPortFrom(server, 8446)},
		} {
			x.conns[p.name] = append(x.conns[p.name], &p)
			x.rest++
			opening.Go(func() {
				if err := p.open(x.l); err != nil {
					x.t.Errorf("%s: %v", &p, err)
				}
			})
			x.t.Cleanup(func() { p.raw.Close() })
		}
		for _, name := range []string{"may", "may not"} {
			x.tools[name] = append(x.tools[name], startPackedOpenSSL(x.t, x.l, netip.AddrPortFrom(server, port)))
			port++
			x.rest++
		}
	}
	opening.Wait()
	for _, o := range append(x.tools["may"], x.tools["may not"]...) {
		if !within(visitTime, func() bool { return o.says("Verify return code") }) {
			x.t.Fatalf("openssl has not shaken hands with %s: %s", o.to, o.out.String())
		}
	}
	if x.t.Failed() {
		x.t.FailNow()
	}
}

// listed lists all, and wakes nobody.
func (x *stagePacked) listed() {
	x.t.Helper()
	list := x.f.conns(x.l)
	names := map[string]int{}
	for _, c := range list {
		names[strings.TrimSuffix(c.SNI, ".lab.example")]++
		if c.Offloaded || c.Phase != "application_data" && c.Phase != "handshake_done" || c.PktsToServer < 5 || c.State != "ESTABLISHED" {
			x.t.Errorf("listed: %+v", c)
		}
	}
	if len(list) != x.rest || names["lives"] != 8 || names["forbidden"] != 4 || names["openssl"] != 4 {
		x.t.Errorf("%d of %d are listed: %v", len(list), x.rest, names)
	}
	x.still(x.rest)
}

// one is the connection of a client's port, as it is listed.
func (x *stagePacked) one(p *packedConn) (id string) {
	x.t.Helper()
	for _, c := range x.f.conns(x.l, "--sni", p.name+".lab.example") {
		if int(c.SourcePort) == p.port() {
			return fmt.Sprint(c.FlowID)
		}
	}
	x.t.Errorf("%s is not listed", p)
	return ""
}

func (x *stagePacked) asked() {
	x.t.Helper()
	for _, p := range x.conns["asked"] {
		said := x.f.why(x.t, x.l, x.one(p))
		for _, part := range []string{"ClientHello", "ServerHello", `client asked for server name "asked.lab.example"`, `rule "records" applies`, "It passes"} {
			if !strings.Contains(said, part) {
				x.t.Errorf("%s: no %q in\n%s", p, part, said)
			}
		}
		if err := p.echo(5000); err != nil {
			x.t.Errorf("%s, asked about: %v", p, err)
		}
	}
}

func (x *stagePacked) killed() {
	x.t.Helper()
	for _, p := range x.conns["killed"] {
		if out, errs, code := x.f.ask(x.l, "kill", x.one(p)); code != 0 {
			x.t.Errorf("%s: kill: %d: %s%s", p, code, out, errs)
		}
		x.refused(p, "", "killed", "the operator")
	}
}

// refused wants a connection reset at both ends, and told of.
func (x *stagePacked) refused(p *packedConn, rule, reason, detail string) {
	x.t.Helper()
	p.raw.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := p.conn.Read(make([]byte, 1))
	wasReset(x.t, p.String(), err)
	x.s.wasReset(x.t, p)
	e := x.f.wait("a refusal of "+p.String(), func(e event) bool {
		return e.Type == "drop" && int(e.SrcPort) == p.port() && e.Dest == p.to.Addr()
	})
	if e.Ours.Rule != rule || e.Ours.Reason != reason || !strings.Contains(e.Ours.Detail, detail) || e.TLS.SNI != p.name+".lab.example" {
		x.t.Errorf("%s: event %+v", p, e)
	}
}

// goOn has data pass both ways, bit by bit.
func (x *stagePacked) goOn(name string) {
	x.t.Helper()
	var playing sync.WaitGroup
	for _, p := range x.conns[name] {
		playing.Go(func() {
			for _, n := range []int{1, 300_000} {
				if err := p.echo(n); err != nil {
					x.t.Errorf("%s, %d bytes: %v", p, n, err)
				}
			}
		})
	}
	playing.Wait()
}

func (x *stagePacked) renegotiate(name string, passes bool) {
	x.t.Helper()
	var playing sync.WaitGroup
	for _, o := range x.tools[name] {
		playing.Go(func() {
			if got := o.renegotiates(); got != passes || !o.says("RENEGOTIATING") {
				x.t.Errorf("%s: a page comes: %v, want %v: %s", o.to, got, passes, clip(o.out.String()))
			}
			if passes {
				return
			}
			e := x.f.wait("a refusal", func(e event) bool { return e.Type == "drop" && e.DestPort == o.to.Port() })
			if e.Ours.Rule != "once" || e.Ours.Reason != "require.renegotiates" || e.Ours.Verdict != "reset" {
				x.t.Errorf("refused: %+v", e.Ours)
			}
		})
	}
	playing.Wait()
}

// reloaded has a policy forbid a name: the walk finds who has asked for it, and lets
// the others rest.
func (x *stagePacked) reloaded() {
	x.t.Helper()
	r := x.f.reload(x.l, packedPolicy+strings.Replace(noRenegotiation, "443", "\"8440-8443\"", 1)+forbidding("forbidden.lab.example"))
	forbidden := x.conns["forbidden"]
	if a := r.Connections; !r.Changed || !a.Done || a.Refused != uint64(len(forbidden)) || a.Beyond != 0 || a.Stood != 0 {
		x.t.Errorf("reload: %+v", r)
	}
	for _, p := range forbidden {
		x.refused(p, "no", "rule", "forbidden.lab.example")
	}
	x.still(len(x.conns["rests"]) + len(x.tools["may not"]))
}
