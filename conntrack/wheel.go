package conntrack

import "time"

// links are an entry's neighbours in a list, 0 for none.
type links struct {
	prev, next place
}

// inRank and inWheel are which of a tail's links a list is threaded through.
const (
	inRank = iota
	inWheel
)

// list is a list threaded through tails. The zero list is empty, through those of
// the rank.
type list struct {
	first, last place
	len         int
	by          uint8
}

func (l *list) push(s *heads, p place) {
	k := &s.tail(p).links[l.by]
	k.prev, k.next = l.last, 0
	if l.last != 0 {
		s.tail(l.last).links[l.by].next = p
	} else {
		l.first = p
	}
	l.last = p
	l.len++
}

func (l *list) remove(s *heads, p place) {
	k := &s.tail(p).links[l.by]
	if k.prev != 0 {
		s.tail(k.prev).links[l.by].next = k.next
	} else {
		l.first = k.next
	}
	if k.next != 0 {
		s.tail(k.next).links[l.by].prev = k.prev
	} else {
		l.last = k.prev
	}
	*k = links{}
	l.len--
}

const (
	slotWidth = int64(time.Second)
	slots     = 1024 // an entry due later is filed as far as it goes, and again from there
	unfiled   = -1

	// turnMost bounds the entries one turn looks at.
	turnMost = 4096
)

// wheel is a timer wheel with slots of a second. An entry is filed for the
// time it would be due if nothing came any more; when that time comes and
// something did, it is filed again. So a packet costs the wheel nothing. The
// wheel starts with the first start.
type wheel struct {
	heads *heads
	slots [slots]list
	tick  int64 // the latest slot that was emptied, in slot widths since the epoch
	now   int64
	runs  bool
}

func (w *wheel) start(now int64) {
	w.now = now
	if w.runs {
		return
	}
	w.runs = true
	w.tick = now / slotWidth
	for i := range w.slots {
		w.slots[i].by = inWheel
	}
}

// file puts an entry where it is looked at when due, or before.
func (w *wheel) file(p place, due int64) {
	at := max(due/slotWidth+1, w.tick+1)
	at = min(at, w.tick+slots-1)
	slot := int16(at % slots)
	w.heads.at(p).slot = slot
	w.slots[slot].push(w.heads, p)
}

func (w *wheel) remove(p place) {
	h := w.heads.at(p)
	if h.slot == unfiled {
		return
	}
	w.slots[h.slot].remove(w.heads, p)
	h.slot = unfiled
}

// turn empties the slots up to now. due tells when an entry is, and end ends it. What
// is left when the turn has looked at enough is left for the next.
func (w *wheel) turn(now int64, due func(place) int64, end func(place)) {
	target := now / slotWidth
	w.tick = max(w.tick, target-slots) // once around is enough
	for seen := 0; w.tick < target; w.tick++ {
		l := &w.slots[(w.tick+1)%slots]
		for p := l.first; p != 0; p = l.first {
			if seen++; seen > turnMost {
				return
			}
			if when := due(p); when > now {
				w.remove(p)
				w.again(p, when)
			} else {
				end(p)
			}
		}
	}
}

// again files an entry whose slot is being emptied, into any other slot.
func (w *wheel) again(p place, due int64) {
	w.tick++
	w.file(p, due)
	w.tick--
}
