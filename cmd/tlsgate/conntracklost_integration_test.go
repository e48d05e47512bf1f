package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationConntrackLost: the gateway's kernel forgets connections that were left to
// it. What they say goes on. An RST that comes first is of no connection it knows, and does
// not pass: the server learns of the end with what it says next.
func TestIntegrationConntrackLost(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	speak := make(chan bool)
	w := watch(t, l.Server, ":443", func(_ *visit, c net.Conn) error {
		conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
		word := make([]byte, 4)
		for {
			if _, err := io.ReadFull(conn, word); err != nil {
				return err
			}
			if string(word) == "wait" {
				<-speak
			}
			if _, err := conn.Write(word); err != nil {
				return err
			}
		}
	})
	f := startFirewall(t, l, partnerPolicy)
	if err := l.Gateway.Sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", "1"); err != nil {
		t.Fatal(err)
	}
	families(t, l, func(t *testing.T, server netip.Addr) {
		c := dial(t, l, netip.AddrPortFrom(server, 443))
		c.SetDeadline(time.Now().Add(visitTime))
		conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: goodSuite.CipherSuites})
		word := make([]byte, 4)
		for range 2 { // the second time unknown to the kernel
			if _, err := fmt.Fprint(conn, "word"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, word); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1500 * time.Millisecond)
		}
		before := f.statsNow().Dropped["invalid"]
		if _, err := fmt.Fprint(conn, "wait"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		time.Sleep(300 * time.Millisecond)
		speak <- true
		v := w.next(t)
		if f.statsNow().Dropped["invalid"] == before {
			t.Error("the RST was of a connection that the kernel knows")
		}
		if !errors.Is(v.err, syscall.ECONNRESET) && !errors.Is(v.err, syscall.EPIPE) {
			t.Errorf("the server's connection ended: %v", v.err)
		}
	})
	if d := f.drops(); len(d) != 0 {
		t.Errorf("refused: %+v", d)
	}
}
