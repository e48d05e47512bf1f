package packet_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// oracle reads b with gopacket. It is false where gopacket finds no TCP or
// complains: it refuses what receivers merely pass over.
func oracle(b []byte) (packet.Parsed, bool) {
	var p packet.Parsed
	first := gopacket.Decoder(layers.LayerTypeIPv4)
	if len(b) > 0 && b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	g := gopacket.NewPacket(b, first, gopacket.DecodeOptions{NoCopy: true, SkipDecodeRecovery: false})
	tcp, ok := g.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok || g.Metadata().Truncated {
		return p, false
	}
	if e := g.ErrorLayer(); e != nil && e.LayerType() == gopacket.LayerTypeDecodeFailure {
		return p, false
	}
	switch ip := g.NetworkLayer().(type) {
	case *layers.IPv4:
		p.Src, _ = netip.AddrFromSlice(ip.SrcIP)
		p.Dst, _ = netip.AddrFromSlice(ip.DstIP)
		p.TTL = ip.TTL
	case *layers.IPv6:
		p.Src, _ = netip.AddrFromSlice(ip.SrcIP)
		p.Dst, _ = netip.AddrFromSlice(ip.DstIP)
		p.TTL = ip.HopLimit
	}
	p.SrcPort, p.DstPort = uint16(tcp.SrcPort), uint16(tcp.DstPort)
	p.Seq, p.Ack = seqnum.Value(tcp.Seq), seqnum.Value(tcp.Ack)
	p.Window, p.Urgent = tcp.Window, tcp.Urgent
	for i, set := range []bool{tcp.FIN, tcp.SYN, tcp.RST, tcp.PSH, tcp.ACK, tcp.URG, tcp.ECE, tcp.CWR} {
		if set {
			p.Flags |= 1 << i
		}
	}
	for _, o := range tcp.Options {
		d := o.OptionData
		switch o.OptionType {
		case layers.TCPOptionKindMSS:
			if tcp.SYN && len(d) == 2 {
				p.MSS = binary.BigEndian.Uint16(d)
			}
		case layers.TCPOptionKindWindowScale:
			if tcp.SYN && len(d) == 1 {
				p.HasWindowScale, p.WindowScale = true, min(d[0], 14)
			}
		case layers.TCPOptionKindSACKPermitted:
			p.SACKPermitted = p.SACKPermitted || tcp.SYN && len(d) == 0
		case layers.TCPOptionKindSACK:
			if len(d) > 0 && len(d)%8 == 0 {
				p.SACKBlocks = uint8(len(d) / 8)
			}
		case layers.TCPOptionKindTimestamps:
			if len(d) == 8 {
				p.HasTimestamp = true
				p.TSVal, p.TSEcr = binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:])
			}
		case 30:
			p.MPTCP = true
			p.MPTCPBegins = p.MPTCPBegins || len(o.OptionData) > 0 && o.OptionData[0] < 0x20
		case 34:
			p.FastOpen = true
		case 254:
			p.FastOpen = p.FastOpen || len(d) >= 2 && d[0] == 0xf9 && d[1] == 0x89
		case 19, 29:
			p.Signed = true
		}
	}
	p.Payload = tcp.Payload
	return p, true
}

// agree compares with the oracle what the oracle knows.
func agree(t *testing.T, b []byte, p packet.Parsed) {
	t.Helper()
	want, ok := oracle(b)
	if !ok {
		return
	}
	want.Raw, want.TCPOffset, want.BadOptions = p.Raw, p.TCPOffset, p.BadOptions
	if diff := cmp.Diff(p, want, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("differs from gopacket (-got +want):\n%s%x", diff, b)
	}
}

func TestDecodeAgreesWithGopacket(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	option := func() layers.TCPOption {
		kinds := []layers.TCPOptionKind{1, 2, 3, 4, 5, 8, 19, 29, 30, 34, 77, 254}
		lengths := map[layers.TCPOptionKind]int{2: 2, 3: 1, 4: 0, 5: 8, 8: 8, 19: 16, 29: 2, 30: 10, 34: 8, 77: 3, 254: 6}
		k := kinds[rnd.IntN(len(kinds))]
		if k == 1 {
			return layers.TCPOption{OptionType: 1, OptionLength: 1}
		}
		d := make([]byte, lengths[k])
		for i := range d {
			d[i] = byte(rnd.Uint32())
		}
		return layers.TCPOption{OptionType: k, OptionLength: uint8(len(d) + 2), OptionData: d}
	}
	compared := 0
	for range 2000 {
		tcp := layers.TCP{SrcPort: layers.TCPPort(rnd.UintN(65535) + 1), DstPort: layers.TCPPort(rnd.UintN(65536)),
			Seq: rnd.Uint32(), Ack: rnd.Uint32(), Window: uint16(rnd.Uint32()), Urgent: uint16(rnd.Uint32()),
			FIN: rnd.IntN(4) == 0, SYN: rnd.IntN(2) == 0, RST: rnd.IntN(4) == 0, PSH: rnd.IntN(2) == 0,
			ACK: rnd.IntN(2) == 0, URG: rnd.IntN(4) == 0, ECE: rnd.IntN(4) == 0, CWR: rnd.IntN(4) == 0}
		for n := 0; ; {
			o := option()
			if n += int(o.OptionLength); n > 40 || rnd.IntN(8) == 0 {
				break
			}
			tcp.Options = append(tcp.Options, o)
		}
		payload := make([]byte, rnd.IntN(100))
		src, dst := src4, dst4
		if rnd.IntN(2) == 0 {
			src, dst = src6, dst6
		}
		b := build(t, src, dst, tcp, payload)
		var p packet.Parsed
		if st := packet.Decode(append(bytes.Clone(b), make([]byte, rnd.IntN(20))...), &p); st != packet.OK {
			t.Fatalf("Decode = %v of %x", st, b)
		}
		if !p.ChecksumOK() || p.BadOptions || !bytes.Equal(p.Raw, b) {
			t.Fatalf("checksum %v, bad options %v, Raw %x of %x", p.ChecksumOK(), p.BadOptions, p.Raw, b)
		}
		if _, ok := oracle(b); ok {
			compared++
		}
		agree(t, b, p)
		if t.Failed() {
			return
		}
	}
	if compared < 1900 {
		t.Errorf("compared %d packets only", compared)
	}
}

func TestOptions(t *testing.T) {
	const syn, ack = packet.SYN, packet.ACK
	tests := []struct {
		name  string
		flags packet.Flags
		o     []byte
		want  packet.Parsed
	}{
		{"linux syn", syn, []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7},
			packet.Parsed{MSS: 1460, SACKPermitted: true, HasTimestamp: true, TSVal: 9, HasWindowScale: true, WindowScale: 7}},
		{"timestamps alone", ack, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, packet.Parsed{HasTimestamp: true, TSVal: 1, TSEcr: 2}},
		{"window scale 255 is 14", syn, []byte{3, 3, 255}, packet.Parsed{HasWindowScale: true, WindowScale: 14}},
		{"window scale outside a SYN", ack, []byte{3, 3, 7, 1, 2, 4, 1, 1, 4, 2}, packet.Parsed{}},
		{"last of two counts", syn, []byte{2, 4, 0, 1, 2, 4, 0, 2}, packet.Parsed{MSS: 2}},
		{"two SACK blocks", ack, append([]byte{5, 18}, make([]byte, 16)...), packet.Parsed{SACKBlocks: 2}},
		{"SACK of 7", ack, append([]byte{5, 9}, make([]byte, 7)...), packet.Parsed{BadOptions: true}},
		{"SACK of none", ack, []byte{5, 2}, packet.Parsed{BadOptions: true}},
		{"length 0 would loop for ever", syn, []byte{77, 0, 2, 4, 5, 180}, packet.Parsed{BadOptions: true}},
		{"length 1", syn, []byte{77, 1, 2, 4, 5, 180}, packet.Parsed{BadOptions: true}},
		{"length past the header", syn, []byte{2, 4, 5, 180, 77, 5, 1, 1}, packet.Parsed{MSS: 1460, BadOptions: true}},
		{"kind in the last octet", syn, []byte{1, 1, 1, 8}, packet.Parsed{BadOptions: true}},
		{"wrong length passed over", syn, []byte{2, 3, 5, 3, 3, 7}, packet.Parsed{HasWindowScale: true, WindowScale: 7, BadOptions: true}},
		{"hidden after end of list", syn, []byte{0, 30, 2, 2, 4, 5, 180}, packet.Parsed{}},
		{"mptcp", syn, []byte{30, 4, 0, 1}, packet.Parsed{MPTCP: true, MPTCPBegins: true}},
		{"mptcp without subtype", syn, []byte{30, 2}, packet.Parsed{MPTCP: true, BadOptions: true}},
		{"mptcp cut short", syn, []byte{30, 40, 0, 1}, packet.Parsed{MPTCP: true, BadOptions: true}},
		{"fast open request", syn, []byte{34, 2}, packet.Parsed{FastOpen: true}},
		{"fast open odd cookie", syn, []byte{34, 7, 1, 2, 3, 4, 5}, packet.Parsed{FastOpen: true, BadOptions: true}},
		{"fast open experiment", syn, []byte{254, 4, 0xf9, 0x89}, packet.Parsed{FastOpen: true}},
		{"another experiment", syn, []byte{254, 4, 1, 2}, packet.Parsed{}},
		{"md5", ack, append([]byte{19, 18}, make([]byte, 16)...), packet.Parsed{Signed: true}},
		{"authentication option", ack, []byte{29, 4, 1, 2}, packet.Parsed{Signed: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := rawOptions(t, tt.flags, tt.o...)
			var p packet.Parsed
			if st := packet.Decode(b, &p); st != packet.OK {
				t.Fatal(st)
			}
			agree(t, b, p)
			want := tt.want
			want.Src, want.Dst, want.SrcPort, want.DstPort = p.Src, p.Dst, p.SrcPort, p.DstPort
			want.Seq, want.Ack, want.Flags, want.TTL, want.Window = p.Seq, p.Ack, tt.flags, p.TTL, p.Window
			want.Payload, want.Raw, want.TCPOffset = []byte("hello"), b, 20
			if diff := cmp.Diff(p, want, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("-got +want:\n%s", diff)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(plain4(f))
	f.Add(plain6(f))
	f.Add(rawOptions(f, packet.SYN, 2, 4, 5, 180, 4, 2, 30, 4, 0, 1, 3, 3, 7))
	f.Add(with(plain6(f), 0, 60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 51, 0, 0, 0, 1, 2, 3, 4, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(with(plain6(f), 43, 6, 0, 4, 0, 0, 0, 0, 0))
	f.Add(with(plain6(f), 44, 6, 0, 0, 1, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var p packet.Parsed
		st := packet.Decode(b, &p)
		checkInvariants(t, b, &p, st)
		if st == packet.OK {
			agree(t, p.Raw, p) // behind hop-by-hop options gopacket keeps padding
			if got, want := p.ChecksumOK(), slowTCPSum(p.Raw, p.TCPOffset) == 0xffff &&
				(b[0]>>4 == 6 || slowSum(b[:int(b[0]&15)*4]) == 0xffff); got != want {
				t.Errorf("ChecksumOK = %v, want %v", got, want)
			}
			checkStripped(t, &p)
		}
		if !bytes.Equal(b, before) {
			t.Error("the packet was written to")
		}
		// No byte behind the IP length changes anything.
		var padded packet.Parsed
		if len(b) < 0xff00 {
			pst := packet.Decode(append(bytes.Clone(b), 1, 2, 3), &padded)
			if st != packet.Truncated && st != packet.BadJumbo && pst != st {
				t.Errorf("padded: %v, want %v", pst, st)
			}
		}
	})
}
