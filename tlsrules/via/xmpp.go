package via

import "bytes"

// Stanzas and SASL are not for before TLS where there is to be any (RFC 6120,
// Sections 4.3.2 and 5.3).
var xmppInClear = []string{"<auth", "<iq", "<message", "<presence", "<handshake", "<response"}

// xmppSaid takes a tag of the client.
func (c *Conn) xmppSaid(tag []byte) Status {
	tag = bytes.TrimLeft(tag, " \t")
	if bytes.Contains(tag, []byte("starttls")) {
		c.ask()
	}
	for _, name := range xmppInClear {
		if bytes.HasPrefix(tag, []byte(name)) {
			return Clear
		}
	}
	return NeedMore
}

// xmppAnswered takes a tag of the server: after SASL there is no STARTTLS.
func xmppAnswered(tag []byte) Status {
	if bytes.HasPrefix(bytes.TrimLeft(tag, " \t"), []byte("<success")) {
		return Over
	}
	return NeedMore
}
