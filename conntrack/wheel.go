package conntrack

import "time"

// links are an entry's neighbours in a list.
type links[V any] struct {
	prev, next *Conn[V]
}

// list is a list threaded through entries. The zero list lacks of.
type list[V any] struct {
	first, last *Conn[V]
	len         int
	of          func(*Conn[V]) *links[V] // which of an entry's links
}

func (l *list[V]) push(c *Conn[V]) {
	k := l.of(c)
	k.prev, k.next = l.last, nil
	if l.last != nil {
		l.of(l.last).next = c
	} else {
		l.first = c
	}
	l.last = c
	l.len++
}

func (l *list[V]) remove(c *Conn[V]) {
	k := l.of(c)
	if k.prev != nil {
		l.of(k.prev).next = k.next
	} else {
		l.first = k.next
	}
	if k.next != nil {
		l.of(k.next).prev = k.prev
	} else {
		l.last = k.prev
	}
	*k = links[V]{}
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
// zero wheel starts with the first start.
type wheel[V any] struct {
	slots [slots]list[V]
	tick  int64 // the latest slot that was emptied, in slot widths since the epoch
	now   int64
	runs  bool
}

func (w *wheel[V]) start(now int64) {
	w.now = now
	if w.runs {
		return
	}
	w.runs = true
	w.tick = now / slotWidth
	for i := range w.slots {
		w.slots[i].of = func(c *Conn[V]) *links[V] { return &c.wheel }
	}
}

// file puts an entry where it is looked at when due, or before.
func (w *wheel[V]) file(c *Conn[V], due int64) {
	at := max(due/slotWidth+1, w.tick+1)
	at = min(at, w.tick+slots-1)
	c.slot = int32(at % slots)
	w.slots[c.slot].push(c)
}

func (w *wheel[V]) remove(c *Conn[V]) {
	if c.slot == unfiled {
		return
	}
	w.slots[c.slot].remove(c)
	c.slot = unfiled
}

// turn empties the slots up to now. end ends an entry that is due and reports
// whether it did. What is left when the turn has looked at enough is left for
// the next.
func (w *wheel[V]) turn(now int64, end func(*Conn[V]) bool) {
	target := now / slotWidth
	w.tick = max(w.tick, target-slots) // once around is enough
	for seen := 0; w.tick < target; w.tick++ {
		l := &w.slots[(w.tick+1)%slots]
		for c := l.first; c != nil; c = l.first {
			if seen++; seen > turnMost {
				return
			}
			if !end(c) {
				w.remove(c)
				w.again(c)
			}
		}
	}
}

// again files an entry whose slot is being emptied, into any other slot.
func (w *wheel[V]) again(c *Conn[V]) {
	w.tick++
	w.file(c, c.deadline)
	w.tick--
}
