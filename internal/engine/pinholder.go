package engine

import (
	"math"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// ends are the two ends of a connection: the one that called comes first.
type ends struct{ client, server netip.AddrPort }

// gone says why a holder is none any more.
type gone int64

const (
	present   gone = iota
	goneEnded      // its connection has ended, or was refused
	goneIdle       // it was silent for too long, and another wanted the pin
	goneMoved      // the operator gave the pin to another
	goneFreed      // the operator took the pin away
	goneMet        // it was awaited, and has come: another holder stands for it
	goneRule       // its rule has no pin any more
	goneMax
)

const (
	// always is heard of at all times: a place that is reserved.
	always = math.MaxInt64
	// minTime is the first of all times; before it holder.last says why one is gone.
	minTime = math.MinInt64 + int64(goneMax)
)

// holder is a connection or a session that holds the pin of a group, or is to hold
// it once it comes. What is not atomic is written once.
type holder struct {
	// last is when a packet of it came, in nanoseconds since the Unix epoch, or why
	// it is gone: one word, so that it cannot be both in use and given up.
	last atomic.Int64
	// conns counts its connections that live, members lists maxMembers of them.
	conns     atomic.Int32
	members   atomic.Pointer[[]member]
	resumable atomic.Bool

	pins   *Pins
	group  groupKey
	since  int64
	idle   int64 // it may be silent for so long; 0: for ever
	byHand bool
	awaits awaits
	began  member // the connection that took it; of another run without an ID
	random [32]byte
	id     tlswire.SessionKey // session id awaited
	// Of a session: what those that resume it have in common.
	session bool
	origin  origin // zero: it began unseen
	tls13   bool
	who     tlswire.SessionKey // client, server and name
}

// awaits says by what a holder is known that has yet to come.
type awaits uint8

const (
	awaitsNone awaits = iota
	awaitsRandom
	awaitsSessionID
	awaitsEnds       // a connection that an earlier run has pinned
	awaitsConnection // that lives: its hello, or whether it is resumed
	awaitsAnswer     // of the other end of a connection whose handshake was not seen now
)

// member is a connection that has part in a pin.
type member struct {
	id uint64
	ends
}

// weakIdle is how long one that was heard at one end keeps others of its kind away.
const weakIdle = int64(10 * time.Second)

// maxMembers bounds those listed of a session that has many connections at once.
const maxMembers = 64

// applicant is a connection that asks for the pin of a group.
type applicant struct {
	group  groupKey
	places int
	idle   int64
	member
	random    [32]byte
	ids       [2]tlswire.SessionKey // of its hellos
	session   bool                  // the pin is to a session
	resumable bool
	origin    origin // zero: it began unseen
	tls13     bool
	psk       bool // TLS 1.3, resumed
	sharing   tlsrules.PinTLS13
	who       tlswire.SessionKey
	weak      bool // it was heard at one end: it makes way for who was heard at both
}

// is reports whether the applicant is what holds a pin, or was awaited to.
func (a *applicant) is(h *holder) bool {
	switch h.awaits {
	case awaitsRandom:
		return a.random == h.random && a.random != [32]byte{}
	case awaitsSessionID:
		return slices.Contains(a.ids[:], h.id)
	case awaitsEnds:
		return a.ends == h.began.ends
	case awaitsConnection, awaitsAnswer:
		return a.id == h.began.id
	}
	switch {
	case a.id != 0 && a.id == h.began.id:
		return true
	case !a.session || !h.session:
		return false
	case a.psk:
		return h.tls13 && (a.sharing == tlsrules.PinTLS13Allow || a.sharing == tlsrules.PinTLS13SameClient && a.who == h.who)
	}
	return a.origin == h.origin && a.origin != origin{}
}

func newHolder(p *Pins, a *applicant, now int64) *holder {
	h := &holder{
		pins: p, group: a.group, since: now, idle: a.idle, began: a.member, random: a.random,
		session: a.session, origin: a.origin, tls13: a.tls13, who: a.who,
	}
	h.last.Store(now)
	h.conns.Store(1)
	h.members.Store(&[]member{a.member})
	h.resumable.Store(a.resumable)
	if a.weak {
		h.awaits, h.idle = awaitsAnswer, weakIdle
	}
	return h
}

func (h *holder) gone() gone {
	if v := h.last.Load() - math.MinInt64; v >= 0 && v < int64(goneMax) {
		return gone(v)
	}
	return present
}

// awaited reports whether it has yet to come.
func (h *holder) awaited() bool { return h.awaits != awaitsNone }

// weak reports whether it makes way for who was heard at both ends.
func (h *holder) weak() bool { return h.awaits == awaitsAnswer }

// touch notes that a packet of it came, and reports whether it still holds the pin.
func (h *holder) touch(now int64) bool {
	for {
		last := h.last.Load()
		switch {
		case last < minTime:
			return false
		case last >= now || h.last.CompareAndSwap(last, now):
			return true
		}
	}
}

// leave lets it be gone, and reports whether it was not yet.
func (h *holder) leave(why gone) bool {
	for {
		last := h.last.Load()
		if last < minTime {
			return false
		}
		if h.last.CompareAndSwap(last, math.MinInt64+int64(why)) {
			return true
		}
	}
}

// silent reports whether it has been silent for too long.
func (h *holder) silent(now int64) bool { return h.silentSince(h.last.Load(), now) }

func (h *holder) silentSince(last, now int64) bool {
	return h.idle > 0 && last != always && last >= minTime && last < now-h.idle
}

// expire gives it up for its silence, unless a packet of it has come meanwhile.
func (h *holder) expire(now int64) {
	if last := h.last.Load(); h.silentSince(last, now) {
		h.last.CompareAndSwap(last, math.MinInt64+int64(goneIdle))
	}
}

// join lets a connection have part in it, and reports whether it is not gone.
func (h *holder) join(a *applicant, now int64) bool {
	for {
		list := h.members.Load()
		if list == nil || len(*list) >= maxMembers || slices.Contains(*list, a.member) {
			break
		}
		next := append(slices.Clone(*list), a.member)
		if h.members.CompareAndSwap(list, &next) {
			break
		}
	}
	h.conns.Add(1)
	if a.resumable {
		h.resumable.Store(true)
	}
	if h.touch(now) {
		return true
	}
	h.part(a.member)
	return false
}

// part lets a connection have part in it no more, and says whether it was the last.
func (h *holder) part(m member) bool {
	for {
		list := h.members.Load()
		if list == nil || !slices.Contains(*list, m) {
			break
		}
		next := slices.DeleteFunc(slices.Clone(*list), func(x member) bool { return x == m })
		if h.members.CompareAndSwap(list, &next) {
			break
		}
	}
	return h.conns.Add(-1) <= 0
}
