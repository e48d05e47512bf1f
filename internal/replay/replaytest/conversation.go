package replaytest

import (
	"encoding/binary"
)

const (
	fin, syn, psh, ack = 1, 2, 8, 16

	ethernetHeader, ipHeader, tcpHeader = 14, 20, 20
	recordMost                          = 16 << 10
	requestMost                         = 400
)

// conversation is a connection under way. Every second segment is acknowledged.
type conversation struct {
	turns          []turn
	addr           [2][4]byte
	port           [2]uint16
	seq            [2]uint32
	step, at       int
	data, unacked  int
	begun, endedBy int
}

// conversation begins one whose addresses and ports tell it from all others.
func (c *Capture) conversation() *conversation {
	n := uint32(c.Connections)
	c.Connections++
	kinds := recordings()
	k := &conversation{turns: kinds[int(n)%len(kinds)], data: c.o.Data}
	k.addr = [2][4]byte{{198, 18, byte(n >> 8 & 0x7f), byte(n)}, {198, 19, byte(n >> 11), byte(n>>3) | 1}}
	k.port = [2]uint16{uint16(1024 + n%60000), 443}
	k.seq = [2]uint32{c.rand.Uint32(), c.rand.Uint32()}
	return k
}

// next appends the packet that comes next; false if it was the last before.
func (k *conversation) next(c *Capture) bool {
	switch {
	case k.begun < 3:
		flags := [...]byte{syn, syn | ack, ack}[k.begun]
		c.frame(k, k.begun%2, flags, nil)
		if flags&syn != 0 {
			k.seq[k.begun%2]++
		}
		k.begun++
	case k.unacked >= 2 || k.unacked > 0 && k.at == 0:
		c.frame(k, 1-k.turn().dir, ack, nil)
		k.unacked = 0
	case k.step < len(k.turns) || k.more():
		k.segment(c)
	case k.endedBy < 4:
		from := [...]int{0, 1, 1, 0}[k.endedBy]
		flags := [...]byte{fin | ack, ack, fin | ack, ack}[k.endedBy]
		c.frame(k, from, flags, nil)
		k.seq[from] += uint32(flags & fin)
		k.endedBy++
	default:
		return false
	}
	return true
}

func (k *conversation) turn() *turn { return &k.turns[min(k.step, len(k.turns)-1)] }

// segment sends what fits of the turn.
func (k *conversation) segment(c *Capture) {
	t := &k.turns[k.step]
	n := min(c.o.MSS, len(t.bytes)-k.at)
	flags := byte(ack)
	if k.at+n == len(t.bytes) {
		flags |= psh
	}
	c.frame(k, t.dir, flags, t.bytes[k.at:k.at+n])
	k.seq[t.dir] += uint32(n)
	k.unacked++
	if k.at += n; k.at == len(t.bytes) {
		k.at = 0
		k.step++
	}
}

// more adds a request and a response, while there is data to be sent.
func (k *conversation) more() bool {
	if k.data <= 0 {
		return false
	}
	k.turns = append(k.turns[:len(k.turns):len(k.turns)],
		turn{0, records(min(requestMost, k.data))}, turn{1, records(k.data)})
	k.data = 0
	return true
}

// records are n bytes in records of application data.
func records(n int) (b []byte) {
	for n > 0 {
		m := min(n, recordMost)
		b = append(b, 23, 3, 3, byte(m>>8), byte(m))
		for i := range m {
			b = append(b, byte(i*31+n))
		}
		n -= m
	}
	return b
}

// frame appends a packet with its record header, all checksums right.
func (c *Capture) frame(k *conversation, from int, flags byte, payload []byte) {
	c.Frames++
	c.time += c.o.Pace.Microseconds()
	var options []byte
	if flags&syn != 0 {
		options = []byte{2, 4, 5, 180, 1, 3, 3, 7}
	}
	segment := tcpHeader + len(options) + len(payload)
	size := ethernetHeader + ipHeader + segment
	le, be := binary.LittleEndian, binary.BigEndian
	b := le.AppendUint32(c.buf, uint32(c.time/1e6))
	b = le.AppendUint32(b, uint32(c.time%1e6))
	b = le.AppendUint32(le.AppendUint32(b, uint32(size)), uint32(size))
	b = append(b, 2, 0, 0, 0, 0, byte(1-from), 2, 0, 0, 0, 0, byte(from), 8, 0)
	ip := len(b)
	b = append(b, 0x45, 0, byte((ipHeader+segment)>>8), byte(ipHeader+segment), byte(c.Frames>>8), byte(c.Frames), 0x40, 0, 64, 6, 0, 0)
	b = append(append(b, k.addr[from][:]...), k.addr[1-from][:]...)
	be.PutUint16(b[ip+10:], ^sum(0, b[ip:]))
	tcp := len(b)
	b = be.AppendUint16(be.AppendUint16(b, k.port[from]), k.port[1-from])
	b = be.AppendUint32(b, k.seq[from])
	acked := k.seq[1-from]
	if flags&ack == 0 {
		acked = 0
	}
	b = be.AppendUint32(b, acked)
	b = append(b, byte(tcpHeader+len(options))<<2, flags, 0xff, 0xff, 0, 0, 0, 0)
	b = append(append(b, options...), payload...)
	pseudo := append(append(k.addr[from][:4:4], k.addr[1-from][:]...), 0, 6, byte(segment>>8), byte(segment))
	be.PutUint16(b[tcp+16:], ^sum(sum(0, pseudo), b[tcp:]))
	c.buf = b
}

// sum is RFC 1071's, folded.
func sum(start uint16, b []byte) uint16 {
	n := uint64(start)
	for ; len(b) >= 4; b = b[4:] {
		n += uint64(binary.BigEndian.Uint32(b))
	}
	for i, v := range b {
		n += uint64(v) << (8 * (^i & 1))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
