package engine

import (
	"fmt"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// judge asks the policy what it makes of the facts known so far.
func (e *Engine) judge(c *conntrack.Conn[flow]) {
	f := &c.Value
	d := e.policy.Decide(&f.ins.facts, &f.ins.judgement)
	if would, ok := e.policy.Observed(&f.ins.judgement); ok { // a rule that only observes
		e.observe(c, would, e.policy.Explain(would, &f.ins.facts))
	}
	if (f.ins.judgement.Holds() || f.gate.has(atGate)) && (d.Observed || !d.Decided || !d.Action.Refuses()) {
		e.bindHold(c)
	}
	switch {
	case !d.Decided:
		if e.claim(c) {
			e.advance(c)
		}
	case e.tooEarly(f, d):
		f.ins.condemned = true
	case d.Observed || d.Action != tlsrules.Accept:
		e.decide(c, d, e.policy.Explain(d, &f.ins.facts))
	case !e.claim(c):
	default:
		f.ins.decision = d
		e.accepted(f)
		if f.ins.certain() { // it is decided, however long the answer takes
			e.stopClock(c)
		}
		e.advance(c)
	}
}

// judgeFirst judges a connection by its first packet alone.
func (e *Engine) judgeFirst(c *conntrack.Conn[flow]) {
	e.judge(c)
	f := &c.Value
	f.trusted = f.phase == reading && f.ins.certain() && !f.gate.has(atGate)
}

// circumstance decides a connection by a default action: for what no rule
// speaks about, such as bytes that break TLS's syntax.
func (e *Engine) circumstance(c *conntrack.Conn[flow], a tlsrules.Action, reason tlsrules.Reason, detail string) {
	f := &c.Value
	if f.ins.condemned { // whatever else comes
		e.refuseCondemned(c)
		return
	}
	d := tlsrules.Decision{Decided: true, Final: true, Action: a, Reason: reason, Stage: f.ins.facts.Stage(), Index: -1}
	d.Observed = a != tlsrules.Accept && e.cfg.Default.Observe
	e.decide(c, d, detail)
}

// refuseCondemned waits for a hello no longer.
func (e *Engine) refuseCondemned(c *conntrack.Conn[flow]) {
	ins := c.Value.ins
	d := e.policy.Decide(&ins.facts, &ins.judgement)
	e.decide(c, d, e.policy.Explain(d, &ins.facts))
}

// limit decides a connection that has hit a bound.
func (e *Engine) limit(c *conntrack.Conn[flow], reason tlsrules.Reason, detail string) {
	e.counts.Hit.bound(reason)
	e.circumstance(c, e.cfg.Overload, reason, detail)
}

// decide ends the judgement of a connection: refused, or observed to be, or
// accepted for good.
func (e *Engine) decide(c *conntrack.Conn[flow], d tlsrules.Decision, detail string) {
	f := &c.Value
	e.stopClock(c)
	if d.Action.Refuses() && !d.Observed && d.Reason != tlsrules.ReasonPinTaken && e.graceful(f) {
		e.forgive(c, d, detail)
		return
	}
	if !d.Observed {
		switch d.Action.Kind() {
		case tlsrules.Alert:
			d, detail = e.alertOrReset(c, d, detail)
		case tlsrules.Refuse:
			e.refuseFrom(c, d)
		}
	}
	f.ins.decision, f.sum.decision = d, d
	e.notice(NoticedVerdict)
	e.settle(f)
	switch {
	case d.Observed:
		e.observe(c, d, detail)
		e.tellTLS(c)
	case d.Action == tlsrules.Accept:
		e.owe(c)
		e.accepted(f)
		e.tellTLS(c)
	default:
		e.counts.Refused++
		f.sum.packet = packets(c)
		e.tellTLS(c)
		e.tellDrop(c, detail)
		e.dropPins(c, false)
		f.phase, f.watched = refused, false
		e.endHold(c)
	}
}

// settle ends the judgement. What a capture holds of a TLS connection is read
// to its end all the same, for the accounts.
func (e *Engine) settle(f *flow) {
	f.phase = settling
	f.watched = e.cfg.Recorded && f.ins.sawTLS()
}

// observe tells what would have been refused.
func (e *Engine) observe(c *conntrack.Conn[flow], d tlsrules.Decision, detail string) {
	f := &c.Value
	e.counts.Observed++
	e.notice(NoticedWould)
	stands := f.sum.decision
	f.sum.decision, f.sum.packet = d, packets(c)
	e.tellDrop(c, detail)
	f.sum.decision, f.sum.packet = stands, 0
}

func (e *Engine) accepted(f *flow) {
	if !f.counted {
		f.counted = true
		e.counts.Accepted++
		e.notice(NoticedAccepted)
	}
}

// packets numbers the packet at hand: the first of a connection is 1.
func packets(c *conntrack.Conn[flow]) uint64 {
	return c.Packets[conntrack.Original] + c.Packets[conntrack.Reply]
}

// advance moves a connection on when there is nothing more to read of it: the
// handshake has said all it will, and no rule can change its mind any more.
func (e *Engine) advance(c *conntrack.Conn[flow]) {
	f := &c.Value
	if f.said || f.complete {
		e.remember(c)
		e.stopClock(c)
		if !f.unanswered || f.complete {
			e.tellTLS(c)
		}
	}
	if f.gate.has(atGate) && !e.holdsNothing(c) {
		return
	}
	if d := &f.ins.decision; f.phase == reading && f.complete && !f.provisional && d.Decided && d.Final && !f.ins.condemned {
		f.sum.decision = *d
		e.notice(NoticedVerdict)
		e.settle(f)
		e.owe(c)
	}
}

// passOn lets a packet of a connection pass. Once nothing that was read can be
// replaced any more, the connection is left to the kernel.
func (e *Engine) passOn(c *conntrack.Conn[flow], p *nfq.Packet) Result {
	f := &c.Value
	if f.gate.has(atGate) {
		return e.answer(p, e.cfg.Marks.Held())
	}
	if f.phase == settling && f.streams[0].Settled() && f.streams[1].Settled() {
		f.phase = decided
		if !f.watched {
			e.release(c)
		}
	}
	want, clears := uint32(0), e.seg.Flags.Has(packet.SYN|packet.ACK) // one accepted before it on the ports
	switch {
	case f.phase != decided:
	case c.Ends(e.now):
		clears = true
	case !(f.pinned && e.tied(c)):
		want = e.accepts()
		if e.cfg.Offload && !f.offloaded {
			f.offloaded = true
			e.counts.Offloaded++
			c.Loosen()
		}
	}
	if f.offloaded || f.phase == decided && e.awake() > e.maxAwake {
		e.leaving = c
	}
	if want == 0 && clears {
		e.untracked(c, p)
		return e.clear(p)
	}
	return e.answer(p, want)
}

// accepts is the mark of what is accepted for good. The rules go by it if such
// connections are left to the kernel, and the next run of this program always.
func (e *Engine) accepts() uint32 { return e.cfg.Marks.Accepted(e.cfg.Generation) }

// pass lets one packet pass and leaves the connection's mark as it is.
func (e *Engine) pass(p *nfq.Packet) Result {
	return e.answer(p, p.Mark&e.cfg.Marks.Mask())
}

// clear lets a packet pass behind which the connection's mark says nothing. What that
// says is not asked: packets in front of this one have been answered since it was queued.
func (e *Engine) clear(p *nfq.Packet) Result {
	m := e.cfg.Marks
	if m.Mask() == 0 {
		return Result{Verdict: nfq.Accept}
	}
	return Result{Verdict: nfq.Repeat, Mark: m.Set(p.Mark, m.Clear())}
}

// answer lets a packet pass; want is what the connection's mark should say. The
// packet was queued with that mark restored, so p.Mark tells what it said then.
func (e *Engine) answer(p *nfq.Packet, want uint32) Result {
	m := e.cfg.Marks
	if m.Mask() == 0 { // no rules of ours read the mark
		return Result{Verdict: nfq.Accept}
	}
	say := m.Pass()
	if has := p.Mark & m.Mask(); has != want {
		say = want
		if want == 0 {
			say = m.Clear()
		}
	}
	return Result{Verdict: nfq.Repeat, Mark: m.Set(p.Mark, say)}
}

// drop drops a packet that belongs to no refused connection.
func (e *Engine) drop(why DropReason) Result {
	e.counts.Dropped[why]++
	return Result{Verdict: nfq.Drop}
}

// ambiguous decides a connection whose bytes two receivers could read in two
// ways, and reports whether it is refused.
func (e *Engine) ambiguous(c *conntrack.Conn[flow], reason tlsrules.Reason, detail string) bool {
	e.counts.Ambiguous++
	e.circumstance(c, e.cfg.Default.Ambiguous, reason, detail)
	return c.Value.phase == refused
}

// malformed decides a connection whose bytes break TLS's syntax. One that a
// rule has accepted whatever it carries is not read any further, unless what it
// accepted is a hello that no ServerHello has answered: its server may have taken it
// for text, or have asked for another (RFC 8446, Section 4.1.4) that it can read.
func (e *Engine) malformed(c *conntrack.Conn[flow], from tlswire.Side) {
	f := &c.Value
	fault := f.ins.tls.Fault
	if f.ins.certain() && (f.trusted || f.ins.tls.HasServerHello) {
		f.complete = true
		e.advance(c)
		return
	}
	if f.provisional && f.via == nil && (fault.Field.Kind() == tlswire.RecordFault || fault.Field == tlswire.FaultMessageOrder) {
		e.notTLS(c, from) // no ClientHello: the middle of something, cut or encrypted
		return
	}
	if e.doubtful(c) {
		e.blind(c, conntrack.Direction(from))
		return
	}
	detail := fmt.Sprintf("%s is broken, at offset %d", fault.Field, fault.Offset)
	switch fault.Field.Kind() {
	case tlswire.LimitFault:
		e.limit(c, tlsrules.ReasonLimitHello, fmt.Sprintf("a handshake message is larger than limits allow (%s)", fault.Field))
	case tlswire.HandshakeFault:
		e.circumstance(c, e.cfg.Default.Malformed, tlsrules.ReasonMalformedHandshake, "handshake message: "+detail)
	default:
		e.circumstance(c, e.cfg.Default.Malformed, tlsrules.ReasonMalformedRecord, "record: "+detail)
	}
}
