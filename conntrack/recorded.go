package conntrack

import "tlsgate/conntrack/packet"

// What follows is for captures alone. There every packet has passed, so what a
// segment takes for granted can be believed: nobody waits behind the reader to
// make use of that.

// supply takes from a segment in direction d what a packet that is missing would
// have told: that the SYN was answered, or that the answer was accepted.
func (c *Conn[V]) supply(d Direction, p *packet.Parsed) {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	if !p.Flags.Has(packet.ACK) {
		return
	}
	if c.state == SynSent && d == Original && s.seen && !peer.seen {
		iss := p.Ack.Sub(1)
		*peer = side{iss: iss, floor: iss, acked: p.Ack, end: p.Ack, scale: unknownScale, known: true, seen: true}
		c.state, c.Guessed = SynRecv, true
		return
	}
	// What is no answer to the SYN is a challenge (RFC 5961, Section 4.2), of an
	// earlier connection on the ports: the answer is still to come.
	if c.state == SynSent && d == Reply && !s.seen && between(p.Ack, peer.iss.Add(1), peer.end.Add(unseenFlight)) {
		s.appear(p)
		s.acked, s.floor = p.Seq, s.iss
		c.state, c.Guessed = SynRecv, true
	}
	// Only who knows that its SYN-ACK has arrived sends data behind it.
	if s.seen && !s.known && p.SegLen() > 0 && p.Seq == s.iss.Add(1) {
		s.known = true
		if !s.scaled {
			peer.scale = 0
		}
	}
}

// gaveWay reports whether a SYN in direction d begins a new connection on an
// entry's ports: one end was done with the old one, or was never heard, so that
// the SYN-ACK which would prove it may be missing as well.
func (c *Conn[V]) gaveWay(d Direction, p *packet.Parsed) bool {
	s := &c.sides[d]
	return c.recorded && s.seen && p.Seq != s.iss &&
		(s.finSeen || c.state.over() || c.Packets[d.Other()] == 0 && c.state != SynSent)
}
