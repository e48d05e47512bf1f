package engine

import (
	"net/netip"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// beginMidstream fills the value of a connection that began unseen. What an
// earlier run of this program decided stands in the mark, but of a SYN-ACK it is
// what was decided of another connection on the same ports.
func (e *Engine) beginMidstream(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet, seg *packet.Parsed) {
	e.counts.Midstream++
	m := e.cfg.Marks
	switch has := p.Mark & m.Mask(); {
	case seg.Flags.Has(packet.SYN):
	case m.Kind(has) == nfq.Accepted && has == e.accepts():
		e.earlier(c, decided, tlsrules.Accept)
		e.doubt(c, p)
		return
	case m.Kind(has) == nfq.Accepted && e.again.former(m.Generation(has)):
		e.earlier(c, decided, tlsrules.Accept)
		e.doubt(c, p)
		c.Value.devices[d], c.Value.devices[d.Other()] = p.InDev, p.OutDev
		c.Value.adoption--
		e.renew(c, d, seg)
		return
	case m.Kind(has) == nfq.Refused:
		e.earlier(c, refused, tlsrules.Reset)
		return
	}
	e.attach(c, d, p)
	f := &c.Value
	// It says where both begin, unless it goes back to where it came from: then it may be
	// the client's.
	f.answered = seg.Flags.Has(packet.SYN) && !goesBack(p)
	if m.Mask() != 0 && p.Mark&m.Mask() == m.Held() && !seg.Flags.Has(packet.SYN) && e.stillHeld(c) {
		return
	}
	lost := lostStream
	if f.answered {
		lost = lostSYN
	}
	if e.lost(c, lost) {
		e.counts.Forgotten++
		if e.ambiguous(c, tlsrules.ReasonForgotten, forgottenText) {
			return
		}
	}
	mode := e.cfg.Default.Midstream
	if e.restored(c) {
		mode = MidstreamAccept
	} else if mode != MidstreamAccept && e.inGrace() {
		mode, f.graced = MidstreamAccept, true
		e.counts.GraceMidstream++
	}
	if f.answered && (mode == MidstreamAccept || mode == MidstreamInspect) {
		if !e.refusedEarlier(c) { // nothing was missed but the SYN
			e.judgeFirst(c)
		}
		return
	}
	switch mode {
	case MidstreamAccept:
		// Accepted for now: a ClientHello in it is judged as any other.
		f.provisional = true
		f.ins.decision = tlsrules.Decision{Decided: true, Final: true, Action: tlsrules.Accept, Reason: tlsrules.ReasonMidstream}
		e.owe(c)
	case MidstreamInspect:
		missed(&f.ins.facts)
		f.ins.facts.Never.Add(tlsrules.StageFirstBytes)
		e.judgeFirst(c)
		f.provisional = f.phase == reading
		e.owe(c)
	case MidstreamReset:
		e.circumstance(c, tlsrules.Reset, tlsrules.ReasonMidstream, "its beginning was not seen")
	default:
		e.circumstance(c, tlsrules.Drop, tlsrules.ReasonMidstream, "its beginning was not seen")
	}
}

// goesBack reports whether a packet leaves by the interface that it came by: its sender may
// be where its receiver is.
func goesBack(p *nfq.Packet) bool { return p.InDev == p.OutDev && p.InDev != 0 }

// doubt has the numbers of a connection that an earlier run has accepted count for what
// its packets say, without a check: its first may not be its own, and where it is left to
// the kernel most are not seen.
func (e *Engine) doubt(c *conntrack.Conn[flow], p *nfq.Packet) {
	if e.cfg.Offload || goesBack(p) {
		c.Loosen()
	}
}

// earlier fills the value of a connection that an earlier run has decided.
func (e *Engine) earlier(c *conntrack.Conn[flow], p phase, a tlsrules.Action) {
	c.Value = flow{lasting: lasting{phase: p, complete: true, told: true, barred: p == refused, adoption: e.adoption}, rec: c.Value.rec}
	c.Value.sum.decision = tlsrules.Decision{Decided: true, Final: true, Action: a, Reason: tlsrules.ReasonMidstream}
}

// afterwards notes that a segment comes behind the end of a decided connection that began
// unseen: its server may begin another with it. But where another is asked for on its ports
// who was asked may have it still, and has to be able to say so (RFC 9293, Section
// 3.10.7.4), or those ports are of no use as long: with an acknowledgement he begins nothing.
func (e *Engine) afterwards(c *conntrack.Conn[flow], seg *packet.Parsed) {
	data := seg.PayloadLen() > 0
	if seg.Flags&(packet.SYN|packet.RST) != 0 || seg.Flags.Has(packet.FIN) && !data || !e.mayBeYoung(endsOf(c)) {
		return
	}
	says := !data && c.Asked(e.stories.dir) && e.in != e.out
	e.reborn = e.reborn || !says
}

// mayBeYoung reports whether of a connection that is not in the table, or began unseen,
// a SYN cookie may be good: its SYN came before this run, or it had to make room.
func (e *Engine) mayBeYoung(ends [2]netip.AddrPort) bool {
	return e.now-e.began <= conntrack.CookieAge || e.returning.has(ends, lostStream, e.now)
}
