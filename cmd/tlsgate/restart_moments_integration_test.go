package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// patientServer does what a connection's first line asks for, once it may.
type patientServer struct {
	config *tls.Config
	may    chan struct{}
}

const longAnswer = 300_000

func (s *patientServer) serve(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(visitTime))
	io.WriteString(c, "220 mail ESMTP\r\n")
	line := make([]byte, 64)
	n, _ := c.Read(line)
	if string(line[:n]) == "STARTTLS\r\n" {
		<-s.may
	}
	io.WriteString(c, "220 go\r\n")
	conn := tls.Server(c, s.config)
	io.Copy(io.Discard, conn) // until its client has closed
	<-s.may
	io.WriteString(conn, strings.Repeat("x", longAnswer))
	conn.Close()
}

// patient is a client of it.
type patient struct {
	name string
	sni  string
	mail bool // its STARTTLS waits for the answer; else its TLS is done, and it has closed
	max  uint16
	raw  net.Conn
	conn *tls.Conn
}

// before is what it does before the daemon ends.
func (p *patient) before(t *testing.T) {
	t.Helper()
	p.raw.SetDeadline(time.Now().Add(visitTime))
	line := make([]byte, 64)
	p.raw.Read(line)
	p.conn = tls.Client(p.raw, &tls.Config{InsecureSkipVerify: true, ServerName: p.sni, MaxVersion: p.max})
	if p.mail {
		io.WriteString(p.raw, "STARTTLS\r\n")
		return
	}
	io.WriteString(p.raw, "NOW\r\n")
	p.raw.Read(line)
	if _, err := io.WriteString(p.conn, "all that it says"); err != nil {
		t.Errorf("%s: %v", p.name, err)
	}
	p.close()
}

func (p *patient) close() {
	p.conn.CloseWrite()
	p.raw.(*net.TCPConn).CloseWrite()
}

// after is what it does when the daemon is there again, and the server answers.
func (p *patient) after() error {
	if p.mail {
		if _, err := p.raw.Read(make([]byte, 64)); err != nil {
			return err
		}
		if err := p.conn.Handshake(); err != nil {
			return err
		}
		p.close()
	}
	heard, err := io.ReadAll(p.conn)
	if err == nil && len(heard) != longAnswer {
		err = fmt.Errorf("heard %d bytes", len(heard))
	}
	return err
}

// TestIntegrationRestartMoments ends the daemon while clients wait for the answer to their
// STARTTLS, and while others have closed and wait for a long answer, and begins it again. Who
// had been accepted goes on, whatever midstream says; who waited for TLS is judged by
// his hello.
func TestIntegrationRestartMoments(t *testing.T) {
	for _, tt := range []struct {
		offload   bool
		midstream string
		end       syscall.Signal
	}{{true, "accept", syscall.SIGKILL}, {false, "accept", syscall.SIGTERM}, {true, "reset", syscall.SIGKILL}, {false, "reset", syscall.SIGKILL}} {
		t.Run(fmt.Sprintf("offload %v, midstream %s, %s", tt.offload, tt.midstream, tt.end), func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t, lab.Options{})
			certificate, err := l.Certificate(lab.KeyRSA)
			if err != nil {
				t.Fatal(err)
			}
			s := &patientServer{&tls.Config{Certificates: []tls.Certificate{certificate}}, make(chan struct{})}
			serveEach(t, l.Server, ":443", visitTime, s.serve)
			policy := fmt.Sprintf("[intercept]\noffload = %v\n[default]\nmidstream = %q\n", tt.offload, tt.midstream) + forbidding("no.example")
			f := startFirewall(t, l, policy)
			var all []*patient
			for _, server := range []netip.Addr{l.Server.IPv4, l.Server.IPv6} {
				for _, p := range []patient{
					{name: "closed, TLS 1.2", sni: "yes.example", max: tls.VersionTLS12},
					{name: "closed, TLS 1.3", sni: "yes.example"},
					{name: "STARTTLS", sni: "yes.example", mail: true},
					{name: "STARTTLS, forbidden", sni: "no.example", mail: true},
				} {
					p.raw = dial(t, l, netip.AddrPortFrom(server, 443))
					t.Cleanup(func() { p.raw.Close() })
					p.before(t)
					all = append(all, &p)
				}
			}
			time.Sleep(200 * time.Millisecond) // until the server has heard them
			f.cmd.Process.Signal(tt.end)
			<-f.ended
			f = startFirewall(t, l, policy)
			close(s.may)
			for _, p := range all {
				err := p.after()
				permitted := p.sni == "yes.example" && (!p.mail || tt.midstream == "accept")
				if permitted && err != nil {
					t.Errorf("%s, from %s: %v", p.name, p.raw.LocalAddr(), err)
				} else if !permitted {
					wasReset(t, p.name, err)
				}
			}
			want := map[string]int{"accept": 2, "reset": 4}[tt.midstream]
			if !within(5*time.Second, func() bool { return len(f.drops()) >= want }) || len(f.drops()) > want {
				t.Errorf("refused: %+v", f.drops())
			}
		})
	}
}
