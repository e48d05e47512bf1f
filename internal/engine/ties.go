package engine

import (
	"slices"
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
)

// A story tells of the pins and gates that a connection is under, too: of pins who
// has them at the moment somebody asks, of gates what waits, or has waited.

// ties are what a story needs for that.
type ties struct {
	pins  *Pins
	gates *Gates
	now   int64
	parts []part
	held  *HoldStory
}

// part is what a connection in the table has in the pin of a rule.
type part struct {
	group groupKey
	had   gone // why it has none any more
	known bool // to which group it belongs
}

// PinStory is the pin of a rule that applies to a connection.
type PinStory struct {
	Rule, Group string
	Known       bool   // to which group the connection belongs
	Holds       bool   // it has part in the pin
	Lost        string // "ended", "idle", "moved" or "released": why it has none any more
	Places      int
	Holders     []HeldPin // of the group, now
}

// LetBy says what has let data go that waited for a gate.
type LetBy uint8

const (
	LetByNothing  LetBy = iota // it waits, or has ended so
	LetByHand                  // for the connection alone
	LetByGateHand              // the gate was opened by hand
	LetByGateTime              // the gate's time has come
	LetByPolicy                // no rule has it wait any more
	LetByRefusal               // the connection was refused
)

var letByNames = [...]string{"", "hand", "gate_by_hand", "gate_by_time", "policy", "refused"}

// String returns the value as CONTROL.md spells it.
func (l LetBy) String() string { return letByNames[l] }

// HoldStory is what a connection waits for, or has waited.
type HoldStory struct {
	Rule     string
	Began    int64 // when its first data began to wait, nanoseconds since the Unix epoch; 0: none has come
	Since    int64 // the same, for the gate at hand
	Until    int64 // when that was over; 0: it is not
	By       LetBy
	Observed bool // nothing waits, it is only told what would
	Patience time.Duration
	Bytes    [2]uint64 // that wait, or did in the end, as far as their senders have sent them
}

// GateStory is the gate of a rule that applies to a connection.
type GateStory struct {
	GateState
	Hold *HoldStory // nil: the connection has never waited for it
}

// opener says what lets a connection go now.
func (h *hold) opener(now int64) LetBy {
	switch {
	case h.byHand:
		return LetByHand
	case !h.gate.open(now):
		return LetByPolicy
	case h.gate.byHand.Load():
		return LetByGateHand
	}
	return LetByGateTime
}

// waits is how many bytes of a direction wait.
func (h *hold) waits(d conntrack.Direction) uint32 {
	if sent := h.conn.Sent(d); h.has[d] && h.at[d].Less(sent) {
		return h.at[d].Size(sent)
	}
	return 0
}

func (h *hold) story() *HoldStory {
	s := &HoldStory{Rule: h.rule.Name, Began: h.began, Since: h.since, By: h.letBy, Observed: h.observed, Patience: h.rule.Hold.Patience}
	bytes := h.behind
	if h.over {
		s.Until = h.until
		if h.refused {
			s.By = LetByRefusal
		}
	} else {
		bytes = [2]uint32{h.waits(conntrack.Original), h.waits(conntrack.Reply)}
	}
	s.Bytes = [2]uint64{uint64(bytes[0]), uint64(bytes[1])}
	return s
}

// keepHold leaves what a connection has waited for to its story.
func (e *Engine) keepHold(c *conntrack.Conn[flow], h *hold) {
	if t := e.stories.any(c.ID); t != nil {
		t.held = h.story()
	}
}

// tellTerms copies what there is to tell of a connection in the table.
func (e *Engine) tellTerms(c *conntrack.Conn[flow], t *ties) {
	*t = ties{pins: e.cfg.Pins, gates: e.cfg.Gates, now: e.now}
	for p := e.pins[c]; p != nil; p = p.next {
		t.parts = append(t.parts, part{p.group, p.had, !p.blind})
	}
	if h := e.hold(c); h != nil {
		t.held = h.story()
	}
}

// under are the rules that apply to a connection, as far as that is known.
func (s *Story) under() (list []*tlsrules.Rule) {
	for _, a := range s.Asked() {
		if _, r := s.policy.Named(a.Rule); a.Bound && r != nil {
			list = append(list, r)
		}
	}
	return list
}

// Pins tells of the pins that the connection is under.
func (s *Story) Pins() (list []PinStory) {
	t := &s.ties
	if t.pins == nil {
		return nil
	}
	tell := func(k groupKey, known bool) {
		p := PinStory{Rule: k.rule, Group: k.values, Known: known, Places: 1}
		if i, r := s.policy.Named(k.rule); i >= 0 && r.Pin != nil {
			p.Places = max(1, r.Pin.Connections)
		}
		if known {
			for _, h := range groupIn(t.pins.place(k).Load(), k).present() {
				held := h.held()
				p.Holders = append(p.Holders, held)
				p.Holds = p.Holds || s.Live && (held.ID == s.ID || slices.Contains(held.Members, s.ID))
			}
		}
		for _, x := range t.parts {
			if x.group == k && !p.Holds {
				p.Lost = goneNames[x.had]
			}
		}
		list = append(list, p)
	}
	for _, x := range t.parts {
		tell(x.group, x.known)
	}
	for _, r := range s.under() {
		if r.Pin == nil || slices.ContainsFunc(list, func(p PinStory) bool { return p.Rule == r.Name }) {
			continue
		}
		values, known := groupOf(r.Pin, s.Facts)
		tell(groupKey{r.Name, values}, known)
	}
	return list
}

// goneNames say why one who had a pin has it no more.
var goneNames = [goneMax]string{goneEnded: "ended", goneIdle: "idle", goneMoved: "moved", goneFreed: "released"}

// Gates tells of the gates that the connection is under, or has waited for.
func (s *Story) Gates() (list []GateStory) {
	t := &s.ties
	if t.gates == nil {
		return nil
	}
	tell := func(rule string, h *HoldStory) {
		g, ok := t.gates.Of(rule)
		if !ok {
			g.Rule = rule
		}
		list = append(list, GateStory{g, h})
	}
	if t.held != nil {
		tell(t.held.Rule, t.held)
	}
	for _, r := range s.under() {
		if r.Hold != nil && (t.held == nil || r.Name != t.held.Rule) {
			tell(r.Name, nil)
		}
	}
	return list
}
