package engine

import (
	"net/netip"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// refuse answers the packet at which a connection was refused. before is where
// its direction's stream stood without it: the next byte its receiver expects.
func (e *Engine) refuse(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet, seg *packet.Parsed, before seqnum.Value) Result {
	f := &c.Value
	if f.sum.decision.Action != tlsrules.Drop {
		a := f.alert
		if a != nil {
			e.sendAlert(c, d, seg)
		}
		if a == nil || d == a.to {
			e.resetSender(c, d, seg)
		}
		if (a == nil || d != a.to) && f.streams[d].Started() && !seg.Flags.Has(packet.SYN) {
			e.reset(c, d, e.expects(c, d, before), seg.Ack, seg.Flags.Has(packet.ACK))
		}
		e.doom(c)
	}
	e.release(c)
	return e.dropRefused(c, p, seg)
}

// refuseNow refuses a connection between packets: its time is up.
func (e *Engine) refuseNow(c *conntrack.Conn[flow]) {
	f := &c.Value
	if f.sum.decision.Action != tlsrules.Drop {
		for d := conntrack.Original; d <= conntrack.Reply; d++ {
			if f.alert != nil && d == f.alert.to {
				e.sendAlert(c, d, nil)
			} else if s := e.stream(c, d); s.Started() {
				e.reset(c, d, e.expects(c, d, s.Next()), c.Acked(d.Other()), true)
			}
		}
		e.doom(c)
	}
	e.release(c)
}

// refusedAgain answers a later packet of a refused connection. An RST of ours
// may have been lost or come too early; the sender's own acknowledgement says
// exactly which number it accepts (RFC 9293, Section 3.10.7.1).
func (e *Engine) refusedAgain(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet, seg *packet.Parsed) Result {
	a := c.Value.alert
	if seg.Flags.Has(packet.RST) {
		if a != nil && d != a.to {
			e.unread.remove(a) // it has ended the connection itself
		}
		e.gone(c, d)
		if a != nil && d == a.to {
			return e.dropRefused(c, p, seg) // some clients would forget the alert for it
		}
		return e.pass(p)
	}
	if asksForAnother(c, d, seg) || fallsBack(c, seg) {
		if !c.Value.sum.decision.Reason.Passing() {
			return e.pass(p)
		}
		e.table.GiveWay(c)
		return e.track(p, seg)
	}
	switch {
	case c.Value.sum.decision.Action == tlsrules.Drop:
	case a != nil && d != a.to:
		e.answerAlerted(c, seg)
	default:
		e.resetSender(c, d, seg)
	}
	return e.dropRefused(c, p, seg)
}

// asksForAnother reports whether a segment is a SYN for another connection on the
// ports of a refused one. What a SYN alone was refused for holds for any other.
func asksForAnother(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) bool {
	if !seg.Flags.Has(packet.SYN) || seg.Flags.Has(packet.ACK) || len(seg.Payload) > 0 {
		return false
	}
	if c.HasISS(d) && seg.Seq == c.ISS(d) {
		return false // its own, again
	}
	decision := &c.Value.sum.decision
	return c.State() != conntrack.SynSent || decision.Stage != tlsrules.StageSYN ||
		decision.Reason.Passing() || decision.Reason == tlsrules.ReasonKilled
}

// fallsBack reports whether a SYN that was refused as Multipath TCP's comes again as a
// plain one.
func fallsBack(c *conntrack.Conn[flow], seg *packet.Parsed) bool {
	return c.Value.sum.decision.Reason == tlsrules.ReasonMPTCP && !seg.MPTCP && seg.Flags&(packet.SYN|packet.ACK) == packet.SYN
}

// beginsMultipath reports whether a segment asks for Multipath TCP. A server that keeps
// nothing of a SYN is asked by the third packet (RFC 8684, Section 3.1).
func beginsMultipath(seg *packet.Parsed) bool {
	return seg.MPTCP && (seg.MPTCPBegins || seg.Flags.Has(packet.SYN))
}

// multipath reports whether a segment asks for it where the policy refuses it.
func (e *Engine) multipath(seg *packet.Parsed) bool {
	return beginsMultipath(seg) && e.cfg.MPTCP == MPTCPRefuse
}

// barsMultipath refuses a new connection that asks for it.
func (e *Engine) barsMultipath(c *conntrack.Conn[flow], seg *packet.Parsed) bool {
	return e.multipath(seg) && e.bar(c, tlsrules.Decision{Decided: true, Final: true, Action: tlsrules.Reset, Reason: tlsrules.ReasonMPTCP, Index: -1}, multipathText)
}

const multipathText = `its SYN asks for Multipath TCP, and default.mptcp = "refuse": without it the client gets through`

// dropRefused drops a packet of a refused connection; the first one carries
// the refusal into the kernel's connection mark, where it outlives us. What is
// refused for an earlier refusal is so for a while only, and for Multipath TCP as long as
// it asks for that: neither leaves a mark on its ports.
func (e *Engine) dropRefused(c *conntrack.Conn[flow], p *nfq.Packet, seg *packet.Parsed) Result {
	why := c.Value.sum.decision.Reason
	if why == tlsrules.ReasonMPTCP {
		e.counts.Dropped[DropMPTCP]++
	} else {
		e.counts.Dropped[DropRefused]++
	}
	if why.Passing() && seg.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		return Result{Verdict: nfq.Drop}
	}
	m := e.cfg.Marks
	c.Value.barred = c.Value.barred || m.Mask() != 0
	if m.Mask() == 0 || m.Kind(p.Mark) == nfq.Refused {
		return Result{Verdict: nfq.Drop}
	}
	return Result{Verdict: nfq.Repeat, Mark: e.cfg.Marks.Set(p.Mark, e.cfg.Marks.Refused())}
}

// refuses reports whether an answer has the kernel drop the packet, and all behind it.
func (e *Engine) refuses(r *Result) bool { return e.cfg.Marks.Kind(r.Mark) == nfq.Refused }

// resetSender resets the sender of a segment in the name of its peer, at the
// number its acknowledgement asks for, and, when we have let more pass to it
// than it has acknowledged yet, at that number too: one of them is exact.
func (e *Engine) resetSender(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) {
	back := d.Other()
	ack := seg.Seq.Add(seg.SegLen())
	if !seg.Flags.Has(packet.ACK) { // RFC 9293, Section 3.10.7.1: a SYN alone
		e.reset(c, back, 0, ack, true)
		return
	}
	e.reset(c, back, seg.Ack, ack, true)
	if s := &c.Value.streams[back]; s.Started() && s.Next() != seg.Ack {
		e.reset(c, back, s.Next(), ack, true)
	}
}

// reset sends an RST in direction d.
func (e *Engine) reset(c *conntrack.Conn[flow], d conntrack.Direction, seq, ack seqnum.Value, hasAck bool) {
	e.noteInjected(c, d, seq, packet.RST, 0)
	e.inject(c.Addr(d), c.Addr(d.Other()), c.Value.devices[d.Other()], seq, ack, hasAck)
}

// resetUntracked answers a segment that has no entry in the table.
func (e *Engine) resetUntracked(seg *packet.Parsed, index uint32) {
	from := netip.AddrPortFrom(seg.Dst, seg.DstPort)
	to := netip.AddrPortFrom(seg.Src, seg.SrcPort)
	if seg.Flags.Has(packet.RST) {
		return
	}
	if seg.Flags.Has(packet.ACK) {
		e.inject(from, to, index, seg.Ack, 0, false)
		return
	}
	e.inject(from, to, index, 0, seg.Seq.Add(seg.SegLen()), true)
}

func (e *Engine) inject(from, to netip.AddrPort, index uint32, seq, ack seqnum.Value, hasAck bool) {
	if e.cfg.Inject == nil {
		return
	}
	r := packet.Reset{
		Src: from.Addr(), SrcPort: from.Port(), Dst: to.Addr(), DstPort: to.Port(),
		Seq: seq, Ack: ack, HasAck: hasAck,
	}
	e.scratch = r.Append(e.scratch[:0])
	e.send(e.scratch, index)
}

// send sends a packet of our own.
func (e *Engine) send(ip []byte, index uint32) {
	if err := e.cfg.Inject(ip, index); err != nil {
		e.counts.InjectFailed++
		return
	}
	e.counts.Injected++
}
