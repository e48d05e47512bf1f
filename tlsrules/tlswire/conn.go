// Package tlswire reads the part of TLS connections that is not encrypted:
// records, handshake framing, hellos, alerts, and what can be told from outside
// about the rest. It follows RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2) and their
// predecessors back to SSL 3.0, RFC 6066 (server names) and RFC 7301 (ALPN).
//
// It takes bytes as they come, in any pieces, and gives facts. It does not know
// addresses, rules, the time, or what a fact is worth.
package tlswire

// A Status says what Consume came upon. The zero Status is NeedMore.
type Status uint8

const (
	NeedMore  Status = iota // all bytes consumed, nothing to tell
	Again                   // some bytes consumed, nothing to tell: the rest differs in being opaque
	Record                  // a record header is complete: Conn.Header
	Message                 // a handshake message in clear is complete: Conn.LastMessage; an SSL 2.0 hello has no Record before it
	Alert                   // an alert is complete: Conn.LastAlert
	NotTLS                  // this side does not begin as TLS does: Conn.Protocol
	Malformed               // broken beyond reading: Conn.Fault
)

var statusNames = [...]string{"need_more", "again", "record", "message", "alert", "not_tls", "malformed"}

func (s Status) String() string { return name(statusNames[:], uint8(s)) }

// A Conn reads both directions of one connection and keeps what they told.
//
// The zero Conn is ready for use. It is not safe for concurrent use. It owns
// its memory; what it keeps of packets it copies.
type Conn struct {
	// Limits and Buffers may be set before the first Consume and survive
	// Reset; many Conns may share them. Without Buffers, those of messages
	// in pieces are allocated.
	Limits  *Limits
	Buffers *Buffers

	Protocol Protocol // by the first bytes of the side that spoke first
	Phase    Phase    // how far the connection came

	// Version is what the ServerHello negotiated; 0 before it. A
	// HelloRetryRequest negotiates nothing.
	Version uint16
	// ServerGroup is the group of the key exchange, 0 if there is none.
	// TLS 1.3 tells it in the ServerHello, TLS 1.2 in the ServerKeyExchange.
	// GroupSettled is set once it can no longer change, nor DHBits.
	ServerGroup  uint16
	GroupSettled bool

	// What else the messages up to TLS 1.2 told. DHBits is the length of the
	// prime of a finite field exchange, SignatureScheme what the server
	// signed it with (TLS 1.2); 0 if not told.
	CertificateType [2]CertificateType // of either side's Certificate message
	OCSPStapled     bool
	DHBits          uint16
	SignatureScheme uint16

	HasClientHello  bool
	HasServerHello  bool // not counting a HelloRetryRequest
	Retry           bool // a HelloRetryRequest passed
	RetryCookie     bool // and gave a cookie to send back
	HandshakeDone   bool // both Finished passed; inferred in TLS 1.3, where it means the client's
	ClientHelloFrom Side // Server if the called end plays the TLS client

	rolesKnown, retryAnswered, renegotiating bool

	certified [2]bool // up to TLS 1.2: a Certificate of that side would come too late
	exchanged bool    // up to TLS 1.2: a ServerKeyExchange would
	lent      uint8   // 1 + the side whose buf is Message, and not a buffer

	RetryGroup     uint16   // what a HelloRetryRequest asked a share of; 0 if it did not
	Renegotiations [2]uint8 // by the side that began; counts stop at 255
	Heartbeats     Heartbeats

	LastAlert   AlertMessage
	LastMessage MessageHeader
	Header      [2]Header // the last record of each side
	Fault       Fault     // the first
	Records     [2]RecordCounts

	ClientHello ClientHello // the last one
	ServerHello ServerHello // the last one, a HelloRetryRequest included

	sides [2]side
}

// A side is the reading state of one direction.
//
// Invariant: left bytes of the record's body are still to come. Within it,
// messageLen bytes of a message header are read, then read bytes of its body
// are collected, len(buf) of them so far, then skip bytes are passed.
type side struct {
	buf           []byte
	read, skip    uint32
	records       uint32 // the current message is spread over
	flight        uint32 // TLS 1.3: bytes of encrypted records before the client's Finished
	left          uint16
	head          [8]byte // a record header in pieces, or first bytes, or an alert
	headLen       uint8
	message       [messageHeaderLen]byte
	messageLen    uint8
	flightRecords uint8
	heartbeat     uint16 // length of the first encrypted one, if it asks
	rekeying      rekeying
	body          body
	dead          Status // NotTLS or Malformed: nothing is read any more
	started       bool   // the first bytes are TLS
	skipping      bool   // the rest of a message whose beginning has been read
	protected     bool   // up to TLS 1.2: ChangeCipherSpec has passed
	finished      bool   // up to TLS 1.2
	alerted       bool   // TLS 1.3: an alert has been inferred
}

// A body is how the body of a record is read.
type body uint8

const (
	bodyOpaque body = iota
	bodyEncryptedAlert
	bodyHandshake
	bodyAlert
	bodyChangeCipherSpec
	bodyHeartbeat
	bodySSLv2
)

// Reset makes c ready for another connection. Its memory is kept, what belongs
// to Buffers given back.
func (c *Conn) Reset() {
	c.takeBack()
	for i := range c.sides {
		c.Buffers.put(c.sides[i].buf)
	}
	c.ClientHello.clear()
	c.ServerHello.clear()
	*c = Conn{Limits: c.Limits, Buffers: c.Buffers, ClientHello: c.ClientHello, ServerHello: c.ServerHello}
}

// Held returns how many bytes are held for messages that are only partly there.
func (c *Conn) Held() (n int) {
	for i := range c.sides {
		if i != int(c.lent)-1 {
			n += cap(c.sides[i].buf)
		}
	}
	return n
}

// Told returns how many bytes are held for what the hellos have said.
func (c *Conn) Told() int {
	h := &c.ClientHello
	n := 2*cap(h.words) + cap(h.octets) + cap(c.ServerHello.octets) + 2*cap(c.ServerHello.Extensions)
	if h.seldom != nil {
		n += cap(h.seldom.first.text)
	}
	return n
}

// Message returns the body of LastMessage after Consume returned Message, nil if
// not all of it was read. It is a view, valid until the next Consume of any Conn
// with the same Buffers, and only as long as the bytes given to that Consume.
func (c *Conn) Message() []byte {
	if c.lent == 0 {
		return nil
	}
	return c.sides[c.lent-1].buf
}

// lend makes a body Message.
func (c *Conn) lend(from Side, body []byte) {
	c.sides[from].buf = body[:len(body):len(body)]
	c.lent = 1 + uint8(from)
}

// takeBack ends the life of Message.
func (c *Conn) takeBack() {
	if c.lent != 0 {
		c.sides[c.lent-1].buf = nil
		c.lent = 0
	}
}

// Consume reads bytes of one side, which follow those it has consumed of that
// side before, at most to the end of the next thing there is to tell. It
// returns how many, and whether they are opaque: the inside of a record or
// message that is not read. Opaque bytes and bytes that are read never come
// together in one call.
//
// NeedMore means that all of b is consumed; after any other status the caller
// goes on with b[n:]. n is 0 only where b is empty, and once in a stream that
// begins with a record version no honest client sends. NotTLS and Malformed
// stay: what follows on that side is opaque.
func (c *Conn) Consume(from Side, b []byte) (n int, opaque bool, st Status) {
	s := &c.sides[from]
	c.takeBack()
	if s.dead != NeedMore {
		return len(b), true, s.dead
	}
	for n < len(b) {
		var k int
		switch {
		case s.left == 0:
			k, st = c.header(from, b[n:])
		case !s.opaque():
			k, st = c.inside(from, b[n:])
		case n > 0:
			return n, false, Again
		default:
			return c.pass(from, b)
		}
		n += k
		if st != NeedMore {
			return n, false, st
		}
	}
	return n, false, NeedMore
}

// opaque reports whether the next byte of the body is not read.
func (s *side) opaque() bool {
	return s.body <= bodyEncryptedAlert || s.body == bodyHandshake && s.skipping
}

// pass consumes opaque bytes.
func (c *Conn) pass(from Side, b []byte) (int, bool, Status) {
	s := &c.sides[from]
	n := min(len(b), int(s.left))
	if s.body == bodyHandshake {
		n = min(n, int(s.skip))
		s.skip -= uint32(n)
	}
	s.left -= uint16(n)
	switch {
	case s.body == bodyHandshake && s.skip == 0:
		return n, true, c.endMessage(from)
	case s.body == bodyEncryptedAlert && s.left == 0:
		c.LastAlert = AlertMessage{Encrypted: true, Inferred: c.Header[from].Inferred}
		return n, true, Alert
	case n < len(b):
		return n, true, Again
	}
	return n, true, NeedMore
}

// header consumes bytes between records.
func (c *Conn) header(from Side, b []byte) (n int, st Status) {
	s := &c.sides[from]
	if !s.started {
		n, st = c.open(from, b)
		if st != NeedMore || !s.started || s.left > 0 {
			return n, st
		}
	}
	k := copy(s.head[s.headLen:recordHeaderLen], b[n:])
	n += k
	if s.headLen += uint8(k); s.headLen < recordHeaderLen {
		return n, NeedMore
	}
	s.headLen = 0
	return n, c.record(from)
}

// open consumes the first bytes of a side until it is clear what they are.
func (c *Conn) open(from Side, b []byte) (int, Status) {
	s := &c.sides[from]
	for i, v := range b {
		s.head[s.headLen] = v
		p := firstBytes(s.head[:s.headLen+1])
		if p == 0 {
			s.headLen++
			continue
		}
		if c.Protocol == 0 {
			c.Protocol = p
		}
		switch {
		case p == ProtocolTLS:
			s.started = true
			if s.headLen < recordHeaderLen {
				s.headLen++
				i++
			} // else v is of the body, and only looked at
			return i, NeedMore
		case p == ProtocolSSLv2 && s.head[3] == 3:
			s.started = true
			s.headLen = 0
			return i + 1, c.openSSLv2(from)
		}
		s.dead = NotTLS
		return i + 1, NotTLS
	}
	return len(b), NeedMore
}

// Opening returns the first bytes of a side as far as they had to be looked at
// to see that it does not begin as TLS does, or, before that is known, all that
// came. They are valid until the next call.
func (c *Conn) Opening(from Side) []byte {
	s := &c.sides[from]
	switch {
	case s.started || s.dead == Malformed:
		return nil
	case s.dead == NotTLS:
		return s.head[:s.headLen+1]
	}
	return s.head[:s.headLen]
}

// Begin reads a side anew: what it said before was not TLS, and its next byte
// begins it.
func (c *Conn) Begin(from Side) {
	c.takeBack()
	c.Buffers.put(c.sides[from].buf)
	c.sides[from] = side{}
	if c.Protocol != ProtocolTLS && c.Protocol != ProtocolSSLv2 {
		c.Protocol = 0
	}
}

// Started reports whether a side has begun to speak TLS.
func (c *Conn) Started(from Side) bool { return c.sides[from].started }

// NotTLS reports whether a side has begun as something else.
func (c *Conn) NotTLS(from Side) bool { return c.sides[from].dead == NotTLS }

// Encrypted reports whether what a side says next is encrypted, but for record
// headers.
func (c *Conn) Encrypted(from Side) bool {
	return c.Version >= VersionTLS13 || c.sides[from].protected || c.Header[from].Type == RecordTypeApplicationData
}

// Between reports whether the next byte of a side begins a record, and no
// handshake message is only partly there.
func (c *Conn) Between(from Side) bool {
	s := &c.sides[from]
	return s.dead == NeedMore && s.left == 0 && s.headLen == 0 && s.messageLen == 0
}

// fail ends the reading of a side.
func (c *Conn) fail(s *side, f Fault) Status {
	if c.Fault.OK() {
		c.Fault = f
	}
	c.Buffers.put(s.buf)
	s.buf = nil
	s.dead = Malformed
	return Malformed
}

// record begins the record whose header is in head.
func (c *Conn) record(from Side) Status {
	s := &c.sides[from]
	h := Header{
		Type:    ContentType(s.head[0]),
		Version: uint16(s.head[1])<<8 | uint16(s.head[2]),
		Length:  uint16(s.head[3])<<8 | uint16(s.head[4]),
	}
	if f := c.check(from, h); !f.OK() {
		return c.fail(s, f)
	}
	h.Content, h.Inferred = c.content(from, h)
	c.Header[from] = h
	c.Records[from].count(h.Type)
	s.left = h.Length
	switch {
	case h.Content == AlertContent && (s.protected || h.Inferred):
		s.body = bodyEncryptedAlert
	case s.protected:
		s.body = bodyOpaque
	case h.Type == RecordTypeHandshake:
		s.body = bodyHandshake
	case h.Type == RecordTypeAlert:
		s.body = bodyAlert
	case h.Type == RecordTypeChangeCipherSpec:
		s.body = bodyChangeCipherSpec
	case h.Type == RecordTypeHeartbeat:
		s.body = bodyHeartbeat
	default:
		s.body = bodyOpaque
	}
	if s.body == bodyHandshake && s.messageLen > 0 {
		if s.records++; int(s.records) > c.Limits.recordsPerMessage() {
			return c.fail(s, Fault{FaultTooManyRecords, 0})
		}
	}
	return Record
}

// check says what of a record header is not possible here and now.
func (c *Conn) check(from Side, h Header) Fault {
	s := &c.sides[from]
	limit := maxPlaintext
	if s.protected || h.Type == RecordTypeApplicationData {
		limit = maxCiphertext
	}
	switch {
	case !h.Type.known():
		return Fault{FaultRecordType, 0}
	case h.Version > maxRecordVersion, c.Version != 0 && h.Version>>8 != 3:
		return Fault{FaultRecordVersion, 1}
	case int(h.Length) > limit, h.Length == 0 && h.Type != RecordTypeApplicationData:
		return Fault{FaultRecordLength, 3}
	case s.protected:
		return Fault{}
	case h.Type == RecordTypeHandshake:
		if c.Version >= VersionTLS13 && s.messageLen == 0 {
			return Fault{FaultRecordType, 0} // all handshake messages are encrypted
		}
	case h.Type == RecordTypeAlert:
		// crypto/tls and OpenSSL read on after a warning in the middle
		// of a handshake message, so we do.
		if h.Length != alertLen {
			return Fault{FaultAlert, 3}
		}
	case s.messageLen > 0:
		return Fault{FaultInterleaved, 0}
	case h.Type == RecordTypeChangeCipherSpec:
		if h.Length != 1 {
			return Fault{FaultChangeCipherSpec, 3}
		}
	case h.Type == RecordTypeApplicationData:
		// Before the ServerHello only a client has keys to send any with.
		if c.Version == 0 && !(c.HasClientHello && c.ClientHelloFrom == from) {
			return Fault{FaultRecordType, 0}
		}
	}
	return Fault{}
}
