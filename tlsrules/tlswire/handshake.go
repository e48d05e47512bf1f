package tlswire

const alertLen = 2

// inside consumes bytes of a body that is read.
func (c *Conn) inside(from Side, b []byte) (int, Status) {
	s := &c.sides[from]
	b = b[:min(len(b), int(s.left))]
	switch s.body {
	case bodyHandshake:
		return c.handshake(from, b)
	case bodySSLv2:
		return c.helloSSLv2(from, b)
	case bodyHeartbeat:
		return c.heartbeat(from, b)
	case bodyAlert:
		n := copy(s.head[alertLen-s.left:alertLen], b)
		if s.left -= uint16(n); s.left > 0 {
			return n, NeedMore
		}
		c.LastAlert = AlertMessage{Level: AlertLevel(s.head[0]), Description: s.head[1]}
		if l := c.LastAlert.Level; l != AlertLevelWarning && l != AlertLevelFatal {
			return n, c.fail(s, Fault{FaultAlert, recordHeaderLen})
		}
		return n, Alert
	}
	s.left = 0 // bodyChangeCipherSpec
	if b[0] != 1 {
		return 1, c.fail(s, Fault{FaultChangeCipherSpec, recordHeaderLen})
	}
	// Before a version is known, and in TLS 1.3, it changes nothing: RFC
	// 8446, Appendix D.4.
	s.protected = c.Version != 0 && c.Version < VersionTLS13
	if s.protected && c.plays(from, Server) { // no ServerKeyExchange: resumed
		c.GroupSettled = true
	}
	return 1, NeedMore
}

// handshake consumes bytes of handshake messages: at most to the end of one.
func (c *Conn) handshake(from Side, b []byte) (int, Status) {
	s := &c.sides[from]
	n := 0
	if s.messageLen < messageHeaderLen {
		if s.messageLen == 0 {
			s.records = 1
		}
		n = copy(s.message[s.messageLen:], b)
		s.left -= uint16(n)
		if s.messageLen += uint8(n); s.messageLen < messageHeaderLen {
			return n, NeedMore
		}
		if f := c.beginMessage(from); !f.OK() {
			return n, c.fail(s, f)
		}
	}
	data := b[n:min(len(b), n+int(s.read)-len(s.buf))]
	n += len(data)
	s.left -= uint16(len(data))
	if len(s.buf)+len(data) < int(s.read) {
		c.collect(s, data)
		return n, NeedMore
	}
	if s.buf != nil {
		c.collect(s, data)
		data = s.buf
	}
	f := c.readMessage(from, data)
	c.Buffers.put(s.buf)
	s.buf = nil
	if !f.OK() {
		return n, c.fail(s, f)
	}
	if s.skip > 0 {
		s.skipping = true
		return n, NeedMore
	}
	st := c.endMessage(from)
	c.lend(from, data)
	return n, st
}

func (c *Conn) collect(s *side, data []byte) {
	if len(data) == 0 {
		return
	}
	s.buf = append(c.Buffers.grow(s.buf, len(data)), data...)
}

func (s *side) messageHeader() MessageHeader {
	return MessageHeader{
		Type:   HandshakeType(s.message[0]),
		Length: int32(s.message[1])<<16 | int32(s.message[2])<<8 | int32(s.message[3]),
	}
}

// endMessage makes a side ready for the next message.
func (c *Conn) endMessage(from Side) Status {
	s := &c.sides[from]
	c.LastMessage = s.messageHeader()
	c.settle(from, c.LastMessage.Type)
	s.messageLen = 0
	s.skipping = false
	return Message
}

// settle notes what a message says of those that came before it, or did not.
func (c *Conn) settle(from Side, t HandshakeType) {
	switch t {
	case TypeServerKeyExchange, TypeServerHelloDone:
		c.exchanged, c.GroupSettled = true, true
	case TypeCertificate, TypeNewSessionTicket, TypeCertificateRequest, TypeCertificateStatus, TypeClientKeyExchange:
	default:
		return
	}
	c.certified[from] = true
}

// beginMessage judges a message by its header, and says how much of its body is
// read.
func (c *Conn) beginMessage(from Side) Fault {
	s := &c.sides[from]
	m := s.messageHeader()
	if !c.inOrder(from, m) {
		return Fault{FaultMessageOrder, 0}
	}
	if int(m.Length) > c.Limits.message(m.Type) {
		return Fault{FaultMessageTooLong, 1}
	}
	read := int32(0)
	switch m.Type {
	case TypeClientHello, TypeServerHello, TypeCertificate, TypeServerKeyExchange, TypeCertificateRequest, TypeNewSessionTicket:
		read = m.Length
	case TypeCertificateStatus:
		read = min(m.Length, statusTypeLen)
	}
	s.read, s.skip = uint32(read), uint32(m.Length-read)
	return Fault{}
}

// inOrder reports whether a side may send a message now. Of messages between
// ServerHello and ChangeCipherSpec it asks that what is read comes once, from
// the side that has it to say, and that a Certificate comes first: no receiver
// takes it otherwise, and we take what comes first. The rest is for their
// receiver to judge.
func (c *Conn) inOrder(from Side, m MessageHeader) bool {
	if c.Version >= VersionTLS13 {
		return false // it would be encrypted
	}
	switch m.Type {
	case TypeClientHello:
		return c.claimClient(from)
	case TypeServerHello:
		return c.plays(from, Server) && !c.HasServerHello
	case TypeHelloRequest:
		return m.Length == 0 && c.plays(from, Server)
	case TypeCertificate:
		return c.HasServerHello && !c.certified[from]
	case TypeServerKeyExchange:
		return c.HasServerHello && !c.exchanged && c.plays(from, Server)
	case TypeNewSessionTicket, TypeCertificateRequest, TypeCertificateStatus, TypeServerHelloDone:
		return c.HasServerHello && c.plays(from, Server)
	case TypeClientKeyExchange, TypeCertificateVerify:
		return c.HasServerHello && c.plays(from, Client)
	}
	return c.HasServerHello
}

// claimClient reports whether a side may send a ClientHello. The first that
// does is the TLS client, whoever sent the SYN.
func (c *Conn) claimClient(from Side) bool {
	if !c.rolesKnown {
		c.rolesKnown = true
		c.ClientHelloFrom = from
	}
	return c.ClientHelloFrom == from
}

// plays reports whether a side has a role in TLS. Until a ClientHello comes,
// the roles are those of TCP.
func (c *Conn) plays(from, role Side) bool { return from^c.ClientHelloFrom == role }

// readMessage reads what is read of a message's body.
func (c *Conn) readMessage(from Side, data []byte) Fault {
	s := &c.sides[from]
	switch m := s.messageHeader(); m.Type {
	case TypeClientHello:
		return c.readClientHello(from, data)
	case TypeServerHello:
		return c.readServerHello(data)
	case TypeServerKeyExchange:
		c.keyExchange(data)
	case TypeCertificateStatus:
		c.OCSPStapled = len(data) > 0
	}
	return Fault{}
}

func (c *Conn) readServerHello(data []byte) Fault {
	if f := c.ServerHello.parse(data); !f.OK() {
		return f
	}
	c.rolesKnown = true
	h := &c.ServerHello
	if h.Retry {
		if c.Retry {
			return Fault{FaultMessageOrder, 0} // RFC 8446, Section 4.1.4
		}
		c.retried()
		return Fault{}
	}
	c.HasServerHello = true
	c.Version = h.Version
	c.ServerGroup = h.Group
	c.GroupSettled = h.TLS13() || keyExchangeOf(h.CipherSuite) == otherExchange
	c.certificateTypes(data)
	c.advance(PhaseServerHello)
	return Fault{}
}

// openSSLv2 begins an SSL 2.0 record with a hello; head has its first bytes.
func (c *Conn) openSSLv2(from Side) Status {
	s := &c.sides[from]
	length := int(s.head[0]&0x7f)<<8 | int(s.head[1])
	inHead := sslv2HeadLen - 2
	switch {
	case !c.claimClient(from):
		return c.fail(s, Fault{FaultMessageOrder, 2})
	case length <= inHead:
		return c.fail(s, Fault{FaultMessageLength, 0})
	case length > c.Limits.message(TypeClientHello):
		return c.fail(s, Fault{FaultMessageTooLong, 0})
	}
	s.body = bodySSLv2
	s.read, s.left = uint32(length), uint16(length-inHead)
	c.collect(s, s.head[2:sslv2HeadLen])
	return NeedMore
}

// helloSSLv2 consumes bytes of an SSL 2.0 hello.
func (c *Conn) helloSSLv2(from Side, b []byte) (int, Status) {
	s := &c.sides[from]
	c.collect(s, b)
	if s.left -= uint16(len(b)); s.left > 0 {
		return len(b), NeedMore
	}
	f := c.ClientHello.parseSSLv2(s.buf)
	c.LastMessage = MessageHeader{TypeClientHello, int32(len(s.buf))}
	c.Buffers.put(s.buf)
	s.buf = nil
	if !f.OK() {
		return len(b), c.fail(s, f)
	}
	c.HasClientHello = true
	c.advance(PhaseClientHello)
	return len(b), Message
}
