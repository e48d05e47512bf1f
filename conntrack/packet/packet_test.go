package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket/layers"

	"tlsgate/conntrack/packet"
)

func TestDecodeStatus(t *testing.T) {
	const (
		tcp, udp, icmp6, esp           = 6, 17, 58, 50
		hop, route, frag, auth, option = 0, 43, 44, 51, 60
	)
	pad := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	pads := func(n int) []byte {
		return append(bytes.Repeat(pad(option), n-1), pad(tcp)...)
	}
	p4, p6 := func() []byte { return plain4(t) }, func() []byte { return plain6(t) }
	ihl6 := func(o ...byte) []byte {
		b := append(append(p4()[:20:20], o...), p4()[20:]...)
		b[0] = 4<<4 | byte(20+len(o))/4
		b[3] += byte(len(o))
		return b
	}
	// gso is a BIG TCP packet: longer than any length field can say.
	gso := func(b []byte, n int) []byte {
		b = append(b, make([]byte, n-len(b))...)
		if b[0]>>4 == 4 {
			return edit(b, 2, 0, 0)
		}
		return edit(b, 4, 0, 0)
	}
	jumbo := func(n uint32, room int) []byte {
		h := binary.BigEndian.AppendUint32([]byte{tcp, 0, 0xc2, 4}, n)
		return gso(with(p6(), hop, h...), room)
	}

	tests := []struct {
		name string
		b    []byte
		want packet.Status
	}{
		{"nothing", nil, packet.Truncated},
		{"version 0", edit(p4(), 0, 0x05), packet.NotIP},
		{"version 5", edit(p4(), 0, 0x55), packet.NotIP},

		{"plain", p4(), packet.OK},
		{"ethernet padding", append(p4(), "padding"...), packet.OK},
		{"largest total length", edit(append(p4(), make([]byte, 0xffff-45)...), 2, 0xff, 0xff), packet.OK},
		{"header alone", p4()[:20], packet.Truncated},
		{"half a header", p4()[:19], packet.Truncated},
		{"one octet", p4()[:1], packet.Truncated},
		{"last octet missing", p4()[:44], packet.Truncated},
		{"total length past the buffer", edit(p4(), 2, 0, 46), packet.Truncated},
		{"total length below header", edit(p4(), 2, 0, 19), packet.BadTotalLength},
		{"total length zero", edit(p4(), 2, 0, 0), packet.BadTotalLength},
		{"total length zero, padded to 64 kB", gso(p4(), 0xffff), packet.BadTotalLength},
		{"total length zero of BIG TCP", gso(p4(), 0x10000), packet.OK},
		{"header length 0", edit(p4(), 0, 0x40), packet.BadHeaderLength},
		{"header length 4", edit(p4(), 0, 0x44), packet.BadHeaderLength},
		{"header length past total", edit(edit(p4(), 0, 0x4f), 2, 0, 45), packet.BadTotalLength},
		{"header length swallows tcp", edit(p4(), 0, 0x4b), packet.ShortTCP},
		{"ip options", ihl6(1, 1, 1, 0), packet.OK},
		{"ip options cut short", ihl6(131, 40, 4, 0), packet.OK},
		{"loose source route ahead", ihl6(131, 7, 4, 10, 0, 0, 1, 0), packet.SourceRouted},
		{"strict source route behind NOPs", ihl6(1, 137, 7, 4, 10, 0, 0, 1), packet.SourceRouted},
		{"source route used up", ihl6(131, 7, 8, 10, 0, 0, 1, 0), packet.OK},
		{"source route after end of list", ihl6(0, 137, 7, 4, 10, 0, 0, 1), packet.OK},
		{"udp", edit(p4(), 9, udp), packet.NotTCP},
		{"reserved flag", edit(p4(), 6, 0xc0, 0), packet.OK},
		{"first fragment with whole header", edit(p4(), 6, 0x20, 0), packet.Fragment},
		{"first fragment claiming don't-fragment", edit(p4(), 6, 0x60, 0), packet.Fragment},
		{"last fragment", edit(p4(), 6, 0, 3), packet.Fragment},
		{"fragment over the flags, RFC 1858", edit(p4(), 6, 0, 1), packet.Fragment},
		{"fragment offset high bits", edit(p4(), 6, 0x10, 0), packet.Fragment},
		{"fragment too short for tcp", edit(p4()[:28], 2, 0, 28, 0, 0, 0x20, 0), packet.Fragment},
		{"udp fragment", edit(edit(p4(), 6, 0x20, 0), 9, udp), packet.NotTCP},
		{"19 octets of tcp", edit(p4(), 2, 0, 39), packet.ShortTCP},
		{"no tcp", edit(p4(), 2, 0, 20), packet.ShortTCP},
		{"data offset 0", edit(p4(), 32, 0x00), packet.ShortDataOffset},
		{"data offset 4", edit(p4(), 32, 0x40), packet.ShortDataOffset},
		{"data offset into padding", append(edit(p4(), 32, 0x70), make([]byte, 40)...), packet.BeyondDataOffset},
		{"data offset 15", edit(p4(), 32, 0xf0), packet.BeyondDataOffset},
		{"data offset 6 eats payload", edit(p4(), 32, 0x60), packet.OK},

		{"plain 6", p6(), packet.OK},
		{"ethernet padding 6", append(p6(), "padding"...), packet.OK},
		{"half a header 6", p6()[:39], packet.Truncated},
		{"last octet missing 6", p6()[:64], packet.Truncated},
		{"payload length zero is not the buffer's", edit(p6(), 4, 0, 0), packet.ShortTCP},
		{"payload length zero, 65535 behind", gso(p6(), 40+0xffff), packet.ShortTCP},
		{"BIG TCP without jumbo header", gso(p6(), 40+0x10000), packet.OK},
		{"BIG TCP with jumbo header", jumbo(0x10000, 40+0x10000), packet.OK},
		{"jumbo with padding", jumbo(0x10000, 40+0x10001), packet.OK},
		{"jumbo cut short by the queue", jumbo(0x20000, 65531), packet.Truncated},
		{"jumbo longer than memory", jumbo(0xffffffff, 40+0x10000), packet.Truncated},
		{"jumbo too small to be one", jumbo(0xffff, 40+0x10000), packet.BadJumbo},
		{"jumbo option missing", edit(with(p6(), hop, pad(tcp)...), 4, 0, 0), packet.BadJumbo},
		{"jumbo header cut short", edit(with(p6(), hop, pad(tcp)...), 4, 0, 0)[:47], packet.BadJumbo},
		{"jumbo then destination options", edit(jumbo(0x10000, 40+0x10000), 40, option), packet.BadJumbo},
		{"payload length zero, udp", edit(edit(p6(), 4, 0, 0), 6, udp), packet.NotTCP},
		{"hop-by-hop", with(p6(), hop, pad(tcp)...), packet.OK},
		{"hop-by-hop second", with(p6(), option, append(pad(hop), pad(tcp)...)...), packet.BadExtension},
		{"hop-by-hop twice", with(p6(), hop, append(pad(hop), pad(tcp)...)...), packet.BadExtension},
		{"destination options of 16", with(p6(), option, append([]byte{tcp, 1, 1, 12}, make([]byte, 12)...)...), packet.OK},
		{"destination options past the end", with(p6(), option, edit(pad(tcp), 1, 255)...), packet.BadExtension},
		{"destination options just past the end", edit(edit(with(p6(), option, pad(tcp)...), 41, 1), 4, 0, 15), packet.BadExtension},
		{"destination options to the end", edit(edit(with(p6(), option, pad(tcp)...), 41, 1), 4, 0, 16), packet.ShortTCP},
		{"destination options into tcp", with(p6(), option, edit(pad(tcp), 1, 1)...), packet.ShortTCP},
		{"extension of 7 octets", edit(with(p6(), option, pad(tcp)...), 4, 0, 7), packet.BadExtension},
		{"extension announced, none there", edit(edit(p6(), 4, 0, 0), 6, option), packet.BadExtension},
		{"routing used up", with(p6(), route, tcp, 0, 4, 0, 0, 0, 0, 0), packet.OK},
		{"routing with hops to go", with(p6(), route, tcp, 0, 0, 1, 0, 0, 0, 0), packet.SourceRouted},
		{"authentication header", with(p6(), auth, tcp, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), packet.OK},
		{"authentication header of 8", with(p6(), auth, tcp, 0, 0, 0, 0, 0, 0, 1), packet.BadExtension},
		{"atomic fragment", with(p6(), frag, tcp, 0, 0, 0, 1, 2, 3, 4), packet.OK},
		{"atomic fragment, reserved bits", with(p6(), frag, tcp, 9, 0, 6, 1, 2, 3, 4), packet.OK},
		{"first fragment 6", with(p6(), frag, tcp, 0, 0, 1, 1, 2, 3, 4), packet.Fragment},
		{"small fragment offset", with(p6(), frag, tcp, 0, 0, 8, 1, 2, 3, 4), packet.Fragment},
		{"large fragment offset", with(p6(), frag, tcp, 0, 0x80, 0, 1, 2, 3, 4), packet.Fragment},
		{"fragment hiding tcp behind options", with(p6(), frag, option, 0, 0, 1, 1, 2, 3, 4), packet.Fragment},
		{"fragment behind an atomic one", with(p6(), frag, frag, 0, 0, 0, 1, 2, 3, 4, tcp, 0, 0, 1, 1, 2, 3, 4), packet.Fragment},
		{"udp fragment 6", with(p6(), frag, udp, 0, 0, 1, 1, 2, 3, 4), packet.NotTCP},
		{"fragment of something unknown", with(p6(), frag, 253, 0, 0, 1, 1, 2, 3, 4), packet.UnknownHeader},
		{"fragment of mobility", with(p6(), frag, 135, 0, 0, 1, 1, 2, 3, 4), packet.UnknownHeader},
		{"fragment header cut short", edit(with(p6(), frag, tcp, 0, 0, 0, 1, 2, 3, 4), 4, 0, 4), packet.BadExtension},
		{"eight headers", with(p6(), option, pads(8)...), packet.OK},
		{"nine headers", with(p6(), option, pads(9)...), packet.TooManyHeaders},
		{"chain of 180 headers", with(p6(), option, pads(180)...), packet.TooManyHeaders},
		{"udp behind options", with(p6(), option, pad(udp)...), packet.NotTCP},
		{"icmp", edit(p6(), 6, icmp6), packet.NotTCP},
		{"esp", edit(p6(), 6, esp), packet.NotTCP},
		{"no next header", edit(p6(), 6, 59), packet.NotTCP},
		{"mobility header", edit(p6(), 6, 135), packet.UnknownHeader},
		{"host identity", with(p6(), 139, pad(tcp)...), packet.UnknownHeader},
		{"shim6", with(p6(), 140, pad(tcp)...), packet.UnknownHeader},
		{"experiment", with(p6(), 254, pad(tcp)...), packet.UnknownHeader},
		{"unassigned behind options", with(p6(), option, pad(200)...), packet.UnknownHeader},
		{"19 octets of tcp 6", edit(p6(), 4, 0, 19), packet.ShortTCP},
		{"data offset 15 6", edit(p6(), 52, 0xf0), packet.BeyondDataOffset},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := packet.Parsed{SrcPort: 1, TCPOffset: 99, Payload: []byte("stale"), MPTCP: true}
			got := packet.Decode(tt.b, &p)
			if got != tt.want {
				t.Fatalf("Decode = %v, want %v", got, tt.want)
			}
			checkInvariants(t, tt.b, &p, got)
		})
	}
}

// checkInvariants holds for every input whatever.
func checkInvariants(t *testing.T, b []byte, p *packet.Parsed, st packet.Status) {
	t.Helper()
	if st == packet.Malformed {
		t.Error("Decode returned the zero status")
	}
	if len(p.Raw) > len(b) || cap(p.Raw) != len(p.Raw) {
		t.Errorf("Raw has length %d and capacity %d, packet %d", len(p.Raw), cap(p.Raw), len(b))
	}
	if p.Raw != nil && (p.Src.Zone() != "" || p.Src.BitLen() != p.Dst.BitLen() || p.Src.Is4() != (b[0]>>4 == 4)) {
		t.Errorf("addresses %v %v of version %d", p.Src, p.Dst, b[0]>>4)
	}
	if p.Raw != nil {
		said := int(binary.BigEndian.Uint16(b[2:]))
		if b[0]>>4 == 6 {
			said = 40 + int(binary.BigEndian.Uint16(b[4:]))
		}
		if len(p.Raw) != said && len(p.Raw) <= 0xffff {
			t.Errorf("Raw has length %d, the IP header says %d", len(p.Raw), said)
		}
	}
	if st != packet.OK {
		rest := packet.Parsed{Raw: p.Raw, Src: p.Src, Dst: p.Dst, TTL: p.TTL}
		if diff := cmp.Diff(*p, rest, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%v leaves fields set:\n%s", st, diff)
		}
		if p.ChecksumOK() {
			t.Errorf("checksum of %v is OK", st)
		}
		if got := p.StripMPTCP(nil); got != nil {
			t.Errorf("StripMPTCP of %v = %x, want nothing", st, got)
		}
		return
	}
	if p.TCPOffset < 20 || len(p.Raw)-p.TCPOffset < 20 {
		t.Fatalf("TCP at %d of %d", p.TCPOffset, len(p.Raw))
	}
	header := p.Raw[p.TCPOffset : len(p.Raw)-len(p.Payload)]
	if len(header) != int(header[12]>>4)*4 {
		t.Errorf("header of %d octets, data offset %d", len(header), header[12]>>4)
	}
	if !bytes.Equal(p.Payload, p.Raw[len(p.Raw)-len(p.Payload):]) {
		t.Error("Payload is not the end of Raw")
	}
}

func TestStatusNames(t *testing.T) {
	seen := map[string]bool{}
	for s := packet.Malformed; s <= packet.BeyondDataOffset; s++ {
		name := s.String()
		if name == "" || seen[name] || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("status %d has the name %q", s, name)
		}
		seen[name] = true
	}
	if got := packet.Status(255).String(); got != "malformed" {
		t.Errorf("unknown status is %q, want malformed", got)
	}
	var zero packet.Parsed
	if zero.ChecksumOK() || zero.SegLen() != 0 || zero.StripMPTCP(nil) != nil {
		t.Error("the zero Parsed is a packet")
	}
}

func TestFlags(t *testing.T) {
	f := packet.SYN | packet.ACK
	if !f.Has(packet.SYN) || !f.Has(packet.SYN|packet.ACK) || f.Has(packet.SYN|packet.FIN) || f.Has(packet.RST) {
		t.Errorf("Has is wrong for %08b", f)
	}
}

func TestSegLen(t *testing.T) {
	tests := []struct {
		name string
		tcp  layers.TCP
		data string
		want uint32
	}{
		{"bare ACK", layers.TCP{ACK: true}, "", 0},
		{"data", layers.TCP{ACK: true}, "hello", 5},
		{"SYN with data", layers.TCP{SYN: true}, "hello", 6},
		{"FIN", layers.TCP{FIN: true, ACK: true}, "", 1},
		{"SYN and FIN", layers.TCP{FIN: true, SYN: true}, "x", 3},
		{"RST with text, RFC 1122", layers.TCP{RST: true}, "why", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.tcp.SrcPort = 1
			var p packet.Parsed
			if st := packet.Decode(build(t, src4, dst4, tt.tcp, []byte(tt.data)), &p); st != packet.OK {
				t.Fatal(st)
			}
			if got := p.SegLen(); got != tt.want {
				t.Errorf("SegLen = %d, want %d", got, tt.want)
			}
		})
	}
}

// TestMappedStaysIPv6: to ::ffff:192.0.2.1 on the wire no IPv4 rule applies,
// and no IPv4 connection may be hit by it.
func TestMappedStaysIPv6(t *testing.T) {
	src, dst := netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("::ffff:198.51.100.2")
	r := packet.Reset{Src: src, Dst: dst}
	var p packet.Parsed
	if st := packet.Decode(r.Append(nil), &p); st != packet.OK {
		t.Fatal(st)
	}
	if p.Src != src || p.Dst != dst || p.Src == src4 || p.Raw[0]>>4 != 6 {
		t.Errorf("got %v %v in version %d", p.Src, p.Dst, p.Raw[0]>>4)
	}
}
