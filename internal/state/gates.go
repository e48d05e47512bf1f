package state

import "tlsgate/internal/engine"

// GatesOf gives the gates of an engine as a file has them.
func GatesOf(known []engine.GateState) []Gate {
	list := make([]Gate, 0, len(known))
	for _, g := range known {
		list = append(list, Gate{Rule: g.Rule, Planned: g.Planned, Opens: g.Opens})
	}
	return list
}

// KnownGates gives the gates of a file as an engine takes them.
func (s *State) KnownGates() []engine.GateState {
	list := make([]engine.GateState, 0, len(s.Gates))
	for _, g := range s.Gates {
		list = append(list, engine.GateState{Rule: g.Rule, Planned: g.Planned, Opens: g.Opens, ByHand: true})
	}
	return list
}
