package engine

import "tlsgate/conntrack"

// astray reports whether a packet comes from where the other end is, while its
// sender is elsewhere: somebody speaks in the sender's name. Where both ends are
// behind one interface nobody can tell. It is asked while a connection is read, and
// not later, for routes change.
func (e *Engine) astray(c *conntrack.Conn[flow], d conntrack.Direction) bool {
	f := &c.Value
	return e.in != 0 && e.in == f.devices[d.Other()] && e.in != f.devices[d] && f.devices[d] != 0 &&
		(f.phase == reading || f.phase == settling)
}
