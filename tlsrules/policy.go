package tlsrules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Rule is one [[rule]] of a policy. The zero Rule means nothing, and New does
// not take it.
type Rule struct {
	// Name stands in events; empty is "rule N", counted from 1.
	Name string
	// All conditions of Match must hold, and not all of Unless. Without
	// conditions Match holds and Unless does not.
	Match, Unless []Condition
	// Require must hold, each condition from the moment its fact is known.
	Require []Condition
	// Action ends the judgement unless it is Continue. HasAction is false
	// when none was given: with Require that is Continue.
	Action    Action
	HasAction bool
	// Otherwise is for a violated requirement: it must refuse.
	Otherwise Action
	// Observe reports what the rule would refuse and refuses nothing.
	Observe bool
	// UnseenAllow: a requirement on a fact that cannot become known holds.
	UnseenAllow bool
	// RefuseFor is how long a Refuse of this rule lasts; 0 is the default.
	RefuseFor time.Duration
	// Pin and Hold bind as Require does; nil is none.
	Pin  *Pin
	Hold *Hold
}

// Defaults are for what no rule decides. The zero Defaults drops.
type Defaults struct {
	Action Action // no rule decides: anything but Continue
	NotTLS Action // nor can any, for the first bytes are not TLS: nor Alert
	// Observe reports what would be refused and refuses nothing.
	Observe bool
}

// Policy is rules and defaults, checked and ready to decide. It is made by
// New, immutable, and safe for concurrent use.
type Policy struct {
	rules     []rule
	index     *index // nil: every rule is asked
	defaults  Defaults
	patterns  []string  // of conditions on contains
	automaton automaton // that searches for them
	asksName  bool      // there is a condition on the server name
	asks      steps     // about which there is a condition, and the defaults' own
}

// rule is a Rule as Decide reads it: conditions in the order of their steps.
type rule struct {
	Rule
	needs    steps // of Require
	binds    bool  // something of it holds for the rest of the connection's life
	tlsNeeds bool  // some of them take TLS, and being unseen is no excuse
	// Match or Unless may be another one with every record.
	matchAgain, unlessAgain bool
}

// maxRules is what Judgement can count.
const maxRules = 1<<16 - 2

// RuleError says what is wrong with a rule.
type RuleError struct {
	Index int    // of the rule, from 0
	Name  string // of the rule
	Key   string // of the rule's table, or empty
	Msg   string
	Hint  string // may be empty
}

func (e *RuleError) Error() string { return fmt.Sprintf("rule %q: %s", e.Name, e.Msg) }

// New checks rules and makes a policy of them. Its errors are *RuleError, all
// of them joined.
func New(rules []Rule, def Defaults) (*Policy, error) {
	var errs []error
	if !def.Action.valid(Accept, Drop, Reset, Alert, Refuse) {
		errs = append(errs, fmt.Errorf("default.action = %q decides nothing", def.Action))
	}
	if !def.NotTLS.valid(Accept, Drop, Reset, Refuse) {
		errs = append(errs, fmt.Errorf("default.not_tls = %q: only TLS has alerts, and something is to be decided", def.NotTLS))
	}
	if len(rules) > maxRules {
		return nil, fmt.Errorf("%d rules are more than the %d a policy can have", len(rules), maxRules)
	}
	p := &Policy{rules: make([]rule, 0, len(rules)), defaults: def, asks: stepSYN.bit() | stepFirstBytes.bit()}
	seen := map[string]int{}
	for i, r := range rules {
		if r.Name == "" {
			r.Name = "rule " + strconv.Itoa(i+1)
		}
		if e := r.check(); e != nil {
			e.Index, e.Name = i, r.Name
			errs = append(errs, e)
		}
		if first, taken := seen[r.Name]; taken {
			errs = append(errs, &RuleError{i, r.Name, "name", fmt.Sprintf("rule %d has this name already", first+1), "events tell rules by name"})
		}
		seen[r.Name] = i
		c := r.compile()
		for _, part := range [][]Condition{c.Match, c.Unless, c.Require} {
			p.number(part)
			p.asksName = p.asksName || find(part, KeyServerName) != nil
		}
		p.rules = append(p.rules, c)
		p.asks |= stepsOf(c.Match) | stepsOf(c.Unless) | c.needs
	}
	if len(p.patterns) > maxPatterns {
		errs = append(errs, fmt.Errorf("contains searches for %d texts, more than the %d a policy can have", len(p.patterns), maxPatterns))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(p.rules) >= minIndexed {
		p.index = newIndex(p.rules)
	}
	p.automaton = newAutomaton(p.patterns)
	return p, nil
}

// check finds what makes a rule meaningless or contradict itself. The caller
// fills in which rule it is.
func (r *Rule) check() *RuleError {
	switch {
	case !r.HasAction && !r.demands():
		return &RuleError{Msg: "has neither require nor action, so it means nothing", Hint: `add action = "accept", "drop", "reset", "alert", "refuse" or "continue", or a require`}
	case r.HasAction && !r.Action.valid(Drop, Accept, Reset, Alert, Refuse, Continue):
		return &RuleError{Key: "action", Msg: "is no action of a rule"}
	case r.HasAction && r.Action.Refuses() && r.Pin != nil:
		return &RuleError{Key: "pin", Msg: fmt.Sprintf("is never asked, because action = %q refuses first", r.Action)}
	case r.HasAction && r.Action.Refuses() && r.Hold != nil:
		return &RuleError{Key: "hold", Msg: fmt.Sprintf("is never asked, because action = %q refuses first", r.Action)}
	case r.HasAction && r.Action.Refuses() && len(r.Require) > 0:
		return &RuleError{Key: "require", Msg: fmt.Sprintf("is never asked, because action = %q refuses first", r.Action), Hint: `to refuse what violates it: action = "accept" or "continue", and otherwise = "` + r.Action.String() + `"; to refuse what fits it: move it into match`}
	case r.demands() && !r.Otherwise.valid(Drop, Reset, Alert, Refuse):
		return &RuleError{Key: "otherwise", Msg: fmt.Sprintf("%q would let a violated requirement pass", r.Otherwise), Hint: `to report and not refuse: observe = true`}
	}
	if r.RefuseFor != 0 && !(r.HasAction && r.Action == Refuse) && !(r.demands() && r.Otherwise == Refuse) {
		return &RuleError{Key: "refuse_for", Msg: `has no effect without action or otherwise = "refuse"`}
	}
	for _, part := range [][]Condition{r.Match, r.Unless, r.Require} {
		for i := range part {
			if part[i].key == KeyNone {
				return &RuleError{Msg: "has a condition without a key"}
			}
		}
	}
	if r.Pin != nil {
		return r.Pin.check()
	}
	return nil
}

// demands reports whether the rule can be violated.
func (r *Rule) demands() bool { return len(r.Require) > 0 || r.Pin != nil || r.Hold != nil }

func (r Rule) compile() rule {
	c := rule{Rule: r, binds: r.demands()}
	c.tlsNeeds = (r.Pin != nil || r.Hold != nil) && !r.UnseenAllow
	if !r.HasAction {
		c.Action = Continue
	}
	for _, part := range []*[]Condition{&c.Match, &c.Unless, &c.Require} {
		*part = slices.Clone(*part)
		slices.SortStableFunc(*part, func(a, b Condition) int { return int(a.key) - int(b.key) })
	}
	for i := range c.Require {
		bit := c.Require[i].step
		c.needs |= bit
		c.tlsNeeds = c.tlsNeeds || bit&tlsSteps != 0 && !r.UnseenAllow
	}
	c.matchAgain = slices.ContainsFunc(c.Match, transient)
	c.unlessAgain = slices.ContainsFunc(c.Unless, transient)
	return c
}

func transient(c Condition) bool { return c.key.transient() }

// RefuseFor returns how long the Refuse of a decision lasts, 0 for the default.
func (p *Policy) RefuseFor(d Decision) time.Duration {
	if d.Index < 0 || d.Index >= len(p.rules) {
		return 0
	}
	return p.rules[d.Index].RefuseFor
}

// Len returns the number of rules.
func (p *Policy) Len() int { return len(p.rules) }

// Defaults returns what decides when no rule does.
func (p *Policy) Defaults() Defaults { return p.defaults }
