package conntrack

import "tlsgate/conntrack/packet"

// wakes are flags of a segment that says more than how far its sender and receiver are.
const wakes = packet.SYN | packet.FIN | packet.RST | packet.URG

// asleep moves on a connection that rests and may do so still, and reports its packet's
// direction: what is known of it afterwards has room in its head, and its caller has
// nothing to do with the packet (Resting.Passes). Else nothing has changed.
func (t *Table[V]) asleep(at place, sender uint8, p *packet.Parsed, now int64) (Direction, bool) {
	h := t.heads.at(at)
	if h.flags&(rests|restLoose) != rests || h.state != Established || p.Flags&(wakes|packet.ACK) != packet.ACK ||
		t.how.Passes == nil || h.last+int64(t.limit[Established]) <= now {
		return 0, false
	}
	c := &t.next
	c.place, c.head, c.original = at, h, 0
	t.fill(c)
	d := Direction(c.original ^ sender)
	if !t.how.Passes(h.ref, d) || t.segment(c, d, p) != NoReason {
		return 0, false
	}
	c.Packets[d]++
	c.Bytes[d] += uint64(p.Size())
	was := *h
	if !t.restful(c) || !h.put(Original, &c.sides[Original], false) || !h.put(Reply, &c.sides[Reply], false) {
		*h = was
		return 0, false
	}
	h.last = now
	h.flags &^= restFloor | restFloor<<Reply
	c.count()
	return d, true
}
