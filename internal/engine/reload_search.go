package engine

import (
	"tlsgate/conntrack"
	"tlsgate/tlsrules"
)

// spoken reports whether anything was read of a connection.
func (e *Engine) spoken(c *conntrack.Conn[flow]) bool {
	for d := conntrack.Original; d <= conntrack.Reply; d++ {
		if s := &c.Value.streams[d]; s.Started() && (!c.HasISS(d) || s.Next() != c.ISS(d).Add(1)) {
			return true
		}
	}
	return false
}

// renewSearch has the search in a connection's cleartext go on for the texts of the
// policy in force.
func (e *Engine) renewSearch(c *conntrack.Conn[flow]) {
	f := &c.Value
	s, facts := f.search, &f.ins.facts
	if s == nil {
		if len(e.policy.Patterns()) > 0 && e.spoken(c) {
			facts.Lost |= tlsrules.LostTexts
		}
		return
	}
	found, all := e.policy.Translate(s.policy, facts.Contains)
	if facts.Contains = found; !all {
		facts.Lost |= tlsrules.LostTexts
	}
	for i, state := range s.state {
		s.state[i] = e.policy.TranslateState(s.policy, state)
	}
	s.policy = e.policy
}

// unsearched judges a connection whose cleartext is over, and whose policy waits for a
// text that may have passed before it was in force. It was not found: that is all that
// will ever be known, and who is permitted is not to wait for more.
func (e *Engine) unsearched(c *conntrack.Conn[flow]) {
	f := &c.Value
	if f.phase != reading || !f.ins.facts.ContainsOver || !f.ins.facts.Lost.Has(tlsrules.LostTexts) || f.ins.decision.Decided {
		return
	}
	f.ins.facts.Lost &^= tlsrules.LostTexts
	f.ins.judgement = tlsrules.Judgement{}
	e.judge(c)
}
