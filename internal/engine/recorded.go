package engine

import (
	"slices"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/reassembly"
	"tlsgate/conntrack/seqnum"
	"tlsgate/tlsrules"
)

// A capture holds what has passed, and not all of it: packets are cut at the snap
// length, some were dropped by whoever recorded them, and those of one direction
// may stand before those of the other that they answer. What is read before a
// hole stays true; behind it a direction is read on only if the hole lies inside
// one record whose body is not read. Nothing that is seen there is held against
// the connection.

// patience is how long a capture's clock runs before bytes that their receiver
// has acknowledged are taken to be missing: queues of a network card are recorded
// one behind the other.
const patience = 200_000_000

// maxEarly bounds the segments of a connection that wait for others.
const maxEarly = 256

// recorded is what the engine knows of the holes in a connection.
type recorded struct {
	since [2]int64  // when bytes were first found to be missing; 0: none are
	blind [2]bool   // a direction is not read any more
	held  [2]uint64 // bytes of payload that were there
	cut   uint64    // packets cut short
	// closed: all was read of a direction but the number of its FIN.
	closed [2]bool
	early  []early // segments that answer bytes which are awaited
	kept   int     // bytes of them
}

// early is a segment that acknowledges bytes which were not read yet. It was sent
// after they came, and is read after them: a ClientKeyExchange before the
// ServerHello would be nonsense.
type early struct {
	d   conntrack.Direction
	seg packet.Parsed // without its headers, the payload a copy
}

// unsure reports whether a side of a connection is not read to the end, so that
// what the other one says may look wrong and not be.
func (f *flow) unsure() bool {
	r := f.rec
	return r != nil && (r.blind[0] && !r.closed[0] || r.blind[1] && !r.closed[1])
}

// unread reports whether direction d is not read any more.
func (f *flow) unread(d conntrack.Direction) bool { return f.rec != nil && f.rec.blind[d] }

// note counts what is there of a segment.
func (f *flow) note(d conntrack.Direction, seg *packet.Parsed) {
	if f.rec == nil {
		f.rec = &recorded{}
	}
	f.rec.held[d] += uint64(len(seg.Payload))
	if seg.Missing > 0 {
		f.rec.cut++
	}
}

// awaited handles bytes of direction d, up to acked, that their receiver has and
// that were not seen: they may stand further on in the capture.
func (e *Engine) awaited(c *conntrack.Conn[flow], d conntrack.Direction, acked seqnum.Value) {
	since := &c.Value.rec.since[d]
	if *since == 0 {
		*since = max(e.now, 1)
	}
	if e.now-*since < patience {
		return
	}
	e.giveUp(c, d, acked)
	e.resume(c)
}

// giveUp takes the bytes of direction d that come next to be missing, as far as
// acked, or up to the first that is there. A single one is none: it is the number
// of a FIN.
func (e *Engine) giveUp(c *conntrack.Conn[flow], d conntrack.Direction, acked seqnum.Value) {
	s := &c.Value.streams[d]
	to, kept := s.Gap()
	if kept {
		to = seqnum.Min(to, acked)
	} else if to = acked; s.Next().Size(to) == 1 {
		e.blind(c, d)
		c.Value.rec.closed[d] = true
		return
	}
	e.hole(c, d, to)
}

// answered returns which bytes of direction d an acknowledgement is for, without
// the number of a FIN.
func answered(c *conntrack.Conn[flow], d conntrack.Direction, ack seqnum.Value) seqnum.Value {
	if fin, ok := c.FIN(d); ok {
		return seqnum.Min(fin, ack)
	}
	return ack
}

// before reports whether a segment of direction d is to be read before bytes of
// the other one are that it acknowledges. If so it is kept, unless there is no
// room any more for waiting.
func (e *Engine) before(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) bool {
	f := &c.Value
	if ready(e, c, d, seg) {
		return false
	}
	if f.rec.kept+len(seg.Payload) > e.cfg.Limits.PerConnection || len(f.rec.early) == maxEarly {
		e.giveUp(c, d.Other(), answered(c, d.Other(), seg.Ack))
		e.resume(c)
		return false
	}
	f.rec.kept += len(seg.Payload)
	f.rec.early = append(f.rec.early, early{d: d, seg: packet.Parsed{
		Seq: seg.Seq, Ack: seg.Ack, Flags: seg.Flags, Payload: append([]byte(nil), seg.Payload...), Missing: seg.Missing,
	}})
	return true
}

// ready reports whether what a segment of direction d acknowledges was read, or
// never will be.
func ready(e *Engine, c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) bool {
	o := d.Other()
	s := e.stream(c, o)
	return !seg.Flags.Has(packet.ACK) || !s.Started() || c.Value.unread(o) ||
		!s.Next().Less(answered(c, o, seg.Ack)) || !seg.Ack.LessEq(c.Sent(o))
}

// resume reads the segments that were early and are not any more.
func (e *Engine) resume(c *conntrack.Conn[flow]) {
	f := &c.Value
	for i := 0; i < len(f.rec.early) && f.reads(); {
		k := f.rec.early[i]
		if !ready(e, c, k.d, &k.seg) {
			i++
			continue
		}
		f.rec.early = slices.Delete(f.rec.early, i, i+1)
		f.rec.kept -= len(k.seg.Payload)
		e.place(c, k.d, &k.seg)
		i = 0
	}
	if !f.reads() {
		f.rec.early, f.rec.kept = nil, 0
	}
}

// place gives a segment to its stream, and reads what that makes readable.
func (e *Engine) place(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) {
	if c.Value.unread(d) {
		return
	}
	seq := seg.Seq
	if seg.Flags.Has(packet.SYN) {
		seq = seq.Add(1)
	}
	e.look(c, d, seg)
	switch e.offer(c, d, seq, seg) {
	case reassembly.Overlap:
		if e.counts.Overlaps++; c.Value.phase != decided {
			e.ambiguous(c, tlsrules.ReasonTCPOverlap, overlapText)
		}
	case reassembly.InOrder:
		e.drain(c, d)
	}
	e.behind(c, d, seq, seg)
}

// squeezed makes room where a segment of direction d could not be kept, and
// reports whether it is worth another try.
func (e *Engine) squeezed(c *conntrack.Conn[flow], d conntrack.Direction) bool {
	s := &c.Value.streams[d]
	if to, ok := s.Gap(); ok {
		e.hole(c, d, to)
	} else {
		s.Forget(&e.budget)
	}
	return !c.Value.rec.blind[d] && c.Value.reads()
}

// hole passes over the bytes of direction d up to to, and reads what is kept
// behind them, or ends the reading of the direction.
func (e *Engine) hole(c *conntrack.Conn[flow], d conntrack.Direction, to seqnum.Value) {
	f := &c.Value
	s := &f.streams[d]
	f.rec.since[d] = 0
	if !f.reads() {
		s.Skip(to, &e.budget)
		return
	}
	if c.Midstream && f.provisional && !f.ins.sawTLS() { // what follows is read as a beginning
		f.ins.tls.Reset()
		s.Skip(to, &e.budget)
	} else if f.inClear(side(d)) {
		f.via.Skip(side(d), int(s.Next().Size(to)))
		s.Skip(to, &e.budget)
	} else {
		status, ok := f.ins.tls.Skip(side(d), int(s.Next().Size(to)))
		if !ok {
			e.blind(c, d)
			return
		}
		s.Skip(to, &e.budget)
		e.learn(c, d, status)
	}
	e.drain(c, d)
}

// drain reads what a stream has.
func (e *Engine) drain(c *conntrack.Conn[flow], d conntrack.Direction) {
	s := &c.Value.streams[d]
	at := s.Next()
	for piece := s.Take(); piece != nil; piece = s.Take() {
		e.consume(c, d, at, piece)
		at = s.Next()
	}
	if !e.cfg.Recorded {
		return
	}
	c.Value.rec.since[d] = 0
	if c.Packets[d.Other()] == 0 { // nobody will acknowledge them
		s.Forget(&e.budget)
	}
}

// last reads what is kept behind holes of a connection that ends.
func (e *Engine) last(c *conntrack.Conn[flow]) {
	f := &c.Value
	for len(f.rec.early) > 0 && f.reads() {
		k := &f.rec.early[0]
		e.giveUp(c, k.d.Other(), answered(c, k.d.Other(), k.seg.Ack))
		e.resume(c)
	}
	for d := conntrack.Original; d <= conntrack.Reply; d++ {
		for f.reads() && !f.rec.blind[d] {
			to, ok := f.streams[d].Gap()
			if !ok {
				break
			}
			e.hole(c, d, to)
		}
	}
}

// blind ends the reading of a direction. The other one is read on, and there is
// no hurry to decide: what is missing will not come.
func (e *Engine) blind(c *conntrack.Conn[flow], d conntrack.Direction) {
	f := &c.Value
	if f.rec.blind[d] {
		return
	}
	f.rec.blind[d] = true
	e.stopClock(c)
	s := &f.streams[d]
	at := s.Next()
	s.Release(&e.budget)
	s.Start(at)
	e.hush(c)
}

// hush ends the reading of a TLS client whose ServerHello is missing: what else
// it sends means one thing or another by what the server chose.
func (e *Engine) hush(c *conntrack.Conn[flow]) {
	f := &c.Value
	if !f.reads() || !f.unsure() {
		return
	}
	if t := &f.ins.tls; t.HasClientHello && !t.HasServerHello && f.unread(conntrack.Direction(t.ClientHelloFrom.Other())) {
		e.blind(c, conntrack.Direction(t.ClientHelloFrom))
	}
}

// behind handles what a segment that was read or kept lacks.
func (e *Engine) behind(c *conntrack.Conn[flow], d conntrack.Direction, seq seqnum.Value, seg *packet.Parsed) {
	s := &c.Value.streams[d]
	if at := seq.Add(uint32(len(seg.Payload))); seg.Missing > 0 && s.Next() == at {
		e.hole(c, d, at.Add(uint32(seg.Missing)))
	}
}

// offer gives a segment to its stream, and makes room for it where the stream has
// none: in a capture nothing comes again.
func (e *Engine) offer(c *conntrack.Conn[flow], d conntrack.Direction, seq seqnum.Value, seg *packet.Parsed) reassembly.Status {
	s := &c.Value.streams[d]
	limit := e.keeps(&c.Value, s, seq)
	status := s.Offer(seq, seg.Payload, limit, &e.budget)
	if status == reassembly.Refused && e.cfg.Recorded && e.squeezed(c, d) {
		status = s.Offer(seq, seg.Payload, limit, &e.budget)
	}
	if status == reassembly.Refused && e.cfg.Recorded && c.Value.reads() {
		e.blind(c, d)
	}
	return status
}

// doubtful reports whether a capture lacks bytes of a connection, or may do so:
// then what looks broken need not be.
func (e *Engine) doubtful(c *conntrack.Conn[flow]) bool {
	f := &c.Value
	return f.rec != nil && (f.unsure() || f.rec.cut > 0 || c.Midstream || c.Guessed || lacking(c) > 0)
}

// lacking returns how many bytes of payload a capture lacks of a connection, at
// least: those that were sent twice hide as many that are missing. Past 4 GiB the
// numbers do not tell any more.
func lacking(c *conntrack.Conn[flow]) (n uint64) {
	for d := conntrack.Original; d <= conntrack.Reply; d++ {
		held := c.Value.rec.held[d]
		if !c.HasISS(d) || held>>32 != 0 {
			continue
		}
		sent := uint64(c.ISS(d).Add(1).Size(c.Sent(d)))
		if _, fin := c.FIN(d); sent > 0 && (fin || sent == held+1) { // a lone number is that of a FIN
			sent--
		}
		if sent>>31 == 0 && sent > held {
			n += sent - held
		}
	}
	return n
}
