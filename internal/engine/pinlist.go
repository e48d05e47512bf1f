package engine

import (
	"cmp"
	"net/netip"
	"slices"

	"tlsgate/conntrack"
)

// HeldPin is a pin and who holds it, at one moment.
type HeldPin struct {
	Rule, Group string // Group as in "source=192.0.2.1,port=443"; "" where there is one
	Session     bool   // else a connection
	Awaits      string // of one that has yet to come: "client_random", "session_id", "restart", "hello" or "answer"
	ByHand      bool
	ID          uint64 // of the connection that took it; 0: one of an earlier run
	// Client and Server are its ends, as far as they are known.
	Client, Server netip.AddrPort
	Random         [32]byte // of its ClientHello; zero if that is not known
	Since, Last    int64    // nanoseconds since the Unix epoch; Last 0: not yet
	Connections    int      // that live
	Members        []uint64 // their IDs, some of them where there are many
}

var awaitsNames = [...]string{"", "client_random", "session_id", "restart", "hello", "answer"}

func (h *holder) held() HeldPin {
	p := HeldPin{
		Rule: h.group.rule, Group: h.group.values, Session: h.session, Awaits: awaitsNames[h.awaits], ByHand: h.byHand,
		ID: h.began.id, Client: h.began.client, Server: h.began.server, Random: h.random,
		Since: h.since, Connections: int(h.conns.Load()),
	}
	if last := h.last.Load(); last != always && last >= minTime {
		p.Last = last
	}
	if list := h.members.Load(); list != nil {
		for _, m := range *list {
			p.Members = append(p.Members, m.id)
		}
	}
	return p
}

// List returns all pins that are held, by rule, group and time. It may be called
// while pins are taken: what is there from beginning to end is listed.
func (p *Pins) List() (list []HeldPin) {
	p.all(func(h *holder) { list = append(list, h.held()) })
	slices.SortFunc(list, func(a, b HeldPin) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Since, b.Since), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// PinPart is what an event tells of a pin: what part the connection has in it, and
// who holds it.
type PinPart struct {
	Told        PinTold
	Rule, Group string
	Holder      *HeldPin // nil: nobody
}

// pinTold tells of one of a connection's pins: that which others hold, if one.
func (e *Engine) pinTold(c *conntrack.Conn[flow]) *PinPart {
	var of *pin
	for p := e.pins[c]; p != nil; p = p.next {
		if p.told != PinNothing && (of == nil || p.told == PinRefused) {
			of = p
		}
	}
	if of == nil {
		return nil
	}
	part := &PinPart{Told: of.told, Rule: of.group.rule, Group: of.group.values}
	h := of.holder
	if h == nil {
		h = e.cfg.Pins.rival(&of.applicant, e.now)
	}
	if h != nil {
		held := h.held()
		part.Holder = &held
	}
	return part
}

// holdsPin names a rule whose pin a connection holds, "" for none.
func (e *Engine) holdsPin(c *conntrack.Conn[flow]) string {
	for p := e.pins[c]; p != nil; p = p.next {
		if p.holder != nil && p.holder.gone() == present {
			return p.group.rule
		}
	}
	return ""
}
