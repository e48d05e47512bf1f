package via

import (
	"bytes"

	"tlsgate/tlsrules/tlswire"
)

// maxWords is how much of a line is kept where its first words say all.
const maxWords = 64

// readLine consumes bytes of a dialogue in lines, to the end of one. A CR and an
// LF each end a line, and so does both: servers differ, and in none of them may a
// hello begin where it is not looked for. XMPP's lines are its tags.
func (c *Conn) readLine(from tlswire.Side, b []byte) (n int, st Status) {
	s := &c.sides[from]
	if len(b) == 0 {
		return 0, NeedMore
	}
	if s.cr {
		if s.cr = false; b[0] == '\n' {
			c.boundary(from)
			return 1, NeedMore
		}
	}
	end := c.lineEnd(b)
	text := b
	if end >= 0 {
		text = b[:end]
	}
	keep := maxWords
	if c.onlyLF() {
		keep = maxPrefix
	}
	if int(s.n) < keep {
		s.n += uint16(copy(s.buf[s.n:keep], text))
	}
	if end < 0 {
		s.remember(text)
		return len(b), NeedMore
	}
	if from == tlswire.Client && c.proto == mail && s.endsWith(text, commandSTARTTLS) {
		c.asked = SMTP
		c.ask()
	}
	s.tailLen = 0
	line := s.buf[:s.n]
	s.n = 0
	c.boundary(from)
	s.cr = b[end] == '\r'
	if c.onlyLF() {
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	n = end + 1
	if st = c.line(from, line); st == NeedMore && s.cr && n < len(b) && b[n] == '\n' {
		s.cr = false
		n++
	}
	return n, st
}

// tailLen is how much of a line's end is kept.
const tailLen = 16

// commandSTARTTLS is a command also where it does not begin a line: what comes before it
// may be a chunk of a mail, whose length was told (RFC 3030, Section 2).
const commandSTARTTLS = "STARTTLS"

// remember keeps the end of a line that goes on.
func (s *side) remember(text []byte) {
	if len(text) >= tailLen {
		s.tailLen = uint8(copy(s.tail[:], text[len(text)-tailLen:]))
		return
	}
	if over := int(s.tailLen) + len(text) - tailLen; over > 0 {
		s.tailLen = uint8(copy(s.tail[:], s.tail[over:s.tailLen]))
	}
	s.tailLen += uint8(copy(s.tail[s.tailLen:], text))
}

// endsWith reports whether a line whose last part is text ends with a word, in
// whatever case, spaces aside.
func (s *side) endsWith(text []byte, word string) bool {
	s.remember(text)
	line := bytes.TrimRight(s.tail[:s.tailLen], " \t")
	return len(line) >= len(word) && bytes.EqualFold(line[len(line)-len(word):], []byte(word))
}

// onlyLF reports whether lines end at an LF and nowhere else: where something else
// follows at once, that it came after a CR must not be left over.
func (c *Conn) onlyLF() bool { return c.proto == httpConnect || c.proto == proxyHeader1 }

// lineEnd finds the byte that ends the line b begins with, or -1.
func (c *Conn) lineEnd(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	if end >= 0 {
		b = b[:end]
	}
	if c.onlyLF() {
		return end
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		end, b = cr, b[:cr]
	}
	if c.proto == xmpp {
		if tag := bytes.IndexByte(b, '>'); tag >= 0 {
			end = tag
		}
	}
	return end
}

// line takes a whole line, without what ends it.
func (c *Conn) line(from tlswire.Side, line []byte) Status {
	client := from == tlswire.Client
	switch c.proto {
	case mail:
		if client {
			return c.mailCommand(line)
		}
		c.mailReply(line)
	case imap:
		if client {
			return c.imapCommand(line)
		}
		return imapResponse(line)
	case pop3:
		if client {
			return c.pop3Command(line)
		}
		return c.pop3Reply(line)
	case xmpp:
		if client {
			return c.xmppSaid(line)
		}
		return xmppAnswered(line)
	case httpConnect:
		if client {
			return c.httpRequest(line)
		}
		return c.httpResponse(line)
	case proxyHeader1:
		return c.proxy1(line)
	case socks4, socks5:
		c.early = true
	}
	return NeedMore
}
