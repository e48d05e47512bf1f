package engine

import (
	"container/heap"
	"fmt"
	"net/netip"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// earlier remembers between whom connections are refused for a while, because
// one was. Both directions of an address pair come to one engine, so each has its
// own. It holds at most limit pairs; the one whose time is over first makes room.
type earlier struct {
	pairs   map[pair]*refusal
	order   refusals
	limit   int
	unnoted uint64
}

// pair is a client and the address and port of a server.
type pair struct {
	client, server [16]byte
	port           uint16
	v6             bool // ::ffff:192.0.2.1 is not 192.0.2.1
}

// refusal is the one that others follow from.
type refusal struct {
	pair   pair
	place  int // in the order
	until  int64
	time   int64
	flow   uint64
	rule   string
	reason tlsrules.Reason
}

func pairBetween(client netip.Addr, server netip.AddrPort) pair {
	return pair{client.As16(), server.Addr().As16(), server.Port(), client.Is6()}
}

// find returns the refusal that stands between a pair, nil for none.
func (x *earlier) find(p pair, now int64) *refusal {
	if r := x.pairs[p]; r != nil && now < r.until {
		return r
	}
	return nil
}

// has reports whether a segment is a SYN between a pair that a refusal stands
// between.
func (x *earlier) has(seg *packet.Parsed, now int64) bool {
	const bits = packet.SYN | packet.ACK | packet.RST | packet.FIN
	return len(x.pairs) > 0 && seg.Flags&bits == packet.SYN &&
		x.find(pairBetween(seg.Src, netip.AddrPortFrom(seg.Dst, seg.DstPort)), now) != nil
}

// note remembers a refusal. The first one of a pair stands, and lasts longer for
// the others.
func (x *earlier) note(r refusal, now int64) {
	if old := x.find(r.pair, now); old != nil {
		old.until = max(old.until, r.until)
		heap.Fix(&x.order, old.place)
		return
	}
	x.expire(now)
	if len(x.order) >= x.limit {
		x.unnoted++
		x.forget()
	}
	if x.pairs == nil {
		x.pairs = map[pair]*refusal{}
	}
	x.pairs[r.pair] = &r
	heap.Push(&x.order, &r)
}

// bound sets how many pairs there may be.
func (x *earlier) bound(limit int) {
	for x.limit = limit; len(x.order) > limit; x.unnoted++ {
		x.forget()
	}
}

// expire forgets what is over.
func (x *earlier) expire(now int64) {
	for len(x.order) > 0 && x.order[0].until <= now {
		x.forget()
	}
}

func (x *earlier) forget() { delete(x.pairs, heap.Pop(&x.order).(*refusal).pair) }

// refuseFrom begins, or prolongs, the time for which SYNs of a client to a server
// are refused. It takes a server's SYN-ACK that the client has acknowledged, or
// whoever forges one packet could lock out the client that it names.
func (e *Engine) refuseFrom(c *conntrack.Conn[flow], d tlsrules.Decision) {
	if d.Reason == tlsrules.ReasonRefusedEarlier || !c.HasISS(conntrack.Original) || !c.HasISS(conntrack.Reply) {
		return
	}
	last := e.policy.RefuseFor(d)
	if last <= 0 {
		last = e.cfg.Default.RefuseFor
	}
	e.refusing.note(refusal{
		pair: pairBetween(c.Addr(conntrack.Original).Addr(), c.Addr(conntrack.Reply)), until: e.now + int64(last),
		time: e.now, flow: c.ID, rule: d.Rule, reason: d.Reason,
	}, e.now)
}

// refusedEarlier refuses a new connection between a pair that an earlier refusal
// stands between.
func (e *Engine) refusedEarlier(c *conntrack.Conn[flow]) bool {
	r := e.refusing.find(pairBetween(c.Addr(conntrack.Original).Addr(), c.Addr(conntrack.Reply)), e.now)
	if r == nil {
		return false
	}
	by := "a default"
	if r.rule != "" {
		by = fmt.Sprintf("rule %q", r.rule)
	}
	if !e.cfg.Default.Observe {
		e.counts.RefusedEarlier++
	}
	return e.bar(c, tlsrules.Decision{
		Decided: true, Final: true, Action: tlsrules.Refuse, Reason: tlsrules.ReasonRefusedEarlier, Rule: r.rule, Index: -1,
	}, fmt.Sprintf("connection %d of this client to this server was refused %s ago by %s, for %s; so is any other for %s more",
		r.flow, seconds(e.now-r.time), by, r.reason, seconds(r.until-e.now)))
}

// bar refuses a new connection whatever rules say, and reports whether it is refused:
// not where everything is only observed.
func (e *Engine) bar(c *conntrack.Conn[flow], d tlsrules.Decision, detail string) bool {
	if d.Observed = e.cfg.Default.Observe; d.Observed {
		e.observe(c, d, detail)
	} else {
		e.decide(c, d, detail)
	}
	return c.Value.phase == refused
}

func seconds(ns int64) time.Duration { return time.Duration(ns).Round(time.Millisecond) }

// inUse reports whether a SYN that an earlier refusal is for comes on the ports of
// a connection that lives. From one that is refused or over it takes the ports.
func (e *Engine) inUse(seg *packet.Parsed) bool {
	c, d := e.table.Find(seg, e.now)
	if c == nil {
		return false
	}
	switch c.State() {
	case conntrack.LastAck, conntrack.TimeWait, conntrack.Close:
	default:
		if c.Value.phase != refused {
			return true
		}
	}
	if c.Value.phase != refused || !c.HasISS(d) || seg.Seq != c.ISS(d) { // else its own, again
		e.table.GiveWay(c)
	}
	return false
}

// refusals is a heap by the time at which they are over.
type refusals []*refusal

func (h refusals) Len() int           { return len(h) }
func (h refusals) Less(i, j int) bool { return h[i].until < h[j].until }
func (h refusals) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *refusals) Push(x any) {
	r := x.(*refusal)
	r.place = len(*h)
	*h = append(*h, r)
}

func (h *refusals) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return r
}
