package conntrack

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// FuzzTrack reads the input as segments between few hosts, near the numbers
// that the connections stand at. Whatever comes, map, queues and wheel agree,
// bounds hold, and every entry ends once.
func FuzzTrack(f *testing.F) {
	f.Add([]byte("\x00\x02\x00\x00\x00\x00\x00\x00\x01\x12\x00\x00\x00\x01\x00\x00\x00\x10\x00\x01\x00\x01\x00\x00"))
	f.Add([]byte("\x80\x10\x00\x01\x00\x01\x10\x00\x81\x11\x00\x01\x00\x01\x00\x00\x41\x04\x00\x02\x00\x00\xff\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		live := map[uint64]bool{}
		tab := New(Config{Connections: 5, HalfOpen: 3}, func(c *Conn[int], _ End) {
			if !live[c.ID] || c.Value != int(c.ID) {
				t.Fatalf("connection %d ended twice, or with value %d", c.ID, c.Value)
			}
			delete(live, c.ID)
		})
		now := epoch
		for b = b[:min(len(b), 1600)]; len(b) >= 8; b = b[8:] {
			p, wait := segmentOf(b)
			now += wait
			r := tab.Track(&p, now)
			switch r.Outcome {
			case Opened, Reopened, Midstream:
				r.Conn.Value, live[r.Conn.ID] = int(r.Conn.ID), true
			case Invalid:
				if r.Why == NoReason {
					t.Fatal("invalid for no reason")
				}
			case Known, Full:
			}
			if r.Outcome != Invalid && r.Outcome != Full && r.Conn == nil || r.Why != NoReason && r.Outcome != Invalid {
				t.Fatalf("%+v", r)
			}
			if b[7]&0x20 != 0 && r.Conn != nil {
				r.Conn.Loosen()
			}
			if b[7]&0x40 != 0 {
				tab.Expire(now)
			}
			if err := tab.check(); err != nil {
				t.Fatal(err)
			}
		}
		tab.Close()
		if tab.Len() != 0 || len(live) != 0 {
			t.Fatalf("%d left, %d not ended", tab.Len(), len(live))
		}
	})
}

// segmentOf makes a segment of 8 bytes, and the time before it.
func segmentOf(b []byte) (packet.Parsed, int64) {
	from, to := host(int(b[0]>>1&7)), server
	if b[0]&1 != 0 {
		from, to = to, from
	}
	far := [...]seqnum.Value{0, 1 << 31, 1<<32 - 1000, 1 << 30}
	near := func(i int) seqnum.Value {
		return far[b[i]>>6].Add(uint32(b[i]&0x3f)<<4 | uint32(b[i+1])&0xf)
	}
	p := seg(from, to, packet.Flags(b[1]), near(2), near(4), int(b[6])<<(b[6]>>5))
	p.HasWindowScale, p.WindowScale = b[0]&0x10 != 0, b[0]>>4
	p.Window = uint16(b[3])<<8 | uint16(b[5])
	return p, [...]int64{0, 1e6, 1e9, 50e9, 100e9, 4000e9, 5e14, 1}[b[7]&7]
}
