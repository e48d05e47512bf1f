package conntrack

import (
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

const (
	// maxWindow is more than any window, RFC 7323, Section 2.3.
	maxWindow = 1 << 30

	// maxFlight is more than can be sent and not acknowledged.
	maxFlight = maxWindow + maxWindow/2

	// unseenFlight is how much further than a window we have seen may reach what
	// was sent before we were here.
	unseenFlight = 1 << 24
)

// advertise takes the window that a segment of s allows its peer. The window of
// a SYN is never scaled (RFC 7323, Section 2.2).
func (s *side) advertise(peer *side, p *packet.Parsed) {
	win := uint32(p.Window)
	if !p.Flags.Has(packet.SYN) {
		win <<= s.scale
	}
	s.maxWin = max(s.maxWin, win)
	peer.allow(p.Ack.Add(win))
}

// allow notes that s's peer would take what s sends before edge.
func (s *side) allow(edge seqnum.Value) {
	if !s.windowed || s.maxEnd.Less(edge) {
		s.maxEnd, s.windowed = edge, true
	}
}

// edge returns the last number at which a segment of s may begin.
func (s *side) edge(unseen bool) seqnum.Value {
	switch {
	case !s.windowed:
		return s.end.Add(maxWindow)
	case unseen:
		return seqnum.Max(s.maxEnd, s.end).Add(unseenFlight)
	}
	return s.maxEnd
}

// beyond returns the first number at which p, sent in direction d, may not begin.
func (c *Conn[V]) beyond(d Direction, p *packet.Parsed) seqnum.Value {
	edge := c.sides[d].edge(c.Midstream || c.lossy)
	if p.SegLen() == 0 {
		edge = edge.Add(1) // behind a FIN or a probe at the edge, which may have been taken
	}
	return edge.Add(1)
}

// fits reports why a segment would be discarded by its receiver, if so. What is
// old fits: its receiver answers it with an ACK that its sender may wait for.
func (c *Conn[V]) fits(d Direction, p *packet.Parsed) Reason {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	if !p.Seq.InRange(s.floor, c.beyond(d, p)) {
		return OutOfWindow
	}
	if peer.seen && !peer.known {
		if !c.confirmable(d.Other(), p.Ack) {
			return BadAck
		}
		return NoReason
	}
	last := peer.end
	if c.Midstream || c.lossy {
		last = peer.edge(true)
	}
	// RFC 5961, Section 5.2, from where its receiver may stand: what we saw
	// acknowledged by a window at most may not have reached it.
	back := min(2*max(s.maxWin, 1<<16), maxWindow)
	first := seqnum.Max(peer.floor.Add(1), peer.acked.Sub(back))
	if !p.Ack.InRange(first, last.Add(1)) {
		return BadAck
	}
	return NoReason
}

// segment handles everything that is neither SYN nor RST.
func (t *Table[V]) segment(c *Conn[V], d Direction, p *packet.Parsed) Reason {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	if c.loose {
		t.stray(c, d, p)
		return NoReason
	}
	if c.recorded {
		c.supply(d, p)
	}
	if !c.Midstream && !(s.seen && peer.seen) || c.state == SynSent || c.state == SynSent2 {
		return BadState
	}
	if why := c.fits(d, p); why != NoReason {
		return why
	}
	if c.denies(d, p) {
		return BadState
	}
	c.confirm(d.Other(), p.Ack)
	if !s.seen {
		s.appear(p)
		peer.acked = seqnum.Min(peer.acked, p.Ack) // was a guess until now
		t.rerank(c)
	}
	s.end = seqnum.Max(s.end, p.Seq.Add(p.SegLen()))
	if low := s.end.Sub(maxFlight); s.acked.Less(low) { // acknowledged by another way
		s.ack(low)
	}
	peer.end = seqnum.Max(peer.end, p.Ack) // sent before we were here
	s.advertise(peer, p)
	peer.ack(p.Ack)
	if p.Flags.Has(packet.FIN) {
		c.fin(d, p)
	}
	switch {
	case c.state == Close || c.state == SynRecv && !(s.known && peer.known):
	case s.finSeen || peer.finSeen:
		t.setState(c, c.closing())
	case c.state == SynRecv:
		t.setState(c, Established)
	}
	return NoReason
}

// stray handles a segment or RST of a connection of which not every packet is
// seen: it tells how far both sides have come, and whether they are done.
func (t *Table[V]) stray(c *Conn[V], d Direction, p *packet.Parsed) {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	c.follow(d, p.Seq)
	if !s.seen && !p.Flags.Has(packet.RST) {
		s.appear(p)
		t.rerank(c)
	}
	s.end = seqnum.Max(s.end, p.Seq.Add(p.SegLen()))
	if p.Flags.Has(packet.ACK) {
		c.follow(d.Other(), p.Ack)
		if !peer.finSeen || !peer.fin.Add(1).Less(p.Ack) { // nothing comes behind a FIN
			peer.acked = seqnum.Max(peer.acked, p.Ack)
		}
	}
	if p.Flags.Has(packet.FIN) {
		c.fin(d, p)
	}
	switch {
	case p.Flags.Has(packet.RST):
		t.setState(c, Close)
	case c.state != Close && (s.finSeen || peer.finSeen):
		t.setState(c, c.closing())
	}
}

// follow moves a side on to v, and counts the bytes that must have passed
// meanwhile, modulo 4 GiB.
func (c *Conn[V]) follow(d Direction, v seqnum.Value) {
	const backwards = 3 << 30 // a longer way forward is a step back
	s := &c.sides[d]
	if gone := s.end.Size(v); !s.finSeen && gone < backwards {
		c.Bytes[d] += uint64(gone)
		s.acked, s.end = v, v // neither is far from v
	}
}

// fin notes the number of a FIN. The first one stands: a FIN that comes again
// elsewhere is not one its receiver waits for.
func (c *Conn[V]) fin(d Direction, p *packet.Parsed) {
	if s := &c.sides[d]; !s.finSeen {
		s.finSeen, s.fin = true, p.Seq.Add(uint32(p.PayloadLen()))
	}
}

// ack notes that s's peer has everything before v.
func (s *side) ack(v seqnum.Value) {
	if s.acked.Less(v) {
		s.acked = v
	}
	if low := s.acked.Sub(maxWindow); s.floor.Less(low) {
		s.floor = low
	}
}

// reset handles an RST. It counts where its receiver could take it: in answer
// to a SYN, or with a number that can be the next one the receiver expects
// (RFC 5961, Section 3). Even then the connection stays in the table and is
// watched, for the receiver may never get it. One further on in the window
// changes nothing, but its receiver challenges it, and so learns of the end.
func (t *Table[V]) reset(c *Conn[V], d Direction, p *packet.Parsed) Reason {
	s, other := &c.sides[d], &c.sides[d.Other()]
	answers := func(iss, end seqnum.Value) bool {
		return p.Flags.Has(packet.ACK) && between(p.Ack, iss.Add(1), end)
	}
	switch second := &c.second; {
	case second.kind == aSYN && d == second.dir.Other() && answers(second.iss, second.iss.Add(1)):
		return NoReason // refuses the new connection, the entry stands
	case c.loose:
		t.stray(c, d, p)
		return NoReason
	case (c.state.half() || c.state == Close || !s.known) && other.seen && answers(other.iss, other.end):
		// its receiver may be waiting for an answer still
	case !s.seen && !c.Midstream:
		return BadReset
	case second.kind == aSYNACK && d == second.dir && between(p.Seq, second.iss, second.iss.Add(1)):
	case between(p.Seq, s.acked, s.end):
	case s.windowed && p.Seq.InRange(s.acked, c.beyond(d, p)):
		return NoReason
	default:
		return BadReset
	}
	t.setState(c, Close)
	return NoReason
}
