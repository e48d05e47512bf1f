package conntrack

import (
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

const (
	// unknownScale is assumed where the SYN was not seen: the largest shift of
	// RFC 7323, Section 2.3, for an honest connection must not be harmed.
	unknownScale = 14
	maxScale     = 14

	maxPacket = 1 << 16
)

// begin takes a SYN's numbers for Original.
func (c *Conn[V]) begin(p *packet.Parsed) {
	c.sides[Original] = sideOf(p)
	c.sides[Original].known = true
	c.latest = p.Seq
}

// sideOf returns what a SYN or SYN-ACK tells of its sender.
func sideOf(p *packet.Parsed) side {
	return side{
		iss: p.Seq, floor: p.Seq, acked: p.Seq, end: p.Seq.Add(p.SegLen()), maxWin: uint32(p.Window),
		scale: scaleOf(p), scaled: p.HasWindowScale, seen: true,
	}
}

// repeat takes what a SYN or SYN-ACK that comes again tells in addition: some
// leave options out after a while, and some send data only once.
func (s *side) repeat(p *packet.Parsed) {
	s.end = seqnum.Max(s.end, p.Seq.Add(p.SegLen()))
	s.maxWin = max(s.maxWin, uint32(p.Window))
	s.scale = max(s.scale, scaleOf(p))
	s.scaled = s.scaled || p.HasWindowScale
}

// scaleOf returns the window shift a SYN offers; without the option there is
// none (RFC 7323, Section 2.2).
func scaleOf(p *packet.Parsed) uint8 {
	if !p.HasWindowScale {
		return 0
	}
	return min(p.WindowScale, maxScale)
}

// join takes the numbers of a connection that began unseen. A SYN-ACK tells
// both sides' beginning; anything else only where they stand.
func (c *Conn[V]) join(d Direction, p *packet.Parsed) {
	c.Midstream = true
	from, to := &c.sides[d], &c.sides[d.Other()]
	if p.Flags.Has(packet.SYN) {
		*from, c.state = sideOf(p), SynRecv
		iss := p.Ack.Sub(1)
		*to = side{iss: iss, floor: iss, acked: p.Ack, end: p.Ack, scale: unknownScale, known: true, seen: true}
		from.advertise(to, p)
		return
	}
	c.state = Established
	*from = side{acked: p.Seq, floor: p.Seq.Sub(maxWindow), end: p.Seq}
	*to = side{acked: p.Ack, floor: p.Ack.Sub(maxWindow), end: p.Ack}
	from.appear(p)
	from.advertise(to, p)
	if p.Flags.Has(packet.FIN) {
		c.fin(d, p)
		c.state = c.closing()
	}
}

// appear takes the first packet of a side whose beginning was not seen: what
// lies before it is taken as read.
func (s *side) appear(p *packet.Parsed) {
	s.iss = p.Seq.Sub(1)
	s.end = seqnum.Max(s.end, p.Seq.Add(p.SegLen()))
	s.scale, s.known, s.seen = unknownScale, true, true
}

// syn handles a SYN on an entry. The SYN of its own handshake again changes
// next to nothing; any other is only a candidate: the entry stands until the
// other end proves, by a SYN-ACK, that it has taken it.
func (t *Table[V]) syn(c *Conn[V], d Direction, p *packet.Parsed) Reason {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	if d == Original {
		c.latest = p.Seq
	}
	// A side whose SYN-ACK made the entry may have sent it to look like this one.
	if c.state.half() && s.seen && p.Seq == s.iss && !(c.Midstream && d == Reply) {
		if c.recorded && d == Original { // behind its SYN-ACK in the capture
			c.Midstream = false
		}
		s.repeat(p) // data on it is the same data or an overlap
		if peer.seen {
			peer.allow(peer.iss.Add(1).Add(s.maxWin))
		}
		return NoReason
	}
	if p.PayloadLen() > 0 {
		return SynData
	}
	if c.state == SynSent && d == Reply { // RFC 9293, Section 3.5: simultaneous open
		*s = sideOf(p)
		s.allow(s.iss.Add(1).Add(peer.maxWin))
		peer.allow(peer.iss.Add(1).Add(s.maxWin))
		t.setState(c, SynSent2)
		return NoReason
	}
	c.second = candidate{iss: p.Seq, kind: aSYN, dir: d, scale: scaleOf(p), scaled: p.HasWindowScale}
	c.rivals = c.rivals || c.state.half() || !peer.seen
	return NoReason
}

// crosses reports whether a SYN-ACK of Original's answers a SYN that crossed one of its
// own (RFC 9293, Section 3.5), and not one that calls it: its number says so. An answer
// that the entry has of Reply, and that was not confirmed, did not arrive then.
func (c *Conn[V]) crosses(d Direction, p *packet.Parsed) bool {
	s, o := &c.second, &c.sides[Original]
	return d == Original && s.kind == aSYN && s.dir == Reply && p.Ack == s.iss.Add(1) &&
		(p.Seq == c.latest && p.Seq != o.iss || p.Seq == o.iss && !c.Midstream && !c.sides[Reply].known)
}

// cross takes the SYN that crosses for Reply's.
func (t *Table[V]) cross(c *Conn[V]) {
	n := c.second
	c.sides[Reply] = side{
		iss: n.iss, floor: n.iss, acked: n.iss, end: n.iss.Add(1), maxWin: 1 << 16, scale: n.scale, scaled: n.scaled, seen: true,
	}
	c.sides[Reply].allow(n.iss.Add(1).Add(c.sides[Original].maxWin))
	c.second = candidate{}
	t.setState(c, SynRecv)
}

// ambiguous reports whether a SYN-ACK in direction d acknowledges data on the
// entry's SYN, or else another SYN with a number inside that data: the stream
// begins at one or at the other, and nobody in the middle can tell where.
func (c *Conn[V]) ambiguous(d Direction, p *packet.Parsed) bool {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	return c.rivals && !c.Midstream && (c.state.half() || !s.seen) && peer.seen &&
		between(p.Ack, peer.iss.Add(2), peer.end)
}

// overshoots reports whether a SYN-ACK in direction d has a client's stream begin behind
// data on its SYN (RFC 7413): that of a candidate, of whose data nothing is remembered
// but that it was less than a packet, or, by an answer to a SYN that nobody saw, that of
// the entry, which would be forgotten with it.
func (c *Conn[V]) overshoots(d Direction, p *packet.Parsed) bool {
	n, s, peer := &c.second, &c.sides[d], &c.sides[d.Other()]
	another := n.kind == aSYN && d == n.dir.Other()
	if c.answersSYN(d, p.Ack) || another && p.Ack == n.iss.Add(1) {
		return false
	}
	return another && between(p.Ack, n.iss.Add(2), n.iss.Add(maxPacket)) ||
		!s.known && !c.Midstream && peer.seen && peer.end != peer.iss.Add(1)
}

// proves reports whether a SYN-ACK in direction d answers a SYN other than the
// one that the entry stands for: a candidate's, or one that came before the
// latest candidate, or, while no SYN-ACK was seen at all, one that we never saw.
// To wait for the latest candidate's would let a client hide the SYN that is
// answered behind another one, and reuse the ports of a connection once judged.
func (c *Conn[V]) proves(d Direction, p *packet.Parsed) bool {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	if c.crosses(d, p) {
		return p.Seq != s.iss
	}
	// An RST may not have arrived: until the other end has confirmed an answer the
	// next one may be to the same SYN, and what was said with that is said.
	waits := !s.known && (s.seen || peer.end != peer.iss.Add(1))
	if c.answersSYN(d, p.Ack) && !c.Midstream && (c.state.half() || waits || s.seen && p.Seq == s.iss) {
		return false
	}
	return c.second.kind == aSYN && d == c.second.dir.Other() || c.state == SynSent && d == Reply
}

// denies reports whether a segment of Original's begins elsewhere than a SYN-ACK alone
// has said that it does: until it has said so itself, an answer to a SYN that it never
// sent could have what it says taken for what lies behind a gap.
func (c *Conn[V]) denies(d Direction, p *packet.Parsed) bool {
	if !c.assumed || d != Original {
		return false
	}
	c.assumed = p.Seq != c.sides[d].iss.Add(1)
	return c.assumed
}

// answersSYN reports whether ack, sent in direction d, acknowledges the SYN of
// the other end, and at most what it sent with it or since.
func (c *Conn[V]) answersSYN(d Direction, ack seqnum.Value) bool {
	peer := &c.sides[d.Other()]
	return peer.seen && (ack == peer.iss.Add(1) || between(ack, peer.iss.Add(1), peer.end))
}

// reopen ends the connection of an entry and begins the one that a SYN-ACK in
// direction d has proved: its sender was called, or its own SYN was crossed.
func (t *Table[V]) reopen(c *Conn[V], d Direction, p *packet.Parsed, now int64) Tracked[V] {
	k, original, latest, crossed := c.head.key, c.original^uint8(d.Other()), c.latest, c.crosses(d, p)
	first, second, half := c.sides[d.Other()], c.second, c.state.half() && !c.assumed
	if crossed {
		original = c.original
	}
	before := others{}
	if !c.Midstream && c.sides[Reply].seen && c.Young(now) {
		before = c.others
		before.add(c.apart())
	}
	t.end(c, EndReopened)
	c = t.take(now)
	c.head.key, c.original, c.state, c.others = k, original, SynSent, before
	answers := Reply
	if crossed {
		answers = Original
		c.begin(p)
		c.second = second
	} else {
		c.beginBy(p, second)
		if d == Reply {
			c.latest = latest
		}
		if half && first.seen { // the SYN-ACK may be an old one, or forged: the answer to the other SYN is still awaited
			c.second = candidate{iss: first.iss, kind: aSYN, dir: Original, scale: first.scale, scaled: first.scaled}
		}
	}
	t.synAck(c, answers, p)
	c.Packets[answers], c.Bytes[answers] = 1, uint64(p.Size())
	t.index.add(c.place)
	t.last = c
	t.stats.Created++
	t.stats.Reopened++
	t.admit(c, now)
	return Tracked[V]{Conn: c, Dir: answers, Outcome: Reopened}
}

// beginBy takes Original's numbers from the SYN-ACK that answers it. Of a SYN that was
// not remembered the shift is taken to be the largest, and the SYN-ACK says whether
// shifts are used at all.
func (c *Conn[V]) beginBy(p *packet.Parsed, syn candidate) {
	iss := p.Ack.Sub(1)
	c.latest = iss
	c.sides[Original] = side{
		iss: iss, floor: iss, acked: iss, end: p.Ack, maxWin: 1 << 16, scale: unknownScale, known: true, seen: true,
	}
	if syn.kind == aSYN && iss == syn.iss {
		c.sides[Original].scale = syn.scale
	} else {
		c.assumed = !c.lossy
	}
}

// synAck handles a SYN-ACK that answers the entry's own SYN.
func (t *Table[V]) synAck(c *Conn[V], d Direction, p *packet.Parsed) Reason {
	if c.crosses(d, p) {
		t.cross(c)
	}
	s, peer := &c.sides[d], &c.sides[d.Other()]
	switch {
	case !c.answersSYN(d, p.Ack):
		return BadAck
	case !s.seen && !c.Midstream: // in SynSent, or in Close by an RST that did not arrive
		*s = sideOf(p)
		s.allow(p.Seq.Add(1).Add(peer.maxWin))
	case s.seen && p.Seq == s.iss:
		if !c.state.half() {
			return NoReason // numbers have moved on, perhaps by more than half the space
		}
		s.repeat(p)
	case !s.known && (c.state.half() || !c.Midstream):
		// Its receiver takes one of the two, and its ACK will say which.
		c.second = candidate{iss: p.Seq, kind: aSYNACK, dir: d, scale: scaleOf(p), scaled: p.HasWindowScale}
	default:
		return BadState
	}
	s.advertise(peer, p)
	peer.ack(p.Ack)
	c.confirm(d.Other(), p.Ack)
	switch {
	case c.loose: // the ACK stays in the kernel
		t.setState(c, Established)
	case c.state != SynRecv:
		t.setState(c, SynRecv)
	}
	return NoReason
}

// confirmable reports whether ack, by its receiver, makes the SYN of d certain:
// the one seen first, or the one of a later SYN-ACK. Only who has taken data on the
// other one's SYN may have said more before that (RFC 7413), and where another number
// was seen it has to be one of the two: what a side has sent since is no measure, for
// it says so itself.
func (c *Conn[V]) confirmable(d Direction, ack seqnum.Value) bool {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	switch only := c.second.kind == noCandidate; {
	case s.known || ack == s.iss.Add(1) || c.answersSecond(d, ack):
		return true
	case c.recorded, c.Midstream && only:
		return between(ack, s.iss.Add(1), s.edge(true))
	case only && (c.lossy || peer.iss.Add(1).Less(peer.acked)):
		return between(ack, s.iss.Add(1), s.end)
	}
	return false
}

func (c *Conn[V]) answersSecond(d Direction, ack seqnum.Value) bool {
	return c.second.kind == aSYNACK && c.second.dir == d && ack == c.second.iss.Add(1)
}

// confirm makes the SYN of d certain if ack, sent by its receiver, does.
func (c *Conn[V]) confirm(d Direction, ack seqnum.Value) {
	s, peer := &c.sides[d], &c.sides[d.Other()]
	if s.known || !c.confirmable(d, ack) {
		return
	}
	if ack != s.iss.Add(1) && c.answersSecond(d, ack) {
		was := c.apart()
		s.iss, s.floor, s.acked, s.end = c.second.iss, c.second.iss, c.second.iss, ack
		s.maxEnd, s.windowed = ack.Add(peer.maxWin), true
		s.scale, s.scaled, s.finSeen = c.second.scale, c.second.scaled, false
		c.answers(was)
	}
	if !s.scaled {
		peer.scale = 0
	}
	s.known = true
	if c.second.kind == aSYNACK { // another SYN still awaits its answer
		c.second = candidate{}
	}
}

// between reports whether v lies in [first, last].
func between(v, first, last seqnum.Value) bool {
	return first.LessEq(v) && v.LessEq(last)
}
