package packet_test

import (
	"bytes"
	"testing"

	"github.com/google/gopacket/layers"

	"tlsgate/conntrack/packet"
)

// TestCopy: a packet whose checksum is not ready is whole in its copy, FIN included,
// and has one that is right.
func TestCopy(t *testing.T) {
	whole := build(t, src4, dst4, layers.TCP{PSH: true, FIN: true}, []byte("hello"))
	var p, q packet.Parsed
	if st := packet.Decode(whole, &p); st != packet.OK {
		t.Fatal(st)
	}
	spoilt := bytes.Clone(whole)
	spoilt[p.TCPOffset+16] ^= 0x5a
	if st := packet.Decode(spoilt, &q); st != packet.OK || q.ChecksumOK() {
		t.Fatalf("%v, checksum right: %v", st, q.ChecksumOK())
	}
	if got := q.Copy(nil); !bytes.Equal(got, whole) {
		t.Errorf("copied: %x\nwanted: %x", got, whole)
	}
	if got := new(packet.Parsed).Copy(nil); got != nil {
		t.Errorf("a copy of nothing: %x", got)
	}
}
