package engine

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// Seen is what the table holds of one connection at one moment.
type Seen struct {
	ID              uint64
	Original, Reply netip.AddrPort
	Start, Last     int64 // nanoseconds since the Unix epoch
	State           conntrack.State
	Midstream       bool
	Packets, Bytes  [2]uint64 // by direction
	Decision        tlsrules.Decision
	Offloaded       bool
	Held            bool          // its data waits for the gate of Decision's rule
	Waited          time.Duration // or has waited
	Graced          bool
	Stood           bool // the decision is an earlier policy's: see Adopted
	SawTLS          bool
	Phase           tlswire.Phase
	Via             via.Kind
	Said            Said
	Pin             string // the rule whose pin it holds, "" for none
}

// Filter says which connections are meant: those for which every field that is
// not zero fits. The zero Filter means all.
type Filter struct {
	ID                  uint64
	Source, Destination netip.Prefix
	Port                uint16 // of the side that was called
	ServerName          string // in lower case; "*.example" for all names below
	Rule                string
	Verdict             string // an action, or "undecided"
	Phase               string
	State               string
	Cipher              uint16
	HasCipher           bool // Cipher counts, though it be 0
	Version             uint16
	StartedBefore       int64 // nanoseconds since the Unix epoch
}

// Fits reports whether a connection is meant.
func (f *Filter) Fits(s *Seen) bool {
	return (f.ID == 0 || f.ID == s.ID) &&
		(f.Port == 0 || f.Port == s.Reply.Port()) &&
		(!f.Source.IsValid() || f.Source.Contains(s.Original.Addr())) &&
		(!f.Destination.IsValid() || f.Destination.Contains(s.Reply.Addr())) &&
		(f.StartedBefore == 0 || s.Start <= f.StartedBefore) &&
		(f.Rule == "" || f.Rule == s.Decision.Rule) &&
		(f.Verdict == "" || f.Verdict == s.Verdict()) &&
		(f.Phase == "" || s.SawTLS && f.Phase == s.Phase.String()) &&
		(f.State == "" || f.State == s.State.String()) &&
		(!f.HasCipher || s.Said.Version != 0 && f.Cipher == s.Said.Cipher) &&
		(f.Version == 0 || f.Version == s.Said.Version) &&
		(f.ServerName == "" || f.fitsName(s.Said.ServerName))
}

func (f *Filter) fitsName(name string) bool {
	name = strings.ToLower(name)
	if below, ok := strings.CutPrefix(f.ServerName, "*"); ok {
		return len(name) > len(below) && strings.HasSuffix(name, below)
	}
	return name == f.ServerName
}

// Verdict is the action decided on, "undecided" while there is none. What is only
// observed is accepted.
func (s *Seen) Verdict() string {
	switch {
	case s.Held:
		return "hold"
	case !s.Decision.Decided:
		return "undecided"
	case s.Decision.Observed:
		return tlsrules.Accept.String()
	}
	return s.Decision.Action.String()
}

// stepSize is how many connections are looked at between two batches, and stepPlaces
// how many places of the table, of which many may be empty: what a listing can delay a
// packet by, 3 us, or 8 where all are read and 16 where all are packed and no two
// have said the same (BenchmarkListStep). A piece, for which the one who asks is woken,
// has so many steps.
const (
	stepSize   = 16
	stepPlaces = 256
	pieceSteps = 32
)

// List appends the connections that fit, of one piece of the table, and returns
// them with the place where the next piece begins: 0 is the first, -1 comes after
// the last. Packets are answered meanwhile. A connection that lives from the
// first piece to the last is met once.
func (e *Engine) List(ctx context.Context, place int, f *Filter, list []Seen) ([]Seen, int, error) {
	steps := 0
	err := e.askInSteps(ctx, func() (done bool) {
		list, place = e.listStep(place, f, list)
		steps++
		return place < 0 || steps == pieceSteps
	})
	if err != nil {
		return nil, -1, err
	}
	return list, place, nil
}

// listStep looks at a few connections.
func (e *Engine) listStep(place int, f *Filter, list []Seen) ([]Seen, int) {
	var s Seen
	met := 0
	for end := place + stepPlaces; place >= 0 && place < end && met < stepSize; {
		place = e.table.Walk(place, stepSize-met, func(c *conntrack.Conn[flow]) {
			met++
			e.see(c, &s)
			if f.Fits(&s) {
				list = append(list, s)
			}
		})
	}
	return list, place
}

// Find returns the connection between two ends, in either order; false if the
// table has none.
func (e *Engine) Find(ctx context.Context, a, b netip.AddrPort) (s Seen, ok bool, err error) {
	err = e.ask(ctx, func() {
		if c := e.table.Between(a, b); c != nil {
			e.see(c, &s)
			ok = true
		}
	})
	return s, ok && err == nil, err
}

// see fills s with what the table holds of a connection.
func (e *Engine) see(c *conntrack.Conn[flow], s *Seen) {
	f := &c.Value
	*s = Seen{
		ID: c.ID, Original: c.Addr(conntrack.Original), Reply: c.Addr(conntrack.Reply),
		Start: c.Start, Last: c.Last, State: c.State(), Midstream: c.Midstream,
		Packets: c.Packets, Bytes: c.Bytes, Decision: f.sum.decision,
		Offloaded: f.offloaded, Graced: f.graced, Stood: f.sum.stood,
		SawTLS: f.sum.sawTLS, Phase: f.sum.phase, Via: f.began(),
	}
	if f.pinned {
		s.Pin = e.holdsPin(c)
	}
	said := f.sum.said
	if ins := f.ins; ins != nil {
		s.SawTLS, s.Phase = f.sum.sawTLS || ins.sawTLS(), max(f.sum.phase, ins.tls.Phase)
		if !s.Decision.Decided {
			s.Decision = ins.decision
		}
		if now := e.saidOf(ins, false); now != nil {
			said = now
		}
	}
	if said != nil {
		s.Said = said.Said
	}
	h := e.hold(c)
	if s.Waited = h.waited(e.now); h != nil && h.began != 0 && !h.over {
		s.Held, s.Decision = true, h.decision(f)
	}
}
