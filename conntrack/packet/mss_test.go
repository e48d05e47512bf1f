package packet_test

import (
	"bytes"
	"testing"

	"tlsgate/conntrack/packet"
)

func TestLimitMSS(t *testing.T) {
	tests := []struct {
		name    string
		o, want []byte
	}{
		{"none", []byte{1, 1, 4, 2}, []byte{1, 1, 4, 2}},
		{"smaller", []byte{2, 4, 5, 180}, []byte{2, 4, 5, 180}},
		{"as large", []byte{2, 4, 0xff, 0x78}, []byte{2, 4, 0xff, 0x78}},
		{"larger", []byte{2, 4, 0xff, 0x79}, []byte{2, 4, 0xff, 0x78}},
		{"behind others", []byte{4, 2, 1, 3, 3, 7, 1, 1, 2, 4, 0xff, 0xff, 1, 1, 1, 1}, []byte{4, 2, 1, 3, 3, 7, 1, 1, 2, 4, 0xff, 0x78, 1, 1, 1, 1}},
		{"twice", []byte{2, 4, 0xff, 0xff, 2, 4, 0xff, 0xd7}, []byte{2, 4, 0xff, 0x78, 2, 4, 0xff, 0x78}},
		{"of a wrong length", []byte{2, 3, 0xff, 0xff, 2, 5, 0xff, 0xff}, []byte{2, 3, 0xff, 0xff, 2, 5, 0xff, 0xff}},
		{"cut short", []byte{1, 1, 1, 2}, []byte{1, 1, 1, 2}},
		{"inside another option", []byte{8, 10, 2, 4, 0xff, 0xff, 0, 0, 0, 0, 1, 1}, []byte{8, 10, 2, 4, 0xff, 0xff, 0, 0, 0, 0, 1, 1}},
		{"after end of list nobody reads", []byte{0, 2, 4, 0xff}, []byte{0, 2, 4, 0xff}},
		{"signed", append([]byte{2, 4, 0xff, 0xff, 1, 1, 19, 18}, make([]byte, 16)...), append([]byte{2, 4, 0xff, 0xff, 1, 1, 19, 18}, make([]byte, 16)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, want := rawOptions(t, packet.SYN, tt.o...), rawOptions(t, packet.SYN, tt.want...)
			var p packet.Parsed
			if st := packet.Decode(b, &p); st != packet.OK {
				t.Fatal(st)
			}
			if got := p.LimitMSS([]byte("before"), 0xff78); !bytes.Equal(got, append([]byte("before"), want...)) {
				t.Errorf("got %x, want %x", got, want)
			}
			if n := testing.AllocsPerRun(10, func() { p.LimitMSS(p.Raw[:0], 0xff78) }); n != 0 || !bytes.Equal(b, want) {
				t.Errorf("in place, with %v allocations: got %x, want %x", n, b, want)
			}
		})
	}
	var zero packet.Parsed
	if got := zero.LimitMSS(nil, 1); got != nil {
		t.Errorf("of nothing: %x", got)
	}
}
