package engine

import (
	"fmt"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// A connection with a hold is read and judged as any other. What is behind the
// first byte of application data, of either direction, is only not let pass, and
// its sender's TCP repeats it until the gate opens. Nor does a segment pass that
// came too early: what it carries is not known yet.

// hold is what a connection waits with. It exists from when a rule with a closed
// gate is bound to a connection until that ends.
//
//	at[d]      from there on nothing of direction d passes, once has[d]
//	passed[d]  all that was let pass of it lies before
type hold struct {
	conn     *conntrack.Conn[flow]
	gate     *gate
	under    *tlsrules.Policy // that index is of
	index    int              // of the rule
	rule     *tlsrules.Rule
	began    int64   // when its first data began to wait; 0: none does yet
	since    int64   // the same, for the gate at hand
	until    int64   // when that was over
	over     bool    // nothing waits any more
	byHand   bool    // for it was let go itself, not the gate opened
	letBy    LetBy   // why nothing waits any more
	refused  bool    // the connection is
	observed bool    // it is only told what would wait
	in       *behind // the list that it is in
	due      int64   // when what it has waited for is sent again
	tries    uint8

	has, acks [2]bool
	at        [2]seqnum.Value
	passed    [2]seqnum.Value
	early     [2]seqnum.Value // before it was held, what came too early has passed up to here
	acked     [2]seqnum.Value // the latest acknowledgement let pass, if acks
	window    [2]uint16
	behind    [2]uint32 // bytes that waited when it was over
	first     [2][]byte // what waits from at on, as much as one small segment has

	neighbours[hold] // in the list
}

// gateway says whether a connection waits for a gate. The zero gateway: it has
// nothing to do with one.
type gateway uint8

const (
	hasHold gateway = 1 << iota // it has a hold: Engine.held
	atGate                      // which is not over
	flowed                      // application data has passed: no gate stops it any more
)

func (g gateway) has(h gateway) bool { return g&h != 0 }

// hold returns what a connection waits with, or has waited; nil for nothing.
func (e *Engine) hold(c *conntrack.Conn[flow]) *hold {
	if !c.Value.gate.has(hasHold) {
		return nil
	}
	return e.held[c]
}

// bindHold has a connection wait for the first closed gate of the rules bound to
// it. Where one is opened before data has come to it, nothing waits.
func (e *Engine) bindHold(c *conntrack.Conn[flow]) {
	f := &c.Value
	h := e.hold(c)
	if f.gate.has(flowed) || h != nil && (h.byHand || !h.over && h.under == e.policy) {
		return
	}
	e.renewHold(c, &f.ins.judgement)
}

// renewHold does so by what the policy in force makes of a connection, which may
// wait for a gate of another one.
func (e *Engine) renewHold(c *conntrack.Conn[flow], j *tlsrules.Judgement) {
	f := &c.Value
	h := e.hold(c)
	i, r, g := e.closedGate(j)
	switch {
	case g == nil && f.gate.has(atGate):
		e.letPass(c)
		return
	case g == nil:
		return
	case h == nil:
		h = e.newHold(c)
		if e.held == nil {
			e.held = map[*conntrack.Conn[flow]]*hold{}
		}
		e.held[c] = h
	case h.gate != g:
		e.unlist(h)
		h.since = e.now
	}
	f.gate |= hasHold | atGate
	h.over, h.gate, h.under, h.index, h.rule = false, g, e.policy, i, r
	h.observed = r.Observe || e.cfg.Default.Observe || e.cfg.Recorded
	if h.began != 0 {
		e.list(h)
	}
}

// closedGate finds the first rule bound to a connection whose gate is closed. One
// that another worker's policy has no more is.
func (e *Engine) closedGate(j *tlsrules.Judgement) (int, *tlsrules.Rule, *gate) {
	for i, r := range e.policy.Bound(j) {
		if r.Hold == nil {
			continue
		}
		switch g := e.cfg.Gates.find(r.Name); {
		case g == nil:
			return i, r, &e.shut
		case !g.open(e.now):
			return i, r, g
		}
	}
	return 0, nil, nil
}

func (e *Engine) newHold(c *conntrack.Conn[flow]) *hold {
	h := &hold{conn: c}
	if n := len(e.holds); n > 0 {
		h = e.holds[n-1]
		e.holds = e.holds[:n-1]
		h.conn = c
	}
	for d := range c.Value.streams {
		if s := &c.Value.streams[d]; s.Started() && s.Next().Less(c.Sent(conntrack.Direction(d))) {
			h.early[d] = c.Sent(conntrack.Direction(d))
		} else {
			h.early[d] = c.Acked(conntrack.Direction(d))
		}
		h.passed[d] = c.Acked(conntrack.Direction(d))
	}
	return h
}

// reached notes that direction d has come to a record: at is where it begins.
func (e *Engine) reached(c *conntrack.Conn[flow], d conntrack.Direction, at seqnum.Value) {
	f := &c.Value
	if f.phase != reading || f.provisional && f.ins.facts.Client == nil {
		return
	}
	if content := f.ins.facts.Content; content != tlswire.ApplicationData && content != tlswire.EarlyData {
		return
	}
	h := e.hold(c)
	switch {
	case !f.gate.has(atGate):
		f.gate |= flowed
	case h.observed:
		h.began = e.now
		e.tellHold(c)
		f.gate |= flowed
		e.letPass(c)
	case !h.has[d]:
		if at.Less(h.early[d]) { // it is there already, but for what is before it
			at = h.passed[d]
		}
		e.stopAt(c, d, at)
	}
}

// stopAt lets nothing pass of a direction from at on.
func (e *Engine) stopAt(c *conntrack.Conn[flow], d conntrack.Direction, at seqnum.Value) {
	h := e.hold(c)
	h.has[d], h.at[d] = true, seqnum.Max(at, c.Acked(d))
	if h.began == 0 {
		h.began, h.since = e.now, e.now
		e.counts.Held++
		e.table.Keep(c, true)
		e.list(h)
		e.tellHold(c)
	}
}

// mayPass is how far direction d may pass: to where its data begins, or as far as
// it was read. Where nothing can be read any more, what has not passed waits.
func (e *Engine) mayPass(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) seqnum.Value {
	f := &c.Value
	h, s := e.hold(c), &f.streams[d]
	switch {
	case h.has[d]:
		h.from(d, c.Acked(d))
		return h.at[d]
	case f.phase != reading, !f.ins.tls.Fault.OK(), c.Midstream && f.ins.facts.Client == nil:
		if len(seg.Payload) == 0 {
			return seg.Seq.Add(seg.SegLen())
		}
		e.stopAt(c, d, seqnum.Max(h.passed[d], c.Acked(d)))
		return h.at[d]
	case !s.Started():
		return seg.Seq.Add(seg.SegLen())
	}
	return s.Next()
}

// from has direction d wait from next on at the earliest: what lies before is with its
// receiver, and not sent when the gate opens.
func (h *hold) from(d conntrack.Direction, next seqnum.Value) {
	if h.at[d].Less(next) {
		n := min(int(h.at[d].Size(next)), len(h.first[d]))
		h.first[d] = h.first[d][:copy(h.first[d], h.first[d][n:])]
		h.at[d] = next
	}
}

// wait answers a segment that would pass, of a connection with a hold: with as
// much of it as may.
func (e *Engine) wait(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet, seg *packet.Parsed, r Result) Result {
	f := &c.Value
	h := e.hold(c)
	if h == nil || h.over || h.observed || f.phase == refused || r.Verdict == nfq.Drop || seg.Flags.Has(packet.RST) {
		return r
	}
	start, n := seg.Seq, uint32(len(seg.Payload))
	if seg.Flags.Has(packet.SYN) {
		start = start.Add(1)
	}
	end, limit := start.Add(n), e.mayPass(c, d, seg)
	h.window[d] = seg.Window
	fits := n == 0 || end.LessEq(limit)
	if seg.Flags.Has(packet.FIN) { // nothing before it may be missing
		fits = end.LessEq(limit) && !h.has[d]
	}
	if fits {
		h.acknowledges(d, seg)
		if n > 0 {
			h.passed[d] = seqnum.Max(h.passed[d], end)
		}
		return r
	}
	kept := 0
	if start.Less(limit) {
		kept = int(min(n, start.Size(limit)))
		h.passed[d] = seqnum.Max(h.passed[d], limit)
	}
	e.keepFirst(h, d, start, seg.Payload)
	news := h.acknowledges(d, seg)
	switch {
	case kept == 0 && !news, seg.Flags.Has(packet.SYN): // it comes again; a SYN without data
		return e.drop(DropHeld)
	case p.GSO && e.cfg.Inject != nil: // the kernel would cut it up as what it was
		e.pieces(c, d, seg, seg.Payload[:kept])
		return e.drop(DropHeld)
	}
	e.scratch = seg.Shorten(e.scratch[:0], kept)
	r.Payload = e.scratch
	return r
}

// acknowledges notes what a segment that passes acknowledges, and reports whether
// that is new to its receiver.
func (h *hold) acknowledges(d conntrack.Direction, seg *packet.Parsed) bool {
	if !seg.Flags.Has(packet.ACK) || h.acks[d] && seg.Ack.LessEq(h.acked[d]) {
		return false
	}
	h.acks[d], h.acked[d] = true, seg.Ack
	return true
}

// smallSegment is what fits a packet that every link takes (RFC 8200, Section 5),
// with timestamps.
const smallSegment = 1280 - 40 - 20 - 12

// keepFirst keeps the first bytes that wait, to be sent once the gate opens: by
// then their sender may be silent for minutes before it repeats them.
func (e *Engine) keepFirst(h *hold, d conntrack.Direction, start seqnum.Value, payload []byte) {
	if !h.has[d] {
		return
	}
	at := h.at[d].Add(uint32(len(h.first[d])))
	if at.Less(start) || !at.Less(start.Add(uint32(len(payload)))) || len(h.first[d]) >= smallSegment {
		return
	}
	if h.first[d] == nil {
		if h.first[d] = e.copySpace(); h.first[d] == nil {
			return
		}
	}
	b := payload[start.Size(at):]
	h.first[d] = append(h.first[d], b[:min(len(b), smallSegment-len(h.first[d]))]...)
}

// pieces sends the beginning of a segment that stands for several.
func (e *Engine) pieces(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed, payload []byte) {
	g := e.bare(c, d, packet.ACK, seg.Seq, seg.Ack)
	g.Window, g.HasTimestamp, g.TSVal, g.TSEcr = seg.Window, seg.HasTimestamp, seg.TSVal, seg.TSEcr
	for {
		n := min(len(payload), smallSegment)
		g.Payload, payload = payload[:n], payload[n:]
		e.scratch = g.Append(e.scratch[:0])
		e.send(e.scratch, c.Value.devices[d.Other()])
		g.Seq = g.Seq.Add(uint32(n))
		if len(payload) == 0 {
			return
		}
	}
}

// sendFirst gives a receiver what it has waited for first. With its acknowledgement
// the sender goes on. It reports whether there was something to be sent.
func (e *Engine) sendFirst(c *conntrack.Conn[flow], d conntrack.Direction) (sent bool) {
	f := &c.Value
	h := e.hold(c)
	if len(h.first[d]) == 0 || e.cfg.Inject == nil || f.ins == nil || h.at[d].Less(c.Acked(d)) {
		return false
	}
	g := e.bare(c, d, packet.ACK|packet.PSH, h.at[d], c.Acked(d.Other()))
	g.Window, g.Payload = h.window[d], h.first[d]
	if s := &f.ins.stamps; s.known[0] && s.known[1] {
		g.HasTimestamp, g.TSVal, g.TSEcr = true, s.values[d], s.values[d.Other()]
	}
	e.scratch = g.Append(e.scratch[:0])
	e.send(e.scratch, f.devices[d.Other()])
	return true
}

// expects is the number that d's receiver expects, where next is what was read.
func (e *Engine) expects(c *conntrack.Conn[flow], d conntrack.Direction, next seqnum.Value) seqnum.Value {
	if h := e.hold(c); h != nil && h.has[d] && (!h.over || h.refused) {
		return h.at[d]
	}
	return next
}

// holdText says what data waits for.
func (h *hold) holdText() string {
	text := fmt.Sprintf("application data waits for the gate of rule %q, which ", h.rule.Name)
	if at := h.gate.opens.Load(); at != never {
		text += "opens at " + time.Unix(0, at).UTC().Format(time.RFC3339)
	} else {
		text += "opens by hand"
	}
	if p := h.rule.Hold.Patience; p > 0 {
		text += fmt.Sprintf("; it waits for %s at most", p)
	}
	return text
}

// holdsNothing reports whether a connection turned out not to be of TLS, and lets
// it go: of application data nothing can be said, and default.not_tls has spoken.
func (e *Engine) holdsNothing(c *conntrack.Conn[flow]) bool {
	f := &c.Value
	if c.Midstream || !f.complete || f.provisional || !f.ins.facts.Never.Has(tlsrules.StageClientHello) {
		return false
	}
	e.endHold(c)
	return true
}

// stillHeld judges a connection that an earlier run had wait, by its first packet
// alone, and reports whether that has decided what becomes of it. Where no rule
// says by that what it waits for, it may be any gate that is closed.
func (e *Engine) stillHeld(c *conntrack.Conn[flow]) bool {
	f := &c.Value
	if !e.cfg.Gates.anyClosed(e.now) {
		return false
	}
	missed(&f.ins.facts)
	f.ins.facts.Never.Add(tlsrules.StageFirstBytes)
	e.judge(c)
	f.provisional = f.phase == reading
	if f.phase != refused && !f.gate.has(atGate) {
		e.circumstance(c, tlsrules.Reset, tlsrules.ReasonMidstream, heldBeforeText)
	}
	return true
}

const heldBeforeText = "its data waited for a gate when the daemon stopped, and which one cannot be known any more"
