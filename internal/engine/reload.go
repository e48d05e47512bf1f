package engine

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// A policy takes another's place between two batches. From then on it judges what
// is new, and every connection of the table is judged again by what is known of
// it: with its next packet, or when a walk over the table comes to it, whichever
// is first.

// Adopted says how far connections have been judged again since the last Adopt.
type Adopted struct {
	Judged  uint64 // connections, those below included
	Refused uint64 // which the new policy forbids
	// Stood are those whose decision stands, for the new policy asks what is not
	// known of them any more.
	Stood uint64
	// Beyond, of those, are forbidden by the new policy and left to the kernel, where
	// their mark cannot be changed. They are refused with their next packet that comes
	// to the queue.
	Beyond uint64
	Done   bool
}

// again is how far that has come. The zero again is done.
type again struct {
	Adopted
	walks bool
	// The walk goes round: it began at from, and is over when it comes there again.
	place, from int
	wrapped     bool
	piece       [mostRefused]met
	opens       int64 // when the next piece may be
	// generations of the policies before, the latest ones: what they have accepted,
	// or an earlier run under them, and left to the kernel may not be in the table.
	generations [maxFormer]uint32
	formers     int // all of them there were
}

// met is a connection that the walk has come to, at its place in the table.
type met struct {
	place uint32
	rests bool
}

const maxFormer = 64

// former reports whether a policy before the one in force had a generation.
func (r *again) former(generation uint32) bool {
	return slices.Contains(r.generations[:min(r.formers, maxFormer)], generation)
}

const (
	// walkPiece is how many entries are looked at before packets are; fewer when
	// mostRefused of them are refused, which takes up to six packets of our own each.
	walkPiece   = 32
	mostRefused = 8

	// walkShare bounds what the walk takes of an engine's time, to one part in so many.
	walkShare = 16
)

// Adopt has another policy judge from now on, with its defaults and limits, grace,
// Overload, MPTCP, Offload and Generation; the rest of cfg is not looked at. Whoever
// is refused stays so, clocks go on, and the time of grace is counted from the start.
func (e *Engine) Adopt(ctx context.Context, cfg Config, policy *tlsrules.Policy) error {
	return e.ask(ctx, func() { e.adopt(cfg, policy) })
}

// Adopted tells how far connections have been judged again.
func (e *Engine) Adopted(ctx context.Context) (a Adopted, err error) {
	err = e.ask(ctx, func() {
		a = e.again.Adopted
		a.Done = !e.again.walks
	})
	return a, err
}

func (e *Engine) adopt(cfg Config, policy *tlsrules.Policy) {
	cfg = cfg.withDefaults()
	own := &e.cfg
	r := &e.again
	if own.Generation != cfg.Generation && !r.former(own.Generation) {
		r.generations[r.formers%maxFormer] = own.Generation
		r.formers++
	}
	own.Default, own.Limits, own.Grace, own.Overload, own.MPTCP = cfg.Default, cfg.Limits, cfg.Grace, cfg.Overload, cfg.MPTCP
	own.Offload, own.Generation = cfg.Offload, cfg.Generation
	own.Gates.Adopt(policy)
	e.bound()
	e.table.SetBounds(cfg.Limits.Connections, cfg.Limits.HalfOpen)
	e.policy = policy
	e.adoption++
	e.stories.since = e.now
	r.Adopted = Adopted{}
	r.walks, r.from, r.wrapped = true, r.place, false
}

// bound takes the bounds that are not looked up where they count.
func (e *Engine) bound() {
	e.budget.Max = e.cfg.Limits.Buffered
	e.limits.Hello = e.cfg.Limits.Hello
	e.refusing.bound(e.cfg.Limits.Refused)
	e.forgotten.bound(e.cfg.Limits.Connections)
	e.returning.bound(e.cfg.Limits.Connections)
}

// walkOn goes on with the walk, if there is one and it is time.
func (e *Engine) walkOn(clock func() int64) {
	if r := &e.again; r.walks {
		if now := clock(); now >= r.opens {
			e.now = now
			e.guardedWalk()
			after := clock()
			r.opens = after + min((walkShare-1)*(after-now), int64(maxPause))
		}
	}
}

// patience is for how long the engine may sleep when no packet comes.
func (e *Engine) patience(now int64, packets bool) time.Duration {
	p := e.mail.patience(now, packets)
	switch {
	case !e.again.walks:
	case packets:
		p = min(p, unhurried)
	default:
		p = min(p, max(attentive, time.Duration(e.again.opens-now)))
	}
	return p
}

// guardedWalk judges a piece, and survives a bug of ours as guarded does.
func (e *Engine) guardedWalk() {
	defer func() {
		if v := recover(); v != nil {
			e.counts.Bugs++
			e.shared.fault(fmt.Sprintf("%v\n%s", v, debug.Stack()))
		}
	}()
	r := &e.again
	for refused, n := r.Refused, 0; r.walks && n < walkPiece && r.Refused-refused < mostRefused; n += len(r.piece) {
		e.walk()
	}
}

// walk judges a few connections. What it comes to may change the table, so it comes
// to nothing before all of them are known.
func (e *Engine) walk() {
	r := &e.again
	n, size := 0, len(r.piece)
	if r.wrapped {
		size = min(size, r.from-r.place)
	}
	next := e.table.Walk(r.place, size, func(c *conntrack.Conn[flow]) {
		if f := &c.Value; f.adoption != e.adoption && !(f.phase == reading && over(c)) {
			r.piece[n] = met{c.Place(), c.Resting()}
			n++
		}
	})
	if r.place = next; next < 0 {
		r.place, r.wrapped = 0, true
	}
	r.walks = !(r.wrapped && r.place >= r.from)
	for _, m := range r.piece[:n] {
		c := e.table.At(m.place)
		e.opening.c = nil
		if e.renew(c, conntrack.Original, nil); m.rests {
			e.table.Rest(c)
		}
	}
}

// over reports whether a connection has ended as far as can be seen. It is judged
// again if there is a packet of it all the same.
func over(c *conntrack.Conn[flow]) bool {
	return c.State() == conntrack.TimeWait || c.State() == conntrack.Close
}

// renew judges a connection again that an earlier policy has judged. A segment of it
// in direction d is at hand and not yet read, or seg is nil.
func (e *Engine) renew(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) {
	f := &c.Value
	if f.adoption == e.adoption {
		return
	}
	f.adoption = e.adoption
	if f.phase == refused {
		return
	}
	e.again.Judged++
	e.counts.JudgedAgain++
	if f.phase == reading && !f.assumed() {
		e.judgeAnew(c)
	} else {
		if seg != nil && (seg.Flags.Has(packet.SYN) || seg.Flags.Has(packet.RST)) {
			seg = nil // it may pass, and then carries no refusal into the mark
		}
		e.review(c, d, seg)
	}
	if f.sum.stood = f.sum.stood && f.phase != refused; f.sum.stood {
		e.again.Stood++
		e.counts.Stood++
	}
	if f.phase == refused {
		e.again.Refused++
		e.counts.RefusedAgain++
	}
}

// assumed reports whether a connection passes only as one that began unseen: no
// rule has been asked.
func (f *flow) assumed() bool {
	return f.provisional && f.ins.decision.Reason == tlsrules.ReasonMidstream
}

// judgeAnew judges a connection that is being read: nothing is lost of it but the
// records it has sent, and cleartext in which other texts were searched for. It
// waits for what its rules wait for as any other, and its clock goes on.
func (e *Engine) judgeAnew(c *conntrack.Conn[flow]) {
	f := &c.Value
	ins, was := f.ins, f.ins.decision
	e.renewSearch(c)
	ins.facts.Content, ins.facts.HasAlert = 0, false
	ins.judgement, ins.decision, ins.condemned = tlsrules.Judgement{}, tlsrules.Decision{}, false
	f.sum.stood = false
	f.trusted = e.trusts(c)
	e.look(c, conntrack.Original, nil)
	if f.pinned { // before it asks for others
		d := e.policy.Decide(&ins.facts, &ins.judgement)
		e.renewPins(c, &ins.facts, &ins.judgement, d.Decided)
	}
	e.judge(c)
	f.trusted = f.trusted && !f.gate.has(atGate)
	switch {
	case f.phase == refused:
		if e.refuseNow(c); f.sum.decision.Action != tlsrules.Drop && !c.HasISS(conntrack.Reply) {
			e.resetKnown(c, conntrack.Reply) // the client waits for an answer to its SYN
		}
	case f.phase != reading:
	case ins.certain():
		e.stopClock(c)
	case !ins.decision.Decided && ins.facts.Lost != 0 && was.Decided && was.Action == tlsrules.Accept:
		ins.decision, f.sum.stood = was, true
		ins.decision.Index = -1
		e.advance(c)
	case f.talking() && !ins.condemned:
		e.stopClock(c)
	case e.spoken(c):
		e.startClock(c)
	}
}

// trusts reports whether a rule accepts a connection by its first packet alone.
func (e *Engine) trusts(c *conntrack.Conn[flow]) bool {
	e.memory = memory{facts: e.firstFacts(c, c.Value.devices[conntrack.Original], c.Value.devices[conntrack.Reply])}
	d := e.policy.Decide(&e.memory.facts, &e.memory.judgement)
	return (&inspection{decision: d}).certain()
}

// review judges a connection again whose judgement was over. What is certain of it
// counts; where the policy would ask what is lost, the decision stands.
func (e *Engine) review(c *conntrack.Conn[flow], dir conntrack.Direction, seg *packet.Parsed) {
	f := &c.Value
	facts := e.recollect(c)
	d := e.policy.Decide(facts, &e.memory.judgement)
	if would, ok := e.policy.Observed(&e.memory.judgement); ok {
		e.observe(c, would, e.policy.Explain(would, facts))
	}
	if f.ins != nil && !f.assumed() {
		f.ins.judgement = e.memory.judgement
	}
	blind := unseen(c) && facts.Client == nil
	e.renewPins(c, facts, &e.memory.judgement, d.Decided && !blind)
	was := f.decision()
	f.sum.stood = true
	switch {
	case blind && d.Index < 0: // no rule decides by where it comes from and goes to
	case d.Decided && d.Action.Refuses():
		e.forbid(c, d, e.policy.Explain(d, facts), dir, seg)
	case d.Final && d.Reason == tlsrules.ReasonRule:
		e.confirm(c, d)
	case e.circumstantial(c, was, dir, seg):
	case d.Final:
		e.confirm(c, d)
	}
	if f.gate.has(atGate) {
		e.renewHold(c, &e.memory.judgement)
	}
}

// decision is that in force.
func (f *flow) decision() tlsrules.Decision {
	if f.phase == reading {
		return f.ins.decision
	}
	return f.sum.decision
}

// recollect gives the facts of a connection whose judgement was over, valid until
// the next call.
func (e *Engine) recollect(c *conntrack.Conn[flow]) *tlsrules.Facts {
	f := &c.Value
	if f.ins == nil || f.assumed() {
		return e.remembered(c)
	}
	e.renewSearch(c)
	e.memory = memory{facts: f.ins.facts}
	facts := &e.memory.facts
	facts.Content, facts.HasAlert = 0, false
	if !facts.ContainsOver {
		facts.Lost |= tlsrules.LostTexts
	}
	return facts
}

// confirm has the new policy's decision to accept take the place of an earlier one.
func (e *Engine) confirm(c *conntrack.Conn[flow], d tlsrules.Decision) {
	f := &c.Value
	f.sum.stood, f.graced = false, false
	if f.phase != reading {
		f.sum.decision = d
	}
	if f.ins != nil {
		f.ins.decision = d
	}
	e.accepted(f)
}

// circumstantial judges again what was decided by a default, for what no rule
// speaks about, and reports whether it was.
func (e *Engine) circumstantial(c *conntrack.Conn[flow], was tlsrules.Decision, dir conntrack.Direction, seg *packet.Parsed) bool {
	var a tlsrules.Action
	switch was.Reason {
	case tlsrules.ReasonMalformedRecord, tlsrules.ReasonMalformedHandshake:
		a = e.cfg.Default.Malformed
	case tlsrules.ReasonTCPOverlap, tlsrules.ReasonTCPInvalid, tlsrules.ReasonEarlyTLS:
		a = e.cfg.Default.Ambiguous
	case tlsrules.ReasonUndecided:
		a = e.cfg.Default.Undecided
	case tlsrules.ReasonLimitBuffered, tlsrules.ReasonLimitHello, tlsrules.ReasonLimitTunnels, tlsrules.ReasonGrace, tlsrules.ReasonMidstream:
		return true // those of the time it came stand
	default:
		return false
	}
	d := was
	d.Action, d.Observed, d.Index = a, a.Refuses() && e.cfg.Default.Observe, -1
	if a.Refuses() {
		e.forbid(c, d, fmt.Sprintf("%s, when an earlier policy was in force; it is accepted no longer", was.Reason), dir, seg)
	} else {
		e.confirm(c, d)
	}
	return true
}

// forbid refuses a connection that was accepted. Where no segment of it is at hand
// to carry that into its mark in the kernel, one of ours does. The sender of one at
// hand is answered as of any that is refused already.
func (e *Engine) forbid(c *conntrack.Conn[flow], d tlsrules.Decision, detail string, dir conntrack.Direction, seg *packet.Parsed) {
	f := &c.Value
	if d.Observed {
		f.sum.stood = false
		if f.phase != reading {
			f.sum.decision = d
		}
		e.observe(c, d, detail)
		return
	}
	if f.graced && e.inGrace() {
		return
	}
	if f.offloaded && seg == nil {
		if err := e.recall(c); err != nil {
			e.again.Beyond++
			f.adoption-- // again with its next packet
			return
		}
	}
	if over(c) && seg == nil {
		f.sum.stood = false
		f.adoption--
		return
	}
	switch d.Action.Kind() {
	case tlsrules.Alert:
		e.counts.AlertsTooLate++
		d.Action, detail = tlsrules.Reset, detail+tooLateText
	case tlsrules.Refuse:
		e.refuseFrom(c, d)
	}
	e.stopClock(c)
	if f.ins != nil {
		f.ins.decision = d
	}
	f.sum.decision, f.sum.packet = d, packets(c)
	e.notice(NoticedVerdict)
	e.counts.Refused++
	e.tellTLS(c)
	e.tellDrop(c, detail)
	e.dropPins(c, false)
	f.phase, f.watched = refused, false
	e.endHold(c)
	switch {
	case d.Action == tlsrules.Drop:
	case seg == nil:
		e.resetBoth(c)
	default: // if it is not what its receiver expects, that says what is
		e.reset(c, dir, seg.Seq, seg.Ack, seg.Flags.Has(packet.ACK))
	}
	e.release(c)
}
