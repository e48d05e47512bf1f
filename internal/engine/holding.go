package engine

import (
	"fmt"
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
)

// atGates lists what waits, by gate. Those behind one gate have one patience, so
// the first of a list is the first whose patience is over. The zero atGates is empty.
type atGates map[*gate]*behind

// behind lists the connections that wait for a gate, the one that began first in
// front.
type behind struct {
	threaded[hold]
}

func inBehind(h *hold) *neighbours[hold] { return &h.neighbours }

const (
	// atOnce bounds how many connections are let go, or refused, before packets
	// are answered again.
	atOnce    = 256
	maxCopies = 256 // spare ones
)

// push puts a connection at the end.
func (q *behind) push(h *hold) {
	h.in = q
	q.threaded.push(h, inBehind)
}

// leave takes a connection out of the list that it is in, if it is in one.
func (h *hold) leave() {
	if q := h.in; q != nil {
		h.in = nil
		q.remove(h, inBehind)
	}
}

// list has a connection wait for its gate, unlist no more.
func (e *Engine) list(h *hold) {
	if h.in != nil {
		return
	}
	q := e.holding[h.gate]
	if q == nil {
		if e.holding == nil {
			e.holding = atGates{}
		}
		q = &behind{}
		e.holding[h.gate] = q
	}
	q.push(h)
	h.gate.waiting.Add(1)
	e.counts.Holding++
}

func (e *Engine) unlist(h *hold) {
	if h.in != nil && h.in != &e.sending {
		h.gate.waiting.Add(-1)
		e.counts.Holding--
	}
	h.leave()
}

// gated lets a connection go whose gate has opened, before its next packet is
// answered.
func (e *Engine) gated(c *conntrack.Conn[flow]) {
	if f := &c.Value; f.gate.has(atGate) && f.phase != refused && e.hold(c).gate.open(e.now) {
		e.opened(c)
	}
}

// opened lets a connection go whose gate is open, unless another one of a rule
// bound to it is closed: it waits for that then, and its patience begins anew.
func (e *Engine) opened(c *conntrack.Conn[flow]) {
	f := &c.Value
	h := e.hold(c)
	if f.phase == reading && h.under == e.policy { // so is what is judged
		if i, r, g := e.closedGate(&f.ins.judgement); g != nil {
			e.unlist(h)
			h.gate, h.index, h.rule = g, i, r
			if h.began != 0 {
				h.since = e.now
				e.list(h)
			}
			return
		}
	}
	e.letPass(c)
}

// letPass ends the waiting of a connection, which goes on as any other.
func (e *Engine) letPass(c *conntrack.Conn[flow]) {
	f := &c.Value
	h := e.hold(c)
	if h.in != nil {
		h.gate.passed.Add(1)
	}
	h.letBy = h.opener(e.now)
	h.end(e.now)
	e.unlist(h)
	if h.began != 0 && !h.observed {
		e.table.Keep(c, false)
		f.gate |= flowed
	}
	e.sendBoth(h)
	if f.phase == reading {
		e.advance(c)
	}
}

func (h *hold) end(now int64) {
	if !h.over {
		h.over, h.until = true, now
		h.behind = [2]uint32{h.waits(conntrack.Original), h.waits(conntrack.Reply)}
		h.conn.Value.gate &^= atGate
	}
}

// endHold forgets what waits of a connection that is refused, or has nothing that
// could.
func (e *Engine) endHold(c *conntrack.Conn[flow]) {
	if h := e.hold(c); h != nil {
		h.refused = !h.over
		h.end(e.now)
		e.unlist(h)
		e.giveCopies(h)
	}
}

// forgetHold gives the memory back of a connection that has ended.
func (e *Engine) forgetHold(c *conntrack.Conn[flow]) {
	h := e.hold(c)
	if h == nil {
		return
	}
	e.keepHold(c, h)
	e.endHold(c)
	delete(e.held, c)
	c.Value.gate &^= hasHold
	*h = hold{}
	if len(e.holds) < maxCopies {
		e.holds = append(e.holds, h)
	}
}

// copySpace gives the space for the first bytes that wait, counted as what is
// kept for reading; nil when limits.buffered has no room.
func (e *Engine) copySpace() []byte {
	if !e.budget.Reserve(smallSegment) {
		return nil
	}
	if n := len(e.copies); n > 0 {
		b := e.copies[n-1]
		e.copies = e.copies[:n-1]
		return b
	}
	return make([]byte, 0, smallSegment)
}

func (e *Engine) giveCopies(h *hold) {
	for d, b := range h.first {
		if b == nil {
			continue
		}
		e.budget.Return(smallSegment)
		h.first[d] = nil
		if len(e.copies) < maxCopies {
			e.copies = append(e.copies, b[:0])
		}
	}
}

const (
	// What was waited for and is not acknowledged is sent again: its sender would
	// do that too, but may take minutes.
	sendEvery = int64(300 * time.Millisecond)
	sendTries = 5
)

// sendBoth gives both receivers what they have waited for first, as far as they do
// not have it.
func (e *Engine) sendBoth(h *hold) {
	sent := false
	for d := conntrack.Original; d <= conntrack.Reply; d++ {
		sent = e.sendFirst(h.conn, d) || sent
	}
	if h.tries++; !sent || h.tries >= sendTries {
		e.giveCopies(h)
		return
	}
	h.due = e.now + sendEvery
	e.sending.push(h)
}

// sendAgain sends again what was not acknowledged.
func (e *Engine) sendAgain() {
	for h := e.sending.first; h != nil && h.due <= e.now; h = e.sending.first {
		h.leave()
		e.sendBoth(h)
	}
}

// lookAtGates lets go of connections whose gates have opened, and refuses those
// whose patience is over. It reports whether there are more.
func (e *Engine) lookAtGates() (more bool) {
	n := atOnce
	for g, q := range e.holding {
		for ; q.first != nil && g.open(e.now); n-- {
			if n == 0 {
				return true
			}
			c := q.first.conn
			if e.renew(c, conntrack.Original, nil); q.first != nil && q.first.conn == c {
				e.opened(c)
			}
		}
		for ; q.first != nil && q.first.expired(e.now); n-- {
			if n == 0 {
				return true
			}
			h := q.first
			if e.renew(h.conn, conntrack.Original, nil); q.first == h && h.expired(e.now) {
				e.expireHold(h)
			}
		}
		if q.first == nil {
			delete(e.holding, g)
		}
	}
	return false
}

func (h *hold) expired(now int64) bool {
	p := h.rule.Hold.Patience
	return p > 0 && h.since+int64(p) <= now
}

// expireHold does what a rule says of data that has waited for long enough.
func (e *Engine) expireHold(h *hold) {
	c := h.conn
	f := &c.Value
	e.unlist(h)
	e.counts.HoldsExpired++
	e.look(c, conntrack.Original, nil)
	e.decide(c, h.under.Violated(h.index, tlsrules.ReasonHoldExpired, &f.ins.facts),
		fmt.Sprintf("application data has waited for the gate of rule %q for %s, which is as long as it may", h.rule.Name, h.rule.Hold.Patience))
	if f.phase == refused {
		e.refuseNow(c)
		return
	}
	e.letPass(c) // it is not refused, for the time of grace
}

// resetHeld resets the ends of a connection that the table has no room for any
// more: as one that began unseen it would not wait.
func (e *Engine) resetHeld(c *conntrack.Conn[flow], why conntrack.End) {
	h := e.hold(c)
	if h == nil || h.over || h.observed || h.began == 0 || why == conntrack.EndShutdown {
		return
	}
	for d := conntrack.Original; d <= conntrack.Reply; d++ {
		e.resetKnown(c, d)
		e.reset(c, d, e.expects(c, d, c.Acked(d)), c.Sent(d.Other()), true)
	}
}

// tellHold tells that data of a connection waits, or would.
func (e *Engine) tellHold(c *conntrack.Conn[flow]) {
	f := &c.Value
	h := e.hold(c)
	if h.observed {
		e.counts.Observed++
	}
	if e.cfg.Sink == nil {
		return
	}
	r := e.report(c)
	r.Decision = h.decision(f)
	r.Held, r.Detail, r.Packet = true, h.holdText(), packets(c)
	c.Value.sum.told = true
	e.cfg.Sink.Drop(r)
}

// decision is what stands of a connection while it waits.
func (h *hold) decision(f *flow) tlsrules.Decision {
	d := tlsrules.Decision{
		Decided: true, Action: tlsrules.Accept, Reason: tlsrules.ReasonRule, Index: h.index,
		Rule: h.rule.Name, Observed: h.observed,
	}
	if f.ins != nil {
		d.Stage = f.ins.facts.Stage()
	}
	return d
}

// waited returns for how long data has waited, until now or until it was let go.
func (h *hold) waited(now int64) time.Duration {
	switch {
	case h == nil || h.began == 0 || h.observed:
		return 0
	case h.over:
		return time.Duration(h.until - h.began)
	}
	return time.Duration(now - h.began)
}
