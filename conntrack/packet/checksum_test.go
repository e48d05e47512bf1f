package packet_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/gopacket/layers"

	"tlsgate/conntrack/packet"
)

// TestChecksumLengths takes every loop and tail of the sum, with the octets
// that carry most, against gopacket's checksum.
func TestChecksumLengths(t *testing.T) {
	for n := range 300 {
		for _, fill := range []byte{0x00, 0xff, 0x80, 0x5a} {
			for _, b := range [][]byte{
				build(t, src4, dst4, layers.TCP{}, bytes.Repeat([]byte{fill}, n)),
				build(t, src6, dst6, layers.TCP{}, bytes.Repeat([]byte{fill}, n)),
			} {
				var p packet.Parsed
				if st := packet.Decode(b, &p); st != packet.OK || !p.ChecksumOK() {
					t.Fatalf("payload of %d times %#x: %v, checksum wrong", n, fill, st)
				}
				if got := p.StripMPTCP(nil); !bytes.Equal(got, b) {
					t.Fatalf("payload of %d times %#x: got %x, want %x", n, fill, got, b)
				}
			}
		}
	}
}

// TestChecksumSeesEveryBit flips each bit that a checksum covers.
func TestChecksumSeesEveryBit(t *testing.T) {
	for _, b := range [][]byte{plain4(t), plain6(t)} {
		for i := range len(b) * 8 {
			if b[0]>>4 == 6 && i/8 < 8 {
				continue // of the first eight octets IPv6 covers the length only
			}
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			var p packet.Parsed
			if packet.Decode(c, &p) == packet.OK && p.ChecksumOK() {
				t.Errorf("version %d: flipped bit %d of octet %d not seen", b[0]>>4, i%8, i/8)
			}
		}
	}
}

func TestChecksumOfJumbo(t *testing.T) {
	b := append(plain6(t), bytes.Repeat([]byte{0xff}, 0x10000)...)
	edit(b, 4, 0, 0)
	fixTCP(b, 40)
	var p packet.Parsed
	if st := packet.Decode(b, &p); st != packet.OK || !p.ChecksumOK() {
		t.Errorf("%v, checksum %v", st, p.ChecksumOK())
	}
	b[len(b)-1]--
	if p.ChecksumOK() {
		t.Error("last octet not covered")
	}
}

func TestNoAllocs(t *testing.T) {
	big, opts := build(t, src6, dst6, layers.TCP{}, make([]byte, 1460)), rawOptions(t, packet.SYN, 2, 4, 5, 180, 30, 4, 0, 1)
	r := packet.Reset{Src: src6, Dst: dst6, SrcPort: 1, DstPort: 2}
	buf := make([]byte, 0, 2000)
	var p packet.Parsed
	tests := []struct {
		name string
		f    func()
	}{
		{"Decode", func() { packet.Decode(big, &p) }},
		{"ChecksumOK", func() { p.ChecksumOK() }},
		{"Decode options", func() { packet.Decode(opts, &p) }},
		{"StripMPTCP", func() { p.StripMPTCP(buf) }},
		{"Append", func() { r.Append(buf) }},
	}
	for _, tt := range tests {
		if n := testing.AllocsPerRun(100, tt.f); n != 0 {
			t.Errorf("%s allocates %v times, want 0", tt.name, n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	stamped := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	syn := []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7}
	for _, bb := range []struct {
		name string
		b    []byte
	}{
		{"4", plain4(b)},
		{"4timestamps", rawOptions(b, packet.ACK, stamped...)},
		{"4syn", rawOptions(b, packet.SYN, syn...)},
		{"6", plain6(b)},
		{"6destination", with(plain6(b), 60, 6, 0, 1, 4, 0, 0, 0, 0)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			var p packet.Parsed
			for b.Loop() {
				if packet.Decode(bb.b, &p) != packet.OK {
					b.Fatal("not OK")
				}
			}
		})
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{0, 1460, 40000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			raw := build(b, src4, dst4, layers.TCP{}, make([]byte, n))
			var p packet.Parsed
			packet.Decode(raw, &p)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				if !p.ChecksumOK() {
					b.Fatal("wrong")
				}
			}
		})
	}
}

func BenchmarkReset(b *testing.B) {
	r := packet.Reset{Src: src4, Dst: dst4, SrcPort: 443, DstPort: 40000, HasAck: true}
	buf := make([]byte, 0, 100)
	b.ReportAllocs()
	for b.Loop() {
		buf = r.Append(buf[:0])
	}
}
