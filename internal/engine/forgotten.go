package engine

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
)

// forgotten knows connections that left the table before they were read to their
// end: silent for too long, or to make room. What comes of one later looks like
// the middle of something that began before us, but its server may have bytes that
// we never saw, and lack others that we did. It is a Bloom filter of two ages, so
// that nobody can have one forgotten by having others noted; a connection that it
// takes for another is only ever one that began unseen. The zero forgotten knows
// nothing, and holds no memory until there is something to know.
type forgotten struct {
	limit int   // connections of the table, or more: see bound
	lasts int64 // how long one is known at least
	seed  maphash.Seed
	bits  [2][]uint64 // this age's, and those of the one before
	ends  int64       // when this age does
}

const (
	// forgottenAge is how long a connection is known at least: no server waits
	// longer for a hello.
	forgottenAge = int64(12 * time.Hour)
	// forgottenBits are for each connection of the table, forgottenHashes for each
	// that is noted.
	forgottenBits   = 16
	forgottenHashes = 4
	// forgottenLeast is what there is room for at least: a small filter takes strangers
	// for those that it knows.
	forgottenLeast = 1 << 14
)

const forgottenText = "it was seen before, and not read to its end: what its server has of it is not known"

// losesSight reports whether what comes of a connection could not be read any more
// once its entry is gone, while the server may wait for it. One that both ends have
// closed is over, and who is in a dialogue before TLS goes on with it. Of one that was
// refused between packets nobody may know but us.
func (f *flow) losesSight(c *conntrack.Conn[flow]) bool {
	switch c.State() {
	case conntrack.SynSent, conntrack.TimeWait:
		return false
	}
	switch f.phase {
	case refused:
		return !f.barred
	case decided:
		return false
	}
	return !f.talking()
}

// mayReturn reports whether a server may begin another connection on the numbers of one
// that was read, or refused, by a SYN cookie, once it has ended this one. Until then the
// mark says what was decided, if a packet has come by to say so. A busy table that is full loses many of those: they are known apart,
// for as long as a cookie may be good, or in half a day everyone would be taken for one.
func mayReturn(c *conntrack.Conn[flow], now int64) bool {
	return c.Young(now) && (c.Value.phase == decided || c.Value.phase == refused || c.State() == conntrack.TimeWait)
}

// sight is what was lost of a connection.
type sight uint8

const (
	lostStream sight = iota // what its server has of it
	lostSYN                 // the data on its SYN, which the SYN-ACK may acknowledge
)

// lose notes what is lost of a connection that leaves the table.
func (e *Engine) lose(c *conntrack.Conn[flow], why conntrack.End) {
	if why != conntrack.EndExpired && why != conntrack.EndEvicted {
		return
	}
	ends := endsOf(c)
	data := !c.HasISS(conntrack.Reply) && !c.Midstream && c.Sent(conntrack.Original) != c.ISS(conntrack.Original).Add(1)
	if data {
		e.forgotten.note(ends, lostSYN, e.now)
	}
	switch {
	case data, c.Value.losesSight(c):
		e.forgotten.note(ends, lostStream, e.now)
	case why == conntrack.EndEvicted && mayReturn(c, e.now):
		e.returning.note(ends, lostStream, e.now)
	}
}

// lost reports whether a connection that begins here unseen is one that was lost.
func (e *Engine) lost(c *conntrack.Conn[flow], what sight) bool {
	ends := endsOf(c)
	return e.forgotten.has(ends, what, e.now) || e.returning.has(ends, what, e.now)
}

func endsOf(c *conntrack.Conn[flow]) [2]netip.AddrPort {
	return [2]netip.AddrPort{c.Addr(conntrack.Original), c.Addr(conntrack.Reply)}
}

func endsOfPacket(p *packet.Parsed) [2]netip.AddrPort {
	return [2]netip.AddrPort{netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)}
}

// bound makes room for those of a table of so many connections. Who is known stays so:
// of what is repeated every copy knows him.
func (x *forgotten) bound(connections int) {
	x.limit = max(connections, forgottenLeast)
	for i, bits := range x.bits {
		if n := len(bits); n > 0 {
			x.bits[i] = slices.Repeat(bits, (max(x.words(), n)+n-1)/n)
		}
	}
}

func (x *forgotten) words() int { return max(x.limit*forgottenBits/64, 1) }

// note remembers a connection.
func (x *forgotten) note(ends [2]netip.AddrPort, what sight, now int64) {
	x.age(now)
	if x.bits[0] == nil {
		if x.bits[1] == nil {
			x.seed = maphash.MakeSeed()
		}
		x.bits[0] = make([]uint64, x.words())
	}
	for _, at := range places(x.sum(ends, what), x.bits[0]) {
		x.bits[0][at/64] |= 1 << (at % 64)
	}
}

// has reports whether a connection was noted, in this age or in the one before.
func (x *forgotten) has(ends [2]netip.AddrPort, what sight, now int64) bool {
	x.age(now)
	if x.bits[0] == nil && x.bits[1] == nil {
		return false
	}
	h := x.sum(ends, what)
	for _, bits := range x.bits {
		all := bits != nil
		for _, at := range places(h, bits) {
			all = all && bits[at/64]&(1<<(at%64)) != 0
		}
		if all {
			return true
		}
	}
	return false
}

// sum is the hash of a connection, whoever of the two is taken for the client.
func (x *forgotten) sum(ends [2]netip.AddrPort, what sight) uint64 {
	if ends[1].Compare(ends[0]) < 0 {
		ends[0], ends[1] = ends[1], ends[0]
	}
	return maphash.Comparable(x.seed, struct {
		ends [2]netip.AddrPort
		what sight
	}{ends, what})
}

// places are where a hash belongs in an age's bits.
func places(h uint64, bits []uint64) (at [forgottenHashes]uint64) {
	size := uint64(max(len(bits), 1)) * 64
	for i := range at {
		at[i] = (h + uint64(i)*(h>>32|1)) % size
	}
	return at
}

// age begins another age when its time has come.
func (x *forgotten) age(now int64) {
	switch {
	case now < x.ends:
		return
	case now-x.ends < x.lasts:
		x.bits[0], x.bits[1] = nil, x.bits[0]
	default:
		x.bits = [2][]uint64{}
	}
	x.ends = now + x.lasts
}
