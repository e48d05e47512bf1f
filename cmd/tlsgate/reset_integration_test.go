package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationResetLost: on a network that loses every eighth packet on each link,
// a server that has nothing to say learns all the same that its connection is
// refused, and the connection is told to be over.
func TestIntegrationResetLost(t *testing.T) {
	l := labtest.New(t, lab.Options{Loss: 0.125})
	w := watch(t, l.Server, ":443", func(_ *visit, c net.Conn) error {
		_, err := io.Copy(io.Discard, c)
		return err
	})
	// A hello of which a segment is lost again and again is not there in time: then the
	// time to decide it is over, and that is a refusal like the other.
	f := startFirewall(t, l, `
[limits]
decide = "8s"
[[rule]]
name      = "nobody"
match     = { port = 443 }
require   = { sni = "nobody.example" }
otherwise = "reset"
`)
	families(t, l, func(t *testing.T, server netip.Addr) {
		const connections = 30
		var all sync.WaitGroup
		for range connections {
			all.Go(func() {
				c, err := l.Client.DialContext(t.Context(), "tcp", netip.AddrPortFrom(server, 443).String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(visitTime))
				config := &tls.Config{InsecureSkipVerify: true, ServerName: "server.lab.example"}
				if err := tls.Client(c, config).Handshake(); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the client saw %v, want a reset", err)
				}
			})
		}
		all.Wait()
		// Who was not reset by now is not by what the client says. A connection that
		// the server's program has not seen never came about there.
		for n := len(w.came); n > 0; n-- {
			<-w.came
			select {
			case v := <-w.visits:
				if !errors.Is(v.err, syscall.ECONNRESET) {
					t.Errorf("the server saw %v after %d bytes, want a reset", v.err, v.raw.Load())
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("%d connections live on at the server", n)
			}
		}
	})
	var closed []byte
	ok := within(10*time.Second, func() bool {
		closed, _ = program(t, l.Gateway, "conns", "--socket", f.socket, "--json", "--state", "ESTABLISHED").Output()
		return len(closed) == 0
	})
	if !ok {
		t.Errorf("established still:\n%s", closed)
	}
}
