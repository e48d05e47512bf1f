package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/reassembly"
	"tlsgate/conntrack/seqnum"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// acknowledge lets go of what a packet in direction d has acknowledged: its
// sender has those bytes, no later packet can change them.
func (e *Engine) acknowledge(c *conntrack.Conn[flow], d conntrack.Direction) {
	f := &c.Value
	s := &f.streams[d.Other()]
	if !s.Started() || f.unread(d.Other()) {
		return
	}
	switch acked := c.Acked(d.Other()); {
	case !acked.LessEq(c.Sent(d.Other())):
	case f.phase == settling && !f.watched && s.Next().LessEq(acked): // whatever was kept, or could not be
		s.Release(&e.budget)
		s.Start(acked)
	case e.cfg.Recorded && s.Next().Less(answered(c, d.Other(), acked)):
		e.awaited(c, d.Other(), answered(c, d.Other(), acked))
	case unseen(c) && f.provisional && s.Next().Less(acked):
		// Bytes from before we were here: what follows them is read as a beginning.
		f.summarise()
		if t, from := &f.ins.tls, side(d); t.Started(from) || !t.Between(from) {
			t.Begin(from.Other()) // whose acknowledgement it is goes on where it is
		} else {
			t.Reset()
		}
		f.ins.facts.Server = nil // of a ServerHello that is forgotten
		s.Leap(acked, &e.budget)
	case e.cfg.Lossy && s.Next().Less(acked) && d == conntrack.Original && f.phase == reading:
		// The client may lie: what the server says next tells.
		s.Leap(acked, &e.budget)
	case e.cfg.Lossy && s.Next().Less(acked):
		e.missedSome(c)
		s.Release(&e.budget)
		s.Start(acked)
	default:
		s.Acknowledge(acked, &e.budget)
	}
}

// missedSome accepts a connection of which the queue was full and let bytes pass:
// nothing certain can be said.
func (e *Engine) missedSome(c *conntrack.Conn[flow]) {
	e.counts.Unread++
	e.circumstance(c, tlsrules.Accept, tlsrules.ReasonMidstream, "")
}

// unleap judges a segment behind bytes that only an acknowledgement says have
// passed. They have if their sender goes on behind them. If it says them now they
// are unread, and who acknowledged them might take them still.
func (e *Engine) unleap(c *conntrack.Conn[flow], d conntrack.Direction, seq seqnum.Value) {
	f := &c.Value
	switch {
	case f.phase != reading || f.provisional || e.cfg.Recorded:
	case seq.Less(c.Acked(d)):
		e.ambiguous(c, tlsrules.ReasonTCPInvalid, leaptText)
	case e.cfg.Lossy && !c.Midstream:
		e.missedSome(c)
	}
}

const leaptText = "it was acknowledged before it was said"

// read takes the new bytes of a segment and judges what they say. A segment
// passes only if it was read, or kept to be read with the one that fills the
// gap before it.
func (e *Engine) read(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet, seg *packet.Parsed) Result {
	f := &c.Value
	s := e.stream(c, d)
	e.look(c, d, seg)
	if f.phase == refused { // by what its first packet says
		return e.refuse(c, d, p, seg, c.ISS(d).Add(1))
	}
	// Without data too: the pointer is to a byte yet to come.
	if seg.Flags.Has(packet.URG) && !seg.Flags.Has(packet.RST) && f.phase == reading && e.mayTell(f, d, seg) {
		if e.ambiguous(c, tlsrules.ReasonTCPInvalid, urgentText) {
			return e.refuse(c, d, p, seg, s.Next())
		}
	}
	if seg.PayloadLen() == 0 || seg.Flags.Has(packet.RST) || f.unread(d) { // nobody reads the text of an RST
		return e.passOn(c, p)
	}
	if !s.Started() { // where it begins is not certain yet; it comes again
		return e.drop(DropUnkept)
	}
	if f.phase == reading {
		e.startClock(c)
	}
	if e.cfg.Recorded && f.reads() && e.before(c, d, seg) {
		return e.passOn(c, p)
	}
	seq, before := seg.Seq, s.Next()
	if seg.Flags.Has(packet.SYN) {
		seq = seq.Add(1)
	}
	if s.Leapt() {
		if e.unleap(c, d, seq); f.phase == refused {
			return e.refuse(c, d, p, seg, before)
		}
	}
	switch e.offer(c, d, seq, seg) {
	case reassembly.Refused:
		if f.unread(d) {
			return e.passOn(c, p)
		}
		return e.unkept(c, d, p, seg, before)
	case reassembly.Overlap:
		e.counts.Overlaps++
		if f.phase != decided && e.ambiguous(c, tlsrules.ReasonTCPOverlap, overlapText) {
			return e.refuse(c, d, p, seg, before)
		}
		return e.passOn(c, p)
	case reassembly.InOrder:
		e.drain(c, d)
	}
	if e.cfg.Recorded {
		e.behind(c, d, seq, seg)
		e.resume(c)
	}
	if f.phase == refused {
		return e.refuse(c, d, p, seg, before)
	}
	return e.passOn(c, p)
}

const urgentText = "urgent data before the handshake was read: receivers differ in which byte they leave out"

const twoNamesText = "its server name holds what ends the name for some servers, or what some leave out"

const overlapText = "a segment changes bytes that were read and not yet acknowledged"

// stream gives the stream of a direction, started once its beginning is certain.
func (e *Engine) stream(c *conntrack.Conn[flow], d conntrack.Direction) *reassembly.Stream {
	s := &c.Value.streams[d]
	if !s.Started() && c.HasISS(d) {
		s.Start(c.ISS(d).Add(1))
	}
	return s
}

// mayTell reports whether urgent data may change what is read: of a handshake, or
// of what is said before it.
func (e *Engine) mayTell(f *flow, d conntrack.Direction, seg *packet.Parsed) bool {
	if f.inClear(side(d)) {
		return tells(f, d, seg)
	}
	return f.ins.tls.Phase < tlswire.PhaseHandshakeDone && !f.ins.facts.Never.Has(tlsrules.StageClientHello)
}

// unkept answers a segment that can be neither read nor kept for reading.
func (e *Engine) unkept(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet, seg *packet.Parsed, before seqnum.Value) Result {
	f := &c.Value
	if f.phase != reading { // nothing of it will be judged
		return e.passOn(c, p)
	}
	e.counts.Unkept++
	if e.cfg.Overload == tlsrules.Drop && !e.cfg.Default.Observe {
		e.counts.Hit.bound(tlsrules.ReasonLimitBuffered)
		return e.drop(DropUnkept)
	}
	e.limit(c, tlsrules.ReasonLimitBuffered, "its segments out of order are more than limits.per_connection or limits.buffered allow to keep")
	if f.phase == refused {
		return e.refuse(c, d, p, seg, before)
	}
	return e.passOn(c, p)
}

// oneSegment is what one segment of 64 KiB can add to what is remembered: with
// GSO a whole chain of certificates comes in one, however little limits allow.
const oneSegment = 80 << 10

// consume reads one contiguous piece. What the decoder reads is remembered
// until it is acknowledged; the inside of records it skips is not.
func (e *Engine) consume(c *conntrack.Conn[flow], d conntrack.Direction, at seqnum.Value, b []byte) {
	f := &c.Value
	from := side(d)
	for len(b) > 0 && f.reads() && !f.unread(d) {
		var n int
		var opaque bool
		var status tlswire.Status
		var heard via.Status
		clear := f.inClear(from)
		if clear {
			n, heard = f.via.Consume(from, b)
		} else {
			if c.Midstream && f.answersText(from) {
				f.ins.tls.Begin(from)
			}
			n, opaque, status = f.ins.tls.Consume(from, b)
		}
		switch {
		case f.phase != reading: // nothing of it will be judged
		case opaque || f.streams[d].Remember(at, b[:n], 2*e.remembers(f)+oneSegment, &e.budget):
		case e.cfg.Recorded: // of one direction nothing is ever acknowledged
			f.streams[d].Forget(&e.budget)
		default:
			e.limit(c, tlsrules.ReasonLimitBuffered, "more of its handshake is not acknowledged than limits allow to remember")
			return
		}
		if e.crowded(f) {
			if f.phase == reading {
				e.limit(c, tlsrules.ReasonLimitBuffered, "a handshake message is only partly there, and there are more of those than limits.buffered allows")
			}
			f.watched = false
			return
		}
		piece := b[:n]
		at, b = at.Add(uint32(n)), b[n:]
		searches := len(e.policy.Patterns()) > 0
		if searches {
			e.search(c, from, piece)
		}
		if clear {
			e.heard(c, from, heard)
		} else {
			if f.via != nil {
				e.aside(c, from, piece)
			}
			e.learn(c, d, status)
			if status == tlswire.Record {
				e.reached(c, d, at.Sub(tlswire.RecordHeaderLen))
			}
		}
		if searches {
			e.search(c, from, nil)
		}
		if f.rec != nil {
			e.hush(c)
		}
	}
}

// reads reports whether what comes is given to the decoder.
func (f *flow) reads() bool { return f.phase == reading || f.watched }

// modest is what a connection may hold of messages that are partly there while
// others still find room: a hello, and a chain of the usual length.
const modest = 16 << 10

// crowded reports whether there is no room for what a connection holds of
// messages that are partly there. They have as much as limits.buffered again,
// those who hold more than most half of it.
func (e *Engine) crowded(f *flow) bool {
	all := e.buffers.Held()
	return all > e.cfg.Limits.Buffered/2 && (all > e.cfg.Limits.Buffered || f.ins.tls.Held() > modest) && f.ins.tls.Held() > 0
}

// learn turns what the decoder has come upon into facts, and judges them.
func (e *Engine) learn(c *conntrack.Conn[flow], d conntrack.Direction, status tlswire.Status) {
	f := &c.Value
	t, facts := &f.ins.tls, &f.ins.facts
	from := side(d)
	if f.phase != reading {
		if status == tlswire.Alert {
			f.sum.alerts.Add(from, t.LastAlert)
		}
		return
	}
	f.noRecord()
	switch status {
	case tlswire.NotTLS:
		e.notTLS(c, from)
		return
	case tlswire.Malformed:
		e.malformed(c, from)
		return
	case tlswire.Record:
		facts.Protocol = speaks(t)
		e.noticeRecord(facts, t.Header[from].Content, t.Records[from].Of(tlswire.RecordTypeApplicationData) == 1)
		e.know(facts, tlsrules.StageFirstBytes)
		e.know(facts, tlsrules.StageRecords)
		e.direct(c)
		facts.Content = t.Header[from].Content
		if facts.Content == tlswire.ChangeCipherSpec && t.HasServerHello {
			e.changeCipherSpec(c, from)
		}
		f.complete = f.complete || t.HandshakeDone
	case tlswire.Message:
		if !e.message(c, from) {
			return
		}
	case tlswire.Alert:
		facts.Alert, facts.HasAlert = t.LastAlert, true
		e.notice(NoticedAlert)
		f.sum.alerts.Add(from, t.LastAlert)
	default:
		return
	}
	if f.provisional && facts.Client == nil {
		return // accepted until a ClientHello says otherwise
	}
	e.judge(c)
}

// noRecord takes the facts that stand however little the decoder came upon: what
// comes next is neither a record nor an alert before it is seen.
func (f *flow) noRecord() {
	t, facts := &f.ins.tls, &f.ins.facts
	facts.Content, facts.HasAlert = 0, false
	facts.Group, facts.GroupSettled = t.ServerGroup, facts.GroupSettled || t.GroupSettled
	facts.Renegotiates = t.Renegotiates()
	if t.DHBits != 0 {
		facts.DHBits = t.DHBits
	}
}

// speaks is the protocol of a side that sends records, whatever the other side
// said first.
func speaks(t *tlswire.Conn) tlswire.Protocol {
	if t.Protocol == tlswire.ProtocolSSLv2 {
		return t.Protocol
	}
	return tlswire.ProtocolTLS
}

// direct notes that TLS began with the first byte, unless it was seen to begin
// otherwise, or its beginning was not seen.
func (e *Engine) direct(c *conntrack.Conn[flow]) {
	if facts := &c.Value.ins.facts; facts.Via == 0 && !unseen(c) && c.Value.via == nil {
		facts.Via.Add(via.Direct)
	}
}

// know marks a stage's facts as known; one that was given up before (the side
// that spoke first did not speak TLS) counts again.
func (e *Engine) know(f *tlsrules.Facts, s tlsrules.Stage) {
	f.Known.Add(s)
	f.Never.Remove(s)
}

// message takes the facts of a handshake message, and reports whether there is
// anything new to judge by.
func (e *Engine) message(c *conntrack.Conn[flow], from tlswire.Side) bool {
	f := &c.Value
	t, facts := &f.ins.tls, &f.ins.facts
	facts.Protocol = speaks(t)
	e.noticeMessage(t)
	e.direct(c)
	if e.wordy(f) {
		e.limit(c, tlsrules.ReasonLimitBuffered, "its hellos say more than most do, and there is more of that than limits.buffered allows")
		return false
	}
	switch t.LastMessage.Type {
	case tlswire.TypeClientHello:
		e.clientHello(c)
		if e.policy.TwoNames(&t.ClientHello) {
			e.ambiguous(c, tlsrules.ReasonTwoNames, twoNamesText)
			return false
		}
	case tlswire.TypeServerHello:
		if !t.HasClientHello && !beganUnseen(c, from) && !e.cfg.Recorded && !e.cfg.Lossy {
			e.circumstance(c, e.cfg.Default.Malformed, tlsrules.ReasonMalformedHandshake, "handshake message: a ServerHello before the ClientHello has ended")
			return false
		}
		if t.ServerHello.Retry {
			return false // the second ClientHello is judged again
		}
		facts.Server = &t.ServerHello
		e.know(facts, tlsrules.StageServerHello)
		e.answered(c)
		if t.Version >= tlswire.VersionTLS13 {
			facts.Never.Add(tlsrules.StageCertificate)
			e.allSaid(c)
		}
	case tlswire.TypeCertificate:
		return e.certificate(c, from)
	case tlswire.TypeServerKeyExchange:
		f.full()
		e.uncertified(f)
	case tlswire.TypeCertificateRequest:
		f.full()
		e.uncertified(f)
		e.certificateRequest(f)
	case tlswire.TypeServerHelloDone:
		f.full()
		e.uncertified(f)
		e.allSaid(c)
	case tlswire.TypeClientKeyExchange:
		f.unanswered = false
	case tlswire.TypeNewSessionTicket:
		e.abbreviated(f)
		e.uncertified(f)
		if t, ok := tlswire.ParseSessionTicket(t.Message()); ok {
			f.ticketGiven(t.Ticket)
		}
	default:
		return false
	}
	return true
}

// changeCipherSpec notes that a side says no more in clear. If it is the server
// before its ServerHelloDone, the session is resumed.
func (e *Engine) changeCipherSpec(c *conntrack.Conn[flow], from tlswire.Side) {
	if f := &c.Value; from != f.ins.tls.ClientHelloFrom {
		e.abbreviated(f)
		e.uncertified(f)
		e.allSaid(c)
	} else {
		f.unanswered = false
	}
}

// clientHello begins the judgement anew: a second hello (after a
// HelloRetryRequest, or in a renegotiation) may say other things.
func (e *Engine) clientHello(c *conntrack.Conn[flow]) {
	f := &c.Value
	facts := &f.ins.facts
	if facts.Client == nil {
		e.counts.TLSConnections++
	}
	f.provisional, f.said = false, false
	f.ins.judgement.Again()
	f.ins.decision = tlsrules.Decision{}
	e.startClock(c)
	facts.Client, facts.Server = &f.ins.tls.ClientHello, nil
	facts.Group, facts.GroupSettled = 0, false
	facts.Never, facts.Known = 0, 0
	facts.Known.Add(tlsrules.StageSYN, tlsrules.StageFirstBytes, tlsrules.StageClientHello)
	e.asked(f)
}

// allSaid notes that the handshake has told what there is to tell of it. Up to
// TLS 1.2 it is read on to its end: until then an alert would be in clear.
func (e *Engine) allSaid(c *conntrack.Conn[flow]) {
	f := &c.Value
	f.ins.facts.GroupSettled = true
	f.said = true
	f.complete = f.complete || f.ins.tls.Version >= tlswire.VersionTLS13
}

// notTLS judges a connection one of whose sides does not begin as TLS does.
// When it is the side that was called which spoke first, the caller may still
// begin with a ClientHello: what is accepted now is accepted until then.
func (e *Engine) notTLS(c *conntrack.Conn[flow], from tlswire.Side) {
	f := &c.Value
	facts := &f.ins.facts
	if f.unsure() || f.ins.tls.HasClientHello && e.doubtful(c) {
		e.blind(c, conntrack.Direction(from))
		return
	}
	switch t := &f.ins.tls; {
	case t.HasClientHello, t.Started(from.Other()) && !f.provisional:
		e.notAnswered(c, from) // or bytes before it
		return
	case !unseen(c) && f.via == nil && t.Protocol != tlswire.ProtocolSSLv2:
		e.listen(c, from)
		return
	}
	if f.provisional {
		t, other := &f.ins.tls, from.Other() // which side is which may be a guess
		f.provisional = from == tlswire.Server || t.Started(other) && t.Header[other].Type != tlswire.RecordTypeApplicationData
		f.complete = f.complete || !f.provisional
		e.advance(c)
		return
	}
	facts.Protocol = f.ins.tls.Protocol
	e.notice(NoticedNotTLS)
	e.know(facts, tlsrules.StageFirstBytes)
	missed(facts)
	f.provisional = from == tlswire.Server
	f.complete = !f.provisional
	if f.provisional {
		e.stopClock(c)
	}
	e.judge(c)
}

// unseen reports whether a connection may have said something before the first packet of
// it that was seen.
func unseen(c *conntrack.Conn[flow]) bool { return c.Midstream && !c.Value.answered }

// beganUnseen reports whether a ServerHello may answer a ClientHello that nobody saw: of a
// connection whose SYN alone was missed that one can have been on it (RFC 7413), if the
// other side has begun with none behind it.
func beganUnseen(c *conntrack.Conn[flow], from tlswire.Side) bool {
	return unseen(c) || c.Midstream && !c.Value.ins.tls.Started(from.Other())
}

// answersText reports whether a side that spoke in clear before a ClientHello, in a
// connection that began unseen, is about to answer that: the end of what STARTTLS or a
// proxy was asked for has been seen, and not its beginning.
func (f *flow) answersText(from tlswire.Side) bool {
	t := &f.ins.tls
	return f.phase == reading && t.HasClientHello && !t.HasServerHello && t.ClientHelloFrom != from && t.NotTLS(from)
}

// missed gives up what only a TLS handshake from its beginning would tell.
func missed(f *tlsrules.Facts) {
	f.Never.Add(tlsrules.StageClientHello, tlsrules.StageServerHello, tlsrules.StageCertificate, tlsrules.StageRecords)
	f.GroupSettled = true
}
