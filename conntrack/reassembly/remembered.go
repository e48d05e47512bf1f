package reassembly

import (
	"bytes"
	"encoding/binary"
	"sort"

	"tlsgate/conntrack/seqnum"
)

// Bytes that were read lie packed in blocks, as spans: the number of the first
// byte, the number of bytes, the bytes. A record header takes eleven octets and
// the body that was skipped none; a handshake message costs little more than
// itself.

const (
	spanHeader = 4 + 2
	// reach bounds the distance over which spans share a block, so that numbers
	// compared within one are certain however rarely something is remembered.
	reach = 1 << 29
)

// Remembered returns the bytes of memory that hold what was read.
func (s *Stream) Remembered() int { return len(s.log)*blockSize + cap(s.log)*refSize }

// Remember keeps p, which was taken at at and read, to be compared with what
// Offer is given until Acknowledge passes it. Calls go upwards, with gaps where
// bytes were not read or do not matter; p is copied.
//
// It returns false when what is remembered would hold more than limit, or a call
// does not go upwards or goes beyond Next. Then bytes were read that cannot be
// compared, and the stream refuses every byte from then on. A segment is refused
// by Offer, where nothing has changed yet, and not here, as long as limit is above
// Offer's by what one segment and the bytes kept behind it can add: twice Offer's
// limit is ample.
func (s *Stream) Remember(at seqnum.Value, p []byte, limit int, b *Budget) bool {
	if s.broken || !s.started {
		return false
	}
	if s.next.Less(at.Add(uint32(len(p)))) || len(s.log) > 0 && at.Less(s.end) {
		s.broken = true
		return false
	}
	if acked := int(s.una.Diff(at)); acked > 0 {
		n := min(acked, len(p))
		at, p = at.Add(uint32(n)), p[n:]
	}
	for len(p) > 0 {
		if !s.hasRoom(at) && !s.addBlock(at, limit, b) {
			s.broken = true
			return false
		}
		r := &s.log[len(s.log)-1]
		if at != s.end || r.n == 0 {
			s.span = r.n
			binary.NativeEndian.PutUint32(r.block.data[r.n:], uint32(at))
			binary.NativeEndian.PutUint16(r.block.data[r.n+4:], 0)
			r.n += spanHeader
		}
		n := copy(r.block.data[r.n:], p)
		size := r.block.data[s.span+4:]
		binary.NativeEndian.PutUint16(size, binary.NativeEndian.Uint16(size)+uint16(n))
		r.n += uint16(n)
		at, p = at.Add(uint32(n)), p[n:]
		s.end = at
	}
	return true
}

// hasRoom reports whether the last block can take the byte at at.
func (s *Stream) hasRoom(at seqnum.Value) bool {
	if len(s.log) == 0 {
		return false
	}
	r := &s.log[len(s.log)-1]
	if at == s.end {
		return r.n < blockData
	}
	return r.n+spanHeader < blockData && at.Diff(r.first) < reach
}

// addBlock makes room for spans from at on.
func (s *Stream) addBlock(at seqnum.Value, limit int, b *Budget) bool {
	need := blockSize + growth(s.log, 1)
	if s.Remembered()+need > limit {
		return false
	}
	s.log = s.extend(s.log, 1, b)
	s.log[len(s.log)-1] = ref{first: at, block: s.newBlock(b)}
	return true
}

// readDiffers reports whether a byte of p, which begins at at and ends not
// beyond next, is remembered with another value and not acknowledged.
func (s *Stream) readDiffers(at seqnum.Value, p []byte) bool {
	from, end := seqnum.Max(at, s.una), at.Add(uint32(len(p)))
	if len(s.log) == 0 || !from.Less(end) {
		return false
	}
	// The block before the first one that begins after from may reach into it.
	i := sort.Search(len(s.log), func(i int) bool { return from.Less(s.log[i].first) })
	for i = max(i-1, 0); i < len(s.log) && s.log[i].first.Less(end); i++ {
		spans := s.log[i].block.data[:s.log[i].n]
		for len(spans) > 0 {
			first := seqnum.Value(binary.NativeEndian.Uint32(spans))
			size := int(binary.NativeEndian.Uint16(spans[4:]))
			span := spans[spanHeader : spanHeader+size]
			spans = spans[spanHeader+size:]
			lo, hi := seqnum.Max(from, first), seqnum.Min(end, first.Add(uint32(size)))
			if lo.Less(hi) && !bytes.Equal(span[lo.Diff(first):hi.Diff(first)], p[lo.Diff(at):hi.Diff(at)]) {
				return true
			}
		}
	}
	return false
}

// Recall copies what was read from at on into dst. It returns false when not all of it
// is remembered, or the receiver has acknowledged some of it.
func (s *Stream) Recall(at seqnum.Value, dst []byte) bool {
	if at.Less(s.una) {
		return false
	}
	for i := range s.log {
		spans := s.log[i].block.data[:s.log[i].n]
		for len(spans) > 0 && len(dst) > 0 {
			first := seqnum.Value(binary.NativeEndian.Uint32(spans))
			size := int(binary.NativeEndian.Uint16(spans[4:]))
			if at.Less(first) {
				return false
			}
			if skip := int(at.Diff(first)); skip < size {
				n := copy(dst, spans[spanHeader+skip:spanHeader+size])
				at, dst = at.Add(uint32(n)), dst[n:]
			}
			spans = spans[spanHeader+size:]
		}
	}
	return len(dst) == 0
}

// forget gives back the blocks whose spans all end before una.
func (s *Stream) forget(b *Budget) {
	n := 0
	for n < len(s.log) {
		end := s.end
		if n+1 < len(s.log) {
			end = s.log[n+1].first
		}
		if s.una.Less(end) {
			break
		}
		n++
	}
	s.log = s.drop(s.log, n, b)
}
