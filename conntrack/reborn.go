package conntrack

import (
	"time"

	"tlsgate/conntrack/packet"
)

const (
	// cookieSizes is how many segment sizes a SYN cookie can stand for: as many numbers
	// beside the one that was sent are cookies too (syncookies.c:msstab).
	cookieSizes = 4

	// cookieAge is longer than any cookie is good for (tcp.h:MAX_SYNCOOKIE_AGE), and
	// than a SYN is repeated.
	cookieAge = int64(4 * time.Minute)
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
	if c.Midstream || !o.seen || !r.seen || now-c.Start > cookieAge || p.Flags.Has(packet.FIN) && p.PayloadLen() == 0 {
		return false
	}
	first := o.iss.Add(1)
	apart := p.Seq.Size(p.Ack) - o.iss.Size(r.iss)
	begun := c.Begun()
	switch {
	case p.Seq == first && !first.Less(o.acked):
		return false // both begin alike
	case c.state == Close || r.finSeen && r.fin.Less(r.acked):
		return apart < cookieSizes || -apart < cookieSizes
	}
	return !begun && apart != 0 && -apart < cookieSizes
}

// Begun reports whether the server has shown, by an acknowledgement or by what it has
// said, that it has the connection.
func (c *Conn[V]) Begun() bool {
	o, r := &c.sides[Original], &c.sides[Reply]
	return o.iss.Add(1).Less(o.acked) || r.iss.Add(1).Less(r.end)
}

// Ends reports whether the server may soon have the connection no more, while a cookie
// of it is good: either end has reset it, or the server has said its last.
func (c *Conn[V]) Ends(now int64) bool {
	return (c.state == Close || c.sides[Reply].finSeen) && now-c.Start <= cookieAge
}
