package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tlsgate/internal/lab"
)

const (
	soakPort   = 443  // TLS, and what is not TLS and not permitted
	closedPort = 8443 // the same server, where connections are refused for a while
	tcpPort    = 8080 // permitted by its port: no TLS

	// soakTime bounds a connection, with all the retransmissions that it takes
	// while there is no daemon.
	soakTime = 30 * time.Second

	largest = 16 << 20
)

// soakServer answers the clients of a soak, and keeps account of what it has read.
type soakServer struct {
	config *tls.Config
	mu     sync.Mutex
	byID   map[string][]*account
}

// account is one connection that reached the server's program.
type account struct {
	id    string // of the transfer: the first label of the server name
	from  netip.AddrPort
	began time.Time
	read  atomic.Int64 // bytes that the application read
	first atomic.Int64 // when it read some
	last  atomic.Int64
}

// Read reads as the application does.
func (r *reading) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	if n > 0 {
		now := time.Now().UnixNano()
		r.a.first.CompareAndSwap(0, now)
		r.a.last.Store(now)
		r.a.read.Add(int64(n))
	}
	return n, err
}

// reading is a connection whose account is kept.
type reading struct {
	net.Conn
	a *account
}

// startSoakServer serves until the test ends.
func startSoakServer(t testing.TB, l *lab.Lab) *soakServer {
	t.Helper()
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	s := &soakServer{byID: map[string][]*account{}}
	s.config = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.config.SetSessionTicketKeys([][32]byte{{1}})
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		s.config.CipherSuites = append(s.config.CipherSuites, suite.ID)
	}
	for port, serve := range map[int]func(net.Conn){soakPort: s.serveTLS, closedPort: s.serveTLS, tcpPort: s.servePlain} {
		serveEach(t, l.Server, fmt.Sprintf(":%d", port), soakTime, serve)
	}
	return s
}

func (s *soakServer) serveTLS(c net.Conn) {
	var a *account
	config := s.config.Clone()
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		id, _, _ := strings.Cut(h.ServerName, ".")
		a = s.account(id, c)
		return nil, nil
	}
	conn := tls.Server(c, config)
	if conn.Handshake() != nil {
		return
	}
	if serveSoak(bufio.NewReader(&reading{conn, a}), conn) == nil {
		conn.Close()
		io.Copy(io.Discard, c) // a client that has sent more shall not get a reset for it
	}
}

func (s *soakServer) servePlain(c net.Conn) {
	a := s.account("", c)
	serveSoak(bufio.NewReader(&reading{c, a}), c)
}

func (s *soakServer) account(id string, c net.Conn) *account {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	a := &account{id: id, from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), began: time.Now()}
	if id == "" {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[id] = append(s.byID[id], a)
	return a
}

// accounts are the connections of a transfer that reached the server's program.
func (s *soakServer) accounts(id string) []*account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

// soakPattern is the lab's pattern, made once.
var soakPattern = sync.OnceValue(func() string { return pattern(largest) })

// serveSoak does what the first line says: as answer does, and
//
//	echo    send back whatever follows, until the client closes
func serveSoak(r *bufio.Reader, w io.Writer) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	var n, m int
	if line == "echo\n" {
		_, err := r.WriteTo(w)
		return err
	} else if _, err := fmt.Sscanf(line, "exchange %d %d", &n, &m); err == nil {
		hash := sha256.New()
		if _, err := io.CopyN(hash, r, int64(n)); err != nil {
			return err
		}
		fmt.Fprintln(w, hex.EncodeToString(hash.Sum(nil)))
	} else if _, err := fmt.Sscanf(line, "GET /%d", &m); err == nil {
		for line != "\r\n" {
			if line, err = r.ReadString('\n'); err != nil {
				return err
			}
		}
		fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", m)
	} else {
		return fmt.Errorf("asked for %q", line)
	}
	_, err = io.WriteString(w, soakPattern()[:min(m, largest)])
	return err
}

// soakRequest is what a client says to send n bytes and ask for m, and what it is
// to hear.
func soakRequest(n, m int) (say, hear string) {
	sent := soakPattern()[:n]
	sum := sha256.Sum256([]byte(sent))
	return fmt.Sprintf("exchange %d %d\n%s", n, m, sent), hex.EncodeToString(sum[:]) + "\n" + soakPattern()[:m]
}
