package tlswire

// Skip passes over n bytes of one side that nobody has, if it is certain where
// they lie: inside one record, or message, that is opaque, or inside one message
// that can be done without, which is then not read. It returns
// what Consume would have. Otherwise nothing changed, and the side cannot be read
// any further: where the next record begins is unknown.
func (c *Conn) Skip(from Side, n int) (st Status, ok bool) {
	s := &c.sides[from]
	c.takeBack()
	if s.dead != NeedMore {
		return s.dead, true
	}
	most := int(s.left)
	switch {
	case s.body == bodyHandshake && c.dispensable(s):
		most = min(most, int(s.read+s.skip)-len(s.buf))
	case !s.opaque():
		return NeedMore, false
	}
	if n > most || s.left == 0 {
		return NeedMore, false
	}
	if s.body == bodyHandshake && !s.skipping {
		s.skip += s.read - uint32(len(s.buf))
		s.read, s.skipping = 0, true
		c.Buffers.put(s.buf)
		s.buf = nil
	}
	_, _, st = c.pass(from, make([]byte, n))
	return st, true
}

// Inside reports whether the next n bytes of a side are of one record's body that is
// not read, and there is nothing to tell of them.
func (c *Conn) Inside(from Side, n int) bool {
	s := &c.sides[from]
	return s.dead == NeedMore && s.body == bodyOpaque && n <= int(s.left)
}

// PassOver consumes n bytes of which Inside is true.
func (c *Conn) PassOver(from Side, n int) {
	c.takeBack()
	c.sides[from].left -= uint16(n)
}

// dispensable reports whether the rest of the message at hand may be missing. A
// prime must not: without one, the exchange would seem to have none.
func (c *Conn) dispensable(s *side) bool {
	if s.skipping {
		return true
	}
	switch HandshakeType(s.message[0]) {
	case TypeClientHello, TypeServerHello:
		return false
	case TypeServerKeyExchange:
		if k := keyExchangeOf(c.ServerHello.CipherSuite); k != otherExchange && !k.elliptic() {
			return false
		}
	}
	return s.messageLen == messageHeaderLen
}
