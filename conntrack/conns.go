package conntrack

// conns are the Conns of those that do not rest. They are allocated a slab at once, and
// stay where they are until all of a slab are free and there are enough others: who is
// silent gives its memory back. The zero conns are none.
type conns[V any] struct {
	slabs  [][]Conn[V] // nil: given back
	states []slabState // of each
	room   []uint32    // slabs with free Conns, the last one first; and some given back
	gone   []uint32    // the rest of those
	spare  int         // free Conns
	used   int
}

// slabState says which Conns of a slab are free.
type slabState struct {
	free   place // 1 + the first one's number, and its place is 1 + the next one's; 0: none
	used   uint32
	listed bool // in room
}

const (
	// connSlab is how many Conns are allocated at once.
	connSlab = 256
	// spareConns are free and not given back: connections come and go.
	spareConns = 8192
)

// take returns an empty Conn.
func (s *conns[V]) take() *Conn[V] {
	n := s.roomy()
	x := &s.states[n]
	c := &s.slabs[n][x.free-1]
	x.free, c.place = c.place, 0
	x.used++
	s.used++
	if s.spare--; x.free == 0 {
		s.room, x.listed = s.room[:len(s.room)-1], false
	}
	return c
}

// roomy returns the last slab of room, which has a free Conn then.
func (s *conns[V]) roomy() uint32 {
	for last := len(s.room) - 1; last >= 0; last-- {
		n := s.room[last]
		if s.slabs[n] != nil {
			return n
		}
		s.room, s.states[n].listed = s.room[:last], false
		s.gone = append(s.gone, n)
	}
	n := uint32(len(s.slabs))
	if last := len(s.gone) - 1; last >= 0 {
		n, s.gone = s.gone[last], s.gone[:last]
	} else {
		s.slabs, s.states = append(s.slabs, nil), append(s.states, slabState{})
	}
	slab := make([]Conn[V], connSlab)
	for i := range slab {
		slab[i].ref, slab[i].place = n*connSlab+uint32(i), place(i+2)
	}
	slab[connSlab-1].place = 0
	s.slabs[n], s.states[n] = slab, slabState{free: 1, listed: true}
	s.room = append(s.room, n)
	s.spare += connSlab
	return n
}

// give makes a Conn free.
func (s *conns[V]) give(c *Conn[V]) {
	n := c.ref / connSlab
	x := &s.states[n]
	*c = Conn[V]{ref: c.ref, place: x.free}
	x.free = c.ref%connSlab + 1
	s.spare++
	s.used--
	if !x.listed {
		s.room, x.listed = append(s.room, n), true
	}
	if x.used--; x.used == 0 && s.spare-connSlab >= spareConns {
		s.slabs[n] = nil
		s.spare -= connSlab
	}
}
