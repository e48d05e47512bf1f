package engine

import (
	"context"
	"errors"
	"net/netip"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
	"tlsgate/tlsrules"
)

// What can stand against ending a connection.
var (
	ErrUnknown   = errors.New("engine: the table has no such connection")
	ErrRefused   = errors.New("engine: the connection is refused already")
	ErrOffloaded = errors.New("engine: the connection is left to the kernel, and its mark cannot be changed")
)

// Kill ends the connection between two ends, in either order; id, if not 0, must
// be its own, for the ports may serve another by now. It is refused from then on,
// and both ends are reset: at once where what they expect is known, and otherwise
// with their next packet. To have one, both are asked for an acknowledgement. Kill
// again asks them again. It returns the connection as it was before.
func (e *Engine) Kill(ctx context.Context, id uint64, a, b netip.AddrPort) (before Seen, err error) {
	var wrong error
	err = e.ask(ctx, func() {
		c := e.table.Between(a, b)
		if c == nil || id != 0 && c.ID != id {
			wrong = ErrUnknown
			return
		}
		e.see(c, &before)
		wrong = e.kill(c)
	})
	if err == nil {
		err = wrong
	}
	return before, err
}

func (e *Engine) kill(c *conntrack.Conn[flow]) error {
	f := &c.Value
	again := f.phase == refused
	if again && f.sum.decision.Reason != tlsrules.ReasonKilled {
		return ErrRefused
	}
	if f.offloaded && !again {
		if err := e.recall(c); err != nil {
			return err
		}
	}
	e.noteEvent(c, ByOperator)
	if !again {
		e.stopClock(c)
		d := tlsrules.Decision{
			Decided: true, Final: true, Action: tlsrules.Reset, Reason: tlsrules.ReasonKilled, Index: -1, Stage: f.sum.decision.Stage,
		}
		if f.ins != nil {
			d.Stage, f.ins.decision = f.ins.facts.Stage(), d
		}
		f.sum.decision, f.sum.packet = d, packets(c)
		e.counts.Refused++
		e.counts.Killed++
		e.notice(NoticedVerdict)
		e.tellTLS(c)
		e.tellDrop(c, "the operator has ended it")
		e.dropPins(c, false)
		f.phase, f.watched = refused, false
		e.endHold(c)
	}
	e.resetBoth(c)
	e.release(c)
	e.eventNoted()
	return nil
}

// resetBoth resets both ends of a connection as far as their numbers are known, and
// asks them where they stand.
func (e *Engine) resetBoth(c *conntrack.Conn[flow]) {
	for d := conntrack.Original; d <= conntrack.Reply; d++ {
		if !c.Value.offloaded {
			e.resetKnown(c, d)
		}
		e.probe(c, d)
	}
	e.spared(c)
	e.doom(c)
}

// recall brings a connection back that was left to the kernel: its mark there
// becomes that of a refused one, by a packet of the connection that our rules
// save the mark of and then drop. To the kernel's tracking a SYN, or a SYN-ACK in
// answer to nothing, is one of its connection whatever numbers it has, and says
// nothing of it (nf_conntrack_proto_tcp.c: tcp_conntracks, sIG). Which direction
// the kernel knows by these addresses depends on how they are translated: both
// are tried.
func (e *Engine) recall(c *conntrack.Conn[flow]) error {
	if e.cfg.Refuse == nil {
		return ErrOffloaded
	}
	if sent, err := e.carry(c, e.cfg.Refuse); sent == 0 {
		return errors.Join(ErrOffloaded, err)
	}
	return nil
}

// carry sends packets of a connection that say something to its mark in the kernel, and
// nothing to anybody: one in each direction. It returns how many it has sent.
func (e *Engine) carry(c *conntrack.Conn[flow], send func(ip []byte, ifindex uint32) error) (sent int, failed error) {
	for _, d := range [...]conntrack.Direction{conntrack.Reply, conntrack.Original} {
		b := e.bare(c, d, packet.SYN, c.Sent(d), 0)
		if d == conntrack.Reply {
			b.Flags, b.Ack = packet.SYN|packet.ACK, c.Sent(d.Other()).Sub(1)
		}
		b.Void = true
		e.scratch = b.Append(e.scratch[:0])
		if err := send(e.scratch, c.Value.devices[d.Other()]); err != nil {
			failed = errors.Join(failed, err)
		} else {
			sent++
		}
	}
	return sent, failed
}

// resetKnown resets d's receiver at every number that it can expect as far as the
// table knows. An RST that it does not take it answers with one that we can.
func (e *Engine) resetKnown(c *conntrack.Conn[flow], d conntrack.Direction) {
	back := d.Other()
	if c.Packets[back] == 0 && c.State() != conntrack.SynSent {
		return // it has said nothing yet
	}
	if c.State() == conntrack.SynSent { // RFC 9293, Section 3.10.7.3
		if c.Packets[back] > 0 {
			e.reset(c, d, 0, c.Sent(back), true)
		}
		return
	}
	at := [...]seqnum.Value{c.Sent(d), c.Acked(d), c.Sent(d)}
	if s := &c.Value.streams[d]; s.Started() {
		at[0] = s.Next()
	}
	for i, seq := range at {
		if i == 0 || seq != at[0] && (i == 1 || seq != at[1]) {
			e.reset(c, d, seq, c.Sent(back), true)
		}
	}
}

// probe asks d's receiver where it stands, in the name of d's sender: what it has
// acknowledged before is answered with an acknowledgement (RFC 9293, Section
// 3.10.7.4, and Section 3.8.4: a keep-alive).
func (e *Engine) probe(c *conntrack.Conn[flow], d conntrack.Direction) {
	if e.cfg.Inject == nil || c.Packets[d.Other()] == 0 || c.State() == conntrack.SynSent || c.State() == conntrack.SynRecv {
		return
	}
	b := e.bare(c, d, packet.ACK, c.Acked(d).Sub(1), c.Sent(d.Other()))
	e.scratch = b.Append(e.scratch[:0])
	e.noteInjected(c, d, b.Seq, packet.ACK, 0)
	e.send(e.scratch, c.Value.devices[d.Other()])
}

func (e *Engine) bare(c *conntrack.Conn[flow], d conntrack.Direction, flags packet.Flags, seq, ack seqnum.Value) packet.Segment {
	from, to := c.Addr(d), c.Addr(d.Other())
	return packet.Segment{
		Src: from.Addr(), SrcPort: from.Port(), Dst: to.Addr(), DstPort: to.Port(), Seq: seq, Ack: ack, Flags: flags,
	}
}
