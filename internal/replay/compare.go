package replay

import (
	"context"
	"net/netip"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
)

// Verdict is what a policy makes of a connection.
type Verdict struct {
	Decision tlsrules.Decision
	Detail   string // of a refusal, a sentence
	Packet   uint64 // of the connection, at which it is refused
}

// String returns the verdict's name.
func (v *Verdict) String() string {
	if !v.Decision.Decided {
		return "undecided"
	}
	return v.Decision.Action.String()
}

// Refuses reports whether the connection is refused, or would be by a policy
// that only observes.
func (v *Verdict) Refuses() bool { return v.Decision.Decided && v.Decision.Action.Refuses() }

// Change is a connection of which two policies make different things.
type Change struct {
	ID              uint64
	Start           int64
	Original, Reply netip.AddrPort
	ServerName      string
	Old, New        Verdict
}

// Comparison counts the connections of which two policies made something.
type Comparison struct {
	Connections uint64
	Refused     uint64 // by the new policy, and not by the old one
	Accepted    uint64 // the other way round
	Otherwise   uint64 // refused by both, in different ways
}

// Changed returns how many connections would change their verdict.
func (c *Comparison) Changed() uint64 { return c.Refused + c.Accepted + c.Otherwise }

// Compare replays files under two policies at once, packet by packet, and tells
// each connection of which they make different things, as it ends. Without a
// policy the old side accepts everything. What is held does not grow with the
// files: it is of connections that have not ended.
//
// Both sides have the same connections: what a policy refuses before it is one
// (default.mptcp) is left out, and both have the room that the new one gives.
func Compare(ctx context.Context, cfg Config, old Side, policy *tlsrules.Policy, files []string, tell func(*Change) error) (Comparison, Summary, error) {
	c := &comparer{tell: tell}
	sum, err := c.run(ctx, cfg, old, policy, files)
	return c.count, sum, err
}

func (c *comparer) run(ctx context.Context, cfg Config, old Side, policy *tlsrules.Policy, files []string) (Summary, error) {
	cfg.Engine.MPTCP = engine.MPTCPAccept
	cfg.Engine.Sink = &side{c: c, observes: policy.Defaults().Observe, refused: map[flowKey]*refusal{}}
	cfg.Before = nil
	if old.Policy != nil {
		c.old = map[flowKey]*ending{}
		old.Engine.MPTCP = cfg.Engine.MPTCP
		old.Engine.Limits.Connections, old.Engine.Limits.HalfOpen = cfg.Engine.Limits.Connections, cfg.Engine.Limits.HalfOpen
		old.Engine.Sink = &side{c: c, old: true, observes: old.Policy.Defaults().Observe, refused: map[flowKey]*refusal{}}
		cfg.Before = &old
	}
	sum, err := Run(ctx, cfg, policy, files)
	if err == nil {
		err = c.err
	}
	return sum, err
}

// comparer pairs what becomes of a connection on both sides.
type comparer struct {
	// old has what became of connections on the old side, until the new one tells
	// of them too: within the same packet, but for those that the end of the
	// files ends. It is nil when the old side accepts everything.
	old   map[flowKey]*ending
	tell  func(*Change) error
	count Comparison
	err   error
}

// flowKey tells a connection from any other that is open, on both sides alike.
type flowKey struct {
	original, reply netip.AddrPort
	start           int64
}

func keyOf(r *engine.Report) flowKey { return flowKey{r.Original, r.Reply, r.Start} }

// maxAhead bounds what one side may have told and the other not: a table's
// worth, and as much for what one of them does not have at all.
const maxAhead = 1 << 20

// ending is how a connection ended on one side.
type ending struct {
	verdict Verdict
	name    string
}

// refusal is what is told of a connection when it is refused.
type refusal struct {
	detail, name string
	packet       uint64
}

// side is the sink of one side's engine.
type side struct {
	c        *comparer
	old      bool
	observes bool // the whole policy
	refused  map[flowKey]*refusal
}

// TLS tells nothing that a refusal does not.
func (s *side) TLS(*engine.Report) {}

// Drop keeps why a connection is refused. Of a rule that only observes nothing
// follows.
func (s *side) Drop(r *engine.Report) {
	if r.Decision.Observed && !s.observes || r.Held {
		return
	}
	k := keyOf(r)
	if s.refused[k] != nil {
		return
	}
	x := &refusal{detail: r.Detail, packet: r.Packet}
	if r.TLS != nil {
		x.name = string(r.TLS.ClientHello.ServerName)
	}
	s.refused[k] = x
}

// Flow compares how a connection ended.
func (s *side) Flow(r *engine.Report) {
	k := keyOf(r)
	e := &ending{verdict: Verdict{Decision: r.Decision}}
	if x := s.refused[k]; x != nil {
		delete(s.refused, k)
		e.verdict.Detail, e.verdict.Packet, e.name = x.detail, x.packet, x.name
	}
	if s.old {
		if len(s.c.old) >= maxAhead {
			clear(s.c.old)
		}
		s.c.old[k] = e
		return
	}
	was := s.c.old[k]
	delete(s.c.old, k)
	if was == nil {
		was = &ending{verdict: Verdict{Decision: tlsrules.Decision{Decided: true, Action: tlsrules.Accept}}}
	}
	s.c.pair(r, was, e)
}

func (c *comparer) pair(r *engine.Report, old, now *ending) {
	c.count.Connections++
	switch was, is := old.verdict.Refuses(), now.verdict.Refuses(); {
	case is && !was:
		c.count.Refused++
	case was && !is:
		c.count.Accepted++
	case was && is && old.verdict.Decision.Action != now.verdict.Decision.Action:
		c.count.Otherwise++
	default:
		return
	}
	if c.err != nil {
		return
	}
	x := Change{ID: r.ID, Start: r.Start, Original: r.Original, Reply: r.Reply, ServerName: now.name, Old: old.verdict, New: now.verdict}
	if x.ServerName == "" {
		x.ServerName = old.name
	}
	c.err = c.tell(&x)
}
