package lab

import (
	"os"
	"syscall"
	"time"

	"github.com/google/gopacket/layers"
)

// sendQueued sends the planned segments in their order, each when its time has
// come and the peer has room for it, and then the FIN.
func (c *RawConn) sendQueued() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil {
		switch {
		case c.canSend():
			s := c.queue[0]
			if s.Wait > 0 {
				c.mu.Unlock()
				time.Sleep(s.Wait)
				c.mu.Lock()
				if c.err != nil {
					return
				}
			}
			c.queue = c.queue[1:]
			c.sent = max(c.sent, min(s.end(), c.end))
			c.transmit(&s)
		case len(c.queue) == 0 && c.finished && !c.finSent && (c.how.Plan == nil || c.una == c.end):
			c.finSent = true
			c.transmit(&Segment{Offset: c.end, FIN: true})
		default:
			c.cond.Wait()
		}
	}
}

// canSend reports whether the next planned segment may be sent: the peer has
// room for it, or had, or it is not part of the stream at all.
func (c *RawConn) canSend() bool {
	if len(c.queue) == 0 {
		return false
	}
	s := &c.queue[0]
	return s.end() <= max(c.una+c.window, c.sent) || s.Offset >= c.end
}

// arm starts the retransmission timer if it has something to wait for.
func (c *RawConn) arm() {
	if c.err != nil {
		return
	}
	if c.una == c.end && (!c.finished || c.finAcked) {
		c.retry.Stop()
		return
	}
	c.retry.Reset(c.timeout)
}

// expired sends again what was not acknowledged for a while.
func (c *RawConn) expired() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if c.canSend() { // the plan takes its time
		c.retry.Reset(c.timeout)
		return
	}
	if c.timeouts++; c.timeouts > rawTimeouts {
		c.over(syscall.ETIMEDOUT)
		return
	}
	c.timeout = min(2*c.timeout, rawLongestWait)
	c.retry.Reset(c.timeout)
	if !c.connected {
		c.sendSYN()
		return
	}
	if len(c.queue) == 0 {
		c.sent = c.end // nothing is planned any more: what the plan left out goes too
	}
	c.recover, c.resent = c.sent, c.una
	c.resend()
}

// resend sends unacknowledged bytes again, in segments of the size the plan has
// there, so that 64 of them are on the way, and never beyond the peer's window
// but for one byte that asks how large it is.
func (c *RawConn) resend() {
	at := max(c.una, c.resent)
	limit := min(c.sent, c.una+max(c.window, 1), c.una+64*int64(c.how.unit(c.una, c.mss)))
	for at < limit {
		n := min(int64(c.how.unit(at, c.mss)), limit-at)
		c.transmit(&Segment{Offset: at, Data: c.buffer[at-c.una : at-c.una+n]})
		at += n
	}
	c.resent = at
	if at == c.end && c.finSent && !c.finAcked {
		c.transmit(&Segment{Offset: c.end, FIN: true})
	}
}

// received takes one segment of the peer's.
func (c *RawConn) received(t *layers.TCP) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.cond.Broadcast()
	switch {
	case c.err != nil:
		return
	case !c.connected:
		c.receivedSYN(t)
		return
	case t.RST:
		if at := c.offsetIn(t.Seq); at >= c.next && at < c.next+rawReceiveBuffer || c.eof {
			c.over(syscall.ECONNRESET)
		}
		return
	case t.SYN: // our acknowledgement of it was lost
		c.sendACK()
		return
	case !t.ACK:
		return
	}
	c.acknowledged(t)
	if len(t.Payload) > 0 || t.FIN {
		c.take(t)
	}
	if c.closed && len(c.in) > 0 { // nobody will read it
		c.transmit(&Segment{Offset: c.sent, RST: true})
		c.over(os.ErrClosed)
		return
	}
	if c.closed && c.eof && c.finAcked { // all is said; our last acknowledgement may get lost
		time.AfterFunc(time.Second, func() { c.fail(os.ErrClosed) })
	}
}

// receivedSYN takes the answer to our SYN.
func (c *RawConn) receivedSYN(t *layers.TCP) {
	if !t.ACK || t.Ack != c.iss+1 {
		return
	}
	if t.RST {
		c.over(syscall.ECONNREFUSED)
		return
	}
	if !t.SYN {
		return
	}
	c.irs, c.connected = t.Seq, true
	c.window = int64(t.Window)
	for _, o := range t.Options {
		switch {
		case o.OptionType == layers.TCPOptionKindMSS && len(o.OptionData) == 2:
			c.mss = min(c.mss, int(o.OptionData[0])<<8|int(o.OptionData[1]))
		case o.OptionType == layers.TCPOptionKindWindowScale && len(o.OptionData) == 1:
			c.scale = min(o.OptionData[0], 14)
		}
	}
	c.timeout, c.timeouts = rawFirstTimeout, 0
	c.retry.Stop()
	c.sendACK()
}

// acknowledged takes the acknowledgement and the window of a segment.
func (c *RawConn) acknowledged(t *layers.TCP) {
	at := c.una + int64(int32(t.Ack-(c.iss+1+uint32(c.una))))
	if at < c.una || at > c.end+1 || at == c.end+1 && !c.finSent {
		return
	}
	window := int64(t.Window) << c.scale
	news := at > c.una || at == c.end+1 && !c.finAcked
	if !news && len(t.Payload) == 0 && !t.FIN && window == c.window && c.una < c.sent {
		// Where the plan itself causes repetitions they say nothing of a loss.
		if c.repeated++; c.repeated == 3 && !c.how.disorders(c.una) {
			c.recover, c.resent = c.sent, c.una
			c.resend()
		}
	}
	c.window = window
	if !news {
		return
	}
	c.finAcked = at == c.end+1
	before := c.una
	c.una = min(at, c.end)
	c.sent = max(c.sent, c.una)
	c.buffer = c.buffer[c.una-before:]
	c.timeout, c.timeouts, c.repeated = rawFirstTimeout, 0, 0
	c.arm()
	if c.una < c.recover {
		c.resend()
	}
}

// offsetIn is the place of a sequence number in the peer's stream.
func (c *RawConn) offsetIn(seq uint32) int64 {
	return c.next + int64(int32(seq-(c.irs+1+uint32(c.next))))
}

// take takes the payload and the FIN of a segment, and acknowledges.
func (c *RawConn) take(t *layers.TCP) {
	at, b := c.offsetIn(t.Seq), t.Payload
	if t.FIN {
		c.finAt = at + int64(len(b))
	}
	room := rawReceiveBuffer - len(c.in) - c.earlySize
	switch {
	case at > c.next:
		if c.early[at] == nil && len(b) <= room {
			c.early[at] = append([]byte(nil), b...)
			c.earlySize += len(b)
		}
	case at+int64(len(b)) > c.next && len(b) <= room:
		c.append(b[c.next-at:])
		c.joinEarly()
	}
	if c.next == c.finAt {
		c.eof = true
	}
	c.sendACK()
}

func (c *RawConn) append(b []byte) {
	c.in = append(c.in, b...)
	c.next += int64(len(b))
}

// joinEarly appends what came early and is due now.
func (c *RawConn) joinEarly() {
	for joined := true; joined; {
		joined = false
		for at, b := range c.early {
			if at > c.next {
				continue
			}
			delete(c.early, at)
			c.earlySize -= len(b)
			if at+int64(len(b)) > c.next {
				c.append(b[c.next-at:])
				joined = true
			}
		}
	}
}
