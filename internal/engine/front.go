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
	whole, trimmed []byte
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
	f.trimmed = seg.Trim(f.trimmed[:0], int(n))
	if packet.Decode(f.trimmed, seg) != packet.OK {
		return false
	}
	f.whole, p.Payload = p.Payload, f.trimmed
	return true
}

// goesOn has the trimmed packet go on in place of the whole one.
func (f *front) goesOn(p *nfq.Packet, r *Result) {
	if r.Verdict != nfq.Drop && r.Payload == nil {
		r.Payload = f.trimmed
	}
	p.Payload = f.whole
}

// inFront reports whether a client's segment that has its SYN's number has an octet in
// front of its stream, before the server has shown that it has the connection: to one that
// has only sent a SYN cookie, which may stand for another segment size too, the stream
// would begin there.
func inFront(c *conntrack.Conn[flow], seg *packet.Parsed) bool {
	return !seg.Flags.Has(packet.SYN) && !c.Midstream && c.HasISS(conntrack.Original) && len(seg.Payload) > 0 && !c.Begun()
}

// stepBack takes that octet off a packet that passes. A keep-alive (RFC 9293, Section
// 3.8.4) asks without it as well.
func (e *Engine) stepBack(p *nfq.Packet, seg *packet.Parsed, r *Result) {
	switch f := &e.front; {
	case r.Verdict == nfq.Drop || e.cfg.Recorded:
	case p.GSO:
		*r = e.drop(DropInvalid) // as trims has it
	case len(seg.Payload) == 1:
		f.trimmed = seg.Shorten(f.trimmed[:0], 0)
		r.Payload = f.trimmed
	default:
		f.trimmed = seg.Trim(f.trimmed[:0], 1)
		r.Payload = f.trimmed
	}
}
