package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"tlsgate/conntrack/packet"
)

var (
	src4, dst4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.2")
	src6, dst6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::2")
)

// build lets gopacket make a packet with correct lengths and checksums.
func build(t testing.TB, src, dst netip.Addr, tcp layers.TCP, payload []byte) []byte {
	t.Helper()
	if tcp.SrcPort == 0 {
		tcp.SrcPort, tcp.DstPort, tcp.Seq, tcp.Ack, tcp.Window = 40000, 443, 0xfffffff0, 77, 501
		tcp.ACK = true
	}
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	}
	if src.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: 61, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment,
			SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: 61, NextHeader: layers.IPProtocolTCP,
			SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ip, &tcp, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func plain4(t testing.TB) []byte { return build(t, src4, dst4, layers.TCP{}, []byte("hello")) }
func plain6(t testing.TB) []byte { return build(t, src6, dst6, layers.TCP{}, []byte("hello")) }

// rawOptions puts raw options, padded with zeros, into an IPv4 segment.
func rawOptions(t testing.TB, flags packet.Flags, o ...byte) []byte {
	t.Helper()
	for len(o)%4 != 0 {
		o = append(o, 0)
	}
	b := build(t, src4, dst4, layers.TCP{}, append(bytes.Clone(o), "hello"...))
	b[20+12] = byte(20+len(o)) / 4 << 4
	b[20+13] = byte(flags)
	fixTCP(b, 20)
	return b
}

// fixTCP recomputes the TCP checksum the slow way.
func fixTCP(b []byte, off int) {
	b[off+16], b[off+17] = 0, 0
	binary.BigEndian.PutUint16(b[off+16:], ^slowTCPSum(b, off))
}

func slowTCPSum(b []byte, off int) uint16 {
	n := len(b) - off
	pseudo := []byte{0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 6}
	if b[0]>>4 == 4 {
		pseudo = append(pseudo, b[12:20]...)
	} else {
		pseudo = append(pseudo, b[8:40]...)
	}
	return slowSum(append(pseudo, b[off:]...))
}

func slowSum(b []byte) uint16 {
	var acc uint64
	for i, c := range b {
		if i%2 == 0 {
			acc += uint64(c) << 8
		} else {
			acc += uint64(c)
		}
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// with inserts extension headers, the first of which is of type next, between
// the fixed header and TCP of the IPv6 packet b.
func with(b []byte, next byte, ext ...byte) []byte {
	out := bytes.Clone(b[:40])
	out[6] = next
	out = append(append(out, ext...), b[40:]...)
	binary.BigEndian.PutUint16(out[4:], uint16(len(out)-40))
	return out
}

func edit(b []byte, at int, v ...byte) []byte {
	copy(b[at:], v)
	return b
}
