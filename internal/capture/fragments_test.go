package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// piece4 is bytes [from, to) of a datagram, as a fragment.
func piece4(datagram []byte, id uint16, from, to int, more bool) []byte {
	h := bytes.Clone(datagram[:ipv4Header])
	b := append(h, datagram[ipv4Header+from:ipv4Header+to]...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], id)
	field := uint16(from / 8)
	if more {
		field |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], field)
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:ipv4Header]))
	return b
}

// piece6 is the same in IPv6, behind a hop-by-hop header.
func piece6(datagram []byte, id uint16, from, to int, more bool) []byte {
	at := ipv6Header + 8
	field := uint16(from)
	if more {
		field |= 1
	}
	b := append(bytes.Clone(datagram[:at]), datagram[ipv6Header], 0)
	b[ipv6Header] = ipFragment
	b = binary.BigEndian.AppendUint16(b, field)
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	b = append(b, datagram[at+from:at+to]...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Header))
	return b
}

// whole4 and whole6 are datagrams of TCP with n bytes.
func whole4(t testing.TB, n int) []byte {
	b := outer4(t, ipTCP, pattern(n))
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:ipv4Header]))
	return b
}

func whole6(t testing.TB, n int) []byte {
	return outer6(t, ipHopByHop, append([]byte{ipTCP, 0, 1, 4, 0, 0, 0, 0}, pattern(n)...))
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

const noMore = -1

// TestFragments: pieces in the order they come, each [from, to), or to the end
// without more.
func TestFragments(t *testing.T) {
	type pieces [][2]int
	for _, tt := range []struct {
		name string
		in   pieces
		want int // the piece that completes the datagram; noMore: none does
	}{
		{"in order", pieces{{0, 400}, {400, 800}, {800, 1000}}, 2},
		{"reversed", pieces{{800, 1000}, {400, 800}, {0, 400}}, 2},
		{"last first", pieces{{800, 1000}, {0, 400}, {400, 800}}, 2},
		{"tiny", pieces{{0, 8}, {8, 16}, {16, 1000}}, 2},
		{"one missing", pieces{{0, 400}, {800, 1000}}, noMore},
		{"duplicates", pieces{{0, 400}, {0, 400}, {800, 1000}, {800, 1000}, {400, 800}}, 4},
		{"within what is there", pieces{{0, 400}, {8, 200}, {400, 1000}}, 2},
		{"overlap before", pieces{{400, 800}, {0, 408}, {800, 1000}, {400, 800}}, noMore},
		{"overlap behind", pieces{{0, 400}, {392, 800}, {800, 1000}}, noMore},
		{"overlap around", pieces{{400, 800}, {0, 1000}}, noMore},
		{"overlap, and all again", pieces{{0, 400}, {392, 800}, {0, 400}, {400, 1000}}, 3},
		{"two ends", pieces{{0, 400}, {800, 1000}, {800, 992}, {400, 800}}, noMore},
		{"beyond the end", pieces{{400, 1000}, {1000, 1200}, {0, 400}}, noMore},
	} {
		for name, v := range map[string]struct {
			whole []byte
			piece func([]byte, uint16, int, int, bool) []byte
		}{"IPv4": {whole4(t, 1200), piece4}, "IPv6": {whole6(t, 1200), piece6}} {
			want := piece4(v.whole, 9, 0, 1000, false)
			if name == "IPv6" {
				want = append(bytes.Clone(v.whole[:ipv6Header+8]), v.whole[ipv6Header+8:ipv6Header+8+1000]...)
				binary.BigEndian.PutUint16(want[4:], 1008)
			}
			var f fragments
			for i, p := range tt.in {
				last := p[1] == 1000 && tt.name != "overlap around" || p[1] == 992
				got := f.add(v.piece(v.whole, 9, p[0], p[1], !last), 1, false)
				if i == tt.want {
					if !bytes.Equal(got, want) {
						t.Errorf("%s, %s: got %x, want %x", tt.name, name, got, want)
					}
				} else if got != nil {
					t.Errorf("%s, %s: piece %d gave %d bytes", tt.name, name, i, len(got))
				}
			}
			if tt.want != noMore && (f.bytes != 0 || len(f.held) != 0 || f.first != nil || f.given != 1) {
				t.Errorf("%s, %s: %d bytes left, %d given", tt.name, name, f.bytes, f.given)
			}
		}
	}
}

// TestNotFragments: what is whole, and what nobody wants whole, is given at once.
func TestNotFragments(t *testing.T) {
	tcp := whole4(t, 100)
	icmp := piece4(tcp, 1, 0, 48, true)
	icmp[9] = 1
	atomic := piece6(whole6(t, 100), 1, 0, 100, false)
	for name, p := range map[string][]byte{
		"whole": tcp, "ICMP": icmp, "atomic": atomic, "nothing": {}, "no header": {0x45, 0}, "IPv6": whole6(t, 100),
		"IPv6, its fragment header cut": atomic[:ipv6Header+12],
	} {
		var f fragments
		if got := f.add(p, 1, false); !bytes.Equal(got, p) || f.seen != 0 {
			t.Errorf("%s: %x", name, got)
		}
	}
}

// TestFragmentsEnd: by time, by room, by what no datagram can hold.
func TestFragmentsEnd(t *testing.T) {
	b := whole4(t, 4000)
	var f fragments
	f.add(piece4(b, 1, 0, 400, true), 1, false)
	if f.add(piece4(b, 1, 400, 2000, false), 1+fragmentTime4, false) != nil || f.lost != 1 {
		t.Errorf("late: %+v", f)
	}
	for i := range 200_000 {
		p := piece4(b, uint16(i), 0, 1600, true)
		p[15] = byte(i >> 16)
		if f.add(p, int64(i), false); f.bytes > maxFragmentBytes+2*maxDatagram {
			t.Fatalf("%d bytes held", f.bytes)
		}
	}
	if len(f.held) == 0 || len(f.held) > maxFragmentBytes/1600 {
		t.Errorf("%d datagrams held", len(f.held))
	}
	f = fragments{}
	ping := piece4(b, 1, 0, 1600, true)
	binary.BigEndian.PutUint16(ping[6:], 0x1fff)
	if f.add(ping, 1, false) != nil || f.lost != 1 || f.bytes != 0 {
		t.Errorf("beyond all datagrams: %+v", f)
	}
	for i := range 2 * maxRuns {
		if f.add(piece4(b, 1, i*16, i*16+8, true), 1, false) != nil {
			t.Fatal("complete")
		}
	}
	if f.lost != 2 {
		t.Errorf("gaps without end: lost %d", f.lost)
	}
	if f.add(piece4(b, 5, 0, 8, true), 1, true) != nil || len(f.held) > 1 {
		t.Error("a fragment cut by the capture is kept")
	}
}

// TestFragmentsRandom: any order of honest pieces, of several datagrams at a
// time, with some of them twice, gives each once.
func TestFragmentsRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var f fragments
		whole, whole6 := whole4(t, 1500), whole6(t, 1500)
		var in [][]byte
		for id := range 8 {
			for at := 0; at < 1500; {
				n := min(8*(1+r.IntN(60)), 1500-at)
				p := piece4(whole, uint16(id), at, at+n, at+n < 1500)
				if id%2 == 1 {
					p = piece6(whole6, uint16(id), at, at+n, at+n < 1500)
				}
				if in = append(in, p); r.IntN(4) == 0 {
					in = append(in, p)
				}
				at += n
			}
		}
		r.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		for i, p := range in {
			got := f.add(p, int64(i), false)
			if got != nil && !bytes.Equal(got[ipv4Header:], whole[ipv4Header:]) && !bytes.Equal(got, whole6) {
				t.Fatalf("got %x", got)
			}
		}
		if f.given != 8 {
			t.Fatalf("%d of 8 datagrams", f.given)
		}
	}
}

// TestTunnelInFragments: an outer packet in pieces, and the one inside too.
func TestTunnelInFragments(t *testing.T) {
	inner := whole4(t, 1000)
	r := &Reader{}
	var got [][]byte
	for i, from := range []int{0, 504} {
		part := piece4(inner, 7, from, min(from+504, 1000), from == 0)
		outer := outer4(t, ipUDP, toPort(t, portVXLAN, joined([]byte{8, 0, 0, 0, 0, 0, 7, 0}, append(bytes.Repeat([]byte{2}, 12), 8, 0), part)))
		n := len(outer) - ipv4Header
		for _, half := range [][2]int{{0, n / 2 &^ 7}, {n / 2 &^ 7, n}} {
			var p Packet
			frame := frame{link: linkRaw, data: piece4(outer, uint16(i), half[0], half[1], half[1] < n), time: int64(time.Second)}
			frame.sent = uint32(len(frame.data))
			if r.take(&frame, &p) {
				got = append(got, bytes.Clone(p.Data))
			}
		}
	}
	if len(got) != 1 || !bytes.Equal(got[0][ipv4Header:], inner[ipv4Header:]) {
		t.Errorf("%d packets", len(got))
	}
	if c := r.Counts(); c.Assembled != 3 || c.Lost != 0 || c.Fragments != 6 {
		t.Errorf("%+v", c)
	}
}
