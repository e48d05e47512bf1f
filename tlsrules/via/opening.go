package via

import (
	"bytes"

	"tlsgate/tlsrules/tlswire"
)

// openings are how the dialogues begin that begin with fixed bytes. A client of a
// server that greets is told by its server.
var openings = [2][]struct {
	text  string
	proto protocol
}{
	tlswire.Client: {
		{"PROXY ", proxyHeader1},
		{"\r\n\r\n\x00\r\nQUIT\n", proxyHeader2},
		{"CONNECT ", httpConnect},
		{"<?xml", xmpp}, {"<stream:stream", xmpp},
		{"\x00\x00\x00\x08\x04\xd2\x16\x2f", postgres}, // SSLRequest
		{"\x00\x00\x00\x08\x04\xd2\x16\x30", postgres}, // GSSENCRequest
		{"\x04\x01", socks4}, {"\x04\x02", socks4},
		{"GET ", plain}, {"POST ", plain}, {"HEAD ", plain}, {"PUT ", plain}, {"DELETE ", plain},
		{"PATCH ", plain}, {"OPTIONS ", plain}, {"TRACE ", plain}, {"PRI * HTTP/2", plain}, {"SSH-", plain},
	},
	tlswire.Server: {
		{"220 ", mail}, {"220-", mail}, {"120 ", mail}, {"120-", mail},
		{"* OK", imap}, {"* PREAUTH", imap}, {"* BYE", imap},
		{"+OK", pop3},
		{"HTTP/1.", plain}, {"SSH-", plain},
	},
}

// recognise says what a side's first bytes are of: a protocol, opening when more
// bytes are needed, generic when it is none of ours.
func recognise(from tlswire.Side, b []byte) protocol {
	p := generic
	for _, o := range openings[from] {
		n := min(len(b), len(o.text))
		if string(b[:n]) != o.text[:n] {
			continue
		}
		if n == len(o.text) {
			return o.proto
		}
		p = opening
	}
	if p == opening {
		return p
	}
	if from == tlswire.Server {
		return greetsMySQL(b)
	}
	switch b[0] {
	case 5:
		return enough(b, 2, func() protocol { return protocolIf(b[1] > 0, socks5) })
	case berSequence:
		return recogniseLDAP(b)
	}
	return generic
}

// enough waits for n bytes.
func enough(b []byte, n int, then func() protocol) protocol {
	if len(b) < n {
		return opening
	}
	return then()
}

func protocolIf(is bool, p protocol) protocol {
	if is {
		return p
	}
	return generic
}

// maxOpening is more than any of them needs.
const maxOpening = 32

// open consumes first bytes of a side until it is clear what they are of.
func (c *Conn) open(from tlswire.Side, b []byte) (n int, st Status) {
	s := &c.sides[from]
	for n < len(b) {
		s.buf[s.n] = b[n]
		p := recognise(from, s.buf[:s.n+1])
		if p == opening && s.n+1 == maxOpening {
			p = generic
		}
		if p == generic {
			// What came is the beginning of a line, and this byte may end it.
			st = c.stranger(from)
			k, _ := c.readLine(from, b[n:n+1])
			return n + k, st
		}
		s.n++
		n++
		switch p {
		case opening:
		case plain:
			// An answer of HTTP's is to a request, however odd: it may be a CONNECT.
			c.inClear = c.inClear || from == tlswire.Client || c.proto != clientSpoke || s.buf[0] != 'H'
			return n, c.stranger(from)
		default:
			c.enter(p)
			k, st := c.read(from, b[n:])
			return n + k, st
		}
	}
	return n, NeedMore
}

// stranger notes that a side does not begin as anything that is known here.
func (c *Conn) stranger(from tlswire.Side) Status {
	switch {
	case c.proto == clientSpoke:
		return c.unfamiliar()
	case c.proto != opening: // half a PROXY header is there
		return c.lose()
	case from == tlswire.Client:
		c.proto = clientSpoke
	default:
		c.proto = serverSpoke
	}
	return Clear
}

// unfamiliar notes that neither side begins as anything that is known here. Many
// protocols come to TLS in their first few turns; those that never do are left
// alone at once.
func (c *Conn) unfamiliar() Status {
	if c.inClear {
		return Over
	}
	c.proto, c.unheard, c.turns = unknown, 0, 0
	return NeedMore
}

// readUnknown consumes bytes of a dialogue that nothing is known of.
func (c *Conn) readUnknown(from tlswire.Side, b []byte) (n int, st Status) {
	n, st = c.readLine(from, b)
	if c.unheard += uint32(n); c.unheard > maxUnknown || c.turns > maxTurns {
		return n, Over
	}
	return n, st
}

// enter begins the dialogue of a protocol.
func (c *Conn) enter(p protocol) {
	late := c.proto == clientSpoke // what the client said was not understood
	c.proto = p
	switch p {
	case mail:
		c.asked = SMTP
	case imap:
		c.asked = IMAP
	case pop3:
		c.asked = POP3
		c.pop = popState{waiting: 1, lost: late}
	case xmpp:
		c.asked = XMPP
	case ldap:
		c.asked = LDAP
	case postgres:
		c.asked = Postgres
	case mysql:
		c.asked = MySQL
		if late {
			c.proto = generic
		}
	case httpConnect:
		c.asked, c.http = Connect, httpState{}
	case socks4, socks5:
		c.asked, c.socks = SOCKS, socksState{}
	case proxyHeader1, proxyHeader2:
		c.asked = Proxy
	}
}

// field returns the first word of a line in upper case, and what follows it. A
// word longer than word's is cut.
func field(line []byte, word *[16]byte) (first, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	end := bytes.IndexAny(line, " \t")
	if end < 0 {
		end = len(line)
	}
	n := copy(word[:], line[:end])
	for i, v := range word[:n] {
		if 'a' <= v && v <= 'z' {
			word[i] = v - 'a' + 'A'
		}
	}
	return word[:n], line[end:]
}
