package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

func TestLinkTypes(t *testing.T) {
	four, six := ipv4(t, "four"), ipv6(t, "six")
	null := func(family ...byte) []byte { return append(family, four...) }
	for _, tt := range []struct {
		name  string
		link  uint32
		frame []byte
		want  []byte // nil: left out
	}{
		{"Ethernet", 1, framed(t, ether(layers.EthernetTypeIPv4), gopacket.Payload(four)), four},
		{"Ethernet, IPv6", 1, framed(t, ether(layers.EthernetTypeIPv6), gopacket.Payload(six)), six},
		{"Ethernet with frame check sequences", 1 | 4<<28 | 1<<26, framed(t, ether(layers.EthernetTypeIPv4), gopacket.Payload(four)), four},
		{"VLAN", 1, framed(t, ether(layers.EthernetTypeDot1Q), vlan(layers.EthernetTypeIPv4), gopacket.Payload(four)), four},
		{"QinQ", 1, framed(t, ether(layers.EthernetTypeQinQ), vlan(layers.EthernetTypeDot1Q), vlan(layers.EthernetTypeIPv6), gopacket.Payload(six)), six},
		{"cooked", 113, sll(etherIPv4, four), four},
		{"cooked, IPv6", 113, sll(etherIPv6, six), six},
		{"cooked, VLAN", 113, sll(etherVLAN, append([]byte{0, 7, 8, 0}, four...)), four},
		{"cooked v2", 276, sll2(etherIPv4, four), four},
		{"cooked v2, IPv6", 276, sll2(etherIPv6, six), six},
		{"raw", 101, four, four},
		{"raw, IPv6", 101, six, six},
		{"raw, BSD", 12, six, six},
		{"raw, BSD/OS", 14, six, six},
		{"IPv4", 228, four, four},
		{"IPv6", 229, six, six},
		{"null, little endian", 0, null(2, 0, 0, 0), four},
		{"null, big endian", 0, null(0, 0, 0, 2), four},
		{"loop", 108, null(0, 0, 0, 2), four},
		{"PPP", 9, append([]byte{0xff, 3, 0, 0x21}, four...), four},
		{"PPP, IPv6, without address and control", 9, append([]byte{0, 0x57}, six...), six},
		{"PPP, one octet of protocol", 50, append([]byte{0x21}, four...), four},
		{"PPP with direction", 204, append([]byte{1, 0xff, 3, 0, 0x21}, four...), four},
		{"PPPoE without Ethernet", 51, append([]byte{0x11, 0, 0, 7, 0, 0, 0, 0x21}, four...), four},
		{"PPPoE", 1, framed(t, ether(etherPPPoE), gopacket.Payload("\x11\x00\x00\x07\x00\x00\x00\x57"), gopacket.Payload(six)), six},
		{"PPPoE in a VLAN", 1, framed(t, ether(layers.EthernetTypeDot1Q), vlan(etherPPPoE), gopacket.Payload("\x11\x00\x00\x07\x00\x00\x00\x21"), gopacket.Payload(four)), four},
		{"PPPoE, padded", 1, framed(t, ether(etherPPPoE), gopacket.Payload([]byte{0x11, 0, 0, 7, 0, byte(len(four) + 2), 0, 0x21}), gopacket.Payload(append(slices.Clone(four), 0, 0, 0, 0, 0, 0))), four},
		{"a security group tag", 1, framed(t, ether(etherMetadata), gopacket.Payload("\x01\x01\x00\x01\x00\x07\x08\x00"), gopacket.Payload(four)), four},
		{"a security group tag, cut", 1, framed(t, ether(etherMetadata), gopacket.Payload("\x01\x01\x00\x01\x00\x07\x08")), nil},
		{"MPLS", 1, framed(t, ether(etherMPLS), gopacket.Payload("\x00\x01\x01\x40"), gopacket.Payload(four)), four},
		{"MPLS, three labels, IPv6", 1, framed(t, ether(etherMPLS), gopacket.Payload("\x00\x01\x00\x40\x00\x02\x00\x40\x00\x03\x01\x40"), gopacket.Payload(six)), six},
		{"MPLS, a pseudowire", 1, framed(t, ether(etherMPLSOther), gopacket.Payload("\x00\x01\x01\x40\x00\x00\x00\x00"), gopacket.Payload(framed(t, ether(etherIPv4), gopacket.Payload(four)))), four},
		{"MPLS, a pseudowire without a control word", 1, framed(t, ether(etherMPLS), gopacket.Payload("\x00\x01\x01\x40"), gopacket.Payload(framed(t, ether(etherIPv6), gopacket.Payload(six)))), six},
		{"MPLS without Ethernet", 219, append([]byte{0, 1, 1, 64}, four...), four},
		{"Cisco HDLC", 104, append([]byte{0x0f, 0, 8, 0}, four...), four},
		{"provider backbone", 1, framed(t, ether(etherBackbone), gopacket.Payload("\x00\x00\x00\x01"), gopacket.Payload(framed(t, ether(etherIPv4), gopacket.Payload(four)))), four},
		{"SNAP", 1, framed(t, &layers.Ethernet{SrcMAC: mac, DstMAC: mac, Length: 100}, gopacket.Payload("\xaa\xaa\x03\x00\x00\x00\x08\x00"), gopacket.Payload(four)), four},
		{"nflog", 239, append([]byte{2, 0, 0, 1, 8, 0, 1, 0, 8, 0, 3, 0, byte(4 + len(four)), 0, 9, 0}, four...), four},
		{"nflog, big endian", 239, append([]byte{2, 0, 0, 1, 0, 8, 0, 1, 8, 0, 3, 0, 0, byte(4 + len(four)), 0, 9}, four...), four},

		{"ARP", 1, framed(t, ether(layers.EthernetTypeARP), gopacket.Payload("arp")), nil},
		{"802.3", 1, framed(t, &layers.Ethernet{SrcMAC: mac, DstMAC: mac, Length: 100}, gopacket.Payload(four)), nil},
		{"cooked ARP", 276, sll2(0x0806, four), nil},
		{"Ethernet cut in its header", 1, four[:13], nil},
		{"Ethernet and no more", 1, framed(t, ether(layers.EthernetTypeIPv4)), nil},
		{"VLAN cut in its tag", 1, framed(t, ether(layers.EthernetTypeDot1Q), gopacket.Payload("abc")), nil},
		{"PPPoE discovery", 1, framed(t, ether(0x8863), gopacket.Payload("\x11\x09\x00\x00\x00\x00\x21"), gopacket.Payload(four)), nil},
		{"PPP, its own control protocol", 9, append([]byte{0xff, 3, 0xc0, 0x21}, four...), nil},
		{"PPP cut", 9, []byte{0xff, 3, 0}, nil},
		{"labels without end", 219, bytes.Repeat([]byte{0, 1, 0, 64}, 16000), nil},
		{"pseudowires without end", 219, bytes.Repeat(append([]byte{0, 1, 1, 64, 0, 0, 0, 0}, framed(t, ether(etherMPLS))...), 2000), nil},
		{"nflog without a payload", 239, []byte{2, 0, 0, 1, 8, 0, 1, 0, 8, 0, 3, 0}, nil},
		{"nflog, an attribute of nothing", 239, []byte{2, 0, 0, 1, 0, 0, 0, 0, 9, 9, 9, 9}, nil},
		{"SNAP cut", 1, framed(t, &layers.Ethernet{SrcMAC: mac, DstMAC: mac, Length: 100}, gopacket.Payload("\xaa\xaa\x03\x00\x00\x00\x08")), nil},
		{"tags without end", 1, framed(t, ether(layers.EthernetTypeDot1Q), gopacket.Payload(strings.Repeat("\x00\x01\x81\x00", 20))), nil},
		{"cooked cut in its header", 113, make([]byte, 15), nil},
		{"cooked v2 cut in its header", 276, append([]byte{8, 0}, make([]byte, 17)...), nil},
		{"null cut", 0, []byte{2, 0, 0}, nil},
		{"raw, nothing", 101, nil, nil},
		{"raw, not IP", 101, []byte{0x50, 0}, nil},
	} {
		got, skipped, err := readAll(save(t, "x.pcap", pcapOf(binary.LittleEndian, magicMicro, tt.link, tt.frame)))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if tt.want == nil {
			if len(got) != 0 || skipped != 1 {
				t.Errorf("%s: %d packets, %d left out", tt.name, len(got), skipped)
			}
			continue
		}
		want := []Packet{{Data: tt.want, Time: epoch.Unix()*1e9 + 123456000}}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%s: got-, want+\n%s", tt.name, diff)
		}
	}
}

func TestPcap(t *testing.T) {
	four := ipv4(t, "four")
	micro := []Packet{{Data: four, Time: epoch.Unix()*1e9 + 123456000}}
	nano := []Packet{{Data: four, Time: epoch.Unix()*1e9 + 123456}}
	for _, tt := range []struct {
		name string
		file []byte
		want []Packet
	}{
		{"little endian", pcapOf(binary.LittleEndian, magicMicro, 101, four), micro},
		{"big endian", pcapOf(binary.BigEndian, magicMicro, 101, four), micro},
		{"little endian, nanoseconds", pcapOf(binary.LittleEndian, magicNano, 101, four), nano},
		{"big endian, nanoseconds", pcapOf(binary.BigEndian, magicNano, 101, four), nano},
		{"gzip", gzipped(pcapOf(binary.BigEndian, magicNano, 101, four)), nano},
		{"modified, little endian", modifiedPcap(binary.LittleEndian, four), micro},
		{"modified, big endian", modifiedPcap(binary.BigEndian, four), micro},
		{"gzip in members", append(gzipped(pcapOf(binary.BigEndian, magicNano, 101)), gzipped(pcapOf(binary.BigEndian, magicNano, 101, four)[24:])...), nano},
		{"zstd", zstandard(t, pcapOf(binary.BigEndian, magicNano, 101, four)), nano},
		{"no packets", pcapOf(binary.LittleEndian, magicMicro, 1), nil},
	} {
		got, _, err := readAll(save(t, "x.pcap", tt.file))
		if diff := cmp.Diff(got, tt.want); diff != "" || err != nil {
			t.Errorf("%s: %v, got-, want+\n%s", tt.name, err, diff)
		}
	}
}

func TestPcapOfGopacket(t *testing.T) {
	four := ipv4(t, "four, and padding behind it")
	frame := framed(t, ether(layers.EthernetTypeIPv4), gopacket.Payload(four), gopacket.Payload("pad"))
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(60, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	var want []Packet
	for _, held := range []int{len(frame), len(frame) - 2, len(frame) - 3, len(frame) - 4} {
		ci := gopacket.CaptureInfo{Timestamp: epoch, CaptureLength: held, Length: len(frame)}
		if err := w.WritePacket(ci, frame[:held]); err != nil {
			t.Fatal(err)
		}
		// What was cut of the padding is no loss.
		want = append(want, Packet{Data: frame[14:held], Time: epoch.UnixNano(), Cut: held < len(frame)-3})
	}
	got, _, err := readAll(save(t, "x.pcap", b.Bytes()))
	if diff := cmp.Diff(got, want); diff != "" || err != nil {
		t.Errorf("%v, got-, want+\n%s", err, diff)
	}
}

func TestWhole(t *testing.T) {
	four, six := ipv4(t, "text"), ipv6(t, "text")
	huge, jumbo := bytes.Clone(four), bytes.Clone(six)
	binary.BigEndian.PutUint16(huge[2:], 0)
	binary.BigEndian.PutUint16(jumbo[4:], 0)
	for _, tt := range []struct {
		name string
		ip   []byte
		want bool
	}{
		{"IPv4", four, true},
		{"IPv4 cut", four[:len(four)-1], false},
		{"IPv4 cut in its header", four[:19], false},
		{"IPv4 without a length", huge, false},
		{"IPv6", six, true},
		{"IPv6 cut", six[:len(six)-1], false},
		{"IPv6 cut in its header", six[:39], false},
		{"IPv6 without a length", jumbo, false},
		{"nothing", nil, false},
	} {
		if got := whole(tt.ip); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPcapng(t *testing.T) {
	a, b, c := ipv4(t, "a"), ipv4(t, "bb"), ipv4(t, "ccc")
	got, _, err := readAll(save(t, "x.pcapng", ngOf(t, a, b, c)))
	want := []Packet{
		{Data: a, Time: epoch.UnixNano(), Interface: "eth0"},
		{Data: b, Time: epoch.UnixNano() + 1, Interface: "wg0"},
		{Data: c, Time: epoch.UnixNano() + 2, Interface: "eth0"},
	}
	if diff := cmp.Diff(got, want); diff != "" || err != nil {
		t.Errorf("%v, got-, want+\n%s", err, diff)
	}
}

// Sections of both byte orders, a block nobody knows, all kinds of packets.
func TestPcapngSections(t *testing.T) {
	four := ipv4(t, "text") // 24 bytes
	var file []byte
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		old := make([]byte, 20)
		order.PutUint16(old, 1)     // interface
		order.PutUint16(old[2:], 9) // drops
		order.PutUint32(old[8:], 5_000_000)
		order.PutUint32(old[12:], uint32(len(four)))
		order.PutUint32(old[16:], uint32(len(four)))
		simple := make([]byte, 4)
		order.PutUint32(simple, uint32(len(four)+10))
		for _, b := range [][]byte{
			section(order),
			block(order, 0x0BAD, make([]byte, 3000)...),
			described(order, linkRaw, uint32(len(four)), optionResolution, 9),
			described(order, linkRaw, 0, optionName, []byte("tun0")...),
			enhanced(order, 0, 1_000_000_007, len(four), four),
			enhanced(order, 1, 1_000_007, 2*len(four), four[:23]),
			block(order, blockPacket, append(old, four...)...),
			block(order, blockSimple, append(simple, four...)...),
		} {
			file = append(file, b...)
		}
	}
	half := []Packet{
		{Data: four, Time: 1_000_000_007},
		{Data: four[:23], Time: 1_000_007_000, Interface: "tun0", Cut: true},
		{Data: four, Time: 5_000_000_000, Interface: "tun0"},
		{Data: four, Time: 5_000_000_000}, // whole by its own length
	}
	for name, file := range map[string][]byte{"plain": file, "gzip": gzipped(file)} {
		got, _, err := readAll(save(t, "x", file))
		if diff := cmp.Diff(got, append(half[:4:4], half...)); diff != "" || err != nil {
			t.Errorf("%s: %v, got-, want+\n%s", name, err, diff)
		}
	}
}

func TestNanoseconds(t *testing.T) {
	for _, tt := range []struct {
		name       string
		resolution byte
		shift      int64
		stamp      uint64
		want       int64
		ok         bool
	}{
		{"microseconds", 6, 0, 1_500_000, 1_500_000_000, true},
		{"seconds", 0, 0, 3, 3_000_000_000, true},
		{"nanoseconds", 9, 0, 1_795_253_400_123_456_789, 1_795_253_400_123_456_789, true},
		{"picoseconds", 12, 0, 1_999_999_999_999, 1_999_999_999, true},
		{"finest of ten", 19, 0, math.MaxUint64, 1_844_674_407, true},
		{"too fine, of ten", 20, 0, 1, 0, false},
		{"finest there is", 127, 0, 1, 0, false},
		{"halves", 0x81, 0, 3, 1_500_000_000, true},
		{"seconds, of two", 0x80, 0, 3, 3_000_000_000, true},
		{"finest of two", 0x80 | 63, 0, math.MaxUint64, 1_999_999_999, true},
		{"too fine, of two", 0x80 | 64, 0, 1, 0, false},
		{"shifted", 6, 10, 500_000, 10_500_000_000, true},
		{"before the epoch", 6, -10, 500_000, -9_500_000_000, true},
		{"too late", 0, 0, math.MaxUint64, 0, false},
		{"too late by the shift", 6, math.MaxInt64, 1, 0, false},
		{"too early", 6, math.MinInt64, 1, 0, false},
		{"latest", 9, 0, 9_223_372_035_999_999_999, 9_223_372_035_999_999_999, true},
	} {
		i := iface{resolution: tt.resolution, shift: tt.shift}
		if got, ok := i.nanoseconds(tt.stamp); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %d, %v, want %d, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestSeveralFiles(t *testing.T) {
	a, b := ipv4(t, "a"), ipv6(t, "b")
	one := save(t, "one.pcap", pcapOf(binary.BigEndian, magicMicro, 276, sll2(etherIPv4, a), sll2(0x0806, a)))
	none := save(t, "none.pcap", pcapOf(binary.LittleEndian, magicMicro, 1))
	two := save(t, "two.pcapng.gz", gzipped(ngOf(t, b)))
	got, skipped, err := readAll(none, one, two, one)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, p := range got {
		text = append(text, p.Interface+":"+string(p.Data[len(p.Data)-1:]))
	}
	if diff := cmp.Diff(text, []string{":a", "eth0:b", ":a"}); diff != "" || skipped != 2 {
		t.Errorf("%d left out, got-, want+\n%s", skipped, diff)
	}
	got, _, err = readAll(one, two+"x", one)
	var e *Error
	if !errors.As(err, &e) || e.File != two+"x" || !errors.Is(err, fs.ErrNotExist) || len(got) != 1 {
		t.Errorf("with a file missing: %d packets, %v", len(got), err)
	}
	if got, _, err := readAll(); len(got) != 0 || err != nil {
		t.Errorf("no files: %d packets, %v", len(got), err)
	}
}

// A file that was cut off does not keep the files behind it from being read.
func TestTruncatedThenNext(t *testing.T) {
	a, b := ipv4(t, "a"), ipv6(t, "b")
	file := pcapOf(binary.LittleEndian, magicMicro, 101, a, b)
	cut := save(t, "cut.pcap", file[:len(file)-1])
	r, err := Open(cut, save(t, "whole.pcap", file))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for {
		var p Packet
		err := r.Next(&p)
		if err == io.EOF {
			break
		}
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, string(p.Data[len(p.Data)-1:]))
	}
	want := []string{"a", "capture: read " + cut + ": packet 2, offset 61: the file ends in the middle of a packet", "a", "b"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got-, want+\n%s", diff)
	}
}

func TestClose(t *testing.T) {
	r, err := Open(save(t, "x.pcap", pcapOf(binary.LittleEndian, magicMicro, 101, ipv4(t, "a"))))
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	var p Packet
	if err := r.Next(&p); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Next after Close = %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestNextNoAllocs(t *testing.T) {
	four := ipv4(t, strings.Repeat("x", 1400))
	frames := make([][]byte, 2100)
	for i := range frames {
		frames[i] = four
	}
	r, err := Open(save(t, "x.pcap", pcapOf(binary.LittleEndian, magicMicro, 101, frames...)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p Packet
	if got := testing.AllocsPerRun(2000, func() {
		if err := r.Next(&p); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("Next makes %v allocations", got)
	}
}

func BenchmarkNext(b *testing.B) {
	four := ipv4(b, strings.Repeat("x", 1400))
	frames := make([][]byte, 10000)
	for i := range frames {
		frames[i] = four
	}
	path := save(b, "x.pcap", pcapOf(binary.LittleEndian, magicMicro, 101, frames...))
	b.ReportAllocs()
	b.SetBytes(int64(len(four)))
	var p Packet
	for n := 0; n < b.N; {
		r, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		for ; n < b.N; n++ {
			if err := r.Next(&p); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		r.Close()
	}
}
