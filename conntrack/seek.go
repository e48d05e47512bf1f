package conntrack

import "tlsgate/conntrack/packet"

// Sought is what was found out of a segment's connection before it was the segment's
// turn, by Seek. It is good for TrackSought, or to be forgotten.
type Sought[V any] struct {
	// Conn is the entry, nil if there was none or it rests. It may be read for nothing
	// but to have it near the processor: another may be there by now.
	Conn *Conn[V]

	key    key
	sum    uint32
	at     place // of the head that had the key; 0 is none
	sender uint8
}

// Seek reads what Track is going to read of the connections of some segments: first
// the bucket of each, then the head of each, so that the processor waits for memory
// once and not for one after the other. Where there are a million connections nothing
// that a packet asks for is in its caches. found has as many elements as segs.
func (t *Table[V]) Seek(segs []packet.Parsed, found []Sought[V]) {
	x := &t.index
	found = found[:len(segs)]
	for i := range segs {
		f := &found[i]
		f.sender, f.at, f.Conn = f.key.take(&segs[i]), 0, nil
		f.sum = x.sum(&f.key)
	}
	if x.len == 0 {
		return
	}
	for i := range found {
		found[i].at = *x.bucket(found[i].sum)
	}
	seen := t.seen
	for i := range found {
		h := t.heads.at(found[i].at)
		seen += h.id + uint64(h.last)
	}
	t.seen = seen
	for i := range found {
		f := &found[i]
		if f.at = x.along(f.at, &f.key); f.at != 0 {
			if h := t.heads.at(f.at); h.flags&rests == 0 {
				f.Conn = &t.conns.slabs[h.ref/connSlab][h.ref%connSlab]
			}
		}
	}
}
