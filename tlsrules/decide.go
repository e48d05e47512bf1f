package tlsrules

import "math/bits"

// Decision is what a policy makes of a connection. The zero Decision is not
// decided, and drops.
type Decision struct {
	// Decided is false while judgement waits; Rule is then the rule that waits
	// ("" for the defaults) and Stage what it waits for.
	Decided bool
	// Final: nothing that may still become known can change the decision.
	Final  bool
	Action Action
	// Observed: nothing is refused, Action is only what would have been done.
	Observed bool
	Reason   Reason
	Key      Key    // of the requirement violated, or KeyNone
	Stage    Stage  // of the last fact the decision needed; records aside
	Index    int    // of Rule, or -1
	Rule     string // the name of the rule that decided, or ""
}

// Decide judges a connection by what is known of it now and what earlier calls
// with the same judgement found. Call it when facts have become known, and for
// each record and each alert, of which f tells in Content and HasAlert. Facts
// once known stay as they are, but for another ClientHello: see
// Judgement.Again. How facts are spread over calls makes no difference, as long
// as they come in the order of their stages. Decide does not allocate.
//
// Refusals that a rule with Observe would have made are told by Observed.
func (p *Policy) Decide(f *Facts, j *Judgement) (d Decision) {
	if j.flags.has(refused) {
		p.tell(&d, j, 0)
		return d
	}
	content := j.atHand(f)
	var v view
	v.look(f, content)
	found := v.search
	v.content, v.search, v.alert = j.content, j.search, false
	known, never, moot := v.known, v.never, v.moot
	foreign := v.foreign()
	todo := (known | never) &^ j.seen
	if !foreign {
		todo |= moot &^ j.seen
	}
	if f.Content != 0 || f.HasAlert {
		todo |= known & stepRecords.bit()
	}
	if found != j.search {
		todo |= stepContains.bit()
	}
	j.seen |= todo &^ p.asks // nothing follows from those
	todo &= p.asks
	for todo != 0 && !j.flags.has(refused) {
		s := step(bits.TrailingZeros16(uint16(todo)))
		todo &^= s.bit()
		j.seen |= s.bit()
		v.known, v.never, v.moot = known&j.seen, never&j.seen, moot&j.seen
		if foreign && j.seen&stepFirstBytes.bit() != 0 {
			v.moot = moot
		}
		if s == stepContains {
			v.search, j.search = found, found
		}
		if s == stepRecords { // until then the record before is at hand
			v.content, v.alert = content, f.HasAlert
			j.content = content
		}
		p.take(&v, j, s)
	}
	p.tell(&d, j, j.needs&^(known&^stepRecords.bit()|never|moot))
	if f.Lost != 0 && d.Final && !j.flags.has(refused) {
		v.known, v.never, v.moot, v.search = known, never, moot, found
		d.Final = !p.owes(&v, j)
	}
	return d
}

// Observed returns, once, the refusal that a rule with Observe would have made
// since Decide was first called with this judgement. Ask it after each Decide.
// For the connection nothing follows from it.
func (p *Policy) Observed(j *Judgement) (Decision, bool) {
	if !j.flags.has(wouldNow) {
		return Decision{}, false
	}
	j.flags &^= wouldNow
	d := Decision{Decided: true, Observed: true}
	p.unpack(&d, j.would)
	return d, true
}

// tell fills in what j holds; open are the requirements still to be asked.
func (p *Policy) tell(d *Decision, j *Judgement, open steps) {
	p.unpack(d, j.ruling)
	d.Decided = j.flags.has(decided)
	d.Final = j.flags.has(refused) || j.flags.has(ended) && open == 0
	d.Observed = j.flags.has(observed)
}

func (p *Policy) unpack(d *Decision, r ruling) {
	d.Action, d.Reason, d.Key, d.Stage = r.action, r.reason, r.reason.Key(), r.stage
	d.Index = int(r.rule) - 1
	if d.Index >= 0 {
		d.Rule = p.rules[d.Index].Name
	}
}

// take judges by what step s has made known: first what is required already,
// then the rules that have not spoken.
func (p *Policy) take(v *view, j *Judgement, s step) {
	if j.needs&s.bit() != 0 {
		for k := range int(j.nbound) {
			if p.violated(v, j, j.at(k), s.bit(), s) {
				return
			}
		}
		if j.flags.has(decided) && s != stepRecords { // and what was required then holds
			j.ruling.stage = v.stage(s)
		}
	}
	switch {
	case v.foreign() && s == stepFirstBytes:
		// Asked again: the rule that accepted may require what is moot.
	case j.flags.has(ended):
		return
	case j.waits != 0 && j.waits&s.bit() == 0 && s != stepRecords:
		return // the rule that waits waits for something else
	}
	p.ask(v, j, s)
}

// violated checks the requirements of rule i on the given steps, and reports
// whether the connection was refused.
func (p *Policy) violated(v *view, j *Judgement, i int, on steps, s step) bool {
	r := &p.rules[i]
	if r.needs&on == 0 {
		return false
	}
	for c := range r.Require {
		c := &r.Require[c]
		if c.step&on == 0 || c.key == KeyAlert && !v.alert {
			continue
		}
		switch c.eval(v) {
		case yes, waiting, moot:
			continue
		case never:
			if r.UnseenAllow {
				continue
			}
		}
		return p.refuse(j, ruling{uint16(i + 1), r.Otherwise, ReasonRequire(c.key), v.stage(s)})
	}
	return false
}

// refuse refuses the connection, unless the rule only observes.
func (p *Policy) refuse(j *Judgement, r ruling) bool {
	if r.rule != 0 && p.rules[r.rule-1].Observe {
		j.note(r)
		return false
	}
	j.ruling = r
	j.flags |= decided | ended | refused
	if p.defaults.Observe {
		j.flags |= observed
	}
	return true
}

// ask asks the rules in order, from the first that may have something new to
// say, until one decides or has to wait.
func (p *Policy) ask(v *view, j *Judgement, s step) {
	const everything = ^steps(0)
	j.waits = 0
	settled := true // so are all rules before i
	var c *candidates
	if p.index != nil {
		c = &candidates{}
		p.index.look(v, c)
	}
	for i := c.next(int(j.next)); i < len(p.rules); i = c.next(i + 1) {
		r := &p.rules[i]
		applies, again, waits := r.applies(v)
		switch applies {
		case waiting:
			j.wait(i, waits)
			return
		case yes:
			if r.binds && j.bind(i, r) && p.violated(v, j, i, everything, s) {
				return
			}
			if r.Action == Accept {
				p.accept(v, j, i, s)
				if settled && !again {
					j.flags |= ended
				}
				return
			}
			if r.Action.Refuses() && p.refuse(j, ruling{uint16(i + 1), r.Action, ReasonRule, v.stage(s)}) {
				return
			}
		}
		if settled = settled && !again; settled {
			j.next = uint16(i + 1)
		}
	}
	if settled {
		j.next = uint16(len(p.rules))
	}
	p.none(v, j, s, settled)
}

// applies reports whether match holds and unless does not; whether that may be
// otherwise with the next record; and for a rule that waits what may end that.
func (r *rule) applies(v *view) (applies truth, again bool, waits steps) {
	records := v.known&stepRecords.bit() != 0
	match, waits := all(r.Match, v)
	if match == no {
		return no, records && r.matchAgain && !falseForGood(r.Match, v), 0
	}
	again = records && (r.matchAgain || r.unlessAgain)
	if len(r.Unless) == 0 {
		return match, again, waits
	}
	unless, more := all(r.Unless, v)
	switch {
	case unless == yes:
		return no, records && r.unlessAgain, 0
	case match == waiting || unless == waiting:
		return waiting, again, waits | more
	}
	return yes, again, 0
}

// all is yes when all conditions hold, no when one does not or never will, and
// else waiting, for the steps returned.
func all(conditions []Condition, v *view) (result truth, waits steps) {
	result = yes
	for i := range conditions {
		switch conditions[i].eval(v) {
		case yes:
		case waiting:
			result = waiting
			waits |= conditions[i].step
		default:
			return no, 0
		}
	}
	return result, waits
}

// falseForGood reports whether a condition fails that has nothing to do with
// the record at hand.
func falseForGood(conditions []Condition, v *view) bool {
	for i := range conditions {
		if c := &conditions[i]; !c.key.transient() {
			if t := c.eval(v); t != yes && t != waiting {
				return true
			}
		}
	}
	return false
}

// accept lets rule i decide, or where its requirements are about TLS and the
// connection is not, the default.
func (p *Policy) accept(v *view, j *Judgement, i int, s step) {
	if v.foreign() && p.rules[i].tlsNeeds {
		p.fallBack(j, p.defaults.NotTLS, ReasonNotTLS, v.stage(s))
		return
	}
	j.accept(ruling{uint16(i + 1), Accept, ReasonRule, v.stage(s)})
}

// none decides when no rule does. It waits to see whether this is TLS, unless a
// refusal is certain.
func (p *Policy) none(v *view, j *Judgement, s step, settled bool) {
	def := p.defaults
	switch {
	case v.foreign():
		p.fallBack(j, def.NotTLS, ReasonNotTLS, v.stage(s))
	case (v.known|v.never)&stepFirstBytes.bit() == 0 && (def.Action != def.NotTLS || !def.Action.Refuses()):
		j.wait(-1, stepFirstBytes.bit())
		return
	default:
		p.fallBack(j, def.Action, ReasonDefault, v.stage(s))
	}
	if settled {
		j.flags |= ended
	}
}

func (p *Policy) fallBack(j *Judgement, a Action, why Reason, at Stage) {
	r := ruling{action: a, reason: why, stage: at}
	if a.Refuses() {
		p.refuse(j, r)
		return
	}
	j.accept(r)
}
