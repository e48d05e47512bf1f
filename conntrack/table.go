package conntrack

import (
	"net/netip"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// Config bounds a table. Zero values mean the defaults.
type Config struct {
	Connections int // entries: 262144
	HalfOpen    int // entries without a completed handshake: 65536
	Timeouts    Timeouts
	// FirstID is the first entry's, and StepID what follows adds, so that tables
	// side by side never give one ID twice: both 1.
	FirstID, StepID uint64
	// Lossy: packets may pass that the table never sees. What they would have
	// told is believed when the other side acknowledges it.
	Lossy bool
	// Recorded: the packets are those of a capture, which all have passed. Some may
	// be missing, as with Lossy, in one direction all; some may stand in another
	// order than they passed in.
	Recorded bool
}

const (
	defaultConnections = 262144
	defaultHalfOpen    = 65536
)

// Stats counts what a table did since it was made.
type Stats struct {
	Created, Reopened        uint64
	Expired                  uint64
	Evicted, EvictedHalfOpen uint64
	Full                     uint64 // packets for which there was no entry
	// New entries that found a bound reached, and had another make room or none made:
	// that of half-open ones, that of all.
	AtHalfOpen, AtConnections uint64
}

// Table is a table of connections, for one goroutine. It is made by New.
//
// When it is full the oldest half-open connection makes room for a new one,
// then the oldest that is thought to be over, then an established one that has
// been silent for a while. If a short look finds none, the new one is refused.
type Table[V any] struct {
	cfg    Config
	limit  Timeouts
	ended  func(*Conn[V], End)
	astray func(*Conn[V], Direction) bool
	heads  heads
	index  index
	last   *Conn[V] // of the latest packet: the next is often its neighbour
	reborn bool     // the latest packet: see Reborn
	over   bool     // its connection was: see BehindEnd
	conns  conns[V]
	queue  [ranks]list
	wheel  wheel
	seen   uint64 // of memory: nobody leaves out a read for nothing but to have it near
	resting[V]
	ids   uint64
	stats Stats
}

// rank is how easily a connection is given up; the first ones go first.
type rank uint8

const (
	rankHalfOpen rank = iota // or heard from one end only: anyone can send such packets
	rankOver
	rankEstablished
	ranks
)

// New makes a table. ended, if not nil, is called with each entry that leaves
// it, while the entry's fields still stand.
func New[V any](cfg Config, ended func(*Conn[V], End)) *Table[V] {
	if cfg.Connections <= 0 {
		cfg.Connections = defaultConnections
	}
	if cfg.HalfOpen <= 0 {
		cfg.HalfOpen = defaultHalfOpen
	}
	if cfg.FirstID == 0 {
		cfg.FirstID = 1
	}
	if cfg.StepID == 0 {
		cfg.StepID = 1
	}
	if ended == nil {
		ended = func(*Conn[V], End) {}
	}
	t := &Table[V]{cfg: cfg, limit: cfg.Timeouts.withDefaults(), ended: ended, ids: cfg.FirstID}
	t.index = newIndex(&t.heads)
	t.wheel.heads = &t.heads
	return t
}

// SetBounds sets how many entries there may be, and how many of them without a
// completed handshake; 0 is the default. Entries beyond that stay: they end, or
// make room for new ones.
func (t *Table[V]) SetBounds(connections, halfOpen int) {
	if connections <= 0 {
		connections = defaultConnections
	}
	if halfOpen <= 0 {
		halfOpen = defaultHalfOpen
	}
	t.cfg.Connections, t.cfg.HalfOpen = connections, halfOpen
}

// Suspect has the table ask f of each packet of a known connection, before it
// believes anything that it says, whether it is not from the sender of its
// direction but only says so.
func (t *Table[V]) Suspect(f func(*Conn[V], Direction) bool) { t.astray = f }

// Len returns the number of entries.
func (t *Table[V]) Len() int { return t.index.len }

// HalfOpen returns the number of entries without a completed handshake, and of
// those that began unseen and were heard from one end only.
func (t *Table[V]) HalfOpen() int { return t.queue[rankHalfOpen].len }

// Stats returns the counters.
func (t *Table[V]) Stats() Stats { return t.stats }

// All calls f with every entry until it returns false. f must not call the table.
func (t *Table[V]) All(f func(*Conn[V]) bool) {
	for r := range t.queue {
		for p := t.queue[r].first; p != 0; p = t.heads.tail(p).links[inRank].next {
			if !f(t.At(p)) {
				return
			}
		}
	}
}

// Find returns the entry on whose ports a segment travels, and the direction
// that the segment has there; nil when there is none. Nothing changes.
func (t *Table[V]) Find(p *packet.Parsed, now int64) (*Conn[V], Direction) {
	var k key
	sender := k.take(p)
	c := t.find(&k)
	if c == nil || c.deadline <= now {
		return nil, 0
	}
	return c, Direction(c.original ^ sender)
}

// GiveWay ends an entry with EndReopened: a SYN begins another connection on its
// ports, and the caller, who lets no other packet pass, need not wait for proof.
func (t *Table[V]) GiveWay(c *Conn[V]) { t.end(c, EndReopened) }

// Spoke notes that somebody in the middle has ended direction d in the name of
// its sender: next is the number after the FIN. Only then does the receiver's
// acknowledgement make sense.
func (t *Table[V]) Spoke(c *Conn[V], d Direction, next seqnum.Value) {
	s := &c.sides[d]
	s.end = seqnum.Max(s.end, next)
	if !s.finSeen {
		s.finSeen, s.fin = true, next.Sub(1)
	}
	if !c.state.half() && c.state != Close {
		t.setState(c, c.closing())
		t.touch(c, c.Last)
	}
}

// Abort notes that somebody in the middle has reset both ends of a connection whose
// handshake was completed: unless one of them is heard again, it is over in as long
// as after an RST that was seen.
func (t *Table[V]) Abort(c *Conn[V], now int64) {
	if c.state.half() {
		return
	}
	c.kept = false
	t.setState(c, Close)
	t.rerank(c)
	c.deadline = now + int64(t.limit[Close])
	t.refile(c, c.deadline)
}

// Walk calls f with the entries at the next n places from the given one on, and
// returns the place to go on from, or -1 at the end. It begins at 0, and may be
// left at any time: an entry stays at its place for as long as it lives, so that
// a walk in pieces, with packets in between, meets all that were there from its
// beginning to its end, once. f must not call the table. What it is given is to be
// read, and may be a copy that is valid during the call: the entry itself is At its
// Place.
func (t *Table[V]) Walk(at, n int, f func(*Conn[V])) (next int) {
	if at < 0 {
		return -1
	}
	for ; n > 0 && at < int(t.heads.used); n, at = n-1, at+1 {
		if t.heads.at(place(at)).id != 0 {
			f(t.look(place(at)))
		}
	}
	if at >= int(t.heads.used) {
		return -1
	}
	return at
}

// Between returns the entry of the connection between two ends, in either order;
// nil if there is none.
func (t *Table[V]) Between(a, b netip.AddrPort) *Conn[V] {
	if !a.IsValid() || !b.IsValid() || a.Addr().Is4() != b.Addr().Is4() {
		return nil
	}
	k, _ := keyOf(a, b)
	return t.find(&k)
}

// Close ends every entry with EndShutdown. The table is as a new one then, but
// for its numbers: its time may begin anew, and earlier.
func (t *Table[V]) Close() {
	for r := range t.queue {
		for p := t.queue[r].first; p != 0; p = t.queue[r].first {
			t.end(t.At(p), EndShutdown)
		}
	}
	t.wheel.runs = false
}

// take returns an empty entry, evicting another if the table is full; nil when
// none can be had.
func (t *Table[V]) take(now int64) *Conn[V] {
	for round := range 2 { // a table above lowered bounds shrinks with every new entry
		if t.queue[rankHalfOpen].len < t.cfg.HalfOpen && t.index.len < t.cfg.Connections {
			break
		}
		if round == 0 {
			t.boundHit()
		}
		if !t.evict(now) {
			return nil
		}
	}
	c := t.conn(t.heads.take())
	c.ID, c.head.id, c.head.slot = t.ids, t.ids, unfiled
	c.lossy, c.recorded = t.cfg.Lossy || t.cfg.Recorded, t.cfg.Recorded
	c.Start = now
	t.ids += t.cfg.StepID
	return c
}

// conn returns an empty Conn for the head at p.
func (t *Table[V]) conn(p place) *Conn[V] {
	c := t.conns.take()
	c.place, c.head = p, t.heads.at(p)
	c.head.ref = c.ref
	return c
}

// release makes a Conn's memory free.
func (t *Table[V]) release(c *Conn[V]) {
	if t.last == c {
		t.last = nil
	}
	t.conns.give(c)
}

// find returns the entry with a key, nil for none.
func (t *Table[V]) find(k *key) *Conn[V] {
	if p := t.index.find(k); p != 0 {
		return t.At(p)
	}
	return nil
}

// boundHit counts which bound a new entry has found reached.
func (t *Table[V]) boundHit() {
	if t.queue[rankHalfOpen].len >= t.cfg.HalfOpen {
		t.stats.AtHalfOpen++
		return
	}
	t.stats.AtConnections++
}

// secondChances is how many established connections evict looks at.
const secondChances = 16

// idle is the silence after which an established connection may be given up.
const idle = int64(10 * time.Second)

// evict makes room for one entry. Of half-open connections and of those that are
// over one goes of which there are more: on a busy gateway the table is full of the
// latter, and those that begin must not push out each other; in a flood of SYNs it
// is full of the former.
func (t *Table[V]) evict(now int64) bool {
	half, over := &t.queue[rankHalfOpen], &t.queue[rankOver]
	if p := half.first; p != 0 && (half.len > over.len || half.len >= t.cfg.HalfOpen) {
		t.stats.EvictedHalfOpen++
		t.end(t.At(p), EndEvicted)
		return true
	}
	p := over.first
	if p == 0 {
		p = t.silent(now)
	}
	if p == 0 {
		return false
	}
	t.stats.Evicted++
	t.end(t.At(p), EndEvicted)
	return true
}

// silent returns an established connection that may be given up. Those it finds
// in use are looked at again only after all others.
func (t *Table[V]) silent(now int64) place {
	q := &t.queue[rankEstablished]
	for range min(secondChances, q.len) {
		p := q.first
		if now-t.latest(p) > idle {
			return p
		}
		q.remove(&t.heads, p)
		q.push(&t.heads, p)
	}
	return 0
}

// admit files an entry that now has its key, numbers and state.
func (t *Table[V]) admit(c *Conn[V], now int64) {
	c.head.rank = c.rankNow()
	t.queue[c.head.rank].push(&t.heads, c.place)
	t.touch(c, now)
	t.wheel.file(c.place, c.deadline)
}

func (c *Conn[V]) rankNow() rank {
	switch {
	case c.state.half() || !c.sides[Original].seen || !c.sides[Reply].seen:
		return rankHalfOpen
	case c.state.over() && !c.kept:
		return rankOver
	}
	return rankEstablished
}

// rerank moves an entry to the queue that it belongs in by now.
func (t *Table[V]) rerank(c *Conn[V]) {
	if r := c.rankNow(); r != c.head.rank {
		t.queue[c.head.rank].remove(&t.heads, c.place)
		c.head.rank = r
		t.queue[r].push(&t.heads, c.place)
	}
}

// setState moves an entry to a state, and to the rank and the place in the
// wheel that go with it.
func (t *Table[V]) setState(c *Conn[V], s State) {
	if c.state == s {
		return
	}
	shorter := t.limit[s] < t.limit[c.state]
	c.state = s
	if c.head.slot == unfiled {
		return // admit will see to it
	}
	t.rerank(c)
	if shorter {
		t.refile(c, t.wheel.now+int64(t.limit[s]))
	}
}

// refile has the wheel look at an entry when it is due, sooner than it would.
func (t *Table[V]) refile(c *Conn[V], due int64) {
	t.wheel.remove(c.place)
	t.wheel.file(c.place, due)
}

// touch notes that a packet came. The wheel is not told: it looks when the
// entry's slot comes.
func (t *Table[V]) touch(c *Conn[V], now int64) {
	c.Last = now
	c.deadline = now + int64(t.life(c))
}

// life is for how long an entry may be silent.
func (t *Table[V]) life(c *Conn[V]) time.Duration {
	if c.kept {
		return max(t.limit[c.state], t.limit[Established])
	}
	return t.limit[c.state]
}

// Keep has an entry live for as long as an established connection, and make room
// for others no sooner, though it seems to be over: its packets do not all pass, and
// neither end may know. Until Keep is told otherwise.
func (t *Table[V]) Keep(c *Conn[V], kept bool) {
	c.kept = kept
	t.rerank(c)
	t.touch(c, t.wheel.now)
	if !kept {
		t.refile(c, c.deadline)
	}
}

// end takes an entry out of the table.
func (t *Table[V]) end(c *Conn[V], why End) {
	if why == EndExpired {
		t.stats.Expired++
	}
	t.ended(c, why)
	t.index.remove(c.place)
	t.queue[c.head.rank].remove(&t.heads, c.place)
	t.wheel.remove(c.place)
	t.heads.give(c.place)
	t.release(c)
}

// Expire ends entries that have been silent for too long, at most a few
// thousand a call, and returns how many. Call it every 100 ms or so.
func (t *Table[V]) Expire(now int64) int {
	t.wheel.start(now)
	n := 0
	t.wheel.turn(now, t.due, func(p place) {
		n++
		t.end(t.At(p), EndExpired)
	})
	return n
}
