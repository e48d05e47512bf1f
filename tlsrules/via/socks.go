package via

import (
	"bytes"

	"tlsgate/tlsrules/tlswire"
)

type socksState struct {
	replies uint8 // to come before the tunnel is there
}

// Steps of a SOCKS dialogue.
const (
	socksGreeting uint8 = iota
	socksAuth           // or, of the client, a request
	socksRequest
	socksPassword
	socksUser // of SOCKS4
	socksName // of SOCKS4A
	socksDone // the client has asked for all it needs
)

// Commands of RFC 1928, Section 4.
const (
	socksConnect = 1
	socksBind    = 2
)

// request notes a request.
func (c *Conn) request(command byte, t Target) Status {
	c.Tunnel = t
	c.sides[tlswire.Client].step = socksDone
	switch command {
	case socksConnect:
		c.socks.replies = 1
	case socksBind: // the second says that the peer has connected
		c.socks.replies = 2
	default:
		return c.lose()
	}
	return NeedMore
}

// granted takes a reply that grants a request.
func (c *Conn) granted() Status {
	if c.sides[tlswire.Client].step != socksDone {
		return c.lose()
	}
	if c.socks.replies--; c.socks.replies > 0 {
		return NeedMore
	}
	return c.tunnel(SOCKS)
}

// ahead reads what a client says before its tunnel is there.
func (c *Conn) socksAhead(b []byte) (int, Status) {
	c.early = len(b) > 0 || c.early
	return c.readLine(tlswire.Client, b)
}

// readSOCKS4 consumes bytes of SOCKS4 and SOCKS4A.
func (c *Conn) readSOCKS4(from tlswire.Side, b []byte) (n int, st Status) {
	s := &c.sides[from]
	if from == tlswire.Server {
		n, ok := s.gather(b, 8)
		if !ok {
			return n, NeedMore
		}
		granted := s.buf[0] == 0 && s.buf[1] == 90
		c.message(from, 0)
		if !granted {
			return n, c.lose()
		}
		return n, c.granted()
	}
	switch s.step {
	case socksGreeting:
		n, ok := s.gather(b, 8)
		if ok {
			s.step = socksUser
		}
		return n, NeedMore
	case socksUser:
		end := bytes.IndexByte(b, 0)
		if end < 0 {
			return len(b), NeedMore
		}
		t := Target{Host: addressOf(s.buf[4:8]).String(), Port: uint16Of(s.buf[2:])}
		if s.buf[4]|s.buf[5]|s.buf[6] == 0 && s.buf[7] != 0 {
			s.step = socksName
			return end + 1, NeedMore
		}
		command := s.buf[1]
		c.message(from, 0)
		return end + 1, c.request(command, t)
	case socksName:
		end := bytes.IndexByte(b, 0)
		name := b
		if end >= 0 {
			name = b[:end]
		}
		s.n += uint16(copy(s.buf[s.n:], name))
		if end < 0 {
			return len(b), NeedMore
		}
		t := Target{Host: string(s.buf[8:min(int(s.n), 8+maxHost)]), Port: uint16Of(s.buf[2:])}
		command := s.buf[1]
		c.message(from, 0)
		return end + 1, c.request(command, t)
	}
	return c.socksAhead(b)
}

// readSOCKS5 consumes bytes of RFC 1928 and RFC 1929.
func (c *Conn) readSOCKS5(from tlswire.Side, b []byte) (int, Status) {
	if from == tlswire.Server {
		return c.socks5Reply(b)
	}
	s := &c.sides[from]
	switch s.step {
	case socksGreeting: // version, number of methods, methods
		n, ok := s.gather(b, 2)
		if !ok {
			return n, NeedMore
		}
		methods := uint64(s.buf[1])
		c.message(from, methods)
		s.step = socksAuth
		return n, NeedMore
	case socksAuth: // version, length of the name, name; or a request
		n, ok := s.gather(b, 2)
		switch {
		case !ok:
			return n, NeedMore
		case s.buf[0] == 5:
			s.step = socksRequest
			return n, NeedMore
		case s.buf[0] != 1:
			return n, c.lose()
		}
		name := uint64(s.buf[1])
		c.message(from, name)
		s.step = socksPassword
		return n, NeedMore
	case socksPassword:
		n, ok := s.gather(b, 1)
		if !ok {
			return n, NeedMore
		}
		password := uint64(s.buf[0])
		c.message(from, password)
		s.step = socksAuth
		return n, NeedMore
	case socksRequest: // version, command, 0, address
		n, size, t := s.socksAddress(b)
		switch {
		case size == 0:
			return n, NeedMore
		case size < 0:
			return n, c.lose()
		}
		command := s.buf[1]
		c.message(from, 0)
		return n, c.request(command, t)
	}
	return c.socksAhead(b)
}

// socks5Reply consumes bytes of the server.
func (c *Conn) socks5Reply(b []byte) (int, Status) {
	s := &c.sides[tlswire.Server]
	if s.step == socksRequest { // version, reply, 0, address
		n, size, _ := s.socksAddress(b)
		switch {
		case size == 0:
			return n, NeedMore
		case size < 0 || s.buf[1] != 0:
			return n, c.lose()
		}
		c.message(tlswire.Server, 0)
		return n, c.granted()
	}
	n, ok := s.gather(b, 2)
	if !ok {
		return n, NeedMore
	}
	version, method := s.buf[0], s.buf[1]
	c.message(tlswire.Server, 0)
	if s.step == socksAuth { // RFC 1929: 0 is success
		if s.step = socksRequest; version != 1 || method != 0 {
			return n, c.lose()
		}
		return n, NeedMore
	}
	switch {
	case version == 5 && method == 0: // no authentication
		s.step = socksRequest
	case version == 5 && method == 2: // user and password
		s.step = socksAuth
	default: // GSSAPI wraps all that follows (RFC 1961), others are not known
		return n, c.lose()
	}
	return n, NeedMore
}

// socksAddress gathers a request or reply of SOCKS5. size is 0 while more bytes
// are needed, and -1 when there is no such address.
func (s *side) socksAddress(b []byte) (n, size int, t Target) {
	n, ok := s.gather(b, 5)
	if !ok {
		return n, 0, t
	}
	at := 4
	switch s.buf[3] {
	case 1:
		size = 4
	case 3:
		at, size = 5, int(s.buf[4])
	case 4:
		size = 16
	default:
		return n, -1, t
	}
	k, ok := s.gather(b[n:], at+size+2)
	n += k
	if !ok {
		return n, 0, t
	}
	host := s.buf[at : at+size]
	t.Port = uint16Of(s.buf[at+size:])
	if s.buf[3] == 3 {
		t.Host = string(host)
	} else {
		t.Host = addressOf(host).String()
	}
	return n, at + size + 2, t
}
