package reassembly

import (
	"encoding/binary"
	"testing"
)

// FuzzStream reads its input as calls and holds the stream to the model.
func FuzzStream(f *testing.F) {
	f.Add(uint32(0), []byte{0, 0, 3, 0, 10, 0, 1, 0})
	f.Add(uint32(1<<32-3), []byte{0, 3, 0, 20, 1, 0, 0, 10, 2, 0, 0, 0, 0, 0, 0, 40})
	f.Add(uint32(1<<31-1), []byte{1, 255, 251, 9, 0, 4, 0, 200, 0, 0, 0, 5, 2, 0, 9, 0})
	f.Fuzz(func(t *testing.T, base uint32, ops []byte) {
		ops = ops[:min(len(ops), 400)]
		b := &Budget{}
		p := newPair(base, b)
		for ; len(ops) >= 4; ops = ops[4:] {
			ahead := int64(int16(binary.BigEndian.Uint16(ops[1:]))) % 5000
			at := uint64(int64(p.m.next) + ahead)
			size := int(ops[3]) * (1 + int(ops[0]>>4))
			switch ops[0] % 3 {
			case 0, 1:
				payload := honest(at, size)
				if ops[0]%3 == 1 && size > 0 {
					payload[int(ops[1])%size] ^= 1
				}
				from := p.m.next
				st, err := p.offer(at, payload)
				must(t, err)
				if st == InOrder && ops[0]&8 != 0 {
					// What was read is not always what is remembered of it: the
					// stream must compare with what it was told.
					n := min(uint64(ops[3]), p.m.next-from)
					must(t, p.remember(p.m.next-n, honest(p.m.next-n, int(n))))
				}
			case 2:
				must(t, p.acknowledge(at))
			}
		}
		p.s.Release(b)
		if b.Used() != 0 {
			t.Fatalf("%d bytes left after Release", b.Used())
		}
	})
}
