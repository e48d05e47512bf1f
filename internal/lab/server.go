package lab

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Key says with which keys a server can prove who it is.
type Key uint8

// The zero Key is both: the client's offer decides.
const (
	KeyBoth Key = iota
	KeyRSA
	KeyECDSA
)

// ServerOptions configure a TLS server. The zero value speaks TLS 1.0 to 1.3.
type ServerOptions struct {
	// MinVersion and MaxVersion; 0 means TLS 1.0 and TLS 1.3.
	MinVersion, MaxVersion uint16
	// CipherSuites up to TLS 1.2; nil means all that crypto/tls has, secure or
	// not. The order of preference is that of crypto/tls.
	CipherSuites []uint16
	Curves       []tls.CurveID
	Key          Key
	ALPN         []string
	// NoTickets turns session resumption off.
	NoTickets bool
	// ClientCertificate makes the server demand one.
	ClientCertificate bool
}

// Server is a TLS server of the lab. After the handshake it reads one line and
// does what it says:
//
//	echo           send back whatever follows, until the client closes
//	download N     send the first N bytes of Pattern, and close
//	upload N       read N bytes, send their SHA-256 in hexadecimal and a line feed, and close
//	GET /          answer as HTTP/1.1 with a line about the connection, and close
//	GET /bytes/N   answer as HTTP/1.1 with the first N bytes of Pattern, and close
//
// It is safe for concurrent use.
type Server struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	states []tls.ConnectionState
	failed []error
}

// handshakeTime and idleTime bound how long a connection may keep a server busy.
const (
	handshakeTime = 30 * time.Second
	idleTime      = 2 * time.Minute
)

// ServeTLS starts a server in the host, on an address such as ":443" or
// "198.18.2.2:0". It ends with the lab, or by Close.
func (h *Host) ServeTLS(address string, o ServerOptions) (*Server, error) {
	config, err := h.lab.serverConfig(o)
	if err != nil {
		return nil, err
	}
	listener, err := h.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &Server{listener: listener, conns: make(map[net.Conn]struct{})}
	s.wg.Go(func() { s.accept(config) })
	return s, h.lab.atClose(func() { s.Close() })
}

func (l *Lab) serverConfig(o ServerOptions) (*tls.Config, error) {
	id, err := l.identity()
	if err != nil {
		return nil, err
	}
	roots, err := l.Roots()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		MinVersion: o.MinVersion, MaxVersion: o.MaxVersion,
		CipherSuites: o.CipherSuites, CurvePreferences: o.Curves, NextProtos: o.ALPN,
		SessionTicketsDisabled: o.NoTickets,
		ClientCAs:              roots,
	}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS10
	}
	if c.CipherSuites == nil {
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			c.CipherSuites = append(c.CipherSuites, s.ID)
		}
	}
	if o.ClientCertificate {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if o.Key != KeyRSA {
		c.Certificates = append(c.Certificates, id.ecdsa)
	}
	if o.Key != KeyECDSA {
		c.Certificates = append(c.Certificates, id.rsa)
	}
	return c, nil
}

// AddrPort is where the server listens.
func (s *Server) AddrPort() netip.AddrPort { return addrPort(s.listener.Addr()) }

func addrPort(a net.Addr) netip.AddrPort {
	p := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// Handshakes returns the state of each connection whose handshake succeeded, and
// the error of each whose handshake failed, in the order they ended.
func (s *Server) Handshakes() (done []tls.ConnectionState, failed []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(done, s.states...), append(failed, s.failed...)
}

// Close stops the server and its connections.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	err := s.listener.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *Server) accept(config *tls.Config) {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.conns[c] = struct{}{}
		s.wg.Go(func() {
			defer func() {
				c.Close()
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			}()
			s.serve(tls.Server(c, config))
		})
		s.mu.Unlock()
	}
}

func (s *Server) serve(c *tls.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	err := c.HandshakeContext(ctx)
	s.mu.Lock()
	if err != nil {
		s.failed = append(s.failed, err)
	} else {
		s.states = append(s.states, c.ConnectionState())
	}
	s.mu.Unlock()
	if err != nil {
		return
	}
	c.SetDeadline(time.Now().Add(idleTime))
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return
	}
	if answer(c, r, line) == nil {
		c.Close() // says close_notify
	}
}

// answer does what the line says.
func answer(c *tls.Conn, r *bufio.Reader, line string) error {
	command, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	argument, _, _ := strings.Cut(rest, " ")
	switch command {
	case "echo":
		return echo(c, r)
	case "download":
		n, err := strconv.ParseInt(argument, 10, 64)
		if err != nil {
			return err
		}
		_, err = io.Copy(c, Pattern(n))
		return err
	case "upload":
		n, err := strconv.ParseInt(argument, 10, 64)
		if err != nil {
			return err
		}
		hash := sha256.New()
		if _, err := io.CopyN(hash, r, n); err != nil {
			return err
		}
		_, err = fmt.Fprintln(c, hex.EncodeToString(hash.Sum(nil)))
		return err
	case "GET", "HEAD":
		return answerHTTP(c, r, command, argument)
	}
	_, err := fmt.Fprintf(c, "unknown command %q\n", command)
	return err
}

// echo prolongs the deadline with every piece, so that a connection may live
// long as long as it is used.
func echo(c *tls.Conn, r io.Reader) error {
	b := make([]byte, 16<<10)
	for {
		n, err := r.Read(b)
		if _, err := c.Write(b[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(idleTime))
	}
}

func answerHTTP(c *tls.Conn, r *bufio.Reader, method, path string) error {
	for { // the header, which is of no interest
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	state := c.ConnectionState()
	text := fmt.Sprintf("%s %s resumed=%v name=%s\n", tls.VersionName(state.Version),
		tls.CipherSuiteName(state.CipherSuite), state.DidResume, state.ServerName)
	var body io.Reader = strings.NewReader(text)
	size := int64(len(text))
	if number, ok := strings.CutPrefix(path, "/bytes/"); ok {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return err
		}
		body, size = Pattern(n), n
	}
	_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", size)
	if err != nil || method == "HEAD" {
		return err
	}
	_, err = io.Copy(c, body)
	return err
}

// Pattern returns n bytes that are the same every time and differ from place to
// place.
func Pattern(n int64) io.Reader { return io.LimitReader(&pattern{}, n) }

type pattern struct{ at uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.at ^ p.at>>8*31 ^ p.at>>16*17)
		p.at++
	}
	return len(b), nil
}
