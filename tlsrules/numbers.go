package tlsrules

import "iter"

// numberSet is a set of 16-bit registry numbers: 256 bits for each high byte
// in use. The zero numberSet is empty; once built it is only read.
type numberSet struct {
	pages [256]*[4]uint64
}

func (s *numberSet) add(v uint16) {
	if s.pages[v>>8] == nil {
		s.pages[v>>8] = new([4]uint64)
	}
	s.pages[v>>8][v>>6&3] |= 1 << (v & 63)
}

func (s *numberSet) has(v uint16) bool {
	p := s.pages[v>>8]
	return p != nil && p[v>>6&3]>>(v&63)&1 != 0
}

// hasAny reports whether one of the numbers is in the set.
func (s *numberSet) hasAny(numbers []uint16) bool {
	for _, v := range numbers {
		if s.has(v) {
			return true
		}
	}
	return false
}

// all iterates over the set in order.
func (s *numberSet) all() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for high, page := range s.pages {
			if page == nil {
				continue
			}
			for low := range 256 {
				if v := uint16(high<<8 | low); s.has(v) && !yield(v) {
					return
				}
			}
		}
	}
}

// within reports whether every number of s is in t.
func (s *numberSet) within(t *numberSet) bool {
	for high, page := range s.pages {
		if page == nil {
			continue
		}
		var other [4]uint64
		if t.pages[high] != nil {
			other = *t.pages[high]
		}
		for i := range page {
			if page[i]&^other[i] != 0 {
				return false
			}
		}
	}
	return true
}
