package packet_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket/layers"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// checkReset decodes what r builds behind a prefix and compares every field.
func checkReset(t *testing.T, r packet.Reset) {
	t.Helper()
	prefix := []byte("before")
	out := r.Append(append(make([]byte, 0, 200), prefix...))
	if !bytes.HasPrefix(out, prefix) {
		t.Fatalf("prefix lost: %q", out)
	}
	b := out[len(prefix):]
	var p packet.Parsed
	if st := packet.Decode(b, &p); st != packet.OK {
		t.Fatalf("Decode = %v of %x", st, b)
	}
	agree(t, b, p)
	want := packet.Parsed{Src: r.Src.WithZone(""), Dst: r.Dst.WithZone(""), SrcPort: r.SrcPort, DstPort: r.DstPort,
		Seq: r.Seq, Flags: packet.RST, TTL: 64, Raw: b, TCPOffset: len(b) - 20, Payload: []byte{}}
	if r.HasAck {
		want.Ack, want.Flags = r.Ack, packet.RST|packet.ACK
	}
	if diff := cmp.Diff(p, want, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-got +want:\n%s", diff)
	}
	if !p.ChecksumOK() || slowTCPSum(b, p.TCPOffset) != 0xffff {
		t.Errorf("checksum wrong in %x", b)
	}
}

func TestReset(t *testing.T) {
	tests := []struct {
		name string
		r    packet.Reset
	}{
		{"bare", packet.Reset{Src: src4, Dst: dst4, SrcPort: 443, DstPort: 40000, Seq: 0xffffffff, Ack: 5}},
		{"with ack", packet.Reset{Src: src4, Dst: dst4, SrcPort: 443, DstPort: 40000, Ack: 0xffffffff, HasAck: true}},
		{"bare 6", packet.Reset{Src: src6, Dst: dst6, SrcPort: 443, DstPort: 40000, Seq: 1}},
		{"with ack 6", packet.Reset{Src: src6, Dst: dst6, SrcPort: 65535, DstPort: 65535, Seq: 1, Ack: 2, HasAck: true}},
		{"zone", packet.Reset{Src: netip.MustParseAddr("fe80::1%eth0"), Dst: netip.MustParseAddr("fe80::2%7")}},
		{"ack 0 is an ack", packet.Reset{Src: src4, Dst: dst4, HasAck: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkReset(t, tt.r) })
	}
}

func TestSegment(t *testing.T) {
	for _, tt := range []struct {
		name string
		g    packet.Segment
	}{
		{"alert", packet.Segment{Src: src4, Dst: dst4, SrcPort: 443, DstPort: 40000, Seq: 0xffffffff, Ack: 5, Window: 1 << 15,
			Flags: packet.FIN | packet.PSH | packet.ACK, Payload: []byte{21, 3, 3, 0, 2, 2, 40}}},
		{"alert 6, stamped", packet.Segment{Src: src6, Dst: dst6, SrcPort: 443, DstPort: 40000, Seq: 1, Ack: 0xffffffff,
			Flags: packet.FIN | packet.ACK, Payload: []byte{21, 3, 3, 0, 2, 2, 40}, HasTimestamp: true, TSVal: 0xfffffffe, TSEcr: 7}},
		{"an odd one", packet.Segment{Src: src4, Dst: dst4, Flags: packet.ACK, HasTimestamp: true, Payload: []byte{1}}},
		{"the largest", packet.Segment{Src: src4, Dst: dst4, Flags: packet.ACK, Payload: make([]byte, 65535-40)}},
	} {
		out := tt.g.Append([]byte("before"))
		b := out[len("before"):]
		var p packet.Parsed
		if st := packet.Decode(b, &p); st != packet.OK {
			t.Fatalf("%s: Decode = %v of %x", tt.name, st, b)
		}
		agree(t, b, p)
		got := packet.Segment{Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort, Seq: p.Seq, Ack: p.Ack, Flags: p.Flags,
			Window: p.Window, HasTimestamp: p.HasTimestamp, TSVal: p.TSVal, TSEcr: p.TSEcr, Payload: p.Payload}
		if diff := cmp.Diff(got, tt.g, cmpopts.EquateComparable(netip.Addr{})); diff != "" || !p.ChecksumOK() {
			t.Errorf("%s: checksum %v, -got +want:\n%s", tt.name, p.ChecksumOK(), diff)
		}
	}
	for _, g := range []packet.Segment{{}, {Src: src4, Dst: dst6}, {Src: src6, Dst: dst6, Payload: make([]byte, 65536)},
		{Src: src4, Dst: dst4, HasTimestamp: true, Payload: make([]byte, 65535-51)}} {
		if got := g.Append([]byte("x")); string(got) != "x" {
			t.Errorf("%v to %v, %d bytes: appended %d", g.Src, g.Dst, len(g.Payload), len(got)-1)
		}
	}
}

func TestResetBuildsNothing(t *testing.T) {
	mapped := netip.AddrFrom16(src4.As16())
	for _, r := range []packet.Reset{{}, {Src: src4}, {Dst: dst6}, {Src: src4, Dst: dst6}, {Src: mapped, Dst: dst4}} {
		if got := r.Append([]byte("x")); string(got) != "x" {
			t.Errorf("%v to %v: appended %x", r.Src, r.Dst, got[1:])
		}
	}
}

// TestResetClearsReusedBuffer: a buffer that held another connection's bytes
// must not leak them into header fields that are zero.
func TestResetClearsReusedBuffer(t *testing.T) {
	r := packet.Reset{Src: src6, Dst: dst6, SrcPort: 1, DstPort: 2}
	dirty := bytes.Repeat([]byte{0xff}, 100)
	if got, want := r.Append(dirty[:0]), r.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func FuzzReset(f *testing.F) {
	f.Add(src4.AsSlice(), dst4.AsSlice(), uint16(1), uint16(2), uint32(3), uint32(4), true)
	f.Add(src6.AsSlice(), dst6.AsSlice(), uint16(1), uint16(2), uint32(3), uint32(4), false)
	f.Fuzz(func(t *testing.T, src, dst []byte, sport, dport uint16, seq, ack uint32, hasAck bool) {
		s, ok1 := netip.AddrFromSlice(src)
		d, ok2 := netip.AddrFromSlice(dst)
		r := packet.Reset{Src: s, Dst: d, SrcPort: sport, DstPort: dport,
			Seq: seqnum.Value(seq), Ack: seqnum.Value(ack), HasAck: hasAck}
		if !ok1 || !ok2 || s.BitLen() != d.BitLen() {
			if got := r.Append(nil); got != nil {
				t.Errorf("%v to %v: appended %x", s, d, got)
			}
			return
		}
		checkReset(t, r)
	})
}

// checkStripped: the copy differs from p in MPTCP options and checksums only.
func checkStripped(t *testing.T, p *packet.Parsed) {
	t.Helper()
	out := p.StripMPTCP([]byte("before"))[len("before"):]
	var q packet.Parsed
	if st := packet.Decode(out, &q); st != packet.OK {
		t.Fatalf("stripped packet is %v: %x", st, out)
	}
	if q.MPTCP || !q.ChecksumOK() {
		t.Errorf("stripped packet: MPTCP %v, checksum %v: %x of %x", q.MPTCP, q.ChecksumOK(), out, p.Raw)
	}
	want := *p
	want.MPTCP, want.MPTCPBegins, want.Raw = false, false, q.Raw
	if p.MPTCP {
		want.BadOptions = q.BadOptions
	}
	if diff := cmp.Diff(q, want, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("stripping changed (-got +want):\n%s", diff)
	}
}

func TestStripMPTCP(t *testing.T) {
	tests := []struct {
		name    string
		o, want []byte
	}{
		{"none", []byte{2, 4, 5, 180}, []byte{2, 4, 5, 180}},
		{"alone", []byte{30, 4, 0, 1}, []byte{1, 1, 1, 1}},
		{"between", []byte{2, 4, 5, 180, 30, 4, 0, 1, 3, 3, 7, 1}, []byte{2, 4, 5, 180, 1, 1, 1, 1, 3, 3, 7, 1}},
		{"twice", []byte{30, 3, 0, 30, 3, 0, 1, 1}, []byte{1, 1, 1, 1, 1, 1, 1, 1}},
		{"30 inside another option", []byte{8, 10, 30, 4, 0, 1, 30, 4, 0, 1, 1, 1}, []byte{8, 10, 30, 4, 0, 1, 30, 4, 0, 1, 1, 1}},
		{"cut short", []byte{1, 30, 9, 1}, []byte{1, 1, 1, 1}},
		{"last octet", []byte{1, 1, 1, 30}, []byte{1, 1, 1, 1}},
		{"after end of list nobody reads", []byte{0, 30, 3, 0}, []byte{0, 30, 3, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := rawOptions(t, packet.SYN, tt.o...)
			want := rawOptions(t, packet.SYN, tt.want...)
			var p packet.Parsed
			if st := packet.Decode(b, &p); st != packet.OK {
				t.Fatal(st)
			}
			if got := p.StripMPTCP(nil); !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
			checkStripped(t, &p)
			if got := p.StripMPTCP(p.Raw[:0]); !bytes.Equal(got, want) || &got[0] != &b[0] {
				t.Errorf("in place: got %x, want %x", got, want)
			}
		})
	}
	t.Run("behind extension headers", func(t *testing.T) {
		o := []layers.TCPOption{{OptionType: 30, OptionLength: 4, OptionData: []byte{0, 1}}}
		b := build(t, src6, dst6, layers.TCP{SrcPort: 1, SYN: true, Options: o}, []byte("x"))
		var p packet.Parsed
		if st := packet.Decode(with(b, 60, 6, 0, 1, 4, 0, 0, 0, 0), &p); st != packet.OK || !p.MPTCP {
			t.Fatal(st, p.MPTCP)
		}
		checkStripped(t, &p)
	})
}

// TestVoid: a segment that no receiver takes says what any other does.
func TestVoid(t *testing.T) {
	for _, void := range []bool{false, true} {
		for _, ends := range [][2]netip.Addr{{src4, dst4}, {src6, dst6}} {
			r := packet.Segment{
				Src: ends[0], Dst: ends[1], SrcPort: 443, DstPort: 40000,
				Seq: 1, Ack: 2, Flags: packet.SYN | packet.ACK, Void: void,
			}
			b := r.Append(nil)
			var p packet.Parsed
			if st := packet.Decode(b, &p); st != packet.OK || p.Src != r.Src || p.Dst != r.Dst || p.SrcPort != 443 || p.DstPort != 40000 {
				t.Errorf("%v of %x: %+v", st, b, p)
			}
			if p.Seq != 1 || p.Ack != 2 || p.Flags != r.Flags || len(p.Payload) != 0 || p.ChecksumOK() == void {
				t.Errorf("void %v: checksum right %v, %+v", void, p.ChecksumOK(), p)
			}
		}
	}
}
