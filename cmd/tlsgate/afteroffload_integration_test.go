package main

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/adversary"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// afterwards is what two ends say on a connection whose handshake was permitted, and
// the reason for which it is refused where records are inspected.
var afterwards = []struct {
	what, reason string
	says         []byte
}{
	{"a second hello in clear, for a forbidden name", "malformed.record",
		adversary.Hello{Name: adversary.Forbidden, Suites: []uint16{0x1301}, Version: 0x0303, Random: 7}.Record()},
	{"a heartbeat", "require.content_type", append([]byte{24, 3, 3, 0, 40}, make([]byte, 40)...)},
	{"a record of a type that is none", "malformed.record", append([]byte{99, 3, 3, 0, 40}, make([]byte, 40)...)},
	{"text", "malformed.record", []byte("GET / HTTP/1.1\r\nHost: api.evil.example\r\n\r\n")},
}

// TestIntegrationAfterOffload: what is not seen once nothing can change the decision any
// more, in the kernel and in the queue, and that a rule on records sees all of it. It is
// what docs/EVASION.md says is left, and docs/POLICY.md of intercept.offload.
func TestIntegrationAfterOffload(t *testing.T) {
	partner := adversary.Policy("")
	l := labtest.New(t, lab.Options{})
	for _, tt := range []struct {
		name, policy       string
		offloaded, refuses bool
	}{
		{"left to the kernel", partner, true, false},
		{"in the queue", strings.Replace(partner, "[intercept]", "[intercept]\noffload = false", 1), false, false},
		{"every record is inspected", strings.Replace(partner, "[[rule]]", strings.TrimSpace(everyRecord)+"\n\n[[rule]]", 1), false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			listener, err := l.Server.Listen("tcp", ":443")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			f := startFirewall(t, l, tt.policy)
			families(t, l, func(t *testing.T, server netip.Addr) {
				for _, then := range afterwards {
					client, peer := permitted(t, l, listener, netip.AddrPortFrom(server, 443))
					defer client.Close()
					defer peer.Close()
					port := client.LocalAddr().(*net.TCPAddr).Port
					if tt.offloaded && !within(visitTime, func() bool { return f.isOffloaded(l, port) }) {
						t.Fatalf("%s: it is not left to the kernel: %+v", then.what, f.conns(l))
					}
					client.Write(then.says)
					peer.SetReadDeadline(time.Now().Add(time.Second))
					n, err := io.ReadFull(peer, make([]byte, len(then.says)))
					if (err == nil) == tt.refuses {
						t.Errorf("%s: %d of %d bytes arrive, %v", then.what, n, len(then.says), err)
					}
					if tt.refuses {
						e := f.wait("a refusal", func(e event) bool {
							return e.Type == "drop" && int(e.SrcPort) == port && e.SrcIP == client.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
						})
						if e.Ours.Reason != then.reason {
							t.Errorf("%s: refused: %+v, want %s", then.what, e.Ours, then.reason)
						}
					}
				}
			})
			if d := f.drops(); !tt.refuses && len(d) != 0 {
				t.Errorf("refused: %+v", d)
			}
		})
	}
}

// permitted is a connection with a handshake that is permitted, as far as it is to be
// seen, and a record each way behind it.
func permitted(t *testing.T, l *lab.Lab, listener net.Listener, to netip.AddrPort) (client, peer net.Conn) {
	t.Helper()
	client = dial(t, l, to)
	peer, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	data := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...) }
	change := []byte{20, 3, 3, 0, 1, 1}
	hello := adversary.Hello{Name: adversary.Permitted, Suites: []uint16{0x1301}, Version: 0x0303, Random: 7}.Record()
	for _, turn := range []struct {
		from, to net.Conn
		says     []byte
	}{
		{client, peer, hello}, {peer, client, bytes.Join([][]byte{serverHello(0x1301), change, data(900)}, nil)},
		{client, peer, bytes.Join([][]byte{change, data(53)}, nil)}, {peer, client, data(200)}, {client, peer, data(100)}, {peer, client, data(100)},
	} {
		turn.from.Write(turn.says)
		turn.to.SetReadDeadline(time.Now().Add(visitTime))
		if n, err := io.ReadFull(turn.to, make([]byte, len(turn.says))); err != nil {
			t.Fatalf("%d of %d bytes of the handshake: %v", n, len(turn.says), err)
		}
	}
	return client, peer
}

func (f *firewall) isOffloaded(l *lab.Lab, port int) bool {
	for _, c := range f.conns(l) {
		if int(c.SourcePort) == port && c.Offloaded {
			return true
		}
	}
	return false
}
