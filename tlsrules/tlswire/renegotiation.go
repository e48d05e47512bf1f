package tlswire

// A rekeying is how far a side is in a renegotiation.
type rekeying uint8

const (
	rekeyingBegun rekeying = iota
	rekeyingKeys           // ChangeCipherSpec has passed
	rekeyingDone           // Finished has passed
)

// Renegotiates reports whether either side has begun to negotiate anew. TLS 1.3
// has no renegotiation (RFC 8446, Section 4.1.2).
func (c *Conn) Renegotiates() bool { return c.Renegotiations != [2]uint8{} }

// SecureRenegotiation reports whether both sides have said that they bind a
// renegotiation to the connection it happens in (RFC 5746).
func (c *Conn) SecureRenegotiation() bool {
	return c.HasServerHello && c.ServerHello.RenegotiationInfo && c.ClientHello.SecureRenegotiation()
}

// rehandshake takes an encrypted handshake record after both Finished of TLS
// 1.2 and below: a ClientHello, or a server's HelloRequest, then what follows
// it. It ends when both sides have changed keys and sent another record, or
// with an alert that refuses it.
func (c *Conn) rehandshake(from Side) {
	if !c.renegotiating {
		c.renegotiating = true
		c.sides[Client].rekeying, c.sides[Server].rekeying = rekeyingBegun, rekeyingBegun
		increase(&c.Renegotiations[from])
		return
	}
	s := &c.sides[from]
	if s.rekeying != rekeyingKeys {
		return
	}
	s.rekeying = rekeyingDone
	c.renegotiating = c.sides[from.Other()].rekeying != rekeyingDone
}
