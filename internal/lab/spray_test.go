package lab_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// datagram appends a UDP datagram of 4 bytes from nobody's address.
func datagram(t *testing.T, ip []byte, to netip.AddrPort, n uint32) []byte {
	udp := &layers.UDP{SrcPort: 4096, DstPort: layers.UDPPort(to.Port())}
	src, dst := net.IP(to.Addr().Next().Next().AsSlice()), net.IP(to.Addr().AsSlice())
	var network interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src, DstIP: dst}
	if to.Addr().Is6() {
		network = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src, DstIP: dst}
	}
	udp.SetNetworkLayerForChecksum(network)
	b := gopacket.NewSerializeBuffer()
	how := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, how, network, udp, gopacket.Payload(binary.BigEndian.AppendUint32(nil, n))); err != nil {
		t.Error(err)
	}
	return append(ip, b.Bytes()...)
}

// TestIntegrationSpray: what is said to have been taken has come to the gateway, no two
// alike, at about the rate that was wanted.
func TestIntegrationSpray(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	for _, at := range []netip.Addr{l.Gateway.IPv4, l.Gateway.IPv6} {
		if !at.IsValid() {
			continue
		}
		var listener *net.UDPConn
		if err := l.Gateway.Run(func() (err error) {
			listener, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		listener.SetReadBuffer(4 << 20)
		to := listener.LocalAddr().(*net.UDPAddr).AddrPort()
		const rate = 2000
		ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer stop()
		var taken atomic.Uint64
		n := uint32(0)
		began := time.Now()
		if err := l.Client.Spray(ctx, rate, &taken, func(ip []byte) []byte { n++; return datagram(t, ip, to, n) }); err != nil {
			t.Fatal(err)
		}
		if most := rate * (time.Since(began).Seconds() + 0.1); float64(taken.Load()) > most {
			t.Errorf("%s: %d a second were wanted, %d sent in %s", at, rate, taken.Load(), time.Since(began))
		}
		seen := map[uint32]bool{}
		listener.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for b := make([]byte, 100); ; {
			size, err := listener.Read(b)
			if err != nil {
				break
			}
			if size == 4 {
				seen[binary.BigEndian.Uint32(b)] = true
			}
		}
		if got, want := uint64(len(seen)), taken.Load(); got != want || want != uint64(n) || want == 0 {
			t.Errorf("%s: %d have come, %d were taken of %d", at, got, want, n)
		}
	}
}
