package tlswire

// Skip passes over n bytes of one side that nobody has, if it is certain that
// none of them would have been read: they lie inside one record, or message, that
// is opaque. It returns what Consume would have. Otherwise nothing changed, and
// the side cannot be read any further: where the next record begins is unknown.
func (c *Conn) Skip(from Side, n int) (st Status, ok bool) {
	s := &c.sides[from]
	c.takeBack()
	if s.dead != NeedMore {
		return s.dead, true
	}
	most := int(s.left)
	if s.body == bodyHandshake {
		most = min(most, int(s.skip))
	}
	if n > most || s.left == 0 || !s.opaque() {
		return NeedMore, false
	}
	_, _, st = c.pass(from, make([]byte, n))
	return st, true
}
