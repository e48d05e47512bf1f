package via

import "tlsgate/tlsrules/tlswire"

// Codes of PostgreSQL's first messages, of eight bytes ("Message Formats").
const (
	postgresSSL = 80877103
	postgresGSS = 80877104
)

// readPostgres consumes bytes of a dialogue about encryption. A client asks for
// it, its server answers with one byte: S, and TLS follows; G, and GSSAPI; N, and
// the client may ask for the other one or go on in clear.
func (c *Conn) readPostgres(from tlswire.Side, b []byte) (int, Status) {
	s := &c.sides[from]
	if from == tlswire.Server {
		if len(b) == 0 {
			return 0, NeedMore
		}
		c.boundary(from)
		switch b[0] {
		case 'S', 'N':
			return 1, NeedMore
		}
		return 1, Over // GSSAPI, an error, or an answer to a start in clear
	}
	if s.step > 0 { // started in clear
		return len(b), NeedMore
	}
	n, ok := s.gather(b, 8)
	if !ok {
		return n, NeedMore
	}
	code := uint32(uint16Of(s.buf[4:]))<<16 | uint32(uint16Of(s.buf[6:]))
	length := uint32(uint16Of(s.buf[:]))<<16 | uint32(uint16Of(s.buf[2:]))
	c.message(from, 0)
	if length == 8 && (code == postgresSSL || code == postgresGSS) {
		c.ask()
		return n, NeedMore
	}
	s.step = 1
	return n, Clear
}

// greetsMySQL says whether a server's first bytes are of the greeting of MySQL
// ("Protocol::HandshakeV10"): length, number, protocol version, server version.
func greetsMySQL(b []byte) protocol {
	for i, v := range b {
		switch {
		case i == 2 && v != 0, i == 3 && v != 0, i == 4 && v != 10:
			return generic
		case i == 5:
			return protocolIf(' ' < v && v < 0x7f, mysql)
		}
	}
	return opening
}

// mysqlSSL is CLIENT_SSL, in the second byte of the capabilities.
const mysqlSSL = 0x08

// readMySQL consumes bytes of packets. The first one of the client says whether
// TLS follows it; its server does not answer before.
func (c *Conn) readMySQL(from tlswire.Side, b []byte) (int, Status) {
	const header = 4
	s := &c.sides[from]
	if from == tlswire.Client && s.step > 0 { // TLS should have begun here
		return min(1, len(b)), Over
	}
	want := header
	if from == tlswire.Client {
		want += 2
	}
	n, ok := s.gather(b, header)
	if !ok {
		return n, NeedMore
	}
	length := int(s.buf[0]) | int(s.buf[1])<<8 | int(s.buf[2])<<16
	if from == tlswire.Server {
		total := header + length
		if total < int(s.n) {
			return n, c.lose()
		}
		c.message(from, uint64(total-int(s.n)))
		return n, NeedMore
	}
	if length < 2 {
		return n, c.lose()
	}
	k, ok := s.gather(b[n:], want)
	n += k
	if !ok {
		return n, NeedMore
	}
	if s.buf[header+1]&mysqlSSL == 0 {
		return n, Over
	}
	s.step = 1
	c.message(from, uint64(length-2))
	return n, NeedMore
}
