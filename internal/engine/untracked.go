package engine

import (
	"fmt"
	"net/netip"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// untrackedEvery is how often packets that are refused one by one are told of, at most,
// for each reason: a flood of them must not be one of events.
const untrackedEvery = int64(time.Second)

// untracked says when the next one may be told of. The zero untracked has told nothing.
type untracked struct {
	next int64
	more uint64 // refused since the last one that was told
}

const (
	noRoomText        = "the table is full of connections that live, and were heard of within the last ten seconds"
	multipathLateText = `it asks for Multipath TCP on the ports of a connection that has begun, and default.mptcp = "refuse"`
)

// tellUntracked tells of a packet that is refused, or would be, by itself: the table has
// no connection of it, or one that goes on without it.
func (e *Engine) tellUntracked(u *untracked, seg *packet.Parsed, d tlsrules.Decision, detail string) {
	if e.cfg.Sink == nil || e.cfg.Recorded {
		return
	}
	c, _ := e.table.Find(seg, e.now)
	if begins := seg.Flags&(packet.SYN|packet.ACK) == packet.SYN; begins {
		c = nil // it would be another on the same ports
	}
	if c != nil && c.Value.phase == refused {
		return // and told of
	}
	if e.now < u.next {
		u.more++
		return
	}
	if u.more > 0 {
		detail += fmt.Sprintf("; so were %d other packets since the last one that an event told of", u.more)
	}
	*u = untracked{next: e.now + untrackedEvery}
	d.Decided, d.Final, d.Index, d.Observed = true, true, -1, e.cfg.Default.Observe
	at := e.cfg.Wall.Time(e.now)
	e.rep = Report{
		Time: at, Start: at, Last: at, Packet: 1, Decision: d, Detail: detail,
		Original: netip.AddrPortFrom(seg.Src, seg.SrcPort), Reply: netip.AddrPortFrom(seg.Dst, seg.DstPort),
	}
	if c != nil {
		e.rep.ID, e.rep.Packet = c.ID, packets(c)+1
		e.rep.Original, e.rep.Reply = c.Addr(conntrack.Original), c.Addr(conntrack.Reply)
	}
	e.rep.InInterface = e.cfg.Interface(e.in)
	e.cfg.Sink.Drop(&e.rep)
}
