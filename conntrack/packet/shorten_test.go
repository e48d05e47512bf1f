package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket/layers"

	"tlsgate/conntrack/packet"
)

// checkShortened holds what is left of a packet to the packet itself, and both to
// gopacket: it is sound, and differs in nothing but what stood behind.
func checkShortened(t *testing.T, p *packet.Parsed, n int) {
	t.Helper()
	out := p.Shorten([]byte("before"), n)[len("before"):]
	var q packet.Parsed
	if st := packet.Decode(out, &q); st != packet.OK {
		t.Fatalf("shortened to %d: %v: %x of %x", n, st, out, p.Raw)
	}
	if !q.ChecksumOK() || len(q.Raw) != len(out) {
		t.Errorf("shortened to %d: checksum right %v, %d bytes of %d: %x", n, q.ChecksumOK(), len(q.Raw), len(out), out)
	}
	if len(out) < 0x10000 {
		agree(t, out, q)
	}
	n = max(0, min(n, len(p.Payload)))
	want := *p
	want.Raw, want.Payload = q.Raw, p.Payload[:n]
	want.Flags &^= packet.FIN
	if n < len(p.Payload) {
		want.Flags &^= packet.PSH
	}
	if p.Flags.Has(packet.URG) && int(p.Urgent) > n {
		want.Flags &^= packet.URG
		want.Urgent = 0
	}
	if diff := cmp.Diff(q, want, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("shortened to %d (-got +want):\n%s", n, diff)
	}
}

func TestShorten(t *testing.T) {
	all := packet.FIN | packet.PSH | packet.ACK | packet.URG
	raw := func(b []byte, off int) []byte {
		b[off+13] = byte(all)
		b[off+19] = 3
		fixTCP(b, off)
		return b
	}
	for name, b := range map[string][]byte{
		"IPv4":                          raw(plain4(t), 20),
		"IPv6":                          raw(plain6(t), 40),
		"IPv6 behind extension headers": raw(with(plain6(t), 60, 6, 0, 1, 4, 0, 0, 0, 0), 48),
		"TCP options":                   rawOptions(t, all, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2),
		"IPv4 options":                  ipOptions(t),
		"padded":                        append(plain4(t), 9, 9, 9),
		"a wrong checksum":              edit(plain4(t), 36, 1, 2), // not computed yet
	} {
		var p packet.Parsed
		if st := packet.Decode(b, &p); st != packet.OK {
			t.Fatal(name, st)
		}
		for n := -1; n <= len(p.Payload)+1; n++ {
			checkShortened(t, &p, n)
		}
		if got := p.Shorten(p.Raw[:0], 2); &got[0] != &b[0] {
			t.Errorf("%s: not in place", name)
		}
	}
	if got := new(packet.Parsed).Shorten(nil, 1); got != nil {
		t.Errorf("of no packet: %x", got)
	}
}

// ipOptions is an IPv4 packet with a router alert (RFC 2113).
func ipOptions(t testing.TB) []byte {
	b := plain4(t)
	b = append(append(bytes.Clone(b[:20]), 148, 4, 0, 0), b[20:]...)
	b[0] = 0x46
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[10:], 0)
	binary.BigEndian.PutUint16(b[10:], ^slowSum(b[:24]))
	return b
}

// TestShortenBigTCP: what is left may fit the length field again.
func TestShortenBigTCP(t *testing.T) {
	payload := make([]byte, 70000)
	payload[0], payload[69999] = 1, 2
	big := func(b []byte, off int) []byte {
		b = append(b[:off+20:off+20], payload...)
		fixTCP(b, off)
		return b
	}
	four := big(plain4(t), 20)
	binary.BigEndian.PutUint16(four[2:], 0)
	binary.BigEndian.PutUint16(four[10:], 0)
	binary.BigEndian.PutUint16(four[10:], ^slowSum(four[:20]))
	six := big(plain6(t), 40)
	binary.BigEndian.PutUint16(six[4:], 0)
	jumbo := append(bytes.Clone(six[:40]), 6, 0, 0xc2, 4, 0, 0, 0, 0)
	jumbo[6] = 0
	jumbo = append(jumbo, six[40:]...)
	binary.BigEndian.PutUint32(jumbo[44:], uint32(len(jumbo)-40))
	for name, b := range map[string][]byte{"IPv4": four, "IPv6": six, "jumbo": jumbo} {
		var p packet.Parsed
		if st := packet.Decode(b, &p); st != packet.OK {
			t.Fatal(name, st)
		}
		for _, n := range []int{5, 65495, 65516, 70000} {
			checkShortened(t, &p, n)
		}
	}
}

func FuzzShorten(f *testing.F) {
	f.Add(plain4(f), 2)
	f.Add(plain6(f), 0)
	f.Add(ipOptions(f), 4)
	f.Add(with(plain6(f), 60, 6, 0, 1, 4, 0, 0, 0, 0), 1)
	f.Add(build(f, src4, dst4, layers.TCP{SrcPort: 1, ACK: true, FIN: true, URG: true, Urgent: 4}, []byte("hello")), 3)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		var p packet.Parsed
		before := bytes.Clone(b)
		if packet.Decode(b, &p) != packet.OK {
			if got := p.Shorten(nil, n); got != nil {
				t.Errorf("of what is no packet: %x", got)
			}
			return
		}
		checkShortened(t, &p, n)
		if !bytes.Equal(b, before) {
			t.Error("the packet was written to")
		}
	})
}

// TestTrim: what is left of a packet is the packet that its sender would have sent
// without what is gone.
func TestTrim(t *testing.T) {
	for name, b := range map[string][]byte{
		"IPv4": plain4(t), "IPv6": plain6(t), "IPv4 options": ipOptions(t), "padded": append(plain4(t), 9, 9, 9),
	} {
		var p packet.Parsed
		if st := packet.Decode(b, &p); st != packet.OK {
			t.Fatal(name, st)
		}
		for n := -1; n <= len(p.Payload)+1; n++ {
			gone := max(0, min(n, len(p.Payload)))
			var got packet.Parsed
			if st := packet.Decode(p.Trim([]byte("before"), n)[len("before"):], &got); st != packet.OK || !got.ChecksumOK() {
				t.Fatalf("%s, %d: %v, checksum %v", name, n, st, got.ChecksumOK())
			}
			if !bytes.Equal(got.Payload, p.Payload[gone:]) || got.Seq != p.Seq.Add(uint32(gone)) || got.Ack != p.Ack || got.Flags != p.Flags {
				t.Errorf("%s, %d: %+v", name, n, got)
			}
		}
	}
	if got := new(packet.Parsed).Trim(nil, 1); got != nil {
		t.Errorf("of no packet: %x", got)
	}
}

// TestPrecede: what lies in front of a payload is the stream's, and trimming it gives the
// packet again.
func TestPrecede(t *testing.T) {
	urgent := build(t, src4, dst4, layers.TCP{SrcPort: 1, ACK: true, FIN: true, URG: true, Urgent: 4}, []byte("hello"))
	for name, b := range map[string][]byte{
		"IPv4": plain4(t), "IPv6": plain6(t), "IPv4 options": ipOptions(t), "padded": append(plain4(t), 9, 9, 9), "urgent": urgent,
	} {
		var p, got, back packet.Parsed
		if st := packet.Decode(b, &p); st != packet.OK {
			t.Fatal(name, st)
		}
		for _, front := range []string{"", "a", "abc"} {
			if st := packet.Decode(p.Precede([]byte("before"), []byte(front))[len("before"):], &got); st != packet.OK || !got.ChecksumOK() {
				t.Fatalf("%s, %q: %v, checksum %v", name, front, st, got.ChecksumOK())
			}
			if string(got.Payload) != front+string(p.Payload) || got.Seq != p.Seq.Sub(uint32(len(front))) || got.Ack != p.Ack || got.Flags != p.Flags {
				t.Errorf("%s, %q: %+v", name, front, got)
			}
			if len(front) == 0 {
				continue
			}
			if st := packet.Decode(got.Trim(nil, len(front)), &back); st != packet.OK || !bytes.Equal(back.Raw, p.Copy(nil)[:len(back.Raw)]) {
				t.Errorf("%s, %q in front and away again: %x of %x", name, front, back.Raw, p.Raw)
			}
		}
	}
	if got := new(packet.Parsed).Precede(nil, []byte("a")); got != nil {
		t.Errorf("of no packet: %x", got)
	}
}
