package engine

import (
	"tlsgate/conntrack"
)

// Both ends of a refused connection are reset. An RST may be lost, or not have the
// number that its receiver waits for, and a receiver that has nothing to say would
// wait for ever. So each is asked for a while where it stands, as a keep-alive
// asks: one that still has the connection answers with a number, for which the RST
// is exact (refusedAgain); one that is gone answers with an RST of its own (RFC
// 9293, Section 3.10.7.1), or not at all.

const (
	resetEvery = 400_000_000 // nanoseconds between two questions
	resetTries = 6

	// What answering costs is bounded: connections that are listed, and those that
	// one tick looks at. The others are reset once, and by what they say later.
	resetMost   = 4096
	resetAtOnce = 64
)

// doom is a refused connection whose ends may not know of it yet.
type doom struct {
	conn  *conntrack.Conn[flow]
	due   int64
	tries uint8
	gone  [2]bool // by direction: its sender has said so
	neighbours[doom]
}

// doomed lists them, the one that is due first in front. The zero doomed is empty.
type doomed struct {
	threaded[doom]
	of map[*conntrack.Conn[flow]]*doom
}

// doom begins to ask the ends of a connection that was reset just now. One that was
// half open has no more to be asked.
func (e *Engine) doom(c *conntrack.Conn[flow]) {
	switch c.State() {
	case conntrack.SynSent, conntrack.SynRecv, conntrack.SynSent2:
		return
	}
	if e.cfg.Inject == nil || e.doomed.of[c] != nil {
		return
	}
	if len(e.doomed.of) >= resetMost {
		e.counts.ResetsOnce++
		e.table.Abort(c, e.now)
		return
	}
	x := &doom{conn: c}
	if e.doomed.of == nil {
		e.doomed.of = map[*conntrack.Conn[flow]]*doom{}
	}
	e.doomed.of[c] = x
	e.doomed.add(x, e.now)
}

// spared forgets a connection that leaves the table.
func (e *Engine) spared(c *conntrack.Conn[flow]) {
	if x := e.doomed.of[c]; x != nil {
		e.doomed.remove(x, inDoomed)
		delete(e.doomed.of, c)
	}
}

// gone notes that the sender of direction d has ended a refused connection itself.
func (e *Engine) gone(c *conntrack.Conn[flow], d conntrack.Direction) {
	if x := e.doomed.of[c]; x != nil {
		if x.gone[d] = true; e.over(x) {
			c.Value.barred = true
			e.spared(c)
			e.table.Abort(c, e.now)
		}
	}
}

// over reports whether both ends know, as far as they can be heard.
func (e *Engine) over(x *doom) bool {
	for d := conntrack.Original; d <= conntrack.Reply; d++ {
		if !x.gone[d.Other()] && !e.alerted(x.conn, d) {
			return false
		}
	}
	a := x.conn.Value.alert
	return a == nil || x.gone[a.to.Other()] || !e.unread.has(a)
}

// alerted reports whether the receiver of direction d is told by an alert.
func (e *Engine) alerted(c *conntrack.Conn[flow], d conntrack.Direction) bool {
	a := c.Value.alert
	return a != nil && a.to == d
}

// resetsAgain asks who has not been heard to be gone, and gives up who was asked
// often enough.
func (e *Engine) resetsAgain() {
	for range resetAtOnce {
		x := e.doomed.first
		if x == nil || x.due > e.now {
			return
		}
		c := x.conn
		if over := e.over(x); over || x.tries == resetTries {
			c.Value.barred = c.Value.barred || over
			e.spared(c)
			e.table.Abort(c, e.now)
			continue
		}
		x.tries++
		for d := conntrack.Original; d <= conntrack.Reply; d++ {
			if x.gone[d.Other()] || e.alerted(c, d) {
				continue
			}
			if x.tries > 1 && !c.Value.offloaded { // it was not heard: it may not be asked either
				e.resetKnown(c, d)
			}
			e.probe(c, d)
		}
		e.doomed.remove(x, inDoomed)
		e.doomed.add(x, e.now)
	}
}

func (l *doomed) add(x *doom, now int64) {
	x.due = now + resetEvery
	l.push(x, inDoomed)
}

func inDoomed(x *doom) *neighbours[doom] { return &x.neighbours }
