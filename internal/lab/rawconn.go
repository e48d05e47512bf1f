package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/google/gopacket/layers"
)

const (
	rawSendBuffer    = 256 << 10 // bytes written and not acknowledged
	rawReceiveBuffer = 1 << 20   // bytes received and not read
	rawWindowScale   = 5         // 1 MiB >> 5 fits into the window field
	rawFirstTimeout  = 200 * time.Millisecond
	rawLongestWait   = 3 * time.Second
	rawTimeouts      = 10               // in a row: the peer is gone
	rawLinger        = 10 * time.Second // after Close: to answer the peer's last segments
)

// RawConn is the client's side of a TCP connection whose segments are as a
// Segmentation has them: a TCP of RFC 9293 without congestion control, with its
// own retransmission. It is a net.Conn, safe for concurrent use.
type RawConn struct {
	stack         *stack
	local, remote netip.AddrPort
	how           Segmentation
	mss           int

	mu   sync.Mutex
	cond *sync.Cond // anything changed
	err  error      // the connection is over, and why

	// Sending. Offsets count the bytes of the stream; 0 <= una <= sent <= end.
	iss       uint32
	una       int64     // acknowledged before it
	sent      int64     // sent at least once before it
	end       int64     // written before it
	buffer    []byte    // the bytes [una, end)
	queue     []Segment // planned and not sent yet
	window    int64     // the peer takes what lies before una+window
	scale     uint8     // of the peer's window
	connected bool      // the SYN was answered
	finished  bool      // no more writes: a FIN follows end
	finSent   bool
	finAcked  bool

	// Recovery. retry is armed while anything is unacknowledged.
	retry    *time.Timer
	timeout  time.Duration
	timeouts int
	recover  int64 // what is unacknowledged before it is sent again as acknowledgements come
	resent   int64 // what lies before it has been sent again
	repeated int   // acknowledgements without news, in a row

	// Receiving. Offsets count the bytes of the peer's stream.
	irs       uint32
	next      int64            // expected next
	in        []byte           // received in order, not read
	early     map[int64][]byte // received before what comes before it
	earlySize int
	finAt     int64 // offset of the peer's FIN, or -1
	eof       bool  // everything before the peer's FIN was received
	closed    bool  // by Close
	reset     bool  // Close is to reset

	readBy, writeBy time.Time
}

// DialRaw connects to server from the host, past the kernel's TCP. Needs
// iptables and ip6tables.
func (h *Host) DialRaw(ctx context.Context, server netip.AddrPort, how Segmentation) (*RawConn, error) {
	s, err := h.rawStack()
	if err != nil {
		return nil, err
	}
	c := &RawConn{
		stack: s, remote: netip.AddrPortFrom(server.Addr().Unmap(), server.Port()), how: how,
		iss: rand.Uint32(), timeout: rawFirstTimeout, early: make(map[int64][]byte), finAt: -1,
	}
	c.cond = sync.NewCond(&c.mu)
	local, headers := h.IPv4, 40
	if c.remote.Addr().Is6() {
		local, headers = h.IPv6, 60
	}
	if !local.IsValid() {
		return nil, &Error{Op: "raw connection", Err: fmt.Errorf("%s has no address for %s", h.Name, server)}
	}
	c.local, c.mss = netip.AddrPortFrom(local, 0), h.link.mtu-headers
	if err := s.add(c); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retry = time.AfterFunc(c.timeout, c.expired)
	c.sendSYN()
	stop := context.AfterFunc(ctx, func() { c.fail(ctx.Err()) })
	for !c.connected && c.err == nil {
		c.cond.Wait()
	}
	if !stop() && c.err == nil { // ctx ended just now
		c.over(ctx.Err())
	}
	if c.err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: c.RemoteAddr(), Err: c.err}
	}
	go c.sendQueued()
	return c, nil
}

// LocalAddr is the client's address.
func (c *RawConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr is the server's address.
func (c *RawConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// Read reads what has come in order.
func (c *RawConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(c.in) > 0:
			n := copy(b, c.in)
			c.in = c.in[n:]
			if free := rawReceiveBuffer - len(c.in); free-n < rawReceiveBuffer/2 && free >= rawReceiveBuffer/2 {
				c.sendACK() // the window is open again
			}
			return n, nil
		case c.eof:
			return 0, io.EOF
		case c.err != nil:
			return 0, &net.OpError{Op: "read", Net: "tcp", Addr: c.RemoteAddr(), Err: c.err}
		case passed(c.readBy):
			return 0, os.ErrDeadlineExceeded
		}
		c.cond.Wait()
	}
}

// Write plans the segments of b and returns when the last of them is planned;
// they are sent as the peer's window allows.
func (c *RawConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	written := 0
	for {
		free := rawSendBuffer - len(c.buffer)
		switch {
		case c.closed || c.finished:
			return written, net.ErrClosed
		case c.err != nil:
			return written, &net.OpError{Op: "write", Net: "tcp", Addr: c.RemoteAddr(), Err: c.err}
		case written == len(b):
			return written, nil
		case passed(c.writeBy):
			return written, os.ErrDeadlineExceeded
		case free > 0:
			piece := b[written:min(written+free, len(b))]
			c.queue = append(c.queue, c.how.plan(c.end, piece, c.mss)...)
			c.buffer = append(c.buffer, piece...)
			c.end += int64(len(piece))
			written += len(piece)
			c.arm()
			c.cond.Broadcast()
			continue
		}
		c.cond.Wait()
	}
}

// Inject sends a segment that is not part of the stream, now.
func (c *RawConn) Inject(s Segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transmit(&s)
}

// CloseWrite sends a FIN after what was written.
func (c *RawConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.finished = true
	c.arm()
	c.cond.Broadcast()
	return nil
}

// SetLinger with 0 makes Close reset the connection. Other values change
// nothing.
func (c *RawConn) SetLinger(seconds int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset = seconds == 0
	return nil
}

// Close ends the connection: with a reset where something received was not
// read, else with a FIN. What was written is sent all the same.
func (c *RawConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.cond.Broadcast()
	switch {
	case c.err != nil:
	case c.reset || len(c.in) > 0:
		c.transmit(&Segment{Offset: c.sent, RST: true})
		c.over(net.ErrClosed)
	default:
		c.finished = true
		c.arm()
		time.AfterFunc(rawLinger, func() { c.fail(net.ErrClosed) })
	}
	return nil
}

// SetDeadline sets both deadlines.
func (c *RawConn) SetDeadline(t time.Time) error {
	c.setDeadline(&c.readBy, t)
	c.setDeadline(&c.writeBy, t)
	return nil
}

// SetReadDeadline bounds Read.
func (c *RawConn) SetReadDeadline(t time.Time) error { c.setDeadline(&c.readBy, t); return nil }

// SetWriteDeadline bounds Write.
func (c *RawConn) SetWriteDeadline(t time.Time) error { c.setDeadline(&c.writeBy, t); return nil }

func (c *RawConn) setDeadline(which *time.Time, t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*which = t
	c.cond.Broadcast()
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.cond.Broadcast()
		})
	}
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// fail ends the connection.
func (c *RawConn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over(err)
}

// over ends the connection; c.mu is held.
func (c *RawConn) over(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.retry.Stop()
	c.cond.Broadcast()
	c.stack.remove(c)
}

// options of the SYN: maximum segment size, no operation, window scale.
func (c *RawConn) options() []layers.TCPOption {
	return []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, uint16(c.mss))},
		{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{rawWindowScale}},
	}
}

func (c *RawConn) sendSYN() {
	c.stack.send(c, &layers.TCP{Seq: c.iss, SYN: true, Window: 65535, Options: c.options()}, &Segment{})
}

func (c *RawConn) sendACK() { c.transmit(&Segment{Offset: c.sent}) }

// transmit sends a segment with the acknowledgement and window of now.
func (c *RawConn) transmit(s *Segment) {
	ack := c.irs + 1 + uint32(c.next)
	if c.eof {
		ack++
	}
	seq := c.iss + 1 + uint32(s.Offset)
	if c.finSent && len(s.Data) == 0 && !s.FIN && s.Offset == c.end {
		seq++ // behind the FIN
	}
	t := &layers.TCP{
		Seq: seq, Ack: ack, ACK: true, PSH: len(s.Data) > 0, FIN: s.FIN, RST: s.RST, URG: s.URG,
		Window: uint16((rawReceiveBuffer - min(len(c.in)+c.earlySize, rawReceiveBuffer)) >> rawWindowScale),
	}
	if s.URG {
		t.Urgent = uint16(len(s.Data))
	}
	c.stack.send(c, t, s)
}

var _ upstream = (*RawConn)(nil)
