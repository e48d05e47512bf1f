package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
)

// Relay is an ordinary TCP port in a host whose connections go on to a server
// in another shape: any client can be used with it. It is safe for concurrent
// use.
type Relay struct {
	listener net.Listener
	connect  func(context.Context) (upstream, error)
	send     func(to io.Writer, from io.Reader) error // what the client says
	ctx      context.Context                          // done: closed
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// upstream is what a TCP connection can do besides being a net.Conn.
type upstream interface {
	net.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

// Relay starts a relay in the host that sends what its clients say to server in
// segments as s has it. listen is an address such as "198.18.1.2:0".
func (h *Host) Relay(listen string, server netip.AddrPort, s Segmentation) (*Relay, error) {
	return h.startRelay(listen, copyUntilEOF, func(ctx context.Context) (upstream, error) {
		c, err := h.DialRaw(ctx, server, s)
		if err != nil { // not a *RawConn that is nil
			return nil, err
		}
		return c, nil
	})
}

// Reframe starts a relay in the host that sends the first TLS record of each
// connection as records of size bytes, and everything after as it comes.
func (h *Host) Reframe(listen string, server netip.AddrPort, size int) (*Relay, error) {
	if size < 1 {
		return nil, &Error{Op: "relay", Err: fmt.Errorf("records of %d bytes", size)}
	}
	send := func(to io.Writer, from io.Reader) error { return reframe(to, from, size) }
	return h.startRelay(listen, send, func(ctx context.Context) (upstream, error) {
		c, err := h.DialContext(ctx, "tcp", server.String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	})
}

func (h *Host) startRelay(listen string, send func(io.Writer, io.Reader) error, connect func(context.Context) (upstream, error)) (*Relay, error) {
	listener, err := h.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	r := &Relay{listener: listener, connect: connect, send: send, conns: make(map[net.Conn]struct{})}
	r.ctx, r.cancel = context.WithCancel(h.lab.ctx)
	r.wg.Go(r.accept)
	return r, h.lab.atClose(func() { r.Close() })
}

// AddrPort is where the relay listens.
func (r *Relay) AddrPort() netip.AddrPort { return addrPort(r.listener.Addr()) }

// Close stops the relay and resets its connections.
func (r *Relay) Close() error {
	r.mu.Lock()
	r.closed = true
	r.cancel()
	err := r.listener.Close()
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
	return err
}

func (r *Relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.serve(c.(*net.TCPConn)) })
	}
}

// keep remembers an open connection, or closes it if the relay is closed.
func (r *Relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *Relay) forget(c net.Conn) {
	c.Close()
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

// serve joins one client and the server. An end of one side is passed on as an
// end; an error, a reset too, as a reset.
func (r *Relay) serve(client *net.TCPConn) {
	if !r.keep(client) {
		return
	}
	defer r.forget(client)
	ctx, cancel := context.WithTimeout(r.ctx, handshakeTime)
	server, err := r.connect(ctx)
	cancel()
	if err != nil {
		client.SetLinger(0)
		return
	}
	if !r.keep(server) {
		return
	}
	defer r.forget(server)
	var both sync.WaitGroup
	both.Go(func() {
		if r.send(server, client) != nil {
			server.SetLinger(0)
			server.Close()
			return
		}
		server.CloseWrite()
	})
	both.Go(func() {
		if copyUntilEOF(client, server) != nil {
			client.SetLinger(0)
			client.Close()
			return
		}
		client.CloseWrite()
	})
	both.Wait()
}

func copyUntilEOF(to io.Writer, from io.Reader) error {
	_, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from}) // not by splice: pieces stay pieces
	return err
}

// reframe copies a TLS stream, its first record as records of size bytes: RFC
// 8446, Section 5.1. A stream that does not begin with a record goes as it is.
func reframe(to io.Writer, from io.Reader, size int) error {
	var header [5]byte
	n, err := io.ReadFull(from, header[:])
	if err != nil || header[0] != 22 {
		if _, err := to.Write(header[:n]); err != nil {
			return err
		}
		return copyUntilEOF(to, from)
	}
	body := make([]byte, binary.BigEndian.Uint16(header[3:]))
	n, err = io.ReadFull(from, body)
	if err != nil { // it ends in the middle: so do we
		_, err = to.Write(append(header[:], body[:n]...))
		return err
	}
	if _, err := to.Write(records(header[:3], body, size)); err != nil {
		return err
	}
	return copyUntilEOF(to, from)
}

// records splits a record's body into records with the same type and version.
func records(typeAndVersion, body []byte, size int) []byte {
	var out []byte
	for len(body) > 0 {
		n := min(size, len(body))
		out = append(out, typeAndVersion...)
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	return out
}
