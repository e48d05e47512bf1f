package conntrack

import (
	"math/bits"
	"math/rand/v2"

	"tlsgate/conntrack/seqnum"
)

// place is where a connection's head stands, for as long as it is in the table. No
// head stands at 0.
type place = uint32

// head is what the table keeps of every connection: what it is found by. There is no
// pointer in it, so that the garbage collector need not walk a million of them. What
// else there is stands in a Conn, or, while the connection rests, behind ref: then the
// head is all that a packet asks for which says nothing new, two lines of the
// processor's caches that lie side by side.
type head struct {
	key       key
	chain     place  // the next one in a bucket of the index, or free
	ref       uint32 // the Conn's place, or the caller's handle while it rests
	slot      int16  // of the wheel
	rank      rank
	flags     restFlags
	state     State        // while it rests, as below
	sideFlags [2]sideFlags // the same
	id        uint64       // 0: the place is free

	// While it rests, as in Conn:
	last    int64
	sides   [2]restedSide
	packets [2]uint32
	bytes   [2]uint32 // the lower half
	more    [2]uint16 // and half of the upper one
	windows [2]uint16
}

// tail is what else stands at a place, and packets seldom ask for.
type tail struct {
	links [2]links // by which
	start int64    // while the connection rests
}

// restedSide are a side's numbers.
type restedSide struct {
	iss, acked, end, maxEnd seqnum.Value
}

const slab = 1024 // heads are allocated at once: whole pages of memory

// heads are the places of a table. The zero heads are none.
type heads struct {
	slabs []*[slab]head // they stay where they are
	tails []*[slab]tail
	free  place
	used  place // the places before it have served
}

func (s *heads) at(p place) *head   { return &s.slabs[p/slab][p%slab] }
func (s *heads) tail(p place) *tail { return &s.tails[p/slab][p%slab] }

// take returns a free place.
func (s *heads) take() place {
	if p := s.free; p != 0 {
		h := s.at(p)
		s.free, h.chain = h.chain, 0
		return p
	}
	s.used = max(s.used, 1)
	for int(s.used/slab) >= len(s.slabs) {
		s.slabs = append(s.slabs, new([slab]head))
		s.tails = append(s.tails, new([slab]tail))
	}
	s.used++
	return s.used - 1
}

// give makes a place free.
func (s *heads) give(p place) {
	h := s.at(p)
	*h = head{chain: s.free, slot: unfiled}
	*s.tail(p) = tail{}
	s.free = p
}

// index finds the head with a key, by a hash that nobody outside can foretell. It
// grows by a bucket at a time (linear hashing), so that no packet waits for more. The
// zero index lacks heads and secrets.
type index struct {
	heads   *heads
	secrets [8]uint64
	hash    func(key) uint32 // takes the place of the keyed one, in tests
	buckets []*[slab]place   // in pieces
	size    uint32           // buckets
	mask    uint32           // of a hash: the next power of two, less one
	len     int
}

// The index has four buckets for three entries.
const perBucket, buckets = 3, 4

func newIndex(s *heads) index {
	x := index{heads: s}
	for i := range x.secrets {
		x.secrets[i] = rand.Uint64()
	}
	return x
}

// sum is the hash of a key: NH of RFC 4418, Section 5.2.2, with words of 64 bits, of
// which two keys collide by one secret in 2^64; and the same of what comes out, for
// that is more than a bucket's number.
func (x *index) sum(k *key) uint32 {
	if x.hash != nil {
		return x.hash(*k)
	}
	s := &x.secrets
	high, low := bits.Mul64(k.loLow+s[0], k.hiLow+s[1])
	h, l := bits.Mul64(k.loHigh+s[2], k.hiHigh+s[3])
	low, carry := bits.Add64(low, l, 0)
	high += h + carry
	h, l = bits.Mul64(uint64(k.ports)<<32+uint64(k.family)+s[4], s[5])
	low, carry = bits.Add64(low, l, 0)
	high += h + carry
	high, low = bits.Mul64(high+s[6], low+s[7])
	return uint32(high ^ low)
}

// bucket is where a hash belongs: of the buckets that the next power of two would
// have, those that are not there yet are still one with their lower halves.
func (x *index) bucket(hash uint32) *place {
	b := hash & x.mask
	if b >= x.size {
		b = hash & (x.mask >> 1)
	}
	return &x.buckets[b/slab][b%slab]
}

// find returns the place of a key, 0 for none.
func (x *index) find(k *key) place {
	if x.len == 0 {
		return 0
	}
	return x.along(*x.bucket(x.sum(k)), k)
}

// along returns the place of a key, 0 for none, in the bucket that begins with p.
func (x *index) along(p place, k *key) place {
	for p != 0 {
		h := x.heads.at(p)
		if h.key.same(k) {
			break
		}
		p = h.chain
	}
	return p
}

// add files a head that has its key.
func (x *index) add(p place) {
	x.len++
	for uint64(x.len)*buckets > uint64(x.size)*perBucket {
		x.grow()
	}
	x.push(p)
}

func (x *index) push(p place) {
	h := x.heads.at(p)
	b := x.bucket(x.sum(&h.key))
	h.chain, *b = *b, p
}

// grow adds a bucket, and shares out the one that stood for it.
func (x *index) grow() {
	if int(x.size/slab) >= len(x.buckets) {
		x.buckets = append(x.buckets, new([slab]place))
	}
	x.size++
	if x.size == 1 {
		return
	}
	x.mask = 1<<bits.Len32(x.size-1) - 1
	split := (x.size - 1) & (x.mask >> 1)
	b := &x.buckets[split/slab][split%slab]
	p := *b
	for *b = 0; p != 0; {
		next := x.heads.at(p).chain
		x.push(p)
		p = next
	}
}

// remove takes a head out.
func (x *index) remove(p place) {
	h := x.heads.at(p)
	at := x.bucket(x.sum(&h.key))
	for *at != p {
		at = &x.heads.at(*at).chain
	}
	*at, h.chain = h.chain, 0
	x.len--
}
