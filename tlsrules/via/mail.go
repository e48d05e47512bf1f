package via

import (
	"bytes"

	"tlsgate/tlsrules/tlswire"
)

// What a client may say before TLS. Anything else is a use of the connection in
// clear, and so is what its server does not know: nobody types a password twice.
var (
	beforeSMTP = map[string]bool{
		"": true, "EHLO": true, "HELO": true, "LHLO": true, "STARTTLS": true, "NOOP": true, "RSET": true,
		"HELP": true, "QUIT": true, "XCLIENT": true, "XFORWARD": true,
		// FTP's; a user's name is not secret, and servers answer it with a demand for AUTH.
		"USER": true, "FEAT": true, "OPTS": true, "SYST": true, "CLNT": true, "CSID": true, "HOST": true,
		"LANG": true, "PBSZ": true, "PROT": true,
	}
	beforeIMAP = map[string]bool{
		"": true, "CAPABILITY": true, "NOOP": true, "LOGOUT": true, "ID": true, "STARTTLS": true, "ENABLE": true,
	}
	beforePOP3 = map[string]bool{
		"": true, "CAPA": true, "STLS": true, "USER": true, "NOOP": true, "QUIT": true, "LANG": true, "UTF8": true,
	}
)

// before says what a command is worth.
func before(allowed map[string]bool, command []byte) Status {
	if allowed[string(command)] {
		return NeedMore
	}
	return Clear
}

// mailCommand takes a line of an SMTP or FTP client. It may be of a mail: what
// only looks like a command does no harm, for none of them ends the watch. Both
// may ask for TLS at any time (RFC 3207, Section 4; RFC 4217, Section 3).
func (c *Conn) mailCommand(line []byte) Status {
	if c.clear && !asksLike(line) { // of a mail, mostly
		return NeedMore
	}
	var word [16]byte
	command, rest := field(line, &word)
	switch string(command) {
	case "AUTH":
		mechanism, _ := field(rest, &word)
		switch string(mechanism) {
		case "TLS", "SSL", "TLS-C", "TLS-P":
			c.asked = FTP
			c.ask()
			return NeedMore
		}
		return Clear
	case "EHLO", "HELO", "LHLO":
		c.asked = SMTP
	}
	if bytes.HasPrefix(command, []byte("STARTTLS")) {
		c.asked = SMTP
		c.ask()
		return NeedMore
	}
	return before(beforeSMTP, command)
}

// asksLike reports whether a line may ask for TLS, at a glance.
func asksLike(line []byte) bool {
	for len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		line = line[1:]
	}
	if len(line) < 4 {
		return false
	}
	start := line[0]|0x20 == 's' && line[1]|0x20 == 't'
	return start || line[0]|0x20 == 'a' && line[1]|0x20 == 'u'
}

// mailReply takes a line of the server: its greeting may say which of the two
// it is.
func (c *Conn) mailReply(line []byte) {
	s := &c.sides[tlswire.Server]
	if s.step > 0 {
		return
	}
	s.step = 1
	for i := range len(line) - 2 {
		if bytes.EqualFold(line[i:i+3], []byte("FTP")) {
			c.asked = FTP
		}
	}
}

// imapCommand takes a line of an IMAP client: a tag and a command. Lines of
// literals too; what they are part of has been seen before.
func (c *Conn) imapCommand(line []byte) Status {
	var word [16]byte
	_, rest := field(line, &word)
	command, _ := field(rest, &word)
	if string(command) == "STARTTLS" {
		c.ask()
	}
	return before(beforeIMAP, command)
}

// beyondLogin are untagged responses of a server whose client has logged in, by
// their first word or the one after a number. STARTTLS is for before that (RFC
// 9051, Section 6.2).
var beyondLogin = map[string]bool{
	"PREAUTH": true, "EXISTS": true, "RECENT": true, "FLAGS": true, "FETCH": true, "EXPUNGE": true,
	"LIST": true, "LSUB": true, "STATUS": true, "SEARCH": true, "ESEARCH": true, "NAMESPACE": true,
}

// imapResponse takes a line of the server. Its tags are not looked at: the client
// chooses them.
func imapResponse(line []byte) Status {
	var word [16]byte
	star, rest := field(line, &word)
	if string(star) != "*" {
		return NeedMore
	}
	name, rest := field(rest, &word)
	if len(name) > 0 && '0' <= name[0] && name[0] <= '9' {
		name, _ = field(rest, &word)
	}
	if beyondLogin[string(name)] {
		return Over
	}
	return NeedMore
}

// popState matches POP3's replies with commands: there is at most one for each
// line. STLS is for before the login (RFC 2595, Section 4).
type popState struct {
	waiting int32 // replies; at least as many as are to come
	login   bool  // the last command may log in
	lost    bool  // some commands were not counted
}

// pop3Command takes a line of a POP3 client. AUTH alone asks which mechanisms there are
// (Dovecot and Cyrus answer it, for clients older than RFC 2449), and is no login.
func (c *Conn) pop3Command(line []byte) Status {
	var word [16]byte
	command, rest := field(line, &word)
	if string(command) == "STLS" {
		c.ask()
	}
	asks := string(command) == "AUTH" && len(bytes.TrimSpace(rest)) == 0
	switch string(command) {
	case "PASS", "APOP", "AUTH":
		c.pop.login = !asks
	default:
		c.pop.login = false
	}
	if c.pop.waiting++; c.pop.waiting < 0 {
		c.pop.lost = true
	}
	if asks {
		return NeedMore
	}
	return before(beforePOP3, command)
}

// pop3Reply takes a line of the server. A login is believed only when it alone
// was unanswered.
func (c *Conn) pop3Reply(line []byte) Status {
	ok := bytes.HasPrefix(line, []byte("+OK"))
	if !ok && !bytes.HasPrefix(line, []byte("-ERR")) {
		return NeedMore
	}
	last := c.pop.waiting == 1
	c.pop.waiting--
	if ok && last && c.pop.login && !c.pop.lost {
		return Over
	}
	return NeedMore
}
