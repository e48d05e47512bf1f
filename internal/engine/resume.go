package engine

import (
	"bytes"
	"net/netip"
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// resumption is what a connection's handshake tells about sessions. The zero
// resumption has been told nothing. It is reset with each ClientHello.
type resumption struct {
	from      *session // the one resumed, if it is known
	ticket    tlswire.SessionKey
	hasTicket bool // the server gave a new one
	kept      bool // the sessions that began here are remembered
	inferred  bool // TLS 1.3: from is the latest of the same client, server and name
}

// server is who has the sessions of a connection: the end that answers the
// ClientHello.
func (f *flow) server() netip.AddrPort {
	facts := &f.ins.facts
	if f.ins.tls.ClientHelloFrom == tlswire.Server {
		return netip.AddrPortFrom(facts.Source, facts.SourcePort)
	}
	return netip.AddrPortFrom(facts.Destination, facts.Port)
}

func (f *flow) client() netip.Addr {
	if f.ins.tls.ClientHelloFrom == tlswire.Server {
		return f.ins.facts.Destination
	}
	return f.ins.facts.Source
}

// asked takes what a ClientHello asks to resume. A session id that may be one of
// compatibility mode (RFC 8446, Appendix D.4) is one if the session is known.
func (e *Engine) asked(f *flow) {
	h := &f.ins.tls.ClientHello
	facts := &f.ins.facts
	f.ins.resumption = resumption{}
	facts.Resumes, facts.Resumed = h.Resumes(), 0
	facts.Chain, facts.CertExpired, facts.DHBits = nil, false, 0
	if facts.Resumes == 0 && len(h.SessionID) > 0 && e.bySessionID(f) != nil {
		facts.Resumes = tlswire.ResumesSessionID
	}
}

func (e *Engine) bySessionID(f *flow) *session {
	id := tlswire.SessionKeyOf(f.ins.tls.ClientHello.SessionID)
	return e.cfg.Sessions.find(serverOf(f.server(), bySessionID, id), e.now)
}

// answered concludes from a ServerHello whether a session is resumed. Up to TLS
// 1.2 the server echoes the session id of the client, which for a ticket it has
// made up (RFC 5077, Section 3.4); if it sent none, the next message tells.
func (e *Engine) answered(c *conntrack.Conn[flow]) {
	f := &c.Value
	h, s := &f.ins.tls.ClientHello, &f.ins.tls.ServerHello
	echoed := len(h.SessionID) > 0 && bytes.Equal(h.SessionID, s.SessionID)
	_, ticket := h.Ticket()
	switch {
	case !f.ins.tls.HasClientHello && !s.TLS13(): // what it asked for was not seen
	case s.TLS13() && s.PSK:
		f.ins.resumption.inferred = true
		e.resumed(f, e.cfg.Sessions.find(serverOf(f.server(), byClient, clientKey(f.client(), h.ServerName)), e.now))
	case s.TLS13():
		f.ins.facts.Resumed = tlsrules.ResumedNo
	case echoed:
		e.resumed(f, e.asksFor(f))
	case !ticket || len(h.SessionID) > 0:
		f.ins.facts.Resumed = tlsrules.ResumedNo
	}
}

// asksFor finds the session that a ClientHello of TLS 1.2 or before asks for: by its
// ticket if it has one, whatever session id stands next to it, for that is echoed either
// way.
func (e *Engine) asksFor(f *flow) *session {
	if ticket, ok := f.ins.tls.ClientHello.Ticket(); ok {
		return e.cfg.Sessions.find(serverOf(f.server(), byTicket, ticket), e.now)
	}
	return e.bySessionID(f)
}

// resumed takes the facts of a session that is resumed, nil if it is not known.
// One that goes on with another suite or version than it began with is not the
// one we know (RFC 5246, Section 7.4.1.3).
func (e *Engine) resumed(f *flow, x *session) {
	facts, s := &f.ins.facts, &f.ins.tls.ServerHello
	if x != nil && !s.TLS13() && (x.suite != s.CipherSuite || x.version != s.Version) {
		x = nil
	}
	f.ins.resumption.from = x
	facts.Resumed = tlsrules.ResumedKnown
	if x == nil {
		facts.Resumed = tlsrules.ResumedUnknown
	}
	e.countResumed(facts.Resumed)
	if s.TLS13() {
		return
	}
	if x == nil || x.chain == nil {
		facts.Never.Add(tlsrules.StageCertificate)
	}
	if x == nil {
		return
	}
	facts.DHBits = x.dhBits
	if x.chain != nil {
		facts.Chain = x.chain
		facts.CertExpired = x.chain[0].Expired(time.Unix(0, e.cfg.Wall.Time(e.now)))
		e.know(facts, tlsrules.StageCertificate)
	}
}

func (e *Engine) countResumed(r tlsrules.Resumed) {
	if r == tlsrules.ResumedKnown {
		e.counts.ResumedKnown++
	} else {
		e.counts.ResumedUnknown++
	}
}

// full notes that a message has come which only a full handshake has.
func (f *flow) full() {
	if facts := &f.ins.facts; facts.Resumed == 0 && f.ins.tls.HasServerHello {
		facts.Resumed = tlsrules.ResumedNo
	}
}

// abbreviated notes that the server goes on as only in a resumed handshake: with
// a ticket or its ChangeCipherSpec right behind the ServerHello.
func (e *Engine) abbreviated(f *flow) {
	if f.ins.facts.Resumed == 0 && f.ins.tls.HasServerHello {
		e.resumed(f, e.asksFor(f))
	}
}

// ticketGiven takes a NewSessionTicket (RFC 5077, Section 3.3). An empty one
// gives nothing.
func (f *flow) ticketGiven(ticket []byte) {
	if r := &f.ins.resumption; len(ticket) > 0 {
		r.ticket, r.hasTicket = tlswire.SessionKeyOf(ticket), true
	}
}

// origin names the session that a connection's handshake begins or resumes; false
// as long as that is open, and if one is resumed of which nothing is known.
func (f *flow) origin() (origin, bool) {
	t := &f.ins.tls
	switch from := f.ins.resumption.from; {
	case from != nil:
		return from.origin, true
	case f.ins.facts.Resumed == tlsrules.ResumedNo && t.HasServerHello:
		return originOf(&t.ClientHello.Random, &t.ServerHello.Random), true
	}
	return origin{}, false
}

// remember keeps the sessions that a connection has begun, which the policy has
// not refused, once its handshake is done. A resumed one hands on what is
// known of it to a new ticket. In TLS 1.3, where a connection may be left to the
// kernel before its handshake is done, the ServerHello is enough.
func (e *Engine) remember(c *conntrack.Conn[flow]) {
	f := &c.Value
	r, s := &f.ins.resumption, &f.ins.tls.ServerHello
	if e.cfg.Sessions == nil || r.kept || !f.ins.tls.HandshakeDone && !(f.ins.tls.HasServerHello && s.TLS13()) {
		return
	}
	r.kept = true
	facts := &f.ins.facts
	if facts.Resumed != tlsrules.ResumedNo && r.from == nil {
		return // of a session that began unseen nothing is known
	}
	keep := func(kind SessionKind, id tlswire.SessionKey) {
		x := &session{key: serverOf(f.server(), kind, id), suite: s.CipherSuite, version: s.Version}
		x.origin, _ = f.origin()
		if from := r.from; from != nil {
			x.began, x.chain, x.dhBits = from.began, from.chain, from.dhBits
		} else {
			x.began = Began{Connection: c.ID, Time: e.cfg.Wall.Time(e.now), Rule: f.ins.decision.Rule}
			x.chain, x.dhBits = facts.Chain, facts.DHBits
		}
		e.cfg.Sessions.keep(x, e.now)
	}
	switch {
	case s.TLS13():
		keep(byClient, clientKey(f.client(), f.ins.tls.ClientHello.ServerName))
		return
	case r.hasTicket:
		keep(byTicket, r.ticket)
	}
	if len(s.SessionID) > 0 && r.from == nil {
		keep(bySessionID, tlswire.SessionKeyOf(s.SessionID))
	}
}

// graceful reports whether a refusal is forgiven: the session resumed, or the one
// that up to now may be resumed, began before the policy could judge it, and the
// time of grace is not over.
func (e *Engine) graceful(f *flow) bool {
	resumed := f.ins.facts.Resumed
	return e.inGrace() && f.ins.tls.HasServerHello && (resumed == 0 || resumed == tlsrules.ResumedUnknown)
}

// forgive tells what would have been refused, and accepts it.
func (e *Engine) forgive(c *conntrack.Conn[flow], d tlsrules.Decision, detail string) {
	f := &c.Value
	f.graced = true
	e.counts.GraceResumed++
	d.Observed = true
	f.sum.decision, f.sum.packet = d, packets(c)
	e.tellDrop(c, detail)
	f.sum.packet = 0
	e.decide(c, tlsrules.Decision{Decided: true, Final: true, Action: tlsrules.Accept, Reason: tlsrules.ReasonGrace, Stage: d.Stage, Index: -1}, "")
}

// inGrace reports whether connections and sessions from before the start pass.
func (e *Engine) inGrace() bool { return e.now < e.began+int64(e.cfg.Grace) }

// begin notes when the first packet or tick comes: the time of grace counts from
// then, whatever policy gives it.
func (e *Engine) begin(now int64) {
	if e.began == 0 {
		e.began = now
	}
}
