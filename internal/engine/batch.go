package engine

import (
	"unsafe"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// together is how many packets of a batch are looked ahead at: so many that the
// processor has enough to fetch at the same time, and so few that it is still near when
// their turn comes.
const together = 32

// lookahead is what was found out of the packets whose turn is next.
type lookahead struct {
	segs   [together]packet.Parsed
	status [together]packet.Status
	sought [together]conntrack.Sought[flow]
	upTo   int // packets were sought, 0 is none
	at     int // the packet at hand
	seen   uint64
}

// few is how many packets are judged without looking ahead: there is nothing to be
// gained.
const few = 2

// batch answers the packets of a batch in their order.
func (e *Engine) batch(q Queue, packets []nfq.Packet, now int64) {
	for len(packets) > 0 {
		n := min(len(packets), together)
		e.ahead(packets[:n])
		for i := range packets[:n] {
			p := &packets[i]
			r := e.guarded(p, i, now)
			q.Verdict(p.ID, r.Verdict, r.Mark, r.Payload)
		}
		packets = packets[n:]
	}
}

// ahead decodes packets, and reads what judging them is going to read: of all of them
// first what leads to the rest, so that the processor waits for memory once and not for
// one packet after the other.
func (e *Engine) ahead(packets []nfq.Packet) {
	a := &e.next
	a.upTo, a.status = 0, [together]packet.Status{} // not decoded
	defer e.foundBug()
	for i := range packets {
		a.status[i] = decode(&packets[i], &a.segs[i])
	}
	n := len(packets)
	if n <= few {
		return
	}
	e.table.Seek(a.segs[:n], a.sought[:n])
	a.upTo = n
	for i := range a.sought[:n] {
		if c := a.sought[i].Conn; c != nil {
			a.seen += lines(c)
		}
	}
	for i := range a.sought[:n] {
		if c := a.sought[i].Conn; c != nil {
			if ins := c.Value.ins; ins != nil {
				a.seen += lines(ins)
			}
			if s := e.stories.of(c.ID); s != nil {
				a.seen += s.count + uint64(s.told[placeOf(s.count)].low)
			}
		}
	}
}

// find is what the table finds out of the segment at hand.
func (e *Engine) find(seg *packet.Parsed) conntrack.Tracked[flow] {
	if a := &e.next; a.at < a.upTo {
		return e.table.TrackSought(seg, &a.sought[a.at], e.now)
	}
	return e.table.Track(seg, e.now)
}

// lines reads a byte of each line of the processor's caches that something lies in.
func lines[T any](x *T) (seen uint64) {
	for at := uintptr(0); at < unsafe.Sizeof(*x); at += 64 {
		seen += uint64(*(*byte)(unsafe.Add(unsafe.Pointer(x), at)))
	}
	return seen
}
