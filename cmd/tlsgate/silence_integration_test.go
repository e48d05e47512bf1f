package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// silences is how long connections are silent in TestIntegrationSilence, "3m" for
// minutes. Without it that is a little more than what connections rest after.
const silences = "TLSGATE_SILENCE"

// silent is a connection that says nothing for long.
type silent struct {
	name       string
	keepAlives bool
	before     bool // before its hello
	within     bool // within a record
	version    uint16
	to         netip.AddrPort

	raw  net.Conn
	conn *tls.Conn
}

// TestIntegrationSilence: connections that are silent for longer than limits.decide,
// than the ten seconds after which they rest, and than the kernel's connection tracking
// remembers them, with keep-alives and without, go on as if nothing had been.
func TestIntegrationSilence(t *testing.T) {
	silence := 11 * time.Second
	if s := os.Getenv(silences); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("%s: %v", silences, err)
		}
		silence = d
	}
	l := labtest.New(t, lab.Options{})
	if !l.Server.IPv6.IsValid() {
		labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
	}
	serveEcho(t, l, 2*silence+visitTime, 4400, 8400)
	f := startFirewall(t, l, honestPolicy+"[limits]\ndecide = \"2s\"\n")
	// What says nothing for a third of the silence the kernel forgets, and its mark.
	if err := l.Gateway.Sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", fmt.Sprint(int(silence.Seconds())/3)); err != nil {
		t.Fatal(err)
	}
	all := allSilent(l)
	var playing sync.WaitGroup
	for _, s := range all {
		playing.Go(func() {
			if err := s.begin(l, silence); err != nil {
				t.Errorf("%s, before the silence: %v", s, err)
			}
		})
	}
	playing.Wait()
	packets := f.packetsOf(l)
	began := time.Now()
	time.Sleep(silence)
	for _, s := range all {
		playing.Go(func() {
			if err := s.goOn(); err != nil {
				t.Errorf("%s, after %s: %v", s, time.Since(began).Round(time.Second), err)
			}
		})
	}
	playing.Wait()
	now, back := f.packetsOf(l), 0
	for _, s := range all {
		if s.to.Port() == 8400 && !s.before && !s.keepAlives {
			port := s.raw.LocalAddr().(*net.TCPAddr).Port
			if now[port] == packets[port] {
				t.Errorf("%s: the kernel has not forgotten it: %d packets came to the queue before and after", s, now[port])
			}
			back++
		}
		s.raw.Close()
	}
	for _, d := range f.drops() {
		t.Errorf("refused: %+v", d)
	}
	t.Logf("%d connections were silent for %s, and went on; %d of them the kernel had forgotten", len(all), time.Since(began).Round(time.Second), back)
}

// allSilent are connections of each kind.
func allSilent(l *lab.Lab) (all []*silent) {
	for _, server := range []netip.Addr{l.Server.IPv4, l.Server.IPv6} {
		for _, port := range []uint16{4400, 8400} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				for _, s := range []silent{
					{name: "idle"}, {name: "idle, with keep-alives", keepAlives: true}, {name: "before its hello", before: true},
					{name: "before its hello, with keep-alives", before: true, keepAlives: true},
					{name: "within a record", within: true}, {name: "within a record, with keep-alives", within: true, keepAlives: true},
				} {
					s.version, s.to = version, netip.AddrPortFrom(server, port)
					all = append(all, &s)
				}
			}
		}
	}
	return all
}

func (s *silent) String() string {
	return fmt.Sprintf("%s, %s, %s", s.name, tls.VersionName(s.version), s.to)
}

// cutting is a connection whose next write is cut in two, if it is to be.
type cutting struct {
	net.Conn
	cut  bool
	rest []byte
}

func (c *cutting) Write(b []byte) (int, error) {
	if !c.cut {
		return c.Conn.Write(b)
	}
	c.cut, c.rest = false, bytes.Clone(b[len(b)/2:])
	_, err := c.Conn.Write(b[:len(b)/2])
	return len(b), err
}

// begin brings a connection to its silence.
func (s *silent) begin(l *lab.Lab, silence time.Duration) error {
	err := l.Client.Run(func() (err error) {
		d := net.Dialer{Timeout: visitTime, KeepAliveConfig: net.KeepAliveConfig{
			Enable: s.keepAlives, Idle: max(silence/12, time.Second), Interval: max(silence/12, time.Second), Count: 9,
		}}
		if !s.keepAlives {
			d.KeepAlive = -1
		}
		s.raw, err = d.Dial("tcp", s.to.String())
		return err
	})
	if err != nil {
		return err
	}
	s.raw.SetDeadline(time.Now().Add(2*silence + visitTime))
	s.conn = tls.Client(&cutting{Conn: s.raw}, &tls.Config{
		InsecureSkipVerify: true, ServerName: "server.lab.example", MinVersion: s.version, MaxVersion: s.version,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	})
	if s.before {
		return nil
	}
	if err := s.echo(strings.Repeat("before the silence ", 1000)); err != nil || !s.within {
		return err
	}
	s.conn.NetConn().(*cutting).cut = true
	_, err = io.WriteString(s.conn, withinText)
	return err
}

var withinText = strings.Repeat("within a record ", 100)

// goOn ends the silence.
func (s *silent) goOn() error {
	if s.within {
		if _, err := s.raw.Write(s.conn.NetConn().(*cutting).rest); err != nil {
			return err
		}
		if err := s.hear(withinText); err != nil {
			return err
		}
	}
	return s.echo(strings.Repeat("after the silence ", 1000))
}

func (s *silent) echo(text string) error {
	if _, err := io.WriteString(s.conn, text); err != nil {
		return err
	}
	return s.hear(text)
}

func (s *silent) hear(text string) error {
	b := make([]byte, len(text))
	if _, err := io.ReadFull(s.conn, b); err != nil {
		return err
	}
	if string(b) != text {
		return errors.New("what came is not what was said")
	}
	return nil
}

// serveEcho says what it hears, with TLS, and sends no keep-alives.
func serveEcho(t testing.TB, l *lab.Lab, life time.Duration, ports ...uint16) {
	t.Helper()
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	for _, port := range ports {
		serveEach(t, l.Server, fmt.Sprint(":", port), life, func(c net.Conn) {
			c.(*net.TCPConn).SetKeepAlive(false)
			conn := tls.Server(c, config)
			io.Copy(conn, conn)
		})
	}
}

// packetsOf are how many packets of each client's port came to the queue, by what
// the table says of its connections.
func (f *firewall) packetsOf(l *lab.Lab) map[int]uint64 {
	n := map[int]uint64{}
	for _, c := range f.conns(l) {
		n[int(c.SourcePort)] = c.PktsToServer + c.PktsToClient
	}
	return n
}
