package via

import (
	"math/bits"

	"tlsgate/tlsrules/tlswire"
)

// A Status says what Consume came upon. The zero Status is NeedMore.
type Status uint8

const (
	NeedMore Status = iota // all bytes consumed, nothing to tell
	TLS                    // from Opening on this side speaks TLS
	Clear                  // the connection is used in clear; TLS may begin all the same. Told once
	Over                   // TLS cannot begin any more, on either side
	TooDeep                // more tunnels in tunnels than are followed
	Twofold                // servers differ in where TLS begins
)

var statusNames = [...]string{"need_more", "tls", "clear", "over", "too_deep", "twofold"}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "invalid"
}

const (
	// maxDepth bounds tunnels in tunnels.
	maxDepth = 8
	// maxPrefix is how much of a message is kept to be understood: a CONNECT
	// with the longest name there is.
	maxPrefix = 288
	// maxUnheard is more than a client can say to a server that greets before
	// it reads: its window is full long before.
	maxUnheard = 1 << 20
	// maxTurns and maxUnknown bound how long TLS is waited for in a dialogue
	// that nothing is known of: answers of the server, and bytes of both sides.
	maxTurns   = 16
	maxUnknown = 64 << 10
)

// A Conn watches one connection. The zero Conn is ready for use; it allocates
// only for the name of a tunnel's target, and is not safe for concurrent use.
type Conn struct {
	// Kinds is all that came before TLS, once it has begun on a side, and Kind
	// the last of it: of a STARTTLS in a tunnel, the STARTTLS. Both are zero
	// where nothing is known of what was said.
	Kinds Kinds
	Kind  Kind
	// Tunnel is where the innermost CONNECT or SOCKS request leads to.
	Tunnel Target
	// Proxied are the addresses of the last PROXY header.
	Proxied Proxied

	proto    protocol
	unheard  uint32 // bytes that were said, where only so many are listened to
	turns    uint16 // answers of the server
	inClear  bool   // one of the sides speaks what goes on in clear
	asked    Kind   // for what this dialogue asked, or would; zero for none
	outer    Kind   // what leads to this dialogue; zero for nothing
	led      Kinds  // all that leads to it
	depth    uint8
	clear    bool // Clear has been told
	answered bool // the server has spoken since the client did, in clear
	early    bool // the client went on before its tunnel was there

	sides  [2]side
	ahead  window // of TLS
	text   window // of clear text
	asking int32  // bytes of the client's that its server may not have read when it agrees
	pop    popState
	http   httpState
	socks  socksState
}

// A side is the reading state of one direction.
type side struct {
	skip    uint64          // bytes of the message at hand that nobody reads
	buf     [maxPrefix]byte // the beginning of the message at hand
	n       uint16          // of buf
	head    [16]byte        // taken from the stream, and not read yet
	headLen uint8
	turns   uint16        // at which bytes of head, and the one after it, TLS may begin too
	step    uint8         // within a protocol
	look    bool          // the next byte may begin TLS
	cr      bool          // the last byte was a CR that ended a line
	tail    [tailLen]byte // of the line at hand, the end of what came before
	tailLen uint8
	begun   bool
	tls     bool
}

// Reset makes c ready for another connection.
func (c *Conn) Reset() { *c = Conn{} }

// Speaks reports whether a dialogue was recognised in which TLS may begin later.
func (c *Conn) Speaks() bool {
	return c.proto != ended && (c.proto > known || c.depth > 0)
}

// Began reports whether a side has begun to speak TLS.
func (c *Conn) Began(from tlswire.Side) bool { return c.sides[from].tls }

// Awaits reports whether the client has begun to speak TLS and its server not yet,
// but what that says next is read as TLS: it has agreed, and said all of it.
func (c *Conn) Awaits() bool {
	s := &c.sides[tlswire.Server]
	agreed := c.answered || c.asked == MySQL || c.Kind == Proxy // who needs not ask
	return agreed && !c.early && c.http.waiting == 0 && c.sides[tlswire.Client].tls && !s.tls && s.n == 0 && s.skip == 0 && s.headLen == 0
}

// Opening returns what Consume has consumed of a side's TLS: its first bytes.
func (c *Conn) Opening(from tlswire.Side) []byte {
	s := &c.sides[from]
	return s.head[:s.headLen]
}

// Consume reads bytes of one side, which follow those it has consumed of that
// side before. It returns how many: all of them with NeedMore, and else up to the
// one after which there is something to tell. A side that speaks TLS is not to be
// consumed any more.
func (c *Conn) Consume(from tlswire.Side, b []byte) (n int, st Status) {
	s := &c.sides[from]
	if c.proto == ended {
		return len(b), NeedMore
	}
	if !s.begun {
		s.begun, s.look = true, true
	}
	if from == tlswire.Server && len(b) > 0 && !c.sides[tlswire.Client].tls {
		if !c.answered {
			c.answered = true
			c.turns++
		}
		c.Turn()
	}
	tell := NeedMore
	for {
		if s.look {
			if tell != NeedMore { // what is left will be looked at with what follows
				return n, tell
			}
			k, st, sure := c.lookAt(from, b[n:])
			n += k
			if !sure || st != NeedMore {
				return n, st
			}
		}
		if from == tlswire.Server && c.twofold() {
			return n, c.end(Twofold)
		}
		if s.headLen == 0 && (n == len(b) || tell != NeedMore) {
			return n, tell
		}
		k, st := c.step(from, b[n:])
		n += k
		switch st {
		case NeedMore:
		case Clear:
			if !c.clear {
				c.clear, tell = true, Clear
			}
		default:
			return n, c.end(st)
		}
	}
}

// end ends the watch.
func (c *Conn) end(st Status) Status {
	c.clear, c.proto = true, ended
	return st
}

// lookAt looks whether a side begins TLS. It is not sure before there are more
// bytes.
func (c *Conn) lookAt(from tlswire.Side, b []byte) (n int, st Status, sure bool) {
	s := &c.sides[from]
	n, p := s.peek(b)
	switch {
	case p == 0:
		return n, NeedMore, false
	case p != tlswire.ProtocolTLS && p != tlswire.ProtocolSSLv2:
		s.look = false
		return n, NeedMore, true
	case s.turns != 0 && c.discards(): // begun before its server spoke
		return n, c.end(Twofold), true
	}
	c.begin(from)
	return n, TLS, true
}

// step reads bytes that are no TLS, first those that were looked at: none of them
// may be left for the next call. It returns how many of b it has read.
func (c *Conn) step(from tlswire.Side, b []byte) (n int, st Status) {
	s := &c.sides[from]
	if from == tlswire.Client {
		c.answered = false
	}
	asked := c.asking > 0
	hidden := 0 // up to where a hello stands in them
	if s.headLen > 0 {
		k := min(int(s.headLen), bits.TrailingZeros16(s.turns))
		k, st = c.read(from, s.head[:k])
		hidden = c.hides(from, s.head[:k], asked)
		s.headLen = uint8(copy(s.head[:], s.head[k:s.headLen]))
		s.turns >>= k
		if s.turns&1 != 0 {
			s.turns, s.look = s.turns&^1, true
		}
	} else {
		n, st = c.read(from, b)
		if hidden = c.hides(from, b[:n], asked); 0 < hidden && hidden < n {
			n, st = hidden, NeedMore
		}
	}
	if hidden > 0 && st != Over {
		st = Twofold
	}
	return n, st
}

// Turn says that the client's next byte may begin TLS, whatever it said before:
// its server has spoken, or may have read it otherwise.
func (c *Conn) Turn() {
	s := &c.sides[tlswire.Client]
	s.begun, s.look = true, true
	if s.headLen > 0 { // what is looked at may be nothing, and the next byte all
		s.turns |= 1 << s.headLen
	}
}

// peek takes bytes until it is clear whether they begin TLS; 0 is not clear yet.
func (s *side) peek(b []byte) (n int, p tlswire.Protocol) {
	if s.headLen == 0 && len(b) > 0 && !tlswire.MayBegin(b[0]) {
		return 0, tlswire.ProtocolUnknown
	}
	for i := uint8(1); ; i++ {
		if i > s.headLen {
			if n == len(b) {
				return n, 0
			}
			s.head[s.headLen] = b[n]
			s.headLen++
			n++
		}
		if p = tlswire.Begins(s.head[:i]); p != 0 {
			return n, p
		}
	}
}

// begin notes that a side speaks TLS.
func (c *Conn) begin(from tlswire.Side) {
	c.sides[from].tls = true
	c.sides[from.Other()].look = true
	if c.Kind != 0 || c.proto == unknown && c.outer == 0 { // by what, is not known
		return
	}
	switch {
	case c.asked != 0:
		c.Kind = c.asked
	case c.outer != 0:
		c.Kind = c.outer
	default:
		c.Kind = Direct
	}
	c.Kinds = c.led
	c.Kinds.Add(c.Kind)
}

// boundary says that the next byte of a side begins a message. What a server
// says begins TLS only once a client has.
func (c *Conn) boundary(from tlswire.Side) {
	if from == tlswire.Client || c.sides[tlswire.Client].tls {
		c.sides[from].look = true
	}
}

// gather fills buf up to want bytes, and reports whether they are there.
func (s *side) gather(b []byte, want int) (n int, ok bool) {
	if int(s.n) < want {
		n = copy(s.buf[s.n:want], b)
		s.n += uint16(n)
	}
	return n, int(s.n) >= want
}

// message ends the message at hand, of which skip bytes are still to come.
func (c *Conn) message(from tlswire.Side, skip uint64) {
	s := &c.sides[from]
	s.n, s.skip = 0, skip
	if skip == 0 {
		c.boundary(from)
	}
}

// lose gives up understanding the dialogue: it is watched on, line by line and
// turn by turn.
func (c *Conn) lose() Status {
	c.proto = generic
	return Clear
}

// lead notes that what follows is inside of something, and reports whether that
// is still followed.
func (c *Conn) lead(kind Kind) bool {
	c.outer = kind
	c.led.Add(kind)
	c.depth++
	return c.depth <= maxDepth
}

// tunnel begins anew inside of what leads on.
func (c *Conn) tunnel(kind Kind) Status {
	if !c.lead(kind) {
		return TooDeep
	}
	c.asked = 0
	if c.early || c.sides[tlswire.Client].n > 0 {
		// What the client has said already cannot be understood any more.
		return c.lose()
	}
	c.proto, c.inClear = opening, false
	for i := range c.sides {
		s := &c.sides[i]
		s.n, s.step, s.cr = 0, 0, false
		if !s.tls {
			s.look = true
		}
	}
	return NeedMore
}

// Skip passes over n bytes of a side that were not seen. Where they are more than
// the rest of a message the dialogue is not understood any more.
func (c *Conn) Skip(from tlswire.Side, n int) {
	s := &c.sides[from]
	if s.headLen == 0 && s.skip > uint64(n) {
		s.skip -= uint64(n)
		return
	}
	s.skip, s.n, s.headLen, s.turns, s.cr = 0, 0, 0, 0, false
	s.begun, s.look = true, true
	if c.proto >= ldap && c.proto != ended {
		c.lose()
	}
}
