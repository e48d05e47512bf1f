package tlswire

import "slices"

// readClientHello reads a ClientHello in clear. A second one that no
// HelloRetryRequest has asked for is a renegotiation.
func (c *Conn) readClientHello(from Side, data []byte) Fault {
	asked := c.Retry && !c.HasServerHello && !c.retryAnswered
	if f := c.ClientHello.parse(data); !f.OK() {
		return f
	}
	c.ClientHello.Records = int32(c.sides[from].records)
	c.ClientHello.prints.answer = asked && c.HasClientHello
	switch {
	case asked:
		c.retryAnswered = true
	case c.HasClientHello:
		increase(&c.Renegotiations[from])
	}
	c.HasClientHello = true
	c.advance(PhaseClientHello)
	return Fault{}
}

// retried takes a HelloRetryRequest.
func (c *Conn) retried() {
	c.Retry, c.RetryGroup = true, c.ServerHello.Group
	c.RetryCookie = slices.Contains(c.ServerHello.Extensions, extensionCookie)
	if c.HasClientHello {
		c.ClientHello.keepFingerprints()
	}
}
