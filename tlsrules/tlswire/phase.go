package tlswire

// A Phase is how far a connection came. It only grows.
type Phase uint8

const (
	PhaseStart Phase = iota
	PhaseClientHello
	PhaseServerHello
	PhaseHandshakeDone
	PhaseApplicationData
)

var phaseNames = [...]string{"start", "client_hello", "server_hello", "handshake_done", "application_data"}

func (p Phase) String() string { return name(phaseNames[:], uint8(p)) }

func (c *Conn) advance(p Phase) { c.Phase = max(c.Phase, p) }

// Bounds of what counts as a TLS 1.3 handshake without being recognised. What
// goes beyond is application data: an upload must not pass for a handshake that
// never ends.
const (
	maxClientFlight        = 64 << 10 // a client certificate, or early data on its way
	maxClientFlightRecords = 8
	maxServerFlight        = 256 << 10
)

// content says what a record carries.
func (c *Conn) content(from Side, h Header) (content Content, inferred bool) {
	switch h.Type {
	case RecordTypeChangeCipherSpec:
		content = ChangeCipherSpec
		c.sides[from].rekeying = rekeyingKeys
	case RecordTypeAlert:
		content = AlertContent
		c.renegotiating = false
	case RecordTypeHandshake:
		content = Handshake
		if c.sides[from].protected {
			c.encryptedHandshake(from)
		}
	case RecordTypeHeartbeat:
		content = Heartbeat
		if c.sides[from].protected {
			c.encryptedHeartbeat(from, int(h.Length))
		}
	case RecordTypeApplicationData:
		switch {
		case c.Version == 0:
			content = EarlyData
		case c.Version < VersionTLS13:
			content = ApplicationData
		case c.plays(from, Client):
			content, inferred = c.clientContent(from, int(h.Length)), true
		default:
			content, inferred = c.serverContent(from, int(h.Length)), true
		}
	}
	if content == ApplicationData {
		c.advance(PhaseApplicationData)
	}
	return content, inferred
}

// encryptedHandshake takes a handshake record of TLS 1.2 or below under keys.
func (c *Conn) encryptedHandshake(from Side) {
	s := &c.sides[from]
	switch {
	case !s.finished:
		s.finished = true
		if c.sides[from.Other()].finished {
			c.handshakeDone()
		}
	case c.HandshakeDone:
		c.rehandshake(from)
	}
}

func (c *Conn) handshakeDone() {
	c.HandshakeDone = true
	c.advance(PhaseHandshakeDone)
}

// clientContent infers what an encrypted TLS 1.3 record of the client is.
func (c *Conn) clientContent(from Side, length int) Content {
	s := &c.sides[from]
	l := lengthsOf(c.ServerHello.CipherSuite)
	early := c.ClientHello.EarlyData && !c.HandshakeDone
	switch {
	case s.alerted:
		return ApplicationData
	case length == l.alert && !early:
		s.alerted = true
		return AlertContent
	case c.HandshakeDone:
		return ApplicationData
	case length == l.finished:
		c.handshakeDone()
		return Handshake
	case early && length == l.endOfEarlyData:
		return Handshake
	}
	content := EarlyData
	if !early {
		content = Handshake
		s.flightRecords++
	}
	s.flight += uint32(length)
	if s.flight > maxClientFlight || s.flightRecords > maxClientFlightRecords {
		c.handshakeDone()
		return ApplicationData
	}
	return content
}

// serverContent infers what an encrypted TLS 1.3 record of the server is.
func (c *Conn) serverContent(from Side, length int) Content {
	s := &c.sides[from]
	switch {
	case s.alerted:
		return ApplicationData
	case length == lengthsOf(c.ServerHello.CipherSuite).alert:
		s.alerted = true
		return AlertContent
	case c.HandshakeDone:
		return ApplicationData
	}
	if s.flight <= maxServerFlight {
		s.flight += uint32(length)
	}
	if s.flight > maxServerFlight {
		return ApplicationData
	}
	return Handshake
}

// lengths are those of TLS 1.3 records without padding.
type lengths struct{ alert, endOfEarlyData, finished int }

// lengthsOf follows from a suite's tag and hash: a record has its content, the
// content type, and the tag.
func lengthsOf(suite uint16) lengths {
	tag, hash := 16, 32
	switch suite {
	case 0x1302: // TLS_AES_256_GCM_SHA384
		hash = 48
	case 0x1305: // TLS_AES_128_CCM_8_SHA256
		tag = 8
	case 0x1306: // TLS_AEGIS_256_SHA512
		hash = 64
	case 0xc0b4: // TLS_SHA256_SHA256: RFC 9150
		tag = 32
	case 0xc0b5: // TLS_SHA384_SHA384
		tag, hash = 48, 48
	}
	overhead := 1 + tag
	return lengths{
		alert:          alertLen + overhead,
		endOfEarlyData: messageHeaderLen + overhead,
		finished:       messageHeaderLen + hash + overhead,
	}
}
