package engine

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"tlsgate/tlsrules"
)

// Gates are the gates of a policy's rules that have a hold, one a rule, known by
// its name. They are shared by the engines of one daemon. Engines only read, and
// take no lock; who opens and closes may be anybody. The zero Gates has none.
//
// A gate is closed until its rule's time to open has come, or somebody opens it by
// hand; it opens by itself once, and stays closed when somebody closes it then.
type Gates struct {
	gates atomic.Pointer[map[string]*gate] // never changed, only replaced
	wall  *Wall
	note  func() // when somebody has opened or closed one; nil: nobody asks
}

// gate is one of them. What waits is told by the engines.
type gate struct {
	rule    string
	wall    *Wall        // by which it opens
	opens   atomic.Int64 // when it opens, or has opened; never if it does not
	planned atomic.Int64 // when the rule says that it does
	byHand  atomic.Bool  // opens says what somebody has wanted last
	waiting atomic.Int64 // connections
	passed  atomic.Int64 // connections that have waited, and wait no more
}

const never = math.MaxInt64

// open reports whether it is open. What somebody has opened is, whatever the wall's
// clock is set to.
func (g *gate) open(now int64) bool {
	at := g.opens.Load()
	return at <= g.wall.Time(now) || at != never && g.byHand.Load()
}

// GateState is what there is to tell of a gate, or to remember of it while the
// daemon is away.
type GateState struct {
	Rule    string
	Planned int64 // when the rule says that it opens, nanoseconds since the Unix epoch; 0: never
	Opens   int64 // when it opens or has opened; 0: never
	ByHand  bool  // somebody has opened or closed it
	Waiting int64 // connections whose data waits
	Passed  int64 // connections whose data has waited
}

// Open reports whether the gate is open, at a time of the wall.
func (s *GateState) Open(now int64) bool { return s.Opens != 0 && (s.Opens <= now || s.ByHand) }

// NewGates makes the gates of a policy.
func NewGates(p *tlsrules.Policy) *Gates {
	g := &Gates{}
	g.Adopt(p)
	return g
}

// Adopt takes the gates of another policy. A gate whose rule keeps its name, and
// the time at which it opens, stays as it is; one whose time has changed is as new.
func (g *Gates) Adopt(p *tlsrules.Policy) {
	for {
		old := g.gates.Load()
		next := map[string]*gate{}
		for _, r := range p.Rules() {
			if r.Hold == nil {
				continue
			}
			x := g.find(r.Name)
			if x == nil {
				x = &gate{rule: r.Name, wall: g.wall}
				x.plan(planned(r.Hold))
			}
			next[r.Name] = x
		}
		if !g.gates.CompareAndSwap(old, &next) {
			continue
		}
		for _, r := range p.Rules() {
			if r.Hold != nil && next[r.Name].planned.Load() != planned(r.Hold) {
				next[r.Name].plan(planned(r.Hold))
			}
		}
		return
	}
}

func planned(h *tlsrules.Hold) int64 {
	if h.Open.IsZero() {
		return never
	}
	return h.Open.UnixNano()
}

func (g *gate) plan(at int64) {
	g.byHand.Store(false)
	g.planned.Store(at)
	g.opens.Store(at)
}

// find returns the gate of a rule, nil when it has none.
func (g *Gates) find(rule string) *gate {
	if m := g.gates.Load(); m != nil {
		return (*m)[rule]
	}
	return nil
}

// GoBy has gates open by the wall's clock. It is called before anybody asks.
func (g *Gates) GoBy(w *Wall) {
	g.wall = w
	if m := g.gates.Load(); m != nil {
		for _, x := range *m {
			x.wall = w
		}
	}
}

// OnChange has note called when somebody has opened or closed a gate. It is called
// before anybody does.
func (g *Gates) OnChange(note func()) { g.note = note }

// Set opens the gate of a rule at a moment, or closes it; false when the rule has
// none. Whoever waits behind it is let go by Engine.LetGo, or with the next tick.
func (g *Gates) Set(rule string, open bool, now int64) bool {
	x := g.find(rule)
	if x == nil {
		return false
	}
	at := int64(never)
	if open {
		at = min(x.wall.Time(now), x.opens.Load()) // it may be open for long
	}
	x.opens.Store(at) // first: one that is closed by hand is at no moment open by hand
	x.byHand.Store(true)
	if g.note != nil {
		g.note()
	}
	return true
}

// Of returns the state of a rule's gate; false when the rule has none.
func (g *Gates) Of(rule string) (GateState, bool) {
	x := g.find(rule)
	if x == nil {
		return GateState{}, false
	}
	return x.state(), true
}

func (g *gate) state() GateState {
	s := GateState{Rule: g.rule, ByHand: g.byHand.Load(), Waiting: g.waiting.Load(), Passed: g.passed.Load()}
	if at := g.planned.Load(); at != never {
		s.Planned = at
	}
	if at := g.opens.Load(); at != never {
		s.Opens = at
	}
	return s
}

// List returns the state of all gates, by name.
func (g *Gates) List() []GateState {
	var list []GateState
	if m := g.gates.Load(); m != nil {
		for x := range maps.Values(*m) {
			list = append(list, x.state())
		}
	}
	slices.SortFunc(list, func(a, b GateState) int { return cmp.Compare(a.Rule, b.Rule) })
	return list
}

// Export returns what somebody has opened or closed, to be kept while the daemon
// is away.
func (g *Gates) Export() []GateState {
	return slices.DeleteFunc(g.List(), func(s GateState) bool { return !s.ByHand })
}

// Import takes what an earlier run of the daemon has exported. What no longer fits
// the policy (the rule has no hold, or another time to open) counts for nothing.
func (g *Gates) Import(list []GateState) {
	for _, s := range list {
		x := g.find(s.Rule)
		if x == nil || !s.ByHand || x.state().Planned != s.Planned {
			continue
		}
		at := int64(never)
		if s.Opens != 0 {
			at = s.Opens
		}
		x.opens.Store(at)
		x.byHand.Store(true)
	}
}

// anyClosed reports whether a gate is closed.
func (g *Gates) anyClosed(now int64) bool {
	if m := g.gates.Load(); m != nil {
		for _, x := range *m {
			if !x.open(now) {
				return true
			}
		}
	}
	return false
}
