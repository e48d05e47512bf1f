// Package reassembly puts the bytes of one direction of a TCP connection in
// order, after RFC 9293, Section 3.10.7.4, for one who reads them before the
// receiver does. The first bytes seen at a place are the bytes of that place:
// what was read, and what is kept because it came too early, is held against
// everything that comes later, until the receiver has acknowledged it.
//
// It knows sequence numbers and nothing else: not windows (the segments offered
// are those the receiver would take), not what the bytes mean, not what a
// difference or a full buffer costs the connection.
package reassembly

import "tlsgate/conntrack/seqnum"

// far bounds how distant a segment may lie from the next byte expected: the
// largest window there is, RFC 7323, Section 2.3. All numbers a Stream compares
// lie closer than twice that, where "before" and "after" are certain.
const far = 1 << 30

// Status says what became of a segment. Only the zero Status and Overlap ask
// that the segment not be delivered.
type Status uint8

const (
	// Refused: the segment cannot be kept, for it would pass a bound or lies too
	// far away. Nothing changed; the same segment may fit later.
	Refused Status = iota
	// Overlap: a byte differs from one that was read or is kept. Nothing changed.
	Overlap
	// InOrder: the segment holds the next byte expected. Call Take until it
	// returns nil.
	InOrder
	// Kept: every byte lies beyond the next one expected, and is kept.
	Kept
	// Old: every byte lies before the next one expected, or there are none.
	Old
)

// String returns the status in lower case, as a label.
func (s Status) String() string {
	switch s {
	case Overlap:
		return "overlap"
	case InOrder:
		return "in_order"
	case Kept:
		return "kept"
	case Old:
		return "old"
	}
	return "refused"
}

// Stream is one direction of a connection. The zero Stream is not started and
// refuses every byte. A Stream may be moved, not copied; it is for the one
// goroutine that owns the Budget it is used with, and always the same Budget.
// What it holds it has from that Budget, and gives back as bytes are taken,
// acknowledged, or with Release.
//
// The numbers stand in this order, with what is known of each interval:
//
//	[una, next)  read; compared where remembered
//	[next, top)  not read; compared where kept
type Stream struct {
	next seqnum.Value // the next byte expected
	una  seqnum.Value // the first byte the receiver may not have; in [next-far, next]
	top  seqnum.Value // end of the last byte kept; no matter when kept is empty
	// end is where the last remembered byte ends, and span where the span that
	// holds it begins in the last block; no matter when log is empty.
	end     seqnum.Value
	span    uint16
	started bool
	broken  bool   // bytes were read and not remembered: nothing is certain any more
	leapt   bool   // by Leap
	fresh   []byte // new bytes of the segment offered: [next, next+len), not ours
	kept    []ref  // blocks by place, ascending; bytes before next are spent
	log     []ref  // blocks of spans, ascending, each holding a byte after una
	held    int    // bytes taken from the Budget
}

// Start sets the first byte expected. Only the zero Stream and one that was
// released are started.
func (s *Stream) Start(next seqnum.Value) {
	s.next, s.una, s.started = next, next, true
}

// Started reports whether the stream knows where it begins.
func (s *Stream) Started() bool { return s.started }

// Next returns the place of the next byte expected: all before it was taken.
func (s *Stream) Next() seqnum.Value { return s.next }

// Held returns how many bytes of memory the stream holds, bookkeeping included.
func (s *Stream) Held() int { return s.held }

// Settled reports that nothing read is still to be acknowledged and nothing is
// kept unread: no later segment can change what was read.
func (s *Stream) Settled() bool {
	return len(s.log) == 0 && !s.waiting() && len(s.fresh) == 0 && !s.broken
}

// waiting reports whether a byte is kept that was not read.
func (s *Stream) waiting() bool { return len(s.kept) > 0 && s.next.Less(s.top) }

// Offer takes a segment whose first byte is at seq. The payload is the
// caller's; until the next Offer, Acknowledge or Release, Take returns views of
// it. What a former segment left untaken is not read, and comes again.
//
// All bytes before Next that are remembered and not acknowledged, and all
// beyond it that are kept, are compared before anything is changed or returned.
// A segment that came too early is kept while the stream holds no more than
// limit bytes and all streams no more than three quarters of the Budget: the
// rest is for those who fill gaps. A segment in order is refused only while what
// is remembered holds limit bytes that the receiver has yet to acknowledge, or
// the whole Budget is used: so what is kept never stands in the way of the
// segment it waits for.
func (s *Stream) Offer(seq seqnum.Value, payload []byte, limit int, b *Budget) Status {
	s.fresh = nil
	if len(payload) == 0 {
		return Old
	}
	if !s.started || s.broken {
		return Refused
	}
	s.reclaim(b)
	ahead := int(seq.Diff(s.next))
	if ahead < -far || ahead+len(payload) > far {
		return Refused
	}
	if ahead < 0 {
		old := min(-ahead, len(payload))
		if s.readDiffers(seq, payload[:old]) {
			return Overlap
		}
		if old == len(payload) {
			return Old
		}
		seq, payload, ahead = s.next, payload[old:], 0
	}
	if s.keptDiffers(seq, payload) {
		return Overlap
	}
	if ahead > 0 {
		return s.keep(seq, payload, limit, b)
	}
	if len(s.log) > 0 && s.Remembered() >= limit || !b.fits(1) {
		return Refused
	}
	s.fresh = payload
	return InOrder
}

// Take returns the next contiguous bytes and moves Next past them; nil when
// there are none. First come the new bytes of the segment offered, in place,
// then those kept. The bytes are valid until the next Offer, Acknowledge or
// Release, and not for the caller to change.
func (s *Stream) Take() []byte {
	if v := s.fresh; len(v) > 0 {
		s.fresh = nil
		s.next = s.next.Add(uint32(len(v)))
		return v[:len(v):len(v)]
	}
	if !s.waiting() {
		return nil
	}
	v := s.keptAt(s.next)
	s.next = s.next.Add(uint32(len(v)))
	return v
}

// PassOver takes n bytes at seq that nobody looks at, and reports whether it did:
// where Offer would find them InOrder, and nothing is kept for Take to go on with.
// Else nothing changed.
func (s *Stream) PassOver(seq seqnum.Value, n, limit int, b *Budget) bool {
	if seq != s.next || n <= 0 || n > far || len(s.kept) > 0 || !s.started || s.broken || s.una.Size(s.next) > far ||
		len(s.log) > 0 && s.Remembered() >= limit || !b.fits(1) {
		return false
	}
	s.fresh = nil
	s.next = s.next.Add(uint32(n))
	return true
}

// Acknowledge lets go of what was remembered before una, which the receiver has
// acknowledged. Numbers that go back are ignored, and what was not read yet is
// not let go of, whatever a receiver says it has.
func (s *Stream) Acknowledge(una seqnum.Value, b *Budget) {
	if d := s.next.Diff(una); !s.started || d < -far || d > far {
		return
	}
	if una = seqnum.Min(una, s.next); s.una.Less(una) {
		s.una = una
		s.forget(b)
	}
	s.spend(b)
}

// Gap returns where the bytes kept begin that come next, when bytes before them
// are missing; false when nothing is kept.
func (s *Stream) Gap() (to seqnum.Value, ok bool) {
	if !s.waiting() {
		return 0, false
	}
	for _, r := range s.kept {
		if d := max(int(s.next.Diff(r.first)), 0); d < blockData {
			if k := r.block.seek(d, true); k < blockData {
				return r.first.Add(uint32(k)), true
			}
		}
	}
	return 0, false
}

// Skip gives up the bytes before to, which never come. Take goes on with what is
// kept from there.
func (s *Stream) Skip(to seqnum.Value, b *Budget) {
	if !s.started || !s.next.Less(to) {
		return
	}
	s.fresh = nil
	s.next = to
	s.spend(b)
}

// Leap begins anew at to, because the receiver says that it has all before: if it
// tells the truth that has passed unseen.
func (s *Stream) Leap(to seqnum.Value, b *Budget) {
	s.Release(b)
	s.Start(to)
	s.leapt = true
}

// Leapt reports whether the stream began anew by Leap.
func (s *Stream) Leapt() bool { return s.leapt }

// Forget lets go of all that was read, acknowledged or not: for one who cannot
// wait for that.
func (s *Stream) Forget(b *Budget) {
	s.log = s.drop(s.log, len(s.log), b)
	s.una, s.broken = s.next, false
}

// Release gives everything back to the Budget. The stream is zero again.
func (s *Stream) Release(b *Budget) {
	s.kept = s.drop(s.kept, len(s.kept), b)
	s.log = s.drop(s.log, len(s.log), b)
	*s = Stream{}
}

// reclaim gives back what is of no use any more, before a segment is looked at.
func (s *Stream) reclaim(b *Budget) {
	if s.una.Size(s.next) > far { // never acknowledged, too old to be sent again
		s.una = s.next.Sub(far)
		s.forget(b)
	}
	s.spend(b)
}
