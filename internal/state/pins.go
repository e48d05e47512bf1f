package state

import (
	"net/netip"

	"tlsgate/internal/engine"
)

// PinsOf gives the pins of an engine as a file has them.
func PinsOf(known []engine.KnownPin) []Pin {
	list := make([]Pin, 0, len(known))
	for i := range known {
		k := &known[i]
		p := Pin{Rule: k.Rule, Since: max(k.Since, 0), ByHand: k.ByHand, TLS13: k.TLS13, Resumable: k.Resumable}
		p.Used = max(k.Used, p.Since)
		if k.Group != "" {
			p.Group = [][]byte{[]byte(k.Group)}
		}
		if k.Random != [32]byte{} {
			p.Random = k.Random[:]
		}
		if k.Client != [16]byte{} {
			p.Client = k.Client[:]
		}
		switch k.By {
		case engine.PinByOrigin:
			p.Holder, p.Members = Holder{Kind: Session, ID: k.Origin[:]}, k.Ends
		case engine.PinByRandom:
			p.Holder = Holder{Kind: ClientRandom, ID: k.Random[:]}
		case engine.PinBySessionID:
			p.Holder = Holder{Kind: SessionID, ID: k.SessionID[:]}
		default:
			p.Holder.Kind = Connection
			if len(k.Ends) > 0 {
				p.Holder.Ends = k.Ends[0]
			}
		}
		list = append(list, p)
	}
	return list
}

// KnownPins gives the pins of a file as an engine takes them.
func (s *State) KnownPins() []engine.KnownPin {
	list := make([]engine.KnownPin, 0, len(s.Pins))
	for i := range s.Pins {
		p := &s.Pins[i]
		k := engine.KnownPin{Rule: p.Rule, ByHand: p.ByHand, TLS13: p.TLS13, Resumable: p.Resumable, Since: p.Since, Used: p.Used}
		for _, v := range p.Group {
			k.Group += string(v)
		}
		copy(k.Random[:], p.Random)
		copy(k.Client[:], p.Client)
		switch p.Holder.Kind {
		case Session:
			k.By, k.Ends = engine.PinByOrigin, p.Members
			copy(k.Origin[:], p.Holder.ID)
		case ClientRandom:
			k.By = engine.PinByRandom
			copy(k.Random[:], p.Holder.ID)
		case SessionID:
			k.By = engine.PinBySessionID
			copy(k.SessionID[:], p.Holder.ID)
		default:
			k.By, k.Ends = engine.PinByEnds, [][2]netip.AddrPort{p.Holder.Ends}
		}
		list = append(list, k)
	}
	return list
}
