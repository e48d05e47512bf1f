package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
)

// inside takes a segment that lies wholly inside a record of which nothing is read,
// as most of a bulk transfer does, and reports whether it was one. Then read would
// have moved the stream and the decoder on, just so, found nothing to judge, and let
// it pass. What is not that simple (out of order, clear text, texts to search for, a
// capture, memory that runs out) changes nothing here and is read.
func (e *Engine) inside(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) bool {
	f := &c.Value
	n := len(seg.Payload)
	if n == 0 || f.phase != reading || seg.Flags&(packet.SYN|packet.RST|packet.URG) != 0 ||
		f.via != nil || f.rec != nil || e.readsAll || len(e.policy.Patterns()) > 0 || e.crowded(f) {
		return false
	}
	s, t := &f.streams[d], &f.ins.tls
	if !t.Inside(side(d), n) || s.Leapt() || !s.PassOver(seg.Seq, n, e.cfg.Limits.PerConnection, &e.budget) {
		return false
	}
	t.PassOver(side(d), n)
	if seg.HasTimestamp {
		f.ins.stamps.note(d, seg.TSVal)
	}
	if !f.said && !f.complete {
		e.startClock(c)
	}
	f.noRecord()
	return true
}
