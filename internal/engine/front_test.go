package engine

import (
	"bytes"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestFront: a segment that begins in front of its stream goes on trimmed, as its
// receiver takes it: nothing that lies there reaches anybody.
func TestFront(t *testing.T) {
	good, evil := hellos(t)
	junk := bytes.Repeat([]byte{0x16, 3, 1, 2}, 200)
	for _, n := range []int{2, 5, 652} {
		for _, cut := range []int{1, 70} {
			for _, hello := range [][]byte{good, evil} {
				l := newLab(t, config(), named("api.bank.example"))
				k := l.link4()
				k.open()
				if !k.data(original, -n, append(bytes.Clone(junk[:n]), hello[:cut]...)) {
					t.Fatalf("%d in front of %d: did not pass", n, cut)
				}
				if got := k.ends[1].got; !bytes.Equal(got, hello[:cut]) {
					t.Errorf("%d in front of %d: the server has %x", n, cut, got)
				}
				if k.data(original, cut, hello[cut:]) != bytes.Equal(hello, good) {
					t.Errorf("%d in front of %d: passed: %v", n, cut, !bytes.Equal(hello, good))
				}
			}
		}
		l := newLab(t, config(), named("api.bank.example"))
		k := l.link4()
		k.open()
		urgent := k.segment(original, -n, append(bytes.Clone(junk[:n]), good...), packet.ACK|packet.URG)
		if urgent.urgent = 1; k.raw(urgent) {
			t.Errorf("%d in front of urgent data passed", n)
		}
		if k.data(original, -n, junk[:n]) {
			t.Errorf("%d bytes that are all in front passed", n)
		}
		several := true
		l.alter = func(p *nfq.Packet) { p.GSO = several }
		if k.data(original, -n, append(bytes.Clone(junk[:n]), good...)) {
			t.Errorf("%d in front of several segments: passed", n)
		}
		several = false
		if !k.data(original, -n, append(bytes.Clone(junk[:n]), good...)) || !bytes.Equal(k.ends[1].got, good) {
			t.Errorf("%d in front, repeated as one: %x", n, k.ends[1].got)
		}
	}
}
