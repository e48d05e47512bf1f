package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationPathMTU: the way to the server becomes narrower than its client believes,
// in the middle of a connection, in the queue and left to the kernel. The gateway's ICMP
// message reaches him, and everything arrives.
func TestIntegrationPathMTU(t *testing.T) {
	for _, offload := range []bool{true, false} {
		t.Run(fmt.Sprintf("offload %v", offload), func(t *testing.T) {
			l := labtest.New(t, lab.Options{NoOffload: true})
			w := watchTLS(t, l, &tls.Config{})
			f := startFirewall(t, l, fmt.Sprintf("[intercept]\noffload = %v\n", offload)+partnerPolicy)
			narrow := func(mtu string) {
				output(t, l.Gateway, "ip", "link", "set", lab.GatewayServerLink, "mtu", mtu)
				output(t, l.Server, "ip", "link", "set", lab.HostLink, "mtu", mtu)
			}
			families(t, l, func(t *testing.T, server netip.Addr) {
				to := netip.AddrPortFrom(server, 443)
				narrow("1500")
				c := dial(t, l, to)
				defer c.Close()
				c.SetDeadline(time.Now().Add(visitTime))
				conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: goodSuite.CipherSuites})
				say, hear := request(400_000, 400_000)
				fmt.Fprint(conn, say[:200_000]) // decided, and left to the kernel if it may be
				narrow("1300")
				if _, err := fmt.Fprint(conn, say[200_000:]); err != nil {
					t.Fatal(err)
				}
				if !within(5*time.Second, func() bool { return mtuOf(t, c) == 1300 }) {
					t.Errorf("the client believes in a way of %d bytes, want 1300", mtuOf(t, c))
				}
				through(t, conn, w, hear)
				if _, err := exchange(dial(t, l, to), goodSuite, 300_000); err != nil {
					t.Errorf("one that begins so: %v", err)
				}
				w.next(t)
			})
			if d := f.drops(); len(d) != 0 {
				t.Errorf("refused: %+v", d)
			}
			if s := f.statsNow(); s.Packets["bugs"] != 0 {
				t.Error(f.said())
			}
		})
	}
}

// mtuOf is what the sender of a connection has learned of its way.
func mtuOf(t *testing.T, c net.Conn) (mtu int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_MTU
		if c.RemoteAddr().(*net.TCPAddr).IP.To4() == nil {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
		}
		mtu, err = unix.GetsockoptInt(int(fd), level, option)
	})
	if err != nil {
		t.Fatal(err)
	}
	return mtu
}

// TestIntegrationUnreachable: who calls a server that is not there is told by the ICMP
// message of a router, through the gateway, and not by a timeout.
func TestIntegrationUnreachable(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	startFirewall(t, l, partnerPolicy)
	for _, to := range []string{"203.0.113.9:443", "[2001:db8:99::9]:443"} {
		family := "-4"
		if strings.HasPrefix(to, "[") {
			family = "-6"
		}
		prefix := netip.MustParseAddrPort(to).Addr().String()
		output(t, l.Gateway, "ip", family, "route", "add", "prohibit", prefix)
		began := time.Now()
		err := l.Client.Run(func() error {
			c, err := net.DialTimeout("tcp", to, visitTime)
			if err == nil {
				c.Close()
			}
			return err
		})
		if !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.EACCES) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %s", to, err, time.Since(began))
		}
	}
}

// TestIntegrationFewPorts: a client with a handful of ports, which it uses again while the
// last connection on them is in TIME-WAIT, at itself and at its server, loses nothing; nor
// does one that negotiates ECN.
func TestIntegrationFewPorts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		offload bool
		sysctls map[string]string
	}{
		{"left to the kernel", true, nil},
		{"in the queue", false, nil},
		{"with ECN", true, map[string]string{"net.ipv4.tcp_ecn": "1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			w := watchTLS(t, l, &tls.Config{})
			for name, value := range tt.sysctls {
				for _, h := range []*lab.Host{l.Client, l.Server} {
					if err := h.Sysctl(name, value); err != nil {
						t.Fatal(err)
					}
				}
			}
			for name, value := range map[string]string{"net.ipv4.tcp_tw_reuse": "1", "net.ipv4.ip_local_port_range": "40000 40007"} {
				if err := l.Client.Sysctl(name, value); err != nil {
					t.Fatal(err)
				}
			}
			f := startFirewall(t, l, fmt.Sprintf("[intercept]\noffload = %v\n", tt.offload)+partnerPolicy)
			families(t, l, func(t *testing.T, server netip.Addr) {
				to := netip.AddrPortFrom(server, 443)
				done, tries := 0, 0
				for end := time.Now().Add(6 * time.Second); done < 60 && time.Now().Before(end); {
					tries++
					var c net.Conn
					err := l.Client.Run(func() (err error) {
						c, err = net.DialTimeout("tcp", to.String(), visitTime)
						return err
					})
					if errors.Is(err, syscall.EADDRNOTAVAIL) { // until a second has gone by (tcp_ipv4.c:tcp_twsk_unique)
						time.Sleep(50 * time.Millisecond)
						continue
					}
					if err != nil {
						t.Fatalf("connection %d: %v", done, err)
					}
					if _, err := exchange(c, goodSuite, 5000); err != nil {
						t.Errorf("connection %d, from %s: %v", done, c.LocalAddr(), err)
					}
					w.next(t)
					done++
				}
				if done < 12 { // eight ports: some were used again
					t.Errorf("%d connections in %d tries", done, tries)
				}
			})
			if d := f.drops(); len(d) != 0 {
				t.Errorf("refused: %+v", d)
			}
		})
	}
}
