package tlsrules

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// Pin lets so many connections, or sessions, of a group pass at a time: the first
// whose server answers its hello. The others violate it. Who holds a pin no policy
// can know: whoever asks Decide enforces it, see Policy.Bound.
type Pin struct {
	To PinTo
	// Per are the facts that connections of one group have in common, of those in
	// PinGroups. Without any, all connections of the rule are one group.
	Per []Key
	// Connections is how many may hold the pin at a time; 0 is 1.
	Connections int
	// Idle is how long a holder may be silent before another may take the pin; 0 is
	// for ever for a connection and DefaultPinIdle for a session.
	Idle  time.Duration // see Silence
	TLS13 PinTLS13
}

// Silence returns how long a holder may be silent; 0 is for ever.
func (p *Pin) Silence() time.Duration {
	if p.Idle == 0 && p.To == PinSession {
		return DefaultPinIdle
	}
	return p.Idle
}

// DefaultPinIdle is Pin.Idle of a session, which may be resumed long after its
// last connection ended.
const DefaultPinIdle = 10 * time.Minute

// MaxPinned bounds Pin.Connections.
const MaxPinned = 1024

// PinTo says what holds a pin. The zero PinTo is a connection.
type PinTo uint8

const (
	PinConnection PinTo = iota
	PinSession          // all connections that resume it, too
)

var pinToNames = []string{PinConnection: "connection", PinSession: "session"}

// String returns the value as POLICY.md spells it.
func (t PinTo) String() string { return spell(pinToNames, int(t)) }

// PinTos returns the names of all, the index being the value.
func PinTos() []string { return slices.Clone(pinToNames) }

// PinTLS13 says which connections of TLS 1.3 share a session's pin: that one is
// resumed can be seen there, but not which. The zero PinTLS13 lets none.
type PinTLS13 uint8

const (
	PinTLS13Deny       PinTLS13 = iota
	PinTLS13SameClient          // of the same client, server and name
	PinTLS13Allow               // all that resume anything
)

var pinTLS13Names = []string{PinTLS13Deny: "deny", PinTLS13SameClient: "same-client", PinTLS13Allow: "allow"}

// String returns the value as POLICY.md spells it.
func (t PinTLS13) String() string { return spell(pinTLS13Names, int(t)) }

// PinTLS13s returns the names of all, the index being the value.
func PinTLS13s() []string { return slices.Clone(pinTLS13Names) }

func spell(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "invalid"
}

// PinGroups returns the keys by which connections may be grouped for a pin: what
// is known at the ClientHello and has one value.
func PinGroups() []Key {
	return []Key{KeySource, KeyDestination, KeyPort, KeyInInterface, KeyServerName}
}

func (p *Pin) check() *RuleError {
	for _, k := range p.Per {
		if !slices.Contains(PinGroups(), k) {
			return &RuleError{Key: "pin.per", Msg: fmt.Sprintf("connections cannot be grouped by %s", k)}
		}
	}
	switch {
	case p.To > PinSession, p.TLS13 > PinTLS13Allow, p.Idle < 0:
		return &RuleError{Key: "pin", Msg: "has a value that means nothing"}
	case p.Connections < 0 || p.Connections > MaxPinned:
		return &RuleError{Key: "pin.connections", Msg: fmt.Sprintf("%d is not a number from 1 to %d", p.Connections, MaxPinned)}
	case p.To == PinConnection && p.TLS13 != PinTLS13Deny:
		return &RuleError{Key: "pin.tls13", Msg: "has no effect on a pin to a connection", Hint: `it says which resumed sessions share a pin: to = "session"`}
	}
	return nil
}

// Hold lets a handshake pass and has application data wait, early data too, until
// a gate opens. Whoever asks Decide enforces it, see Policy.Bound.
type Hold struct {
	Open     time.Time     // when it opens by itself; zero is never
	Patience time.Duration // for so long data waits before it violates the rule; 0 is to the connection's end
}

// Pins reports whether rules with a pin are bound to the connection.
func (j *Judgement) Pins() bool { return j.flags.has(pins) }

// Holds reports whether rules with a hold are bound to the connection.
func (j *Judgement) Holds() bool { return j.flags.has(holds) }

// Bound ranges over the rules bound to a connection that have a pin or a hold,
// with their index, in the order in which they were bound.
func (p *Policy) Bound(j *Judgement) iter.Seq2[int, *Rule] {
	return func(yield func(int, *Rule) bool) {
		if !j.flags.has(pins) && !j.flags.has(holds) {
			return
		}
		for k := range int(j.nbound) {
			i := j.at(k)
			if r := &p.rules[i].Rule; (r.Pin != nil || r.Hold != nil) && !yield(i, r) {
				return
			}
		}
	}
}

// Violated is what becomes of a connection for which the pin of rule i is taken,
// or its hold over: the rule's otherwise, observed where nothing is refused.
func (p *Policy) Violated(i int, why Reason, f *Facts) Decision {
	r := &p.rules[i]
	return Decision{
		Decided: true, Final: true, Action: r.Otherwise, Reason: why, Stage: f.Stage(), Index: i, Rule: r.Name,
		Observed: r.Observe || p.defaults.Observe,
	}
}

// Pinning ranges over the rules with a pin that apply to a connection of which no
// more will be known than f says, in order, up to the one that would decide it.
func (p *Policy) Pinning(f *Facts) iter.Seq2[int, *Rule] {
	return func(yield func(int, *Rule) bool) {
		unseen := *f
		unseen.Never.Add(StageFirstBytes, StageClientHello, StageServerHello, StageCertificate, StageRecords)
		unseen.GroupSettled = true
		var v view
		v.look(&unseen, 0)
		for i := range p.rules {
			r := &p.rules[i]
			if applies, _, _ := r.applies(&v); applies != yes {
				continue
			}
			if r.Pin != nil && !yield(i, &r.Rule) || r.Action == Accept || r.Action.Refuses() && !r.Observe {
				return
			}
		}
	}
}

// Named returns a rule by its name, -1 if there is none.
func (p *Policy) Named(name string) (int, *Rule) {
	for i := range p.rules {
		if p.rules[i].Name == name {
			return i, &p.rules[i].Rule
		}
	}
	return -1, nil
}
