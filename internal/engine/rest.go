package engine

import (
	"hash/maphash"

	"tlsgate/conntrack"
)

// Of a connection that is decided and not waited for by anybody many have the same:
// it is kept once for all of them, and the table has them rest. One that is read rests
// too, with what is its own: see packed.go.

// awakeMost is of how many connections that do not rest those that are decided wait
// for ten seconds of silence. Beyond that they rest with another one's next packet:
// of a million there may be a packet now and then of each.
const awakeMost = 1 << 14

// rested keeps that. There are never more than connections that rest. The zero rested
// is empty.
type rested[K comparable] struct {
	hash   func(*K) uint64
	most   uint32            // different ones; 0: no bound
	by     map[uint64]uint32 // the first one with a hash
	slabs  [][]alike[K]
	free   []uint32
	number uint32 // in use, free ones too
}

// alike is what connections have in common.
type alike[K comparable] struct {
	what K
	of   int    // so many connections
	next uint32 // another one with the same hash; 0 is none
}

const restedSlab = 256

func (r *rested[K]) at(n uint32) *alike[K] { return &r.slabs[n/restedSlab][n%restedSlab] }

// put returns the handle of what a connection has left, 0 if there is no room.
func (r *rested[K]) put(what *K) uint32 {
	if r.by == nil {
		r.by, r.number = map[uint64]uint32{}, 1
	}
	if r.hash == nil {
		seed := maphash.MakeSeed()
		r.hash = func(what *K) uint64 { return maphash.Comparable(seed, *what) }
	}
	h := r.hash(what)
	first := r.by[h]
	for n := first; n != 0; n = r.at(n).next {
		if a := r.at(n); a.what == *what {
			a.of++
			return n
		}
	}
	if used := r.number - 1 - uint32(len(r.free)); r.most > 0 && used >= r.most {
		return 0
	}
	n := r.take()
	*r.at(n) = alike[K]{what: *what, of: 1, next: first}
	r.by[h] = n
	return n
}

func (r *rested[K]) take() uint32 {
	if last := len(r.free) - 1; last >= 0 {
		n := r.free[last]
		r.free = r.free[:last]
		return n
	}
	for int(r.number/restedSlab) >= len(r.slabs) {
		r.slabs = append(r.slabs, make([]alike[K], restedSlab))
	}
	r.number++
	return r.number - 1
}

// drop has one connection less have it.
func (r *rested[K]) drop(n uint32) {
	a := r.at(n)
	if a.of--; a.of > 0 {
		return
	}
	h := r.hash(&a.what)
	if first := r.by[h]; first != n {
		before := r.at(first)
		for before.next != n {
			before = r.at(before.next)
		}
		before.next = a.next
	} else if a.next != 0 {
		r.by[h] = a.next
	} else {
		delete(r.by, h)
	}
	*a = alike[K]{}
	r.free = append(r.free, n)
}

// restful reports whether nothing is left of a connection but what lasts.
func (f *flow) restful() bool {
	return f.phase == decided && !f.watched && !f.pinned && !f.gate.has(hasHold) &&
		f.ins == nil && f.firstByte == 0 && f.before == nil && f.after == nil &&
		f.via == nil && f.search == nil && f.rec == nil && f.alert == nil &&
		!f.streams[0].Started() && !f.streams[1].Started() && f.streams[0].Held()+f.streams[1].Held() == 0
}

// pack puts away what hangs on a connection that is to rest.
func (e *Engine) pack(c *conntrack.Conn[flow]) (uint32, bool) {
	f := &c.Value
	var n uint32
	switch {
	case f.restful():
		n = e.rested.put(&f.lasting)
	case f.silent():
		if n = e.putRead(c); n == 0 {
			return 0, false
		}
	default:
		return 0, false
	}
	if e.leaving == c {
		e.leaving = nil
	}
	if s := e.stories.any(c.ID); s != nil {
		s.conn, s.rests = nil, c.Place()
	}
	return n, true
}

// unpack fetches it again, or copies it.
func (e *Engine) unpack(c *conntrack.Conn[flow], n uint32, copied bool) {
	if n&readHandle != 0 {
		e.takeRead(c, n, copied)
	} else {
		c.Value.lasting = e.rested.at(n).what
	}
	if copied {
		return
	}
	if n&readHandle == 0 {
		e.rested.drop(n)
	}
	if s := e.stories.any(c.ID); s != nil {
		s.conn, s.rests = c, 0
	}
}

// rest has the connection rest whose packet was the latest, if it need not wait: of
// one that was left to the kernel the next packet is its end.
func (e *Engine) rest() {
	if c := e.leaving; c != nil {
		e.leaving = nil
		e.table.Rest(c)
	}
}
