package conntrack

// Most connections are decided, and left to the kernel or silent. Such a one rests:
// its head holds all that is known of it, and its Conn serves another until there is
// a packet of it, or anybody asks for more than to look. Which lists it is in and
// when it is due does not change for that, nor anything that is told of it.

// Resting is how a caller's values are put away while their connections rest. The
// zero Resting lets none rest.
type Resting[V any] struct {
	// Pack returns what stands for c.Value, false if it has to stay. Nothing may
	// point to c behind it.
	Pack func(c *Conn[V]) (handle uint32, ok bool)
	// Unpack fills c.Value again. If c is a copy, to be looked at, the handle stands
	// for the value all the same.
	Unpack func(c *Conn[V], handle uint32, copied bool)
	// Passes, if not nil, is asked of the packet at hand, of an established connection
	// that rests, whether its value has nothing to do with it. Then a segment that fits
	// and says nothing new does not wake it.
	Passes func(handle uint32, d Direction) bool
}

// resting is what the table has of it. The zero resting lets no connection rest.
type resting[V any] struct {
	how  Resting[V]
	n    int     // at rest
	hand int     // the Conn that Settle looks at next
	copy Conn[V] // of one at rest
	next Conn[V] // but for its value, what a packet makes of one at rest
}

// restFlags are a Conn's.
type restFlags uint8

const (
	rests restFlags = 1 << iota
	restMidstream
	restLoose
	restRivals
	restReply // the key's upper end is Original's sender
	restFloor // by direction: floor is iss, or else follows acked
	_
	restSYN // latest is Original's iss, or else no number yet
)

// sideFlags are a side's, above its scale.
type sideFlags uint8

const (
	sideScale   sideFlags = 1<<4 - 1
	sideScaled  sideFlags = 1 << 4
	sideBounded sideFlags = 1 << 5 // windowed
	sideFIN     sideFlags = 1 << 6 // its FIN is the last that it has sent
	sideShifted sideFlags = 1 << 7 // maxWin was, by scale
)

// Rests lets connections rest.
func (t *Table[V]) Rests(how Resting[V]) { t.how = how }

// AtRest returns the number of entries that rest.
func (t *Table[V]) AtRest() int { return t.n }

// Resting reports whether an entry rests: what Walk has given is a copy then.
func (c *Conn[V]) Resting() bool { return c.head.flags&rests != 0 }

// Rest has an entry rest, if it can, and reports whether it does: c is not valid any
// more then.
func (t *Table[V]) Rest(c *Conn[V]) bool {
	if t.how.Pack == nil || !t.restful(c) {
		return false
	}
	h := c.head
	if !h.put(Original, &c.sides[Original], c.loose) || !h.put(Reply, &c.sides[Reply], c.loose) {
		return false
	}
	handle, ok := t.how.Pack(c)
	if !ok {
		return false
	}
	h.ref, h.state, h.last, t.heads.tail(c.place).start = handle, c.state, c.Last, c.Start
	h.flags = rests | flagOf(c.Midstream, restMidstream) | flagOf(c.loose, restLoose) |
		flagOf(c.rivals, restRivals) | flagOf(c.original == 1, restReply) | flagOf(c.latest != 0, restSYN)
	c.count()
	t.n++
	t.release(c)
	return true
}

// count fills the head's counters, and says what the sides' floors are.
func (c *Conn[V]) count() {
	h := c.head
	for d := range c.sides {
		h.flags |= flagOf(c.sides[d].floor == c.sides[d].iss, restFloor<<d)
		h.packets[d], h.bytes[d], h.more[d] = uint32(c.Packets[d]), uint32(c.Bytes[d]), uint16(c.Bytes[d]>>32)
	}
}

func flagOf(is bool, f restFlags) restFlags {
	if is {
		return f
	}
	return 0
}

// restful reports whether all that is known of a connection, but for its sides, has
// room in its head.
func (t *Table[V]) restful(c *Conn[V]) bool {
	return !c.recorded && !c.kept && !c.Guessed && !c.assumed && !(c.ended && c.Young(t.wheel.now)) && !c.late && (c.others.n == 0 || !c.Young(t.wheel.now)) && c.head.rank != rankHalfOpen &&
		c.second == (candidate{}) && (c.latest == 0 || c.latest == c.sides[Original].iss) && c.deadline == c.Last+int64(t.limit[c.state]) &&
		max(c.Packets[0], c.Packets[1]) < 1<<32 && max(c.Bytes[0], c.Bytes[1]) < 1<<48
}

// put packs a side, and reports whether it could. Where not all packets come by
// (loose), nobody asks for its windows, nor for the floor.
func (h *head) put(d Direction, s *side, loose bool) bool {
	r := &h.sides[d]
	r.iss, r.acked, r.end, r.maxEnd = s.iss, s.acked, s.end, s.maxEnd
	f := sideFlags(s.scale) & sideScale
	switch win := s.maxWin >> s.scale; {
	case s.maxWin < 1<<16:
		h.windows[d] = uint16(s.maxWin)
	case win < 1<<16 && win<<s.scale == s.maxWin:
		h.windows[d], f = uint16(win), f|sideShifted
	case loose:
		h.windows[d] = 0
	default:
		return false
	}
	if s.scaled {
		f |= sideScaled
	}
	if s.windowed {
		f |= sideBounded
	}
	if s.finSeen {
		f |= sideFIN
	}
	h.sideFlags[d] = f
	return s.known && s.seen && s.scale <= maxScale &&
		(s.finSeen && s.fin == s.end.Sub(1) || !s.finSeen && s.fin == 0) &&
		(loose || s.floor == s.iss || s.floor == s.acked.Sub(maxWindow))
}

// side makes a side of it again, a field at a time: what is copied as a whole right
// after its parts were written waits for the processor to put them together.
func (h *head) side(d Direction, s *side) {
	r, f := &h.sides[d], h.sideFlags[d]
	s.iss, s.acked, s.end, s.maxEnd = r.iss, r.acked, r.end, r.maxEnd
	s.floor = r.acked.Sub(maxWindow)
	if h.flags&(restFloor<<d) != 0 {
		s.floor = r.iss
	}
	s.scale, s.scaled = uint8(f&sideScale), f&sideScaled != 0
	s.maxWin = uint32(h.windows[d])
	if f&sideShifted != 0 {
		s.maxWin <<= s.scale
	}
	s.known, s.seen, s.windowed = true, true, f&sideBounded != 0
	s.fin, s.finSeen = 0, f&sideFIN != 0
	if s.finSeen {
		s.fin = r.end.Sub(1)
	}
}

// At returns the entry at a place, which must be one's. If it rests it does so no
// longer.
func (t *Table[V]) At(p uint32) *Conn[V] {
	h := t.heads.at(p)
	if h.flags&rests == 0 {
		return &t.conns.slabs[h.ref/connSlab][h.ref%connSlab]
	}
	handle := h.ref
	c := t.conn(p)
	c.Start = t.heads.tail(p).start
	t.fill(c)
	h.flags = 0
	t.n--
	t.how.Unpack(c, handle, false)
	return c
}

// look returns the entry at a place, or a copy that is valid until the next.
func (t *Table[V]) look(p place) *Conn[V] {
	h := t.heads.at(p)
	if h.flags&rests == 0 {
		return t.At(p)
	}
	c := &t.copy
	*c = Conn[V]{place: p, head: h, Start: t.heads.tail(p).start}
	t.fill(c)
	t.how.Unpack(c, h.ref, true)
	return c
}

// fill fills a Conn from its head, but for Start and the value.
func (t *Table[V]) fill(c *Conn[V]) {
	h := c.head
	c.ID, c.Last, c.state = h.id, h.last, h.state
	c.Midstream, c.loose, c.rivals = h.flags&restMidstream != 0, h.flags&restLoose != 0, h.flags&restRivals != 0
	c.lossy = t.cfg.Lossy
	if h.flags&restReply != 0 {
		c.original = 1
	}
	for d := range c.sides {
		h.side(Direction(d), &c.sides[d])
		c.Packets[d], c.Bytes[d] = uint64(h.packets[d]), uint64(h.more[d])<<32|uint64(h.bytes[d])
	}
	if h.flags&restSYN != 0 {
		c.latest = h.sides[Original].iss
	}
	c.deadline = t.due(c.place)
}

// due is when the entry at a place has been silent for too long.
func (t *Table[V]) due(p place) int64 {
	h := t.heads.at(p)
	if h.flags&rests != 0 {
		return h.last + int64(t.limit[h.state])
	}
	return t.At(p).deadline
}

// latest is when the latest packet of the entry at a place came.
func (t *Table[V]) latest(p place) int64 {
	h := t.heads.at(p)
	if h.flags&rests != 0 {
		return h.last
	}
	return t.At(p).Last
}

const (
	// settleMost bounds the entries that one Settle looks at; a table of fewer it has
	// looked through after settleShare. settleRest bounds those that it has rest.
	settleMost  = 4096
	settleShare = 64
	settleRest  = 1024
)

// Settle has some of the entries that have been silent for a while rest. Call it
// every 100 ms or so.
func (t *Table[V]) Settle(now int64) {
	slabs := t.conns.slabs
	all := len(slabs) * connSlab
	if t.how.Pack == nil || all == 0 {
		return
	}
	rested := 0
	for n := min(settleMost, all/settleShare+settleShare); n > 0 && rested < settleRest; n-- {
		t.hand = (t.hand + 1) % all
		slab := slabs[t.hand/connSlab]
		if slab == nil {
			t.hand |= connSlab - 1 // given back
			continue
		}
		if c := &slab[t.hand%connSlab]; c.ID != 0 && now-c.Last > idle && t.Rest(c) {
			rested++
		}
	}
}
