package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// front is of the packet at hand, if it begins in front of its stream. A receiver trims
// it (RFC 9293, Section 3.10.7.4), but to one that began elsewhere, for another SYN,
// what lies there would be the beginning: it goes on trimmed, or not at all.
type front struct {
	whole, moved []byte
}

// trims takes what lies in front of the stream off a segment that reaches into it, and
// reports whether it has. What stands for several segments its sender repeats as one:
// cut at the front the kernel could make it up of pieces that it has no more.
func (e *Engine) trims(p *nfq.Packet, seg *packet.Parsed, t conntrack.Tracked[flow]) bool {
	c := t.Conn
	if c == nil || p.GSO || c.Midstream || e.cfg.Recorded || c.Value.phase != reading || !c.HasISS(t.Dir) || seg.Flags.Has(packet.URG) {
		return false
	}
	n := seg.Seq.Size(c.ISS(t.Dir).Add(1))
	if n == 0 || n >= uint32(len(seg.Payload)) {
		return false
	}
	f := &e.front
	f.moved = seg.Trim(f.moved[:0], int(n))
	if packet.Decode(f.moved, seg) != packet.OK {
		return false
	}
	f.whole, p.Payload = p.Payload, f.moved
	return true
}

// goesOn has the trimmed packet go on in place of the whole one.
func (f *front) goesOn(p *nfq.Packet, r *Result) {
	if r.Verdict != nfq.Drop && r.Payload == nil {
		r.Payload = f.moved
	}
	p.Payload = f.whole
}

// inFront reports whether a client's segment that has its SYN's number has an octet in
// front of its stream, before the server has shown that it has the connection: to one that
// has only sent a SYN cookie, which may stand for another segment size too, the stream
// would begin there.
func inFront(c *conntrack.Conn[flow], seg *packet.Parsed) bool {
	return !seg.Flags.Has(packet.SYN) && !c.Midstream && len(seg.Payload) > 0 && !c.Begun()
}

// stepBack takes that octet off a packet that passes. A keep-alive (RFC 9293, Section
// 3.8.4) asks without it as well.
func (e *Engine) stepBack(p *nfq.Packet, seg *packet.Parsed, r *Result) {
	switch f := &e.front; {
	case r.Verdict == nfq.Drop || e.cfg.Recorded:
	case p.GSO:
		*r = e.drop(DropInvalid) // as trims has it
	case len(seg.Payload) == 1:
		f.moved = seg.Shorten(f.moved[:0], 0)
		r.Payload = f.moved
	default:
		f.moved = seg.Trim(f.moved[:0], 1)
		r.Payload = f.moved
	}
}

// mostSmall is the largest segment that every receiver and every path takes (RFC 9293,
// Section 3.7.1).
const mostSmall = 536

// fromStart has a segment that could begin another connection by a SYN cookie, because it
// stands a few octets behind the first, say those octets too: what a server begins with it
// then begins as what was read does, and to one that has the connection they are old. It
// reports whether that can be done.
func (e *Engine) fromStart(p *nfq.Packet, seg *packet.Parsed, r *Result) bool {
	var octets [3]byte
	c := e.stories.conn
	if c == nil || c.Midstream { // something else has happened to it meanwhile, or before
		return false
	}
	first := c.ISS(conntrack.Original).Add(1)
	n := first.Size(seg.Seq)
	if n == 0 || n > uint32(len(octets)) || seg.Ack != c.ISS(conntrack.Reply).Add(1) ||
		len(seg.Payload) == 0 || len(seg.Payload)+int(n) > mostSmall || p.GSO || r.Payload != nil ||
		seg.Signed || seg.Flags.Has(packet.URG) || !c.Value.streams[conntrack.Original].Recall(first, octets[:n]) {
		return false
	}
	f := &e.front
	f.moved = seg.Precede(f.moved[:0], octets[:n])
	r.Payload = f.moved
	return packet.Decode(f.moved, seg) == packet.OK // for what else is done to it
}
