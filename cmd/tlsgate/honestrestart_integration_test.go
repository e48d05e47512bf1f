package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
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

// restarted is a way in which an honest connection goes on and ends once a daemon was
// killed, and another has begun.
type restarted struct {
	name   string
	serve  func(c *tls.Conn) error
	client func(c *tls.Conn, meanwhile func()) error
}

const restartedBytes = 1 << 20 // and with each part as many

func expect(r io.Reader, n int64) error { return expectFrom(r, 0, n) }

// patternAt is a part of what say writes.
func patternAt(at int64, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((at + int64(i)) % 251)
	}
	return string(b)
}

func say(w io.Writer, n int64) error {
	_, err := io.WriteString(w, patternAt(0, int(n)))
	return err
}

func shut(c *tls.Conn) error { return c.NetConn().(*net.TCPConn).CloseWrite() }

func ended(r io.Reader) error {
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%d bytes, %v: want the end", n, err)
	}
	return nil
}

func first(errs ...func() error) error {
	for _, f := range errs {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

var restartedWays = []restarted{
	{"the client half-closes, and is answered", func(c *tls.Conn) error {
		return first(func() error { return expect(c, 2*restartedBytes) }, func() error { return ended(c) },
			func() error { return say(c, restartedBytes) })
	}, func(c *tls.Conn, meanwhile func()) error {
		return first(func() error { return say(c, restartedBytes) }, func() error { meanwhile(); return nil },
			func() error { _, err := io.WriteString(c, patternAt(restartedBytes, restartedBytes)); return err },
			func() error { return shut(c) }, func() error { return expect(c, restartedBytes) }, func() error { return ended(c) })
	}},
	{"the server half-closes, and is told more", func(c *tls.Conn) error {
		return first(func() error { return say(c, restartedBytes) }, func() error { return expect(c, 1) },
			func() error { _, err := io.WriteString(c, patternAt(restartedBytes, restartedBytes)); return err }, func() error { return shut(c) },
			func() error { return expect(c, 2*restartedBytes) }, func() error { return ended(c) })
	}, func(c *tls.Conn, meanwhile func()) error {
		return first(func() error { return expect(c, restartedBytes) }, func() error { meanwhile(); return say(c, 1) },
			func() error { return expectFrom(c, restartedBytes, restartedBytes) },
			func() error { return ended(c) }, func() error { return say(c, 2*restartedBytes) }, func() error { return shut(c) })
	}},
	{"a download over it", func(c *tls.Conn) error {
		return first(func() error { return say(c, 32*restartedBytes) }, func() error { return c.Close() })
	}, func(c *tls.Conn, meanwhile func()) error {
		return first(func() error { return expect(c, restartedBytes) }, func() error { go meanwhile(); return nil },
			func() error {
				for i := range int64(31) {
					time.Sleep(30 * time.Millisecond)
					if err := expectFrom(c, (1+i)*restartedBytes, restartedBytes); err != nil {
						return err
					}
				}
				return ended(c)
			})
	}},
	{"an idle one, and the server closes", func(c *tls.Conn) error {
		return first(func() error { return expect(c, 100) }, func() error { return say(c, 100) },
			func() error { return c.Close() })
	}, func(c *tls.Conn, meanwhile func()) error {
		meanwhile()
		return first(func() error { return say(c, 100) }, func() error { return expect(c, 100) }, func() error { return ended(c) })
	}},
	{"a download, and the client resets", func(c *tls.Conn) error {
		return first(func() error { return say(c, 2*restartedBytes) }, func() error { return reset(c) })
	}, func(c *tls.Conn, meanwhile func()) error {
		return first(func() error { return expect(c, restartedBytes) }, func() error { meanwhile(); return nil },
			func() error { return expectFrom(c, restartedBytes, restartedBytes) }, func() error { return abort(c) })
	}},
	{"idle, and the client resets", reset, func(c *tls.Conn, meanwhile func()) error {
		meanwhile()
		return abort(c)
	}},
}

// reset reads until the peer resets.
func reset(c *tls.Conn) error {
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%d bytes, %v: want a reset", n, err)
	}
	return nil
}

func abort(c *tls.Conn) error {
	raw := c.NetConn().(*net.TCPConn)
	raw.SetLinger(0)
	return raw.Close()
}

func expectFrom(r io.Reader, from, n int64) error {
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if string(b) != patternAt(from, int(n)) {
		return errors.New("other bytes than were sent")
	}
	return nil
}

// TestIntegrationRestartHonest: honest connections go on, and end, over a daemon that is
// killed and another that begins, whatever ends them, and others follow on their ports;
// nothing of them is taken for what a SYN cookie could begin.
func TestIntegrationRestartHonest(t *testing.T) {
	for _, offload := range []bool{true, false} {
		for _, cookies := range []string{"1", "2"} {
			t.Run(fmt.Sprintf("offload=%v/syncookies=%s", offload, cookies), func(t *testing.T) { restartHonest(t, offload, cookies) })
		}
	}
}

func restartHonest(t *testing.T, offload bool, cookies string) {
	l := labtest.New(t, lab.Options{Sysctls: map[string]string{"net.ipv4.tcp_syncookies": cookies}})
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	served := make(chan error, 1000)
	serveEach(t, l.Server, ":443", time.Minute, func(raw net.Conn) {
		c := tls.Server(raw, config)
		line, err := bufio.NewReaderSize(io.LimitReader(c, 2), 16).ReadString('\n')
		if err == nil {
			w := restartedWays[line[0]-'0']
			if err = w.serve(c); err != nil {
				err = fmt.Errorf("server: %s: %w", w.name, err)
			}
		}
		served <- err
	})
	policy := fmt.Sprintf("%s\n[default]\nmidstream = \"reset\"\n[intercept]\noffload = %v\n", partnerPolicy, offload)
	f := startFirewall(t, l, policy)
	ends := []struct{ client, server netip.Addr }{{l.Client.IPv4, l.Server.IPv4}, {l.Client.IPv6, l.Server.IPv6}}
	connect := func(at struct{ client, server netip.Addr }, way int) (*tls.Conn, error) {
		from, to := netip.AddrPortFrom(at.client, uint16(20000+way)), netip.AddrPortFrom(at.server, 443)
		var raw net.Conn
		err := l.Client.Run(func() (err error) {
			d := net.Dialer{Timeout: visitTime, LocalAddr: net.TCPAddrFromAddrPort(from), Control: func(_, _ string, c syscall.RawConn) error {
				return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
			}}
			raw, err = d.DialContext(t.Context(), "tcp", to.String())
			return err
		})
		if err != nil {
			return nil, err
		}
		raw.SetDeadline(time.Now().Add(time.Minute))
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, ServerName: "server.lab.example"})
		_, err = fmt.Fprintf(c, "%d\n", way)
		return c, err
	}
	var ready, done sync.WaitGroup
	over := make(chan struct{})
	n := 0
	for way, w := range restartedWays {
		for _, at := range ends {
			n++
			c, err := connect(at, way)
			if err != nil {
				t.Fatal(err)
			}
			ready.Add(1)
			done.Go(func() {
				defer c.NetConn().Close()
				var once sync.Once
				if err := w.client(c, func() { once.Do(ready.Done); <-over }); err != nil {
					t.Errorf("%s: %v: %v", w.name, at.server, err)
				}
			})
		}
	}
	ready.Wait()
	time.Sleep(200 * time.Millisecond) // some wait, one flows
	f.cmd.Process.Kill()
	<-f.ended
	f = startFirewall(t, l, policy)
	close(over)
	done.Wait()
	// And again, on the same ports.
	for way, w := range restartedWays {
		for _, at := range ends {
			c, err := connect(at, way)
			if err == nil {
				err = w.client(c, func() {})
				c.NetConn().Close()
			}
			if n++; err != nil {
				t.Errorf("again: %s: %v: %v", w.name, at.server, err)
			}
		}
	}
	for range n {
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(visitTime):
			t.Fatal("a server has not ended")
		}
	}
	// An acknowledgement that was on its way when the other end's RST came by, or says a last
	// time what both ends know, is dropped behind the end: nobody waits for it.
	d := nonzero(f.statsNow().Dropped)
	t.Logf("dropped: %v", d)
	if behind := d["syn_cookie"]; behind > uint64(len(restartedWays)) {
		t.Errorf("%d segments were taken for what a SYN cookie could begin", behind)
	}
	if delete(d, "syn_cookie"); len(d) != 0 {
		t.Errorf("dropped: %v", d)
	}
	for _, e := range f.drops() {
		t.Errorf("refused: %+v", e)
	}
}
