package engine

import (
	"fmt"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
)

// waiting lists the connections whose time to decide is running, the one that
// began first in front: the time is the same for all, so the list is in order
// of deadlines. The zero waiting is empty.
type waiting struct {
	threaded[conntrack.Conn[flow]]
}

func inWaiting(c *conntrack.Conn[flow]) *neighbours[conntrack.Conn[flow]] { return &c.Value.neighbours }

// startClock starts the time to decide with the first byte. What is accepted
// until a ClientHello comes has all the time there is.
func (e *Engine) startClock(c *conntrack.Conn[flow]) {
	f := &c.Value
	if f.firstByte != 0 || f.said || f.complete || f.provisional || f.unsure() || f.ins.certain() || f.talking() && !f.ins.condemned {
		return
	}
	f.firstByte = max(e.now, 1)
	e.waiting.push(c, inWaiting)
}

// stopClock takes a connection out of the list.
func (e *Engine) stopClock(c *conntrack.Conn[flow]) {
	if f := &c.Value; f.firstByte != 0 {
		f.firstByte = 0
		e.waiting.remove(c, inWaiting)
	}
}

// Tick does what time asks for: connections expire, undecided ones are
// decided, and the counters are published. Call it every 100 ms or so.
func (e *Engine) Tick(now int64) {
	e.now = now
	e.begin(now)
	e.opening.c = nil
	for c := e.waiting.first; c != nil && c.Value.firstByte+int64(e.cfg.Limits.Decide) <= now; c = e.waiting.first {
		if e.renew(c, conntrack.Original, nil); c.Value.firstByte == 0 {
			continue
		}
		e.stopClock(c)
		e.look(c, conntrack.Original, nil)
		e.noteEvent(c, TimeUp)
		e.counts.Hit.Decide++
		e.circumstance(c, e.cfg.Default.Undecided, tlsrules.ReasonUndecided, e.undecidedText(c))
		if c.Value.phase == refused {
			e.refuseNow(c)
		}
		e.eventNoted()
	}
	e.alertsAgain()
	e.resetsAgain()
	e.lookAtGates()
	e.sendAgain()
	e.refusing.expire(now)
	e.table.Expire(now)
	e.rest()
	e.table.Settle(now)
	e.cfg.Pins.sweep(now, sweepEvery)
	e.cfg.Pins.tell(now)
	e.publish()
}

func (e *Engine) undecidedText(c *conntrack.Conn[flow]) string {
	return fmt.Sprintf("%s after the first byte it is not decided: it has come as far as %s", e.cfg.Limits.Decide, c.Value.ins.tls.Phase)
}

// Close tells every connection as ended.
func (e *Engine) Close(now int64) {
	e.now = now
	e.table.Close()
	e.publish()
}
