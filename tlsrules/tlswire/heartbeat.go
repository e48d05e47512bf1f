package tlswire

// A HeartbeatMode is what a heartbeat extension says of its sender (RFC 6520,
// Section 2). The zero mode is none.
type HeartbeatMode uint8

const (
	HeartbeatPeerAllowedToSend    HeartbeatMode = 1
	HeartbeatPeerNotAllowedToSend HeartbeatMode = 2
)

func (m HeartbeatMode) String() string {
	return name([]string{"none", "peer_allowed_to_send", "peer_not_allowed_to_send"}, uint8(m))
}

// Heartbeats counts the heartbeat messages of both sides. Counts stop at 65535.
type Heartbeats struct {
	Requests, Responses uint16
	// Lies are messages in clear that claim more payload than their record
	// holds with the padding of RFC 6520, Section 4, or are of no known
	// type: what Heartbleed (CVE-2014-0160) sends.
	Lies uint16
	// Inferred are encrypted responses far longer than the request: what
	// Heartbleed gets.
	Inferred uint16
}

const (
	heartbeatRequest  = 1
	heartbeatResponse = 2

	heartbeatHeaderLen  = 3
	heartbeatMinPadding = 16

	// maxHeartbeatGrowth is how much longer than a request its response can
	// be when the payload is the same: the padding of a CBC record, and a
	// block. Senders do not vary the padding of the message itself.
	maxHeartbeatGrowth = 255 + 16
)

// heartbeat consumes the header of a heartbeat message in clear. What follows
// it is opaque.
func (c *Conn) heartbeat(from Side, b []byte) (int, Status) {
	s := &c.sides[from]
	n := copy(s.head[s.headLen:heartbeatHeaderLen], b)
	s.headLen += uint8(n)
	s.left -= uint16(n)
	if s.headLen < heartbeatHeaderLen && s.left > 0 {
		return n, NeedMore
	}
	c.Heartbeats.count(s.head[:s.headLen], int(c.Header[from].Length))
	s.headLen = 0
	s.body = bodyOpaque
	return n, NeedMore
}

// count takes the header of a message in a record of length bytes.
func (h *Heartbeats) count(header []byte, length int) {
	switch header[0] {
	case heartbeatRequest:
		increase(&h.Requests)
	case heartbeatResponse:
		increase(&h.Responses)
	default:
		increase(&h.Lies)
		return
	}
	if len(header) < heartbeatHeaderLen ||
		heartbeatHeaderLen+int(header[1])<<8+int(header[2])+heartbeatMinPadding > length {
		increase(&h.Lies)
	}
}

// encryptedHeartbeat counts a message of which only the length can be seen. The
// side that sends the first is taken for the one that asks.
func (c *Conn) encryptedHeartbeat(from Side, length int) {
	asked := c.sides[from.Other()].heartbeat
	if asked == 0 {
		c.sides[from].heartbeat = uint16(length)
		increase(&c.Heartbeats.Requests)
		return
	}
	increase(&c.Heartbeats.Responses)
	if length > int(asked)+maxHeartbeatGrowth {
		increase(&c.Heartbeats.Inferred)
	}
}

// increase adds one, as far as there is room.
func increase[T uint8 | uint16](n *T) {
	if *n+1 > *n {
		*n++
	}
}
