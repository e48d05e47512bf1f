package engine

import (
	"tlsgate/conntrack"
	"tlsgate/tlsrules"
)

// renewPins has the parts that a connection has in pins go on under the policy in
// force: a rule is the same if its name is. It lets go of those whose rule has none
// any more or, once j is decided, does not bind the connection; where the rule forms
// other groups the connection has to win its pin again. What a connection takes part
// in for the first time is judged with its ServerHello, and not later.
func (e *Engine) renewPins(c *conntrack.Conn[flow], facts *tlsrules.Facts, j *tlsrules.Judgement, decided bool) {
	f := &c.Value
	if !f.pinned {
		return
	}
	var last, next *pin
	for p := e.pins[c]; p != nil; p = next {
		next = p.next
		r := e.pinRule(p, j, decided)
		if r == nil {
			e.letGo(p)
			if last == nil {
				e.pins[c] = next
			} else {
				last.next = next
			}
			continue
		}
		last = p
		p.places, p.idle, p.sharing = max(1, r.Pin.Connections), int64(r.Pin.Silence()), r.Pin.TLS13
		values, ok := groupOf(r.Pin, facts)
		if session := r.Pin.To == tlsrules.PinSession; session != p.session || ok && values != p.group.values {
			e.letGo(p)
			p.session, p.group.values, p.waived = session, values, false
			p.heard = [2]bool{true, true} // it lives
		}
	}
	if e.pins[c] == nil {
		delete(e.pins, c)
		f.pinned = false
	}
}

// pinRule finds the rule whose pin a connection has part in, nil if that is over.
func (e *Engine) pinRule(p *pin, j *tlsrules.Judgement, decided bool) *tlsrules.Rule {
	i, r := e.policy.Named(p.group.rule)
	if i < 0 || r.Pin == nil {
		return nil
	}
	if !decided {
		return r
	}
	for k := range e.policy.Bound(j) {
		if k == i {
			return r
		}
	}
	return nil
}
