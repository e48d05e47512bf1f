package reassembly

import (
	"bytes"
	"math/bits"
	"sort"

	"tlsgate/conntrack/seqnum"
)

// Bytes that came too early lie in blocks, each at its own place modulo the
// block's size, with a bit for every byte that is there. So a segment costs the
// same however many pieces came before it, there are no pieces to be counted or
// joined, and one byte here and there takes a block each, as the limit sees.

// place returns the number of the first byte of the block that v lies in. The
// block's size divides the sequence space, so a block never straddles zero.
func place(v seqnum.Value) seqnum.Value { return v.Sub(uint32(v) % blockData) }

// search returns the index of the first block that begins at v or after it.
func search(l []ref, v seqnum.Value) int {
	return sort.Search(len(l), func(i int) bool { return !l[i].first.Less(v) })
}

// cut returns which part [lo, hi) of the block at first lies in [at, at+n), and
// the distance from at to lo.
func cut(first, at seqnum.Value, n int) (lo, hi, skip int) {
	d := int(at.Diff(first))
	lo, hi = max(d, 0), min(d+n, blockData)
	return lo, hi, lo - d
}

// keptDiffers reports whether a byte of p, which begins at at and not before
// next, is kept with another value.
func (s *Stream) keptDiffers(at seqnum.Value, p []byte) bool {
	if !s.waiting() || !at.Less(s.top) {
		return false
	}
	end := at.Add(uint32(len(p)))
	for i := search(s.kept, place(at)); i < len(s.kept) && s.kept[i].first.Less(end); i++ {
		lo, hi, skip := cut(s.kept[i].first, at, len(p))
		if s.kept[i].block.differs(lo, hi, p[skip:]) {
			return true
		}
	}
	return false
}

// keep copies p, which begins at at, beyond next, and differs nowhere from what
// is kept.
func (s *Stream) keep(at seqnum.Value, p []byte, limit int, b *Budget) Status {
	end := at.Add(uint32(len(p)))
	if !s.waiting() {
		s.top = s.next
	}
	first := place(at)
	i, j := search(s.kept, first), search(s.kept, end)
	n := int(first.Size(place(end.Sub(1))))/blockData + 1
	if missing := n - (j - i); missing > 0 {
		need := missing*blockSize + growth(s.kept, missing)
		if s.held+need > limit || !b.fits(need+b.limit()/4) {
			return Refused
		}
		s.kept = s.open(first, i, j, n, b)
	}
	for _, r := range s.kept[i : i+n] {
		lo, hi, skip := cut(r.first, at, len(p))
		copy(r.block.data[lo:hi], p[skip:])
		r.block.mark(lo, hi)
	}
	s.top = seqnum.Max(s.top, end)
	return Kept
}

// open makes kept[i:i+n] the n blocks from first on, of which kept[i:j] are
// there, and returns the longer list.
func (s *Stream) open(first seqnum.Value, i, j, n int, b *Budget) []ref {
	had := len(s.kept)
	missing := n - (j - i)
	l := s.extend(s.kept, missing, b)
	copy(l[j+missing:], l[j:had])
	for k := n - 1; k >= 0; k-- {
		at := first.Add(uint32(k * blockData))
		if j > i && l[j-1].first == at {
			j--
			l[i+k] = l[j]
			continue
		}
		l[i+k] = ref{first: at, block: s.newBlock(b)}
		l[i+k].block.set = [blockData / 64]uint64{}
	}
	return l
}

// keptAt returns the bytes kept from v on, to the first one missing or the end
// of their block; nil when the one at v is missing.
func (s *Stream) keptAt(v seqnum.Value) []byte {
	i := search(s.kept, place(v))
	if i == len(s.kept) || s.kept[i].first != place(v) {
		return nil
	}
	blk := s.kept[i].block
	lo := int(v.Diff(s.kept[i].first))
	hi := blk.seek(lo, false)
	if lo == hi {
		return nil
	}
	return blk.data[lo:hi:hi]
}

// spend gives back the blocks that hold no byte from next on.
func (s *Stream) spend(b *Budget) {
	n := 0
	for n < len(s.kept) {
		d := int(s.next.Diff(s.kept[n].first))
		if d < 0 || d < blockData && s.kept[n].block.seek(d, true) < blockData {
			break
		}
		n++
	}
	s.kept = s.drop(s.kept, n, b)
}

// differs reports whether a byte of [lo, hi) is there and is not that of p,
// which begins at lo. It takes no longer for bytes that are there by turns,
// which only an attacker sends.
func (blk *block) differs(lo, hi int, p []byte) bool {
	for i := lo; i < hi; {
		n := min(64-i%64, hi-i)
		set, have, got := blk.set[i/64]>>(i%64), blk.data[i:i+n], p[i-lo:i-lo+n]
		i += n
		if bits.TrailingZeros64(^set) >= n {
			if !bytes.Equal(have, got) {
				return true
			}
			continue
		}
		var diff byte
		for k, c := range have {
			diff |= (c ^ got[k]) & -byte(set&1)
			set >>= 1
		}
		if diff != 0 {
			return true
		}
	}
	return false
}

// mark notes that the bytes of [lo, hi) are there.
func (blk *block) mark(lo, hi int) {
	for lo < hi {
		n := min(64-lo%64, hi-lo)
		blk.set[lo/64] |= ^uint64(0) >> (64 - n) << (lo % 64)
		lo += n
	}
}

// seek returns the first place at or after from whose byte is there, or, where
// there is false, is missing; blockData if none is.
func (blk *block) seek(from int, there bool) int {
	skip := ^uint64(0) << (from % 64)
	for w := from / 64; w < len(blk.set); w++ {
		word := blk.set[w]
		if !there {
			word = ^word
		}
		if word &= skip; word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
		skip = ^uint64(0)
	}
	return blockData
}
