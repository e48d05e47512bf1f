package engine

import (
	"net/netip"
	"time"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// KnownPin is a pin that is held, as plain values which outlive a run of the daemon.
type KnownPin struct {
	Rule, Group string
	By          PinHolderKind
	ByHand      bool
	Resumable   bool
	TLS13       bool
	Origin      [16]byte // of a session
	Client      [16]byte // of a session of TLS 1.3: stands for client, server and name
	Random      [32]byte // of the ClientHello awaited, or of the one that came
	SessionID   [16]byte // stands for the session id awaited
	// Ends are those of the connections that live, the one that called first.
	Ends        [][2]netip.AddrPort
	Since, Used int64 // nanoseconds since the Unix epoch
}

// PinHolderKind says by what who holds a pin is known in another run.
type PinHolderKind uint8

const (
	PinByEnds PinHolderKind = iota + 1 // a connection
	PinByOrigin
	PinByRandom
	PinBySessionID
)

// restoredWait is how long a connection of an earlier run, whose pin has no idle of
// its own, may be silent before others may take its pin: it may have ended while
// nobody looked.
const restoredWait = int64(10 * time.Minute)

// Export returns the pins that are held. Others may take pins meanwhile.
func (p *Pins) Export() (list []KnownPin) {
	p.all(func(h *holder) {
		k := KnownPin{
			Rule: h.group.rule, Group: h.group.values, By: PinByEnds, ByHand: h.byHand, Resumable: h.resumable.Load(),
			TLS13: h.tls13, Origin: h.origin, Client: h.who, Random: h.random, SessionID: h.id, Since: h.since, Used: h.last.Load(),
		}
		switch {
		case h.awaits == awaitsRandom:
			k.By = PinByRandom
		case h.awaits == awaitsSessionID:
			k.By = PinBySessionID
		case h.session && h.origin != origin{}:
			k.By = PinByOrigin
		}
		if k.Used == always {
			k.Used = h.since
		}
		if k.Used < minTime || h.weak() {
			return // gone meanwhile, or there was nothing to have yet
		}
		for _, m := range *orNone(h.members.Load()) {
			k.Ends = append(k.Ends, [2]netip.AddrPort{m.client, m.server})
		}
		if h.awaits == awaitsEnds {
			k.Ends = [][2]netip.AddrPort{{h.began.client, h.began.server}}
		}
		if k.By != PinByEnds || len(k.Ends) > 0 {
			list = append(list, k)
		}
	})
	return list
}

func orNone(list *[]member) *[]member {
	if list == nil {
		return &[]member{}
	}
	return list
}

// Import gives the pins of a policy's rules to those who held them in an earlier
// run, and returns how many it gave. A session has it as it had. A connection has to
// be heard of again, by its ends: until then, and for restoredWait at most, the pin
// is kept for it. It is for pins that nobody uses yet.
func (p *Pins) Import(list []KnownPin, policy *tlsrules.Policy, now int64) (given int) {
	if p == nil {
		return 0
	}
	before := map[ends][]*holder{}
	for i := range list {
		k := &list[i]
		_, r := policy.Named(k.Rule)
		if r == nil || r.Pin == nil || !fitsGroup(r, k.Group) {
			continue
		}
		h := k.holder(p, r, now)
		if h == nil {
			continue
		}
		a := &applicant{group: h.group, places: max(1, r.Pin.Connections)}
		if len(groupIn(p.place(h.group).Load(), h.group).present()) >= a.places {
			continue
		}
		if _, ok := p.give(h, a); !ok {
			break
		}
		given++
		for _, e := range k.Ends {
			at := ends{e[0], e[1]}
			before[at] = append(before[at], h)
		}
	}
	p.before.Store(&before)
	return given
}

// fitsGroup reports whether a group is one of a rule's, by the keys it names.
func fitsGroup(r *tlsrules.Rule, group string) bool {
	values := GroupValues(group)
	named, err := GroupNamed(r, values)
	return err == nil && named == group
}

// holder makes one of what is known; nil if that makes no sense for the rule.
func (k *KnownPin) holder(p *Pins, r *tlsrules.Rule, now int64) *holder {
	h := &holder{
		pins: p, group: groupKey{k.Rule, k.Group}, since: min(k.Since, now), byHand: k.ByHand, random: k.Random,
		idle: int64(r.Pin.Silence()), session: r.Pin.To == tlsrules.PinSession,
	}
	h.last.Store(min(max(k.Used, 0), now))
	switch {
	case k.By == PinByRandom && k.Random != [32]byte{}:
		h.awaits = awaitsRandom
		h.last.Store(always)
	case k.By == PinBySessionID && k.SessionID != [16]byte{}:
		h.awaits, h.id = awaitsSessionID, k.SessionID
		h.last.Store(always)
	case k.By == PinByOrigin && h.session && k.Origin != [16]byte{}:
		h.origin, h.tls13, h.who = k.Origin, k.TLS13, tlswire.SessionKey(k.Client)
		h.resumable.Store(true) // or there is nobody who lets go of it
		if len(k.Ends) > 0 {
			h.began.ends = ends{k.Ends[0][0], k.Ends[0][1]}
			h.last.Store(now)
		}
	case k.By == PinByEnds && len(k.Ends) > 0:
		h.awaits, h.began.ends = awaitsEnds, ends{k.Ends[0][0], k.Ends[0][1]}
		h.last.Store(now)
		if h.idle == 0 {
			h.idle = restoredWait
		}
	default:
		return nil
	}
	return h
}

// noteEvery is how often it is told at most that pins have been taken or let go of.
const noteEvery = int64(5 * time.Second)

// OnChange has note called, by the engines' ticks, when holders have changed. It is
// for pins that nobody uses yet.
func (p *Pins) OnChange(note func()) { p.note = note }

// tell tells that holders have changed, if they have.
func (p *Pins) tell(now int64) {
	if p == nil || p.note == nil || !p.changed.Load() {
		return
	}
	if at := p.noted.Load(); now-at >= noteEvery && p.noted.CompareAndSwap(at, now) {
		p.changed.Store(false)
		p.note()
	}
}
