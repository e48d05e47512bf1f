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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tlsgate/internal/lab"
)

// witness is a server that tells what became of each of its connections: what
// the firewall let through is what it has read.
type witness struct {
	came   chan struct{} // one for each connection
	visits chan *visit   // ended connections

	mu   sync.Mutex
	open map[net.Conn]bool
}

// visit is one connection, as the server's program saw it.
type visit struct {
	from         netip.AddrPort
	began, ended time.Time
	raw          atomic.Int64 // bytes read from TCP
	read         atomic.Int64 // bytes the application read
	name         string       // server name of the ClientHello
	done         bool         // the server's side of the handshake completed
	state        tls.ConnectionState
	err          error // what ended it; nil: what was asked for was done
}

// visitTime bounds a connection.
const visitTime = 20 * time.Second

// watch serves an address of a host with a function until the test ends.
func watch(t testing.TB, h *lab.Host, address string, serve func(*visit, net.Conn) error) *witness {
	t.Helper()
	w := &witness{came: make(chan struct{}, 4096), visits: make(chan *visit, 4096), open: map[net.Conn]bool{}}
	w.listen(t, h, address, serve)
	return w
}

func (w *witness) listen(t testing.TB, h *lab.Host, address string, serve func(*visit, net.Conn) error) {
	t.Helper()
	serveEach(t, h, address, visitTime, func(c net.Conn) {
		w.keep(c, true)
		defer w.keep(c, false)
		w.came <- struct{}{}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		v := &visit{began: time.Now(), from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
		v.err = serve(v, counted{c, &v.raw})
		v.ended = time.Now()
		c.Close()
		w.visits <- v
	})
}

func (w *witness) keep(c net.Conn, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[c] = true; !open {
		delete(w.open, c)
	}
}

// hangUp ends all connections at the server.
func (w *witness) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		c.Close()
	}
}

// await waits until a connection has come to the server's program: a reset that
// is sent at once may overtake the end of TCP's handshake, and then none comes.
func (w *witness) await(t testing.TB, connect func() net.Conn) net.Conn {
	t.Helper()
	for len(w.came) > 0 {
		<-w.came
	}
	c := connect()
	select {
	case <-w.came:
	case <-time.After(visitTime):
		t.Fatal("no connection came to the server")
	}
	return c
}

// watchTLS is a TLS server on port 443, and on port 8444 for what the firewall
// is not to see, with a certificate for RSA.
func watchTLS(t testing.TB, l *lab.Lab, config *tls.Config) *witness {
	t.Helper()
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{certificate}
	config.SetSessionTicketKeys([][32]byte{{1}}) // the same for all its connections
	if config.CipherSuites == nil {
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			config.CipherSuites = append(config.CipherSuites, s.ID)
		}
	}
	serve := func(v *visit, c net.Conn) error { return serveTLS(v, c, config) }
	w := watch(t, l.Server, ":443", serve)
	w.listen(t, l.Server, ":8444", serve)
	return w
}

// next waits for the next connection to end.
func (w *witness) next(t testing.TB) *visit {
	t.Helper()
	select {
	case v := <-w.visits:
		return v
	case <-time.After(visitTime + time.Second):
		t.Fatal("no connection ended at the server")
		return nil
	}
}

// serveTLS does what the first line says.
//
//	exchange N M    read N bytes, answer with their SHA-256 and M bytes of the lab's pattern
//	GET /M          answer as HTTP with M bytes of it
func serveTLS(v *visit, c net.Conn, config *tls.Config) error {
	config = config.Clone()
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		v.name = h.ServerName
		return nil, nil
	}
	conn := tls.Server(c, config)
	if err := conn.Handshake(); err != nil {
		return err
	}
	v.done, v.state = true, conn.ConnectionState()
	if err := answer(bufio.NewReader(counted{conn, &v.read}), conn); err != nil {
		return err
	}
	return conn.Close()
}

func answer(r *bufio.Reader, w io.Writer) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	var n, m int64
	if _, err := fmt.Sscanf(line, "exchange %d %d", &n, &m); err == nil {
		hash := sha256.New()
		if _, err := io.CopyN(hash, r, n); err != nil {
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
	_, err = io.Copy(w, lab.Pattern(m))
	return err
}

// request is what a client says to send n bytes and ask for m, and what it is
// to hear.
func request(n, m int64) (say, hear string) {
	sent := pattern(n)
	sum := sha256.Sum256([]byte(sent))
	return fmt.Sprintf("exchange %d %d\n%s", n, m, sent), hex.EncodeToString(sum[:]) + "\n" + pattern(m)
}

func pattern(n int64) string {
	b, _ := io.ReadAll(lab.Pattern(n))
	return string(b)
}

// counted counts what is read.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}
