package engine

import (
	"context"
	"errors"
	"net/netip"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// What can stand against a pin by hand.
var (
	ErrNotUnder  = errors.New("engine: no rule with a pin applies to the connection, as far as it is known")
	ErrNoGroup   = errors.New("engine: the connection has not said yet to which group of the pin it belongs")
	ErrPinsFull  = errors.New("engine: there are as many holders of pins as limits.pins allows")
	ErrManyRules = errors.New("engine: more than one rule with a pin applies to the connection")
)

// Moved are holders that had to give way. Their connections are refused: see Expel.
type Moved struct{ holders []*holder }

// Pin gives a connection the pin of a rule, "" being the only one that applies to it,
// whoever has it now. id, if not 0, must be its own, for the ports may serve another by
// now.
func (e *Engine) Pin(ctx context.Context, id uint64, a, b netip.AddrPort, rule string) (held HeldPin, moved Moved, err error) {
	var wrong error
	err = e.ask(ctx, func() {
		c := e.table.Between(a, b)
		switch {
		case e.cfg.Pins == nil:
			wrong = ErrNotUnder
		case c == nil || id != 0 && c.ID != id:
			wrong = ErrUnknown
		case c.Value.phase == refused:
			wrong = ErrRefused
		default:
			held, moved, wrong = e.pinByHand(c, rule)
		}
	})
	if err == nil {
		err = wrong
	}
	return held, moved, err
}

func (e *Engine) pinByHand(c *conntrack.Conn[flow], rule string) (HeldPin, Moved, error) {
	if e.renew(c, conntrack.Original, nil); c.Value.phase == refused {
		return HeldPin{}, Moved{}, ErrRefused
	}
	p, err := e.pinNamed(c, rule)
	if err != nil {
		return HeldPin{}, Moved{}, err
	}
	if h := p.holder; h != nil && h.gone() == present {
		return h.held(), Moved{}, nil
	}
	h := newHolder(e.cfg.Pins, &p.applicant, e.now)
	h.byHand = true
	if f := &c.Value; p.session && f.ins != nil && (f.ins.facts.Server == nil || f.ins.facts.Resumed == 0) {
		h.awaits = awaitsConnection // who it is will be known then
	}
	out, ok := e.cfg.Pins.give(h, &p.applicant)
	if !ok {
		return HeldPin{}, Moved{}, ErrPinsFull
	}
	e.attachPin(p, h)
	p.told, p.waived = PinTaken, false
	e.counts.PinsTaken++
	return h.held(), Moved{out}, nil
}

// pinNamed finds the part that a connection has in the pin of a rule, or is to have.
func (e *Engine) pinNamed(c *conntrack.Conn[flow], rule string) (found *pin, err error) {
	f := &c.Value
	for p := e.pins[c]; p != nil; p = p.next {
		switch {
		case rule != "" && p.group.rule != rule:
		case found != nil:
			return nil, ErrManyRules
		default:
			found = p
		}
	}
	if f.ins == nil {
		if found == nil {
			return nil, ErrNotUnder
		}
		return found, nil
	}
	var of *tlsrules.Rule
	for _, r := range e.policy.Bound(&f.ins.judgement) {
		switch {
		case r.Pin == nil || rule != "" && r.Name != rule || found != nil && found.group.rule == r.Name:
		case found != nil || of != nil:
			return nil, ErrManyRules
		default:
			of = r
		}
	}
	switch {
	case found != nil && found.blind:
		return nil, ErrNoGroup
	case found != nil:
		return found, nil
	case of == nil:
		return nil, ErrNotUnder
	}
	if _, ok := groupOf(of.Pin, &f.ins.facts); !ok {
		return nil, ErrNoGroup
	}
	p := e.addPin(c, of)
	e.apply(p, of, f)
	return p, nil
}

// Reserve keeps a place in a group of a rule's pin for the connection whose
// ClientHello has this random, or for the session with this id, whoever has it now,
// and whether it has come already or has yet to.
func (p *Pins) Reserve(rule *tlsrules.Rule, group string, random *[32]byte, sessionID []byte, now int64) (HeldPin, Moved, error) {
	a := &applicant{group: groupKey{rule.Name, group}, places: max(1, rule.Pin.Connections), session: rule.Pin.To == tlsrules.PinSession}
	h := newHolder(p, a, now)
	h.byHand, h.awaits = true, awaitsSessionID
	h.conns.Store(0)
	h.members.Store(nil)
	h.last.Store(always)
	if random != nil {
		h.awaits, h.random, a.random = awaitsRandom, *random, *random
	} else {
		h.id = tlswire.SessionKeyOf(sessionID)
		a.ids[0] = h.id
	}
	for _, x := range groupIn(p.place(a.group).Load(), a.group).present() {
		if random != nil && x.random == *random {
			return x.held(), Moved{}, nil // it has come, and holds it
		}
	}
	out, ok := p.give(h, a)
	if !ok {
		return HeldPin{}, Moved{}, ErrPinsFull
	}
	return h.held(), Moved{out}, nil
}

// Release takes pins away: those of a connection if id is not 0, and else those of a
// rule, of all its groups or of one. It returns what was held.
func (p *Pins) Release(id uint64, rule string, group *string) (list []HeldPin, moved Moved) {
	p.all(func(h *holder) {
		held := h.held()
		if id != 0 {
			found := held.ID == id && !h.session
			for _, m := range held.Members {
				found = found || m == id
			}
			if !found || rule != "" && rule != held.Rule {
				return
			}
		} else if held.Rule != rule || group != nil && *group != held.Group {
			return
		}
		if p.free(h, goneFreed) {
			list = append(list, held)
			moved.holders = append(moved.holders, h)
		}
	})
	return list, moved
}

// expelled is how many connections one question refuses.
const expelled = 64

// Expel refuses the connections that had part in holders which had to give way, and
// resets both ends at once. It reports whether there are more: packets are answered
// in between.
func (e *Engine) Expel(ctx context.Context, moved Moved) (n int, more bool, err error) {
	err = e.ask(ctx, func() {
		for _, h := range moved.holders {
			for p := e.holders[h]; p != nil; p = e.holders[h] {
				if n++; n > expelled {
					n, more = n-1, true
					return
				}
				e.expel(p)
			}
		}
	})
	return n, more && err == nil, err
}

func (e *Engine) expel(p *pin) {
	c := p.c
	why := p.holder.gone()
	h := p.holder
	e.detachPin(p)
	h.part(p.member)
	p.had, p.heard = why, [2]bool{true, true}
	e.violate(p)
	if c.Value.phase != refused {
		return
	}
	e.resetBoth(c)
	e.release(c)
}
