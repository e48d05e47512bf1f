package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// A connection takes the pins of the rules that bind it when its ServerHello has
// come, which is not delivered if others hold one of them. From then on each of its
// packets says that the pin is in use, and is asked whether it still is. Who was
// seen to end may be alive all the same, for an RST or FIN may not have arrived, and
// who began unseen may have a pin that nobody knows of: such a one passes while nobody
// else holds the pin, and holds it weakly, for its bytes may be the last on their way
// to an end that is gone, or anybody's; once both ends were heard it holds it as any.

// pin is the part that a connection has, or asks for, in the pin of a rule.
type pin struct {
	applicant
	c      *conntrack.Conn[flow]
	next   *pin    // of the same connection
	holder *holder // nil while it has no part
	had    gone    // why it has none any more
	heard  [2]bool // ends that have spoken since
	waived bool    // it passes whoever holds the pin: nothing is refused here
	blind  bool    // which group is its own was not seen
	over   bool    // both FINs were acknowledged, and it let go for that
	told   PinTold

	before, after *pin // that have part in the same holder
}

// PinTold is what an event tells of a pin.
type PinTold uint8

const (
	PinNothing PinTold = iota
	PinTaken
	PinShared
	PinRefused // others hold it
)

var pinToldNames = [...]string{"", "taken", "shared", "refused"}

// String returns the value as EVENTS.md spells it.
func (t PinTold) String() string { return pinToldNames[t] }

// pinOf finds a connection's part in the pin of a rule, nil for none.
func (e *Engine) pinOf(c *conntrack.Conn[flow], rule string) *pin {
	for p := e.pins[c]; p != nil; p = p.next {
		if p.group.rule == rule {
			return p
		}
	}
	return nil
}

// addPin notes that a connection asks for a pin.
func (e *Engine) addPin(c *conntrack.Conn[flow], r *tlsrules.Rule) *pin {
	p := &pin{c: c}
	p.group.rule, p.places, p.idle = r.Name, max(1, r.Pin.Connections), int64(r.Pin.Silence())
	p.session, p.sharing = r.Pin.To == tlsrules.PinSession, r.Pin.TLS13
	p.member = member{c.ID, ends{c.Addr(conntrack.Original), c.Addr(conntrack.Reply)}}
	if e.pins == nil {
		e.pins, e.holders = map[*conntrack.Conn[flow]]*pin{}, map[*holder]*pin{}
	}
	last := e.pins[c]
	if last == nil {
		e.pins[c] = p
	} else {
		for last.next != nil {
			last = last.next
		}
		last.next = p
	}
	c.Value.pinned = true
	return p
}

// claim takes the pins that the rules bound to a connection have, once their time
// has come, and reports whether it may go on.
func (e *Engine) claim(c *conntrack.Conn[flow]) bool {
	f := &c.Value
	facts := &f.ins.facts
	if e.cfg.Pins == nil || !f.ins.judgement.Pins() || facts.Server == nil || f.phase != reading {
		return true
	}
	for _, r := range e.policy.Bound(&f.ins.judgement) {
		if r.Pin == nil || r.Pin.To == tlsrules.PinSession && facts.Resumed == 0 {
			continue // of what is resumed the next message tells
		}
		p := e.pinOf(c, r.Name)
		if p == nil {
			p = e.addPin(c, r)
		}
		switch h := p.holder; {
		case p.waived:
		case h != nil && !h.awaited():
			if p.session && f.ins.resumption.hasTicket && p.origin != (origin{}) {
				p.resumable = true
				h.resumable.Store(true)
			}
		default:
			e.apply(p, r, f)
			if p.blind && r.UnseenAllow {
				p.waived = true
			} else if p.blind || !e.win(p) {
				e.violate(p)
			}
		}
		if f.phase != reading {
			return false
		}
	}
	return true
}

// apply fills in what a connection's hellos say of who it is.
func (e *Engine) apply(p *pin, r *tlsrules.Rule, f *flow) {
	facts := &f.ins.facts
	t := &f.ins.tls
	if v, ok := groupOf(r.Pin, facts); ok {
		p.group.values, p.blind = v, false
	} else {
		p.blind = p.group.values == ""
	}
	if t.HasClientHello {
		p.random = t.ClientHello.Random
		p.ids[0] = idKey(t.ClientHello.SessionID)
		p.who = clientKey(f.client(), t.ClientHello.ServerName)
		server := f.server()
		b := append(append([]byte(nil), p.who[:]...), server.String()...)
		p.who = tlswire.SessionKeyOf(b)
	}
	if !t.HasServerHello {
		return
	}
	p.ids[1] = idKey(t.ServerHello.SessionID)
	p.tls13 = t.ServerHello.TLS13()
	p.psk = p.tls13 && facts.Resumed != tlsrules.ResumedNo
	if p.tls13 {
		p.origin = originOf(&t.ClientHello.Random, &t.ServerHello.Random)
		p.resumable = p.session && p.sharing != tlsrules.PinTLS13Deny
		return
	}
	p.origin, _ = f.origin()
	known := p.origin != origin{}
	p.resumable = p.session && known && (len(t.ServerHello.SessionID) > 0 || f.ins.resumption.hasTicket || f.ins.resumption.from != nil)
}

// idKey stands for a session id; zero for none.
func idKey(id []byte) (k tlswire.SessionKey) {
	if len(id) > 0 {
		k = tlswire.SessionKeyOf(id)
	}
	return k
}

// win takes the pin if it can be had, and reports whether.
func (e *Engine) win(p *pin) bool {
	h, what := e.cfg.Pins.take(&p.applicant, e.now)
	switch what {
	case pinRefused:
		return false
	case pinOverload:
		e.unpinned(p)
		return true
	case pinShared:
		e.counts.PinsShared++
		p.told = PinShared
	default:
		if !h.weak() {
			e.counts.PinsTaken++
			p.told = PinTaken
		}
	}
	heard := p.heard
	if e.attachPin(p, h); h.weak() {
		p.heard = heard
	}
	return true
}

// unpinned decides a connection that should hold a pin, for which there is no room.
func (e *Engine) unpinned(p *pin) {
	const detail = "it would hold a pin, and there are more holders of pins than limits.pins allows"
	e.counts.PinsUnnoted++
	p.waived = true
	if p.c.Value.phase == reading {
		e.limit(p.c, tlsrules.ReasonLimitPins, detail)
	} else if d := (tlsrules.Decision{
		Decided: true, Final: true, Action: e.cfg.Overload, Reason: tlsrules.ReasonLimitPins, Index: -1, Observed: e.cfg.Default.Observe,
	}); d.Action != tlsrules.Accept && d.Observed {
		e.observe(p.c, d, detail)
	} else if d.Action != tlsrules.Accept {
		e.convict(p.c, d, detail)
	}
}

// attachPin gives a connection part in a holder.
func (e *Engine) attachPin(p *pin, h *holder) {
	e.detachPin(p)
	p.holder, p.had, p.heard = h, present, [2]bool{}
	p.over = p.over || p.c.State() == conntrack.TimeWait
	if p.after = e.holders[h]; p.after != nil {
		p.after.before = p
	}
	e.holders[h] = p
}

// detachPin ends the part that a connection has in a holder.
func (e *Engine) detachPin(p *pin) {
	h := p.holder
	if h == nil {
		return
	}
	if p.after != nil {
		p.after.before = p.before
	}
	switch {
	case p.before != nil:
		p.before.after = p.after
	case p.after != nil:
		e.holders[h] = p.after
	default:
		delete(e.holders, h)
	}
	p.before, p.after, p.holder = nil, nil, nil
}

// letGo ends a connection's part in a pin. Others may have it then, unless it is a
// session's that may be resumed.
func (e *Engine) letGo(p *pin) {
	h := p.holder
	if h == nil {
		return
	}
	e.detachPin(p)
	p.had, p.heard = goneEnded, [2]bool{}
	if last := h.part(p.member); last && !(h.session && h.resumable.Load()) && e.cfg.Pins.free(h, goneEnded) {
		e.counts.PinsReleased++
	}
}

// dropPins forgets all parts that a connection has in pins; it lets go of them, too,
// unless it is to keep them.
func (e *Engine) dropPins(c *conntrack.Conn[flow], keep bool) {
	if !c.Value.pinned {
		return
	}
	for p := e.pins[c]; p != nil; p = p.next {
		if keep {
			e.detachPin(p)
		} else {
			e.letGo(p)
		}
	}
	delete(e.pins, c)
	c.Value.pinned = false
}

// tied reports whether a pin asks for every packet of a connection.
func (e *Engine) tied(c *conntrack.Conn[flow]) bool {
	for p := e.pins[c]; p != nil; p = p.next {
		if !p.waived {
			return true
		}
	}
	return false
}

// owe has a connection that is accepted, and of which no ServerHello was read, ask
// for its pins with what it says: it began unseen, or a default has accepted it.
func (e *Engine) owe(c *conntrack.Conn[flow]) {
	f := &c.Value
	if e.cfg.Pins == nil || e.cfg.Recorded || f.ins == nil || f.ins.foreign() {
		return
	}
	facts, bound := &f.ins.facts, &f.ins.judgement
	if !f.provisional && !bound.Pins() {
		return
	}
	rules := e.policy.Bound(bound)
	if f.provisional {
		rules = e.policy.Pinning(facts)
	}
	for _, r := range rules {
		if r.Pin == nil {
			continue
		}
		p := e.pinOf(c, r.Name)
		if p != nil && (p.holder != nil || p.waived) || r.UnseenAllow && facts.Server == nil {
			continue
		}
		if p == nil {
			p = e.addPin(c, r)
		}
		e.apply(p, r, f)
	}
}

// foreign reports whether the connection is known not to speak TLS.
func (ins *inspection) foreign() bool {
	f := &ins.facts
	return f.Known.Has(tlsrules.StageFirstBytes) && f.Protocol != 0 && f.Protocol != tlswire.ProtocolTLS && f.Protocol != tlswire.ProtocolSSLv2
}

// restored gives a connection that began unseen the pins that it held when an
// earlier run ended, and reports whether there were any: then it was accepted.
func (e *Engine) restored(c *conntrack.Conn[flow]) bool {
	if e.cfg.Pins == nil || e.cfg.Pins.before.Load() == nil {
		return false
	}
	before := e.cfg.Pins.before.Load()
	for _, h := range (*before)[ends{c.Addr(conntrack.Original), c.Addr(conntrack.Reply)}] {
		i, r := e.policy.Named(h.group.rule)
		if i < 0 || r.Pin == nil || h.gone() != present || e.pinOf(c, r.Name) != nil {
			continue
		}
		p := e.addPin(c, r)
		p.group, p.random, p.origin, p.resumable = h.group, h.random, h.origin, h.resumable.Load()
		e.win(p)
	}
	return e.holdsPin(c) != ""
}

// underPins takes a packet of a connection that has part in pins, or asks for it. It
// reports whether the connection is refused at it.
func (e *Engine) underPins(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet, seg *packet.Parsed) (Result, bool) {
	f := &c.Value
	rst := seg.Flags.Has(packet.RST)
	brings := len(seg.Payload) > 0 && !rst && c.Acked(d).Less(seg.Seq.Add(seg.SegLen()))
	for q := e.pins[c]; q != nil; q = q.next {
		if !q.waived && !e.uses(q, d, seg, brings) {
			e.violate(q)
		}
		if f.phase == refused {
			return e.refuseLate(c, d, p, seg), true
		}
	}
	for q := e.pins[c]; q != nil; q = q.next {
		switch {
		case rst && c.State() == conntrack.Close:
			e.letGo(q)
		case c.State() == conntrack.TimeWait && !q.over: // else it goes on all the same
			q.over = true
			e.letGo(q)
		}
	}
	return Result{}, false
}

// refuseLate answers the packet at which a connection was refused that may not be
// read any more.
func (e *Engine) refuseLate(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet, seg *packet.Parsed) Result {
	f := &c.Value
	if s := &f.streams[d]; s.Started() {
		return e.refuse(c, d, p, seg, s.Next())
	}
	if f.sum.decision.Action != tlsrules.Drop {
		e.resetSender(c, d, seg)
		e.reset(c, d, seg.Seq, seg.Ack, true)
		if at := c.Acked(d); at != seg.Seq {
			e.reset(c, d, at, seg.Ack, true)
		}
		e.doom(c)
	}
	e.release(c)
	return e.dropRefused(c, p, seg)
}

// uses reports whether a packet may pass as far as a pin is concerned.
func (e *Engine) uses(q *pin, d conntrack.Direction, seg *packet.Parsed, brings bool) bool {
	h := q.holder
	if h != nil && !h.touch(e.now) {
		why := h.gone()
		e.detachPin(q)
		h.part(q.member)
		if q.had = why; !h.weak() {
			q.heard = [2]bool{true, true} // it lives
		}
		if why == goneMoved || why == goneFreed {
			return false
		}
		h = nil
	}
	switch {
	case h != nil && !h.weak():
		return true
	case h == nil && q.had == present && q.c.Value.phase == reading && !q.c.Value.provisional:
		return true // its ServerHello has yet to come
	}
	if !seg.Flags.Has(packet.RST) && !seg.Flags.Has(packet.SYN) {
		q.heard[d] = true
	}
	both := q.heard[0] && q.heard[1]
	switch {
	case !brings || h != nil && !both:
		return true
	case q.blind:
		return false
	}
	q.weak = !both
	won := e.win(q)
	q.weak = false
	return won
}

// violate refuses a connection that has no part in the pin of a rule, unless that is
// only observed.
func (e *Engine) violate(p *pin) {
	c := p.c
	f := &c.Value
	e.counts.PinsRefused++
	p.told = PinRefused
	if p.had == goneMoved {
		e.counts.PinsMoved++
	}
	i, r := e.policy.Named(p.group.rule)
	if i < 0 {
		p.waived = true
		return
	}
	facts := &tlsrules.Facts{}
	if f.ins != nil {
		facts = &f.ins.facts
	}
	d := e.policy.Violated(i, tlsrules.ReasonPinTaken, facts)
	if f.ins == nil {
		d.Stage = f.sum.decision.Stage
	}
	if p.had == goneMoved || p.had == goneFreed {
		d.Action = tlsrules.Reset
	}
	detail := e.takenText(p)
	if d.Observed {
		p.waived = true
		if r.Observe || f.phase != reading {
			e.observe(c, d, detail)
			return
		}
	}
	e.convict(c, d, detail)
}

// convict refuses a connection, whether it is still read or not.
func (e *Engine) convict(c *conntrack.Conn[flow], d tlsrules.Decision, detail string) {
	f := &c.Value
	if f.ins != nil {
		e.decide(c, d, detail)
		return
	}
	switch d.Action.Kind() {
	case tlsrules.Alert:
		e.counts.AlertsTooLate++
		d.Action, detail = tlsrules.Reset, detail+tooLateText
	case tlsrules.Refuse:
		e.refuseFrom(c, d)
	}
	f.sum.decision, f.sum.packet = d, packets(c)
	e.notice(NoticedVerdict)
	e.counts.Refused++
	e.tellDrop(c, detail)
	e.dropPins(c, false)
	f.phase, f.watched = refused, false
}
