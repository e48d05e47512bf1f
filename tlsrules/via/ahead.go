package via

import "tlsgate/tlsrules/tlswire"

// A client that speaks TLS before its server has agreed to may be read in two
// ways: there are servers that take what came early for TLS, and servers that throw
// away as much of it as they had read, as RFC 3207, Section 5 would have it. The
// second kind may begin to read in the middle of what the first reads as one hello.

// Ahead is told of the bytes of a client that speaks TLS while its server does not
// yet; between is tlswire.Conn.Between after them. It reports whether they are
// known to be early, and there is another hello in them: what Consume would tell
// as Twofold once the server speaks.
func (c *Conn) Ahead(b []byte, between bool) bool {
	if len(b) == 0 || !c.discards() {
		return false
	}
	c.ahead.partial = !between
	for _, v := range b {
		c.ahead.take(v, 6)
	}
	return c.ahead.found && !c.answered && !c.unasked()
}

// unasked reports whether the server need not agree: nothing was said but PROXY headers,
// behind which all is read that comes ("The PROXY protocol", Section 2). Of a hello's
// random bytes six may look like another hello's. Should the server speak in clear after
// all, that will be Twofold.
func (c *Conn) unasked() bool { return c.outer == Proxy && c.proto == opening }

// twofold reports whether a server that threw some of what came early away could
// read another hello than one that did not.
func (c *Conn) twofold() bool { return c.ahead.partial || c.ahead.found }

// discards reports whether there are servers of this kind that throw bytes away.
// A MySQL server agrees before the client asks; who leads on to others passes on
// what came early.
func (c *Conn) discards() bool {
	switch c.asked {
	case MySQL, Connect, SOCKS, Proxy:
		return false
	}
	return true
}

// maxAsking is more than a server reads at once.
const maxAsking = 64 << 10

// ask notes that the client has asked for TLS. What it says before its server
// agrees, the server may throw away, and go on in the middle of it.
func (c *Conn) ask() { c.asking = maxAsking }

// hides takes bytes of a side that were taken for clear text, and says up to where
// there is the beginning of a hello in them, which a server could read all the
// same; 0 for none. asked: the client had asked for TLS before them.
func (c *Conn) hides(from tlswire.Side, b []byte, asked bool) int {
	if from != tlswire.Client || !asked || !c.discards() {
		return 0
	}
	for i, v := range b[:min(len(b), int(c.asking))] {
		if c.text.take(v, 5); c.text.found {
			return i + 1
		}
	}
	c.asking = max(0, c.asking-int32(len(b)))
	return 0
}

// A window looks for ClientHellos in what a client says.
type window struct {
	last    uint64 // bytes
	count   uint8
	found   bool
	partial bool // a record or message is only partly there
}

// take takes the next byte: does a ClientHello begin with the last six? Nothing is
// looked for before as many bytes as before were taken: five, or six to leave out
// what the client begins with.
func (w *window) take(v byte, before uint8) {
	w.last = w.last<<8 | uint64(v)
	if w.count < before {
		w.count++
		return
	}
	at := func(i int) byte { return byte(w.last >> (8 * (5 - i))) }
	w.found = w.found || at(0) == 22 && at(1) < 16 && at(3) <= 64 && at(5) == 1 ||
		at(0)&0x80 != 0 && at(2) == 1 && at(3) == 3 && at(4) <= 4
}
