package tlswire

import "slices"

// readClientHello reads a ClientHello in clear. A second one is the answer to a
// HelloRetryRequest, or a renegotiation. If the server was not seen, the random
// tells: RFC 8446, Section 4.1.2 has the answer keep it.
func (c *Conn) readClientHello(from Side, data []byte) Fault {
	h := &c.ClientHello
	second := c.HasClientHello
	mayAnswer := second && !c.HasServerHello && !c.retryAnswered
	random := h.Random
	if mayAnswer {
		h.keepFingerprints()
	}
	if second && c.Buffers != nil {
		if f := c.Buffers.hello.parse(data); !f.OK() {
			return f
		}
		h.swap(&c.Buffers.hello)
	} else if f := h.parse(data); !f.OK() {
		return f
	}
	h.Records = int32(c.sides[from].records)
	h.prints.answer = mayAnswer && (c.Retry || h.Random == random)
	switch {
	case h.prints.answer:
		c.retryAnswered = true
	case second:
		increase(&c.Renegotiations[from])
	}
	c.HasClientHello = true
	c.advance(PhaseClientHello)
	return Fault{}
}

// swap exchanges two hellos. What is kept of the hello before stays.
func (h *ClientHello) swap(with *ClientHello) {
	*h, *with = *with, *h
	if with.seldom != nil {
		from, to := &with.seldom.first, &h.more().first
		*from, *to = *to, *from
	}
}

// retried takes a HelloRetryRequest.
func (c *Conn) retried() {
	c.Retry, c.RetryGroup = true, c.ServerHello.Group
	c.RetryCookie = slices.Contains(c.ServerHello.Extensions, extensionCookie)
}
