package engine

// blocks keep bytes in pieces of one size, that serve again. There is no pointer in
// them, so that the garbage collector need not look at a million; and they stay, so
// that they are as many as were in use at once. The zero blocks are none.
type blocks struct {
	slabs [][]block
	free  uint32
	used  uint32 // the places before it have served
	n     int    // in use
}

type block struct {
	next uint32 // 0 is none
	data [blockData]byte
}

const (
	blockData = 60
	blockSlab = 1024
)

func (s *blocks) at(n uint32) *block { return &s.slabs[n/blockSlab][n%blockSlab] }

func (s *blocks) take() uint32 {
	s.n++
	if n := s.free; n != 0 {
		s.free = s.at(n).next
		return n
	}
	s.used = max(s.used, 1)
	for int(s.used/blockSlab) >= len(s.slabs) {
		s.slabs = append(s.slabs, make([]block, blockSlab))
	}
	s.used++
	return s.used - 1
}

// put keeps b, which is not empty, and returns the place of its first piece.
func (s *blocks) put(b []byte) (first uint32) {
	last := uint32(0)
	for len(b) > 0 {
		n := s.take()
		k := s.at(n)
		k.next = 0
		b = b[copy(k.data[:], b):]
		if last == 0 {
			first = n
		} else {
			s.at(last).next = n
		}
		last = n
	}
	return first
}

// append appends what is kept from a place on; behind it may be something else, of
// less than a piece.
func (s *blocks) append(dst []byte, first uint32) []byte {
	for n := first; n != 0; n = s.at(n).next {
		dst = append(dst, s.at(n).data[:]...)
	}
	return dst
}

// give makes what is kept from a place on free.
func (s *blocks) give(first uint32) {
	last := first
	for s.n--; s.at(last).next != 0; s.n-- {
		last = s.at(last).next
	}
	s.at(last).next, s.free = s.free, first
}

// aparts keep what few connections have. The zero aparts are none.
type aparts struct {
	list []*[apartSlab]apart
	free []uint32
	used uint32
}

const apartSlab = 256

func (s *aparts) at(n uint32) *apart { return &s.list[n/apartSlab][n%apartSlab] }

// get returns what is at a place; nothing is at 0.
func (s *aparts) get(n uint32) (a apart) {
	if n > 0 {
		a = *s.at(n)
	}
	return a
}

// put returns the place of a, 0 if it is empty.
func (s *aparts) put(a *apart) uint32 {
	if a.empty() {
		return 0
	}
	var n uint32
	if last := len(s.free) - 1; last >= 0 {
		n, s.free = s.free[last], s.free[:last]
	} else {
		s.used++
		n = s.used
		if int(n/apartSlab) >= len(s.list) {
			s.list = append(s.list, new([apartSlab]apart))
		}
	}
	*s.at(n) = *a
	return n
}

func (s *aparts) drop(n uint32) {
	if n > 0 {
		*s.at(n) = apart{}
		s.free = append(s.free, n)
	}
}
