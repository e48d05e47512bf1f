package via

import "tlsgate/tlsrules/tlswire"

// A protocol is what the dialogue at hand is in.
type protocol uint8

const (
	opening     protocol = iota // not known yet
	clientSpoke                 // the client said something unknown, its server nothing yet
	serverSpoke                 // the server said something unknown, the client nothing yet
	unknown                     // both said something unknown
	known                       // and those below are
	generic                     // not understood any more
	mail                        // SMTP or FTP: they greet alike
	imap
	pop3
	xmpp
	ldap
	postgres
	mysql
	httpConnect
	socks4
	socks5
	proxyHeader1 // of the client; the server says nothing before it
	proxyHeader2
	plain // never in proto: HTTP or SSH, which go on in clear
	ended // nothing more is to be told
)

// read consumes bytes of the protocol at hand, up to the end of a message.
func (c *Conn) read(from tlswire.Side, b []byte) (n int, st Status) {
	s := &c.sides[from]
	if s.skip > 0 {
		n = int(min(s.skip, uint64(len(b))))
		if s.skip -= uint64(n); s.skip > 0 {
			return n, NeedMore
		}
		if c.proto == proxyHeader2 && from == tlswire.Client {
			return n, c.unwrapped()
		}
		c.boundary(from)
		return n, NeedMore
	}
	switch c.proto {
	case opening:
		return c.open(from, b)
	case clientSpoke:
		if from == tlswire.Server {
			return c.open(from, b)
		}
		n, st = c.readLine(from, b)
		if c.unheard += uint32(n); c.unheard > maxUnheard {
			return n, Over
		}
		return n, st
	case serverSpoke:
		if from == tlswire.Client { // and does not begin TLS
			if c.unfamiliar() == Over {
				return min(1, len(b)), Over
			}
			return c.readUnknown(from, b)
		}
	case unknown:
		return c.readUnknown(from, b)
	case proxyHeader1, proxyHeader2:
		if from == tlswire.Server {
			return c.open(from, b)
		}
		if c.proto == proxyHeader2 {
			return c.readProxy2(b)
		}
	case ldap:
		return c.readLDAP(from, b)
	case postgres:
		return c.readPostgres(from, b)
	case mysql:
		return c.readMySQL(from, b)
	case socks4:
		return c.readSOCKS4(from, b)
	case socks5:
		return c.readSOCKS5(from, b)
	}
	return c.readLine(from, b)
}
