package main

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"tlsgate/internal/adversary"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// serverHello is one that selects a suite.
func serverHello(suite uint16) []byte {
	b := append([]byte{2, 0, 0, 0, 3, 3}, bytes.Repeat([]byte{5}, 32)...)
	b = append(append(b, 32), bytes.Repeat([]byte{0x55}, 32)...)
	b = append(b, byte(suite>>8), byte(suite), 0, 0, 46, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 29, 0, 32)
	b = append(b, bytes.Repeat([]byte{5}, 32)...)
	b[3] = byte(len(b) - 4)
	return append([]byte{22, 3, 3, 0, byte(len(b))}, b...)
}

// inPieces writes b in segments of a size.
func inPieces(c net.Conn, b []byte, size int) {
	for len(b) > 0 {
		n := min(size, len(b))
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
		time.Sleep(3 * time.Millisecond)
	}
}

// TestIntegrationColluding: a server that says its ServerHello in its own way. With a
// suite that is refused it never comes whole, offered or not; with a permitted one it
// does.
func TestIntegrationColluding(t *testing.T) {
	const good, bad = 0x1301, 0x1303
	l := labtest.New(t, lab.Options{})
	for _, tt := range []struct {
		name    string
		offers  uint16
		early   bool // it answers in the middle of the hello
		honest  bool // a permitted answer comes in this shape
		answers func(c net.Conn, hello []byte) (said int)
	}{
		{"as it is", bad, false, true, func(c net.Conn, b []byte) int { inPieces(c, b, 1000); return len(b) }},
		{"a suite that nobody offered", good, false, true, func(c net.Conn, b []byte) int { inPieces(c, b, 1000); return len(b) }},
		{"segments of one byte", bad, false, true, func(c net.Conn, b []byte) int { inPieces(c, b, 1); return len(b) }},
		{"records of one byte", bad, false, true, func(c net.Conn, b []byte) int {
			var out []byte
			for _, v := range b[5:] {
				out = append(out, 22, 3, 3, 0, 1, v)
			}
			inPieces(c, out, 7)
			return len(out)
		}},
		{"in the middle of the hello", bad, true, false, func(c net.Conn, b []byte) int { inPieces(c, b, 1000); return len(b) }},
		{"in the middle of the hello, in segments of ten bytes", bad, true, false, func(c net.Conn, b []byte) int { inPieces(c, b, 10); return len(b) }},
		{"behind text", bad, false, false, func(c net.Conn, b []byte) int {
			inPieces(c, append([]byte("220 mail ESMTP\r\n"), b...), 1000)
			return len(b) + 16
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var suite uint16
			said := make(chan int, 1)
			l2, err := l.Server.Listen("tcp", ":443")
			if err != nil {
				t.Fatal(err)
			}
			defer l2.Close()
			hello := adversary.Hello{Name: adversary.Permitted, Suites: []uint16{tt.offers}, Version: 0x0303, Random: 7}.Record()
			go func() {
				for {
					c, err := l2.Accept()
					if err != nil {
						return
					}
					n := len(hello)
					if tt.early {
						n = 60
					}
					c.SetDeadline(time.Now().Add(visitTime))
					if _, err := io.ReadFull(c, make([]byte, n)); err == nil {
						said <- tt.answers(c, serverHello(suite))
						io.Copy(io.Discard, c)
					} else {
						said <- -1
					}
					c.Close()
				}
			}()
			f := startFirewall(t, l, adversary.Policy(""))
			families(t, l, func(t *testing.T, server netip.Addr) {
				for _, suite = range []uint16{bad, good} {
					c := dial(t, l, netip.AddrPortFrom(server, 443))
					defer c.Close()
					c.Write(hello[:60])
					time.Sleep(100 * time.Millisecond)
					c.Write(hello[60:])
					want := <-said
					c.SetReadDeadline(time.Now().Add(time.Second))
					got, _ := io.ReadAll(c)
					switch {
					case suite == bad && len(got) >= want:
						t.Errorf("the whole of a forbidden ServerHello came, %d bytes", len(got))
					case suite == good && tt.honest && len(got) != want:
						t.Errorf("%d bytes came of a permitted ServerHello of %d: %+v", len(got), want, f.drops())
					}
					if suite == bad {
						e := f.wait("a refusal", func(e event) bool { return e.Type == "drop" && e.Dest == server })
						if want := map[bool]string{true: "malformed.handshake", false: e.Ours.Reason}[tt.early]; e.Ours.Reason != want {
							t.Errorf("refused: %+v, want %s", e.Ours, want)
						}
					}
				}
			})
		})
	}
}
