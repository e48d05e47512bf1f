package lab_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

func TestIntegrationDialRawSegments(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	labtest.Program(t, "iptables")
	families(t, l, func(t *testing.T, client, server netip.Addr) {
		for _, tt := range []struct {
			name string
			how  lab.Segmentation
			want []string // of "abcdef", written at once
		}{
			{"whole", lab.Segmentation{}, []string{"abcdef"}},
			{"one byte", lab.Segmentation{Size: 1}, []string{"a", "b", "c", "d", "e", "f"}},
			{"first three", lab.Segmentation{Size: 1, First: 3}, []string{"a", "b", "c", "def"}},
			{"backward", lab.Segmentation{Size: 2, Order: lab.Backward}, []string{"ef", "cd", "ab"}},
			{"shuffled", lab.Segmentation{Size: 1, Order: lab.Shuffled, Seed: 1}, nil},
			{"twice", lab.Segmentation{Size: 4, Copies: lab.CopySame}, []string{"abcd", "abcd", "ef", "ef"}},
			{"changed after", lab.Segmentation{Size: 3, Copies: lab.CopyChanged, Alter: upper}, []string{"abc", "ABC", "def", "DEF"}},
			{"planned", lab.Segmentation{Plan: func(at int64, b []byte) []lab.Segment {
				return []lab.Segment{{Offset: at + 4, Data: b[4:]}, {Offset: at, Data: b[:4]}}
			}}, []string{"ef", "abcd"}},
			{"planned, half left out", lab.Segmentation{Plan: func(at int64, b []byte) []lab.Segment {
				return []lab.Segment{{Offset: at, Data: b[:4]}}
			}}, []string{"abcd", "ef"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				packets := watch(t, l)
				got := deliver(t, l, server, tt.how, "abcdef")
				if got != "abcdef" {
					t.Errorf("delivered %q", got)
				}
				var sent []string
				for _, p := range data(packets()) {
					sent = append(sent, string(p.payload))
				}
				if tt.want != nil && !slices.Equal(sent, tt.want) {
					t.Errorf("sent %q, want %q", sent, tt.want)
				}
				if tt.want == nil && (len(sent) != 6 || slices.IsSorted(sent)) {
					t.Errorf("sent %q, want six out of order", sent)
				}
			})
		}
	})
}

func upper(_ int64, b []byte) []byte { return bytes.ToUpper(b) }

// deliver writes text over a raw connection and returns what an ordinary
// listener reads.
func deliver(t *testing.T, l *lab.Lab, server netip.Addr, how lab.Segmentation, text string) string {
	t.Helper()
	listener, err := l.Server.Listen("tcp", netip.AddrPortFrom(server, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	result := make(chan string, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			result <- err.Error()
			return
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		if err != nil {
			b = []byte(err.Error())
		}
		result <- string(b)
	}()
	c, err := l.Client.DialRaw(t.Context(), netip.MustParseAddrPort(listener.Addr().String()), how)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-result:
		return got
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		return ""
	}
}

func TestIntegrationDialRawChangedFirst(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	labtest.Program(t, "iptables")
	how := lab.Segmentation{Size: 3, Copies: lab.CopyChangedFirst, Alter: upper}
	if got := deliver(t, l, l.Server.IPv4, how, "abcdef"); got != "ABCDEF" {
		t.Errorf("delivered %q, want what came first", got)
	}
}

func TestIntegrationDialRawErrors(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	labtest.Program(t, "iptables")
	families(t, l, func(t *testing.T, _, server netip.Addr) {
		_, err := l.Client.DialRaw(t.Context(), netip.AddrPortFrom(server, 9), lab.Segmentation{})
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed port: %v, want %v", err, syscall.ECONNREFUSED)
		}
		listener, err := l.Server.Listen("tcp", netip.AddrPortFrom(server, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		packets := watch(t, l)
		c, err := l.Client.DialRaw(t.Context(), netip.MustParseAddrPort(listener.Addr().String()), lab.Segmentation{})
		if err != nil {
			t.Fatal(err)
		}
		peer, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "x")
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) && !isTimeout(err) {
			t.Errorf("no data: %v, want a timeout", err)
		}
		c.SetReadDeadline(time.Time{})
		peer.Close() // with a byte unread: a reset
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after a reset: %v, want %v", err, syscall.ECONNRESET)
		}
		for _, p := range packets() {
			if p.rst {
				t.Error("the client's kernel sent a reset")
			}
		}
	})
	if _, err := l.Gateway.DialRaw(t.Context(), netip.AddrPortFrom(l.Server.IPv4, 9), lab.Segmentation{}); err == nil {
		t.Error("the gateway dialled raw")
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestIntegrationRelay(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	labtest.Program(t, "iptables")
	families(t, l, func(t *testing.T, client, server netip.Addr) {
		s := serve(t, l, server, lab.ServerOptions{})
		for _, tt := range []struct {
			name string
			how  lab.Segmentation
		}{
			{"whole", lab.Segmentation{}},
			{"one byte", lab.Segmentation{Size: 1, First: 4000}},
			{"one byte backward", lab.Segmentation{Size: 1, First: 4000, Order: lab.Backward}},
			{"shuffled", lab.Segmentation{Size: 100, Order: lab.Shuffled}},
			{"twice", lab.Segmentation{Size: 500, Copies: lab.CopySame}},
			{"changed", lab.Segmentation{Size: 64, First: 4000, Copies: lab.CopyChanged}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r, err := l.Client.Relay(netip.AddrPortFrom(client, 0).String(), s.AddrPort(), tt.how)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				exercise(t, func() *tls.Conn { return dial(t, l, r.AddrPort(), clientConfig(t, l)) }, 300_000)
			})
		}
		for _, name := range []string{"openssl", "gnutls-cli", "curl"} {
			t.Run(name, func(t *testing.T) {
				r, err := l.Client.Relay(netip.AddrPortFrom(client, 0).String(), s.AddrPort(), lab.Segmentation{Size: 1, First: 4000, Order: lab.Backward})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				fetch(t, l, name, r.AddrPort())
			})
		}
	})
}

func TestIntegrationRelayRefused(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	labtest.Program(t, "iptables")
	r, err := l.Client.Relay("198.18.1.2:0", netip.AddrPortFrom(l.Server.IPv4, 9), lab.Segmentation{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Client.Dial("tcp", r.AddrPort().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
	}
}

func TestIntegrationReframe(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	families(t, l, func(t *testing.T, client, server netip.Addr) {
		s := serve(t, l, server, lab.ServerOptions{})
		for _, size := range []int{1, 7, 20000} {
			packets := watch(t, l)
			r, err := l.Client.Reframe(netip.AddrPortFrom(client, 0).String(), s.AddrPort(), size)
			if err != nil {
				t.Fatal(err)
			}
			exercise(t, func() *tls.Conn { return dial(t, l, r.AddrPort(), clientConfig(t, l)) }, 1000)
			r.Close()
			first := data(packets())[0].payload
			if got := int(first[3])<<8 | int(first[4]); got != min(size, got) || size == 1 && first[6] != 22 {
				t.Errorf("records of %d: the first is % x", size, first[:12])
			}
		}
	})
	if _, err := l.Client.Reframe("198.18.1.2:0", netip.AddrPort{}, 0); err == nil {
		t.Error("records of no bytes were accepted")
	}
}

func TestIntegrationLoss(t *testing.T) {
	labtest.Program(t, "iptables")
	l := labtest.New(t, lab.Options{Loss: 0.03, MTU: 1400})
	families(t, l, func(t *testing.T, client, server netip.Addr) {
		s := serve(t, l, server, lab.ServerOptions{})
		r, err := l.Client.Relay(netip.AddrPortFrom(client, 0).String(), s.AddrPort(), lab.Segmentation{Size: 50, First: 2000, Order: lab.Backward})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, to := range []netip.AddrPort{s.AddrPort(), r.AddrPort()} {
			c := dial(t, l, to, clientConfig(t, l))
			fmt.Fprintln(c, "download 100000")
			if got, err := io.ReadAll(c); err != nil || string(got) != pattern(100000) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}
	})
}

func TestIntegrationOffloadAndMTU(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     lab.Options
		large bool
	}{
		{"offload", lab.Options{}, true},
		{"no offload", lab.Options{NoOffload: true}, false},
		{"no offload, small MTU", lab.Options{NoOffload: true, MTU: 1280}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := labtest.New(t, tt.o)
			s := serve(t, l, l.Server.IPv4, lab.ServerOptions{})
			packets := watch(t, l)
			exercise(t, func() *tls.Conn { return dial(t, l, s.AddrPort(), clientConfig(t, l)) }, 1_000_000)
			largest := 0
			for _, p := range packets() {
				largest = max(largest, p.size)
			}
			mtu := 1500
			if tt.o.MTU != 0 {
				mtu = tt.o.MTU
			}
			if tt.large != (largest > mtu) || !tt.large && largest != mtu {
				t.Errorf("the largest packet has %d bytes, the MTU is %d", largest, mtu)
			}
		})
	}
}

func TestIntegrationInject(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	labtest.Program(t, "iptables")
	listener, err := l.Server.Listen("tcp", "198.18.2.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c, err := l.Client.DialRaw(t.Context(), netip.MustParseAddrPort(listener.Addr().String()), lab.Segmentation{})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c.Inject(lab.Segment{Data: []byte("bad"), BadChecksum: true})
	c.Inject(lab.Segment{Data: []byte("far"), TTL: 1})
	io.WriteString(c, "one")
	got := make([]byte, 3)
	if _, err := io.ReadFull(peer, got); err != nil || string(got) != "one" {
		t.Errorf("read %q, %v, want what was neither broken nor lost", got, err)
	}
	c.Inject(lab.Segment{Offset: 3, RST: true})
	if _, err := peer.Read(got); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read after a reset: %v, want %v", err, syscall.ECONNRESET)
	}
}
