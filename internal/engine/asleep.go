package engine

import "tlsgate/conntrack"

// passes reports whether the packet at hand, in direction d of a connection that
// rests, would change nothing of what is kept for it, and is to pass with the
// connection's mark as that of one that is not left to the kernel: what track would
// find out, had it been woken, beside what restful asked. Where few are awake it is
// woken all the same: that takes less for the packets to come.
func (e *Engine) passes(handle uint32, d conntrack.Direction) bool {
	if handle&readHandle != 0 {
		return false
	}
	l := &e.rested.at(handle).what
	return e.awake() >= e.maxAwake && l.adoption == e.adoption && !l.gate.has(atGate) && !l.offloaded && !e.cfg.Offload &&
		l.devices[d] == e.in && (e.out == 0 || l.devices[d.Other()] == e.out)
}

// awake is how many connections do not rest.
func (e *Engine) awake() int { return e.table.Len() - e.table.AtRest() }
