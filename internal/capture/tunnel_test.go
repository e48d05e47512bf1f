package capture

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// outer4 and outer6 carry anything in IP.
func outer4(t testing.TB, protocol layers.IPProtocol, b []byte) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: net.IP{198, 18, 0, 1}, DstIP: net.IP{198, 18, 0, 2}}
	return build(t, ip, gopacket.Payload(b))
}

func outer6(t testing.TB, next layers.IPProtocol, b []byte) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP("2001:db8:1::1"), DstIP: net.ParseIP("2001:db8:1::2")}
	return build(t, ip, gopacket.Payload(b))
}

// toPort is UDP to a port.
func toPort(t testing.TB, port uint16, b []byte) []byte {
	return build(t, &layers.UDP{SrcPort: 40000, DstPort: layers.UDPPort(port)}, gopacket.Payload(b))
}

func joined(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// outers are packets that carry inner in a tunnel, by what the tunnel is.
func outers(t testing.TB, inner []byte) map[string][]byte {
	kind, protocol := layers.EthernetType(etherIPv4), layers.IPProtocol(ipInIP)
	if inner[0]>>4 == 6 {
		kind, protocol = etherIPv6, ipIPv6
	}
	be := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	ether := framed(t, ether(kind), gopacket.Payload(inner))
	tagged := framed(t, &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: etherVLAN}, vlan(kind), gopacket.Payload(inner))
	gre := func(flags uint16, kind uint16, fields int, b []byte) []byte {
		return joined(be(flags), be(kind), make([]byte, fields), b)
	}
	udp := func(port uint16, parts ...[]byte) []byte { return toPort(t, port, joined(parts...)) }
	hopByHop := []byte{17, 0, 1, 4, 0, 0, 0, 0}
	return map[string][]byte{
		"IP in IPv4":                outer4(t, protocol, inner),
		"IP in IPv6":                outer6(t, protocol, inner),
		"GRE":                       outer4(t, 47, gre(0, uint16(kind), 0, inner)),
		"GRE over IPv6":             outer6(t, 47, gre(0, uint16(kind), 0, inner)),
		"GRE, key":                  outer4(t, 47, gre(0x2000, uint16(kind), 4, inner)),
		"GRE, checksum, key, seq":   outer4(t, 47, gre(0xb000, uint16(kind), 12, inner)),
		"GRE, bridged":              outer4(t, 47, gre(0, etherBridged, 0, ether)),
		"GRE, bridged, tagged":      outer4(t, 47, gre(0x2000, etherBridged, 4, tagged)),
		"GRE, MPLS":                 outer4(t, 47, gre(0, etherMPLS, 0, joined([]byte{0, 1, 1, 64}, inner))),
		"PPTP":                      outer4(t, 47, gre(0x3081, etherPPP, 12, joined([]byte{0xff, 3, 0, 0x21}, inner))),
		"ERSPAN I":                  outer4(t, 47, gre(0, etherERSPAN, 0, ether)),
		"ERSPAN II":                 outer4(t, 47, gre(0x1000, etherERSPAN, 4, joined(make([]byte, 8), ether))),
		"ERSPAN III":                outer4(t, 47, gre(0x1000, etherERSPAN3, 4, joined(make([]byte, 12), ether))),
		"ERSPAN III with subheader": outer4(t, 47, gre(0x1000, etherERSPAN3, 4, joined(make([]byte, 11), []byte{1}, make([]byte, 8), ether))),
		"MPLS in IP":                outer4(t, 137, joined([]byte{0, 1, 1, 64}, inner)),
		"MPLS in UDP":               outer4(t, 17, udp(6635, []byte{0, 1, 1, 64}, inner)),
		"VXLAN":                     outer4(t, 17, udp(4789, []byte{8, 0, 0, 0, 0, 0, 7, 0}, ether)),
		"VXLAN, Linux's old port":   outer6(t, 17, udp(8472, []byte{8, 0, 0, 0, 0, 0, 7, 0}, tagged)),
		"VXLAN, hop by hop":         outer6(t, 0, joined(hopByHop, udp(4789, []byte{8, 0, 0, 0, 0, 0, 7, 0}, ether))),
		"Geneve":                    outer4(t, 17, udp(6081, []byte{0, 0, 0x65, 0x58, 0, 0, 7, 0}, ether)),
		"Geneve, options, IP":       outer4(t, 17, udp(6081, []byte{2, 0}, be(uint16(kind)), []byte{0, 0, 7, 0}, make([]byte, 8), inner)),
		"GTP":                       outer4(t, 17, udp(2152, []byte{0x30, 255, 0, 0, 0, 0, 0, 1}, inner)),
		"GTP, sequence":             outer4(t, 17, udp(2152, []byte{0x32, 255, 0, 0, 0, 0, 0, 1, 0, 9, 0, 0}, inner)),
		"GTP, extensions":           outer4(t, 17, udp(2152, []byte{0x34, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0xc0, 1, 0, 0, 0}, inner)),
	}
}

// TestTunnels: what a tunnel carries is given, in tunnels too, and every cut of
// the whole is either the packet inside or the one outside, never a third.
func TestTunnels(t *testing.T) {
	for version, inner := range map[string][]byte{"IPv4": ipv4(t, "inside"), "IPv6": ipv6(t, "inside")} {
		for name, outer := range outers(t, inner) {
			if name == "PPTP" && version == "IPv6" {
				continue // the protocol is IPv4's there
			}
			if got := tunnelled(outer, false); !bytes.Equal(got, inner) {
				t.Errorf("%s in %s: %x", version, name, got)
			}
			for twice, outer := range outers(t, outer) {
				got, counts := only(t, linkRaw, outer)
				if !bytes.Equal(got, inner) && twice != "PPTP" {
					t.Errorf("%s in %s in %s: %x", version, name, twice, got)
				}
				if counts.Tunnelled != 1 {
					t.Errorf("%s in %s in %s: %+v", version, name, twice, counts)
				}
			}
			for n := range outer {
				if got := tunnelled(outer[:n], true); got != nil && !bytes.HasPrefix(inner, got) {
					t.Errorf("%s in %s, cut to %d: %x", version, name, n, got)
				}
			}
		}
	}
}

// TestNoTunnels: what only looks like a tunnel is left as it is.
func TestNoTunnels(t *testing.T) {
	inner := ipv4(t, "inside")
	ether := framed(t, ether(etherIPv4), gopacket.Payload(inner))
	vxlan := joined([]byte{8, 0, 0, 0, 0, 0, 7, 0}, ether)
	segment := build(t, &layers.TCP{SrcPort: 4789, DstPort: 4789, DataOffset: 5, ACK: true}, gopacket.Payload(vxlan))
	first := outer4(t, 17, toPort(t, 4789, vxlan))
	first[6] = 0x20
	if got := tunnelled(first, false); got != nil {
		t.Errorf("a fragment: %x", got)
	}
	for name, outer := range map[string][]byte{
		"TCP to a tunnel's port":   outer4(t, 6, segment),
		"UDP to another port":      outer4(t, 17, toPort(t, 443, vxlan)),
		"UDP from a tunnel's port": outer4(t, 17, build(t, &layers.UDP{SrcPort: 4789, DstPort: 53}, gopacket.Payload(vxlan))),
		"VXLAN without its flag":   outer4(t, 17, toPort(t, 4789, joined(make([]byte, 8), ether))),
		"VXLAN with ARP in it":     outer4(t, 17, toPort(t, 4789, joined([]byte{8, 0, 0, 0, 0, 0, 7, 0}, framed(t, &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: 0x806}, gopacket.Payload(inner))))),
		"GRE with routing":         outer4(t, 47, joined([]byte{0x40, 0, 8, 0}, inner)),
		"GRE, version 2":           outer4(t, 47, joined([]byte{0, 2, 8, 0}, inner)),
		"GRE, keepalive":           outer4(t, 47, []byte{0, 0, 0, 0}),
		"GTP, echo":                outer4(t, 17, toPort(t, 2152, joined([]byte{0x30, 1, 0, 0, 0, 0, 0, 1}, inner))),
		"GTP, endless extensions":  outer4(t, 17, toPort(t, 2152, joined([]byte{0x34, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85}, bytes.Repeat([]byte{1, 0, 0, 0x85}, 100)))),
		"text":                     outer4(t, 4, []byte("Hello, world, this is no packet")),
		"ESP":                      outer4(t, 50, inner),
	} {
		if got, _ := only(t, linkRaw, outer); !bytes.Equal(got, outer) {
			t.Errorf("%s: %x", name, got)
		}
	}
}

// TestTunnelsWithoutEnd: nesting is bounded.
func TestTunnelsWithoutEnd(t *testing.T) {
	deep := ipv4(t, "inside")
	for range 100 {
		deep = outer4(t, ipInIP, deep)
	}
	if got, _ := only(t, linkRaw, deep); len(got) != len(deep)-maxTunnels*ipv4Header {
		t.Errorf("%d of %d bytes", len(got), len(deep))
	}
}

// TestWithoutLength: what was to be cut into segments has no length in some
// captures, and gets that of the frame.
func TestWithoutLength(t *testing.T) {
	four := ipv4(t, "left to the network card")
	want := bytes.Clone(four)
	four[2], four[3] = 0, 0
	if got, _ := only(t, linkEthernet, framed(t, ether(etherIPv4), gopacket.Payload(four))); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// only reads a capture of one frame that gives one packet.
func only(t testing.TB, link uint16, b []byte) ([]byte, Counts) {
	t.Helper()
	r := &Reader{}
	var p Packet
	if !r.take(&frame{data: bytes.Clone(b), sent: uint32(len(b)), link: link}, &p) {
		return nil, r.Counts()
	}
	return p.Data, r.Counts()
}

// TestStatistics: what a file says it lacks is counted once.
func TestStatistics(t *testing.T) {
	le := binary.LittleEndian
	stats := func(iface uint32, dropped, byOS uint64) []byte {
		b := le.AppendUint32(nil, iface)
		b = append(b, make([]byte, 8)...)
		for code, v := range map[uint16]uint64{optionDropped: dropped, optionDroppedOS: byOS} {
			b = le.AppendUint16(b, code)
			b = le.AppendUint64(le.AppendUint16(b, 8), v)
		}
		return block(le, blockStatistics, append(b, 0, 0, 0, 0)...)
	}
	file := joined(section(le), described(le, linkRaw, 0, optionEnd), described(le, linkRaw, 0, optionEnd),
		stats(0, 3, 1), stats(1, 0, 0), stats(0, 5, 1), section(le), described(le, linkRaw, 0, optionEnd), stats(0, 0, 7))
	r, err := Open(save(t, "x.pcapng", file))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p Packet
	for r.Next(&p) == nil {
	}
	if diff := cmp.Diff(r.Counts(), Counts{Dropped: 13}); diff != "" {
		t.Error(diff)
	}
}

// FuzzLink takes anything for a frame. What comes out lies in it, or is a
// datagram of its fragments.
func FuzzLink(f *testing.F) {
	inner := ipv4(f, "inside")
	for _, outer := range outers(f, inner) {
		f.Add(uint16(linkRaw), uint32(len(outer)), outer)
		f.Add(uint16(linkEthernet), uint32(len(outer)+14), framed(f, ether(etherIPv4), gopacket.Payload(outer)))
	}
	for _, link := range []uint16{linkPPP, linkPPPEther, linkMPLS, linkNflog, linkLinuxSLL, linkLinuxSLL2, linkCiscoHDLC, linkNull} {
		f.Add(link, uint32(99), append([]byte{0, 0, 0, 0x21}, inner...))
	}
	r := &Reader{}
	f.Fuzz(func(t *testing.T, link uint16, sent uint32, b []byte) {
		var p Packet
		if !supported(link) || !r.take(&frame{data: b, sent: sent, link: link}, &p) {
			return
		}
		if len(p.Data) == 0 || len(p.Data) > max(len(b), maxDatagram+ipv6Header) {
			t.Fatalf("%d bytes of %d", len(p.Data), len(b))
		}
	})
}
