package reassembly

import (
	"math/bits"

	"tlsgate/conntrack/seqnum"
)

const (
	blockData = 1 << 10
	blockSize = blockData + blockData/8
	refSize   = 16

	defaultMax  = 256 << 20
	spareBlocks = 4096 // blocks ready for use again; more are left to the collector
	spareLists  = 256  // of each size
	listSizes   = 8    // 4 to 512 blocks; longer lists are not used again
	leastList   = 4
)

// block holds bytes that are kept or remembered.
type block struct {
	set  [blockData / 64]uint64 // kept: which bytes are there
	data [blockData]byte
}

// ref is a block in a list.
type ref struct {
	first seqnum.Value // kept: the place of data[0]; remembered: the first byte
	n     uint16       // remembered: how much of data is used
	block *block
}

// Budget counts the bytes of memory that the streams of one table hold, and
// keeps what they gave back for those that come. The zero Budget is usable. One
// goroutine uses a Budget and all its streams.
type Budget struct {
	// Max bounds what all streams hold, in bytes; zero or less means 256 MiB. What
	// is read of one segment may carry it beyond Max, by no more than Remember's
	// limit; then nothing is taken until it is below. Memory ready for use again
	// is not counted; it is at most 10 MiB.
	Max int

	used   int
	blocks []*block
	lists  [listSizes][][]ref
}

// Used returns the bytes that streams hold now.
func (b *Budget) Used() int { return b.used }

func (b *Budget) limit() int {
	if b.Max <= 0 {
		return defaultMax
	}
	return b.Max
}

// Reserve takes n bytes for something else that is bounded together with what
// streams hold, if there is room as for what is kept, and reports whether.
func (b *Budget) Reserve(n int) bool {
	if !b.fits(n + b.limit()/4) {
		return false
	}
	b.used += n
	return true
}

// Return gives back what Reserve took.
func (b *Budget) Return(n int) { b.used -= n }

// fits reports whether n more bytes are within the bound.
func (b *Budget) fits(n int) bool { return n <= b.limit()-b.used }

// newBlock takes a block, with anything in it, on the stream's account.
func (s *Stream) newBlock(b *Budget) *block {
	s.charge(blockSize, b)
	n := len(b.blocks)
	if n == 0 {
		return new(block)
	}
	blk := b.blocks[n-1]
	b.blocks = b.blocks[:n-1]
	return blk
}

// drop gives back the first n blocks of a list, and the list once it is empty.
func (s *Stream) drop(l []ref, n int, b *Budget) []ref {
	if n == 0 {
		return l
	}
	for _, r := range l[:n] {
		if len(b.blocks) < spareBlocks {
			b.blocks = append(b.blocks, r.block)
		}
	}
	s.charge(-n*blockSize, b)
	rest := copy(l, l[n:])
	clear(l[rest:])
	if rest > 0 {
		return l[:rest]
	}
	s.charge(-cap(l)*refSize, b)
	b.put(l)
	return nil
}

// extend makes a list longer by n, with what is new undefined.
func (s *Stream) extend(l []ref, n int, b *Budget) []ref {
	size := len(l) + n
	if size <= cap(l) {
		return l[:size]
	}
	s.charge(growth(l, n), b)
	longer := b.list(size)
	copy(longer, l)
	clear(l)
	b.put(l)
	return longer
}

func (s *Stream) charge(n int, b *Budget) {
	s.held += n
	b.used += n
}

// growth returns the bytes by which extend makes a list larger.
func growth(l []ref, n int) int {
	if len(l)+n <= cap(l) {
		return 0
	}
	return (leastList<<class(len(l)+n) - cap(l)) * refSize
}

// class returns which size of list takes n blocks: leastList<<class(n) is enough.
func class(n int) int { return bits.Len(uint(n-1) / leastList) }

// list returns a list of length n.
func (b *Budget) list(n int) []ref {
	c := class(n)
	if c < listSizes {
		if i := len(b.lists[c]); i > 0 {
			l := b.lists[c][i-1]
			b.lists[c] = b.lists[c][:i-1]
			return l[:n]
		}
	}
	return make([]ref, n, leastList<<c)
}

// put takes back a list that holds nothing.
func (b *Budget) put(l []ref) {
	if cap(l) == 0 {
		return
	}
	if c := class(cap(l)); c < listSizes && len(b.lists[c]) < spareLists {
		b.lists[c] = append(b.lists[c], l[:0])
	}
}
