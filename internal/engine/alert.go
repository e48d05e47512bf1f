package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// A connection is refused with an alert in the name of its TLS server: the packet
// at hand is dropped, and a segment of our own takes the place in the server's
// stream where the client goes on reading. The packet itself is not made the
// alert: it may be the client's, or belong elsewhere in the stream, and what is
// sent may be lost and has to be sent again, the same to the byte.

// alert is one that a connection was refused with.
type alert struct {
	conn   *conntrack.Conn[flow]
	to     conntrack.Direction // that it is sent in
	at     seqnum.Value        // of its first byte; a FIN is behind it
	ack    seqnum.Value
	stamps stamps
	record [tlswire.AlertRecordLen]byte

	due  int64 // when it is sent again
	sent uint8 // how often it was
	neighbours[alert]
}

const (
	// alertSpace is what it takes of the server's stream, with the FIN.
	alertSpace = tlswire.AlertRecordLen + 1

	// An alert that its client has not acknowledged is sent again: nobody else
	// would do that.
	alertEvery = 400_000_000
	alertTries = 6
)

// end is the number after the FIN.
func (a *alert) end() seqnum.Value { return a.at.Add(alertSpace) }

// stamps are the latest TCP timestamps of both directions (RFC 7323), which a
// connection that began with them wants on everything but an RST.
type stamps struct {
	values [2]uint32
	known  [2]bool
}

func (s *stamps) note(d conntrack.Direction, v uint32) {
	if !s.known[d] || int32(v-s.values[d]) > 0 {
		s.values[d], s.known[d] = v, true
	}
}

// opening is where in the stream of each side an alert could stand now, before
// the packet at hand is read: at what its receiver was given last.
type opening struct {
	c    *conntrack.Conn[flow] // nil: there is none
	at   [2]seqnum.Value
	fits [2]bool
}

// look finds the opening before a segment of direction d is read, or between
// packets, when seg is nil.
func (e *Engine) look(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) {
	f := &c.Value
	if f.phase != reading || f.ins == nil {
		e.opening.c = nil
		return
	}
	if seg != nil && seg.HasTimestamp {
		f.ins.stamps.note(d, seg.TSVal)
	}
	e.opening.c = c
	for to := conntrack.Original; to <= conntrack.Reply; to++ {
		mine := seg != nil && d == to
		reads := f.ins.tls.InClear(side(to))
		if f.inClear(side(to)) { // of what the other side says more will be known then
			reads = !mine || f.via.Awaits()
		}
		e.opening.fits[to] = reads && e.open(c, to, mine && seg.Flags.Has(packet.FIN))
	}
}

// open finds where the receiver of direction to goes on reading, and reports
// whether it will read there what we send. It must not have been given any of
// those bytes early: it would put together what two have said.
func (e *Engine) open(c *conntrack.Conn[flow], to conntrack.Direction, ending bool) bool {
	s := &c.Value.streams[to]
	at := s.Next()
	if !s.Started() {
		if at = c.ISS(to).Add(1); c.Midstream || !c.HasISS(to) {
			return false
		}
	}
	e.opening.at[to] = at
	if early, ok := s.Gap(); ok && at.Size(early) < alertSpace {
		return false
	}
	if _, ended := c.FIN(to); ended && !ending {
		return false
	}
	return c.Acked(to).LessEq(at)
}

// tooEarly reports whether a decision to refuse with an alert has to wait until
// there is a hello that the alert can answer.
func (e *Engine) tooEarly(f *flow, d tlsrules.Decision) bool {
	known := f.ins.facts.Known | f.ins.facts.Never
	return d.Action.Kind() == tlsrules.Alert && !d.Observed && !known.Has(tlsrules.StageClientHello)
}

const silentText = "; it has ended without a ClientHello that an alert could have answered"

// tellCondemned tells of a connection that has ended before its alert could be sent.
func (e *Engine) tellCondemned(c *conntrack.Conn[flow]) {
	f := &c.Value
	d := e.policy.Decide(&f.ins.facts, &f.ins.judgement)
	if !e.tooEarly(f, d) { // of an earlier policy
		return
	}
	detail := e.policy.Explain(d, &f.ins.facts) + silentText
	d.Action = tlsrules.Reset
	f.ins.decision, f.sum.decision, f.sum.packet = d, d, packets(c)
	e.counts.Refused++
	e.tellDrop(c, detail)
	f.phase = refused
}

const tooLateText = "; the client would not read an alert any more, so it is reset"

// alertOrReset prepares the alert of a decision, or makes it a reset where the
// client would not read one: behind the keys, or in the middle of a record.
func (e *Engine) alertOrReset(c *conntrack.Conn[flow], d tlsrules.Decision, detail string) (tlsrules.Decision, string) {
	f := &c.Value
	t := &f.ins.tls
	client := tlswire.Client
	if t.HasClientHello {
		client = t.ClientHelloFrom
	}
	to := conntrack.Direction(client.Other())
	began := t.HasClientHello || t.Started(client)
	if f.inClear(client.Other()) {
		began = began && f.via.Awaits()
	}
	if e.opening.c != c || !e.opening.fits[to] || !began {
		e.counts.AlertsTooLate++
		d.Action = tlsrules.Reset
		return d, detail + tooLateText
	}
	e.counts.Alerts++
	f.alert = &alert{
		conn: c, to: to, at: e.opening.at[to], stamps: f.ins.stamps,
		record: tlswire.AlertRecord(t.AnswerVersion(client), d.Action.Description()),
	}
	return d, detail
}

// sendAlert sends the alert of a connection that is refused now: it acknowledges
// what the client has said, as far as that is known; seg is the segment at hand,
// nil for none.
func (e *Engine) sendAlert(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) {
	f := &c.Value
	a := f.alert
	from := a.to.Other()
	switch s := &f.streams[from]; {
	case s.Started():
		a.ack = s.Next()
	case seg != nil && d == a.to:
		a.ack = seg.Ack
	default:
		a.ack = c.Acked(from)
	}
	if e.cfg.Inject == nil {
		return
	}
	e.transmit(a)
	e.table.Spoke(c, a.to, a.end())
	e.unread.add(a, e.now)
}

func (e *Engine) transmit(a *alert) {
	from, to := a.conn.Addr(a.to), a.conn.Addr(a.to.Other())
	g := packet.Segment{
		Src: from.Addr(), SrcPort: from.Port(), Dst: to.Addr(), DstPort: to.Port(),
		Seq: a.at, Ack: a.ack, Flags: packet.FIN | packet.PSH | packet.ACK, Window: 1 << 15, Payload: a.record[:],
	}
	if s := &a.stamps; s.known[0] && s.known[1] {
		g.HasTimestamp, g.TSVal, g.TSEcr = true, s.values[a.to], s.values[a.to.Other()]
	}
	a.sent++
	e.noteInjected(a.conn, a.to, g.Seq, g.Flags, len(g.Payload))
	e.scratch = g.Append(e.scratch[:0])
	e.send(e.scratch, a.conn.Value.devices[a.to.Other()])
}

// answerAlerted answers a later segment of the client. Once it has the alert and
// still says something, or is done, an RST ends it, which makes it forget nothing
// that it was given. What does not acknowledge the alert comes again because that
// was lost, but for what was on its way already.
func (e *Engine) answerAlerted(c *conntrack.Conn[flow], seg *packet.Parsed) {
	a := c.Value.alert
	switch {
	case !seg.Flags.Has(packet.ACK):
	case a.end().LessEq(seg.Ack):
		e.unread.remove(a)
		if seg.SegLen() > 0 {
			e.resetSender(c, a.to.Other(), seg)
		}
	case seg.SegLen() > 0 && e.cfg.Inject != nil:
		e.transmit(a)
	}
}

// alertsAgain sends alerts that were not acknowledged for a while. A client that
// never does is reset: it may have it, and its answer is dropped by the kernel.
func (e *Engine) alertsAgain() {
	for a := e.unread.first; a != nil && a.due <= e.now; a = e.unread.first {
		e.unread.remove(a)
		if a.sent < alertTries {
			e.transmit(a)
			e.unread.add(a, e.now)
			continue
		}
		e.reset(a.conn, a.to, a.end(), a.ack, true)
		e.reset(a.conn, a.to, a.at, a.ack, true)
	}
}

// unread lists alerts that are not acknowledged, the one that is due first in
// front. The zero unread is empty.
type unread struct {
	threaded[alert]
}

func inUnread(a *alert) *neighbours[alert] { return &a.neighbours }

func (u *unread) add(a *alert, now int64) {
	a.due = now + alertEvery
	u.push(a, inUnread)
}

func (u *unread) has(a *alert) bool { return a.before != nil || u.first == a }

// remove takes an alert out, if it is there; nil is not.
func (u *unread) remove(a *alert) {
	if a != nil && u.has(a) {
		u.threaded.remove(a, inUnread)
	}
}
