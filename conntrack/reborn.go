package conntrack

import (
	"time"

	"tlsgate/conntrack/packet"
)

const (
	// cookieSizes is how many segment sizes a SYN cookie can stand for: as many numbers
	// beside the one that was sent are cookies too (syncookies.c:msstab).
	cookieSizes = 4

	// CookieAge is longer than any cookie is good for (tcp.h:MAX_SYNCOOKIE_AGE), and
	// than a SYN is repeated.
	CookieAge = int64(4 * time.Minute)
)

// Reborn reports whether the packet that was tracked last could begin another connection,
// though a server that has this one takes it as any other segment. (A fifth part of
// Tracked would have the compiler keep it in memory: an eighth of the way through bulk.)
func (t *Table[V]) Reborn() bool { return t.reborn }

// reborn reports whether a segment of Original's could begin another connection, with a
// server that has this one no more, or not yet. A server that answers a SYN by a cookie
// (RFC 4987, Section 3.6) keeps nothing of it: whoever acknowledges a cookie has a
// connection that begins with that segment. Linux's is the client's number and something
// that changes once a minute (syncookies.c:secure_tcp_syn_cookie), so that who has seen
// one knows those of all other numbers. A FIN alone begins nothing: nothing can be said
// behind it.
func (c *Conn[V]) reborn(p *packet.Parsed, now int64) bool {
	o, r := &c.sides[Original], &c.sides[Reply]
	if !c.mayBegin(p, now) {
		return false
	}
	first := o.iss.Add(1)
	apart := p.Seq.Size(p.Ack)
	switch {
	case p.Seq == first && p.Ack == r.iss.Add(1) && o.iss.Size(o.acked) <= 1 && !c.loose:
		return false // both begin alike
	case c.isOver():
		return near(apart, c.apart()) || c.others.has(apart)
	}
	return !c.Begun() && !c.loose && c.apart()-apart < cookieSizes // of what is loose the kernel lets all others pass
}

// rebornElsewhere is reborn of a segment that does not fit: a server that has the
// connection discards it. It may acknowledge a cookie of another number, or of another
// minute.
func (c *Conn[V]) rebornElsewhere(p *packet.Parsed, now int64) bool {
	return c.mayBegin(p, now) && (!c.Begun() || c.isOver())
}

// mayBegin reports whether any segment could begin anything.
func (c *Conn[V]) mayBegin(p *packet.Parsed, now int64) bool {
	return !c.Midstream && c.sides[Reply].seen && c.Young(now) && !(p.Flags.Has(packet.FIN) && p.PayloadLen() == 0)
}

// Young reports whether a cookie of the connection may still be good. A SYN that is
// repeated for minutes has others.
func (c *Conn[V]) Young(now int64) bool { return c.late || now-c.Start <= CookieAge }

// greets notes how late a SYN-ACK is.
func (c *Conn[V]) greets(now int64) {
	c.late = c.late || c.state.half() && now-c.Start > CookieAge/2
}

// apart is how much further Reply began than Original.
func (c *Conn[V]) apart() uint32 { return c.sides[Original].iss.Size(c.sides[Reply].iss) }

// others are how far apart the numbers of other SYN-ACKs on the same ports were, of another
// minute or of the connection before: each may have been a cookie that is still good. No
// more than two are at a time (tcp.h:MAX_SYNCOOKIE_AGE).
type others struct {
	apart [2]uint32 // the latest first
	n     uint8
}

func (o *others) has(apart uint32) bool {
	return o.n > 0 && near(apart, o.apart[0]) || o.n > 1 && near(apart, o.apart[1])
}

func (o *others) add(apart uint32) {
	if !o.has(apart) {
		*o = others{[2]uint32{apart, o.apart[0]}, min(o.n+1, 2)}
	}
}

// answers notes a SYN-ACK that is not, or no more, what the connection began with. One that
// acknowledges data is no cookie: its server keeps that.
func (c *Conn[V]) answers(apart uint32) {
	if !near(apart, c.apart()) {
		c.others.add(apart)
	}
}

// near reports whether both are of one cookie, but for its segment size.
func near(a, b uint32) bool { return a-b < cookieSizes || b-a < cookieSizes }

// isOver reports whether the server may have the connection no more.
func (c *Conn[V]) isOver() bool {
	r := &c.sides[Reply]
	return c.state == Close || c.ended || r.finSeen && r.fin.Less(r.acked)
}

// ends notes an RST, or the server's FIN, that does not count by its number: where its
// receiver stands is what we believe (of a FIN's number Linux takes an RST too,
// tcp_input.c:tcp_reset_check, and RFC 793 any in the window), and its sender has ended.
func (c *Conn[V]) ends(now int64) {
	if c.Midstream {
		c.ended = c.ended || c.Young(now)
	} else {
		c.ended = c.ended || c.state != Close && c.Begun()
	}
}

// BehindEnd reports whether the packet that was tracked last is of a connection that began
// unseen and was over before it.
func (t *Table[V]) BehindEnd() bool { return t.over }

// Asked reports whether d's sender has had a SYN of the other end's that asks for another
// connection on the ports, and has not answered it.
func (c *Conn[V]) Asked(d Direction) bool {
	return c.second.kind == aSYN && d == c.second.dir.Other()
}

// over reports whether nothing is left to be said in a connection that began unseen: both
// ends have had the other's FIN, or one has reset it, while a SYN cookie of it may be good.
// Where it began nobody knows: any segment could begin another there.
func (c *Conn[V]) over(now int64) bool {
	o, r := &c.sides[Original], &c.sides[Reply]
	return c.Young(now) && (c.ended || o.finSeen && o.fin.Less(o.acked) && r.finSeen && r.fin.Less(r.acked))
}

// mayEnd reports whether the server may have the connection no more for an RST: it has
// sent it, or it is the client's, and lies where the window of the server's may be. From
// elsewhere an RST changes nothing, or anybody's would cost its client what looks like
// another cookie.
func (c *Conn[V]) mayEnd(d Direction, p *packet.Parsed) bool {
	s := &c.sides[d]
	before := uint32(p.PayloadLen()) + 1 // its text may reach the window, or it has the FIN's number
	return d == Reply && !c.Midstream || c.loose || p.Seq.InRange(s.acked.Sub(before), s.edge(true).Add(1))
}

// Begun reports whether the server has shown, by an acknowledgement or by what it has
// said, that it has the connection.
func (c *Conn[V]) Begun() bool {
	o, r := &c.sides[Original], &c.sides[Reply]
	return o.iss.Size(o.acked) > 1 || r.iss.Size(r.end) > 1 // however far: both may be 2 GiB on
}

// Ends reports whether the server may soon have the connection no more, while a cookie
// of it is good: either end has reset it, or the server has said its last.
func (c *Conn[V]) Ends(now int64) bool {
	return (c.state == Close || c.ended || c.sides[Reply].finSeen) && c.Young(now)
}
