package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/reassembly"
	"tlsgate/conntrack/seqnum"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// What does not begin as TLS does may come to speak it: it is listened to until
// both sides do, or cannot any more. While they only talk about it nothing is
// decided and nobody is in a hurry; once the connection is used in clear it is
// judged as what is not TLS, and what is accepted then is accepted until a
// ClientHello comes.

// clearLimit is how much may be remembered of clear text in each direction until
// it is acknowledged: a mail is sent as fast as the net carries it.
const clearLimit = 1 << 20

// listener gives something to listen with.
func (e *Engine) listener() *via.Conn {
	if n := len(e.listeners); n > 0 {
		v := e.listeners[n-1]
		e.listeners = e.listeners[:n-1]
		return v
	}
	return new(via.Conn)
}

// dismiss gives it back.
func (e *Engine) dismiss(f *flow) {
	if f.via == nil {
		return
	}
	f.via.Reset()
	if len(e.listeners) < maxSpare {
		e.listeners = append(e.listeners, f.via)
	}
	f.via = nil
}

// inClear reports whether what a side says next is listened to.
func (f *flow) inClear(from tlswire.Side) bool {
	return f.via != nil && !f.via.Began(from)
}

// talking reports whether both sides are in a dialogue in which TLS may begin.
func (f *flow) talking() bool {
	v := f.via
	return v != nil && v.Speaks() && !v.Began(tlswire.Client) && !v.Began(tlswire.Server)
}

// remembers is how much of a direction may be remembered.
func (e *Engine) remembers(f *flow) int {
	if f.phase == reading && f.via != nil {
		return max(clearLimit, e.cfg.Limits.PerConnection)
	}
	return e.cfg.Limits.PerConnection
}

// keeps is how much a stream may hold so that a segment at seq is taken. What is
// remembered of clear text does not count where segments come out of order.
func (e *Engine) keeps(f *flow, s *reassembly.Stream, seq seqnum.Value) int {
	if s.Next().Less(seq) {
		return e.cfg.Limits.PerConnection + min(s.Remembered(), e.remembers(f)-e.cfg.Limits.PerConnection)
	}
	return e.remembers(f)
}

// listen begins to listen, with what both sides have said so far.
func (e *Engine) listen(c *conntrack.Conn[flow], from tlswire.Side) {
	f := &c.Value
	f.via = e.listener()
	for _, s := range [...]tlswire.Side{from.Other(), from} {
		for b := f.ins.tls.Opening(s); len(b) > 0 && f.phase == reading && f.inClear(s); {
			n, st := f.via.Consume(s, b)
			b = b[n:]
			e.heard(c, s, st)
		}
	}
}

// heard turns what was come upon in clear text into facts, and judges them.
func (e *Engine) heard(c *conntrack.Conn[flow], from tlswire.Side, st via.Status) {
	f := &c.Value
	v := f.via
	if f.phase != reading {
		return
	}
	switch st {
	case via.NeedMore:
		if !f.talking() {
			return
		}
		if f.wary {
			e.ambiguous(c, tlsrules.ReasonTCPInvalid, urgentText)
			return
		}
		e.talked(c)
	case via.TLS:
		e.begins(c, from)
	case via.Clear:
		if !v.Began(tlswire.Client) && !v.Began(tlswire.Server) {
			e.usedInClear(c, false)
		}
	case via.Over:
		if v.Began(from.Other()) {
			e.notAnswered(c, from)
			return
		}
		e.usedInClear(c, true)
	case via.TooDeep:
		e.limit(c, tlsrules.ReasonLimitTunnels, "more tunnels lie in one another than are followed")
	case via.Twofold:
		if e.doubtful(c) { // what the server said is missing from the capture
			e.begins(c, from)
			return
		}
		e.ambiguous(c, tlsrules.ReasonEarlyTLS, earlyText)
	}
}

// dialogueLimit is how much of a dialogue passes, its packets and both directions
// counted, where the connection is only to be told in an alert that it is refused.
const dialogueLimit = 16 << 10

// talked has a dialogue take its time, but for one that leads to a refusal at most: a
// server that helps would say in it what it likes.
func (e *Engine) talked(c *conntrack.Conn[flow]) {
	switch {
	case !c.Value.ins.condemned:
		e.stopClock(c)
	case c.Bytes[conntrack.Original]+c.Bytes[conntrack.Reply] > dialogueLimit:
		e.refuseCondemned(c)
	}
}

const earlyText = "TLS came before the server agreed to it: servers differ in what of it they read"

// begins reads a side as TLS from here on.
func (e *Engine) begins(c *conntrack.Conn[flow], from tlswire.Side) {
	f := &c.Value
	t, v := &f.ins.tls, f.via
	t.Begin(from)
	f.ins.facts.Via = v.Kinds
	e.startClock(c)
	for b := v.Opening(from); len(b) > 0 && f.phase == reading; {
		n, _, status := t.Consume(from, b)
		e.aside(c, from, b[:n])
		b = b[n:]
		e.learn(c, conntrack.Direction(from), status)
	}
}

// aside tells the listener of the TLS of one side while the other one speaks none.
func (e *Engine) aside(c *conntrack.Conn[flow], from tlswire.Side, b []byte) {
	f := &c.Value
	v := f.via
	switch {
	case v == nil || v.Began(from.Other()):
	case from == tlswire.Client:
		if v.Ahead(b, f.ins.tls.Between(from)) && f.phase == reading && !e.doubtful(c) {
			e.ambiguous(c, tlsrules.ReasonEarlyTLS, earlyText)
		}
	default:
		v.Turn()
	}
}

// began tells how TLS began, the last of what came before it.
func (f *flow) began() via.Kind {
	switch {
	case f.ins == nil:
		return f.sum.via
	case f.via != nil:
		return f.via.Kind
	case f.ins.facts.Via.Has(via.Direct):
		return via.Direct
	}
	return 0
}

// usedInClear judges a connection that is used without TLS; over: there can be
// none any more.
func (e *Engine) usedInClear(c *conntrack.Conn[flow], over bool) {
	f := &c.Value
	facts := &f.ins.facts
	judged := facts.Known.Has(tlsrules.StageFirstBytes)
	if !judged {
		if facts.Protocol = f.ins.tls.Protocol; facts.Protocol == 0 {
			facts.Protocol = tlswire.ProtocolUnknown
		}
		e.notice(NoticedNotTLS)
		e.know(facts, tlsrules.StageFirstBytes)
		missed(facts)
	}
	over = over || f.trusted
	f.provisional, f.complete = !over, f.complete || over
	e.stopClock(c)
	if judged {
		e.advance(c)
		return
	}
	e.judge(c)
}

// notAnswered decides a connection whose ClientHello is answered, by from, with
// something that is not TLS: by who called, where the end that was called plays the TLS
// client, as of FTP's data (RFC 4217, Section 7). A server that does not take it for one may take another later:
// what a rule says of the hello does not help.
func (e *Engine) notAnswered(c *conntrack.Conn[flow], from tlswire.Side) {
	f := &c.Value
	if e.doubtful(c) {
		e.blind(c, conntrack.Direction(from))
		return
	}
	if f.trusted {
		f.complete = true
		e.advance(c)
		return
	}
	e.circumstance(c, e.cfg.Default.Malformed, tlsrules.ReasonMalformedRecord, "the ClientHello is answered by something that is not TLS")
}

// tells reports whether urgent data of a client tells nothing new in clear text.
// FTP's ABOR is sent so (RFC 959, Section 4.1.3): receivers may leave out one of
// the bytes, but none of them is of TLS, and where the next one stands is looked
// at in any case.
func tells(f *flow, d conntrack.Direction, seg *packet.Parsed) bool {
	if d == conntrack.Reply {
		return false
	}
	outside := int(seg.Urgent) > len(seg.Payload)
	if !f.via.Speaks() { // yet
		f.wary = f.wary || outside
		f.via.Turn()
		return false
	}
	if outside || len(seg.Payload) == 0 {
		return true
	}
	for _, v := range seg.Payload {
		if v < ' ' && v != '\r' && v != '\n' || v >= 0x7f && v < 0xf0 {
			return true
		}
	}
	f.via.Turn()
	return false
}
