package nfq

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	datagrams = 64 // read by one recvmmsg

	// The payload attribute has at most 64 KiB; the kernel's other attributes
	// are a few hundred bytes.
	datagramSize = 68 << 10

	sendBuffer = 256 << 10

	// blockTime is the socket's timeout: for how long it waits by itself.
	blockTime = 100 * time.Millisecond
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	size   uint32
}

// batchQueue is the backend that reads and writes many packets with one system
// call each, on a descriptor that the runtime's poller does not know: its lock has a
// side for reading and one for writing.
type batchQueue struct {
	file     *os.File
	raw      syscall.RawConn
	number   uint16
	inOrder  bool // Config.InOrder
	counters *counters

	closed atomic.Bool

	// Of the goroutine in recv. The datagrams of index [next, filled) are still
	// to be read, after what rest has of the one before.
	reader       reader
	next, filled int
	rest         []byte
	gone         unix.Errno // what the kernel says to Probe of a queue that is not ours any more

	// Of the goroutine in verdict and flush.
	out       []byte
	latest    latest
	sendLimit int
	sendErr   error
	write     func(fd uintptr) bool
}

func openBatch(cfg Config, c *counters) (backend, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	q := &batchQueue{number: cfg.Number, inOrder: cfg.InOrder, counters: c}
	if err = q.open(conn, cfg); err != nil {
		conn.Close()
	} else if q.file, err = detach(conn); err == nil {
		q.raw, err = q.file.SyscallConn()
	}
	if err != nil {
		return nil, err
	}
	return q, nil
}

func (q *batchQueue) open(conn *netlink.Conn, cfg Config) (err error) {
	// A refused verdict comes back without its payload.
	if err := conn.SetOption(netlink.CapAcknowledge, true); err != nil {
		return socketError("set NETLINK_CAP_ACK", err)
	}
	if err := conn.SetReadBuffer(cfg.ReceiveBuffer); err != nil {
		return wrap("set receive buffer", err)
	}
	if err := conn.SetWriteBuffer(sendBuffer); err != nil {
		return wrap("set send buffer", err)
	}
	size, err := conn.WriteBuffer()
	if err != nil {
		return wrap("read send buffer", err)
	}
	q.sendLimit = size/2 - 64 // netlink refuses what is larger than the buffer less 32 bytes
	q.write = q.writeTo
	q.reader.init()
	q.reader.busy = cfg.BusyPoll
	return bind(conn, cfg)
}

func (q *batchQueue) recv(batch []Packet, timeout time.Duration) (int, error) {
	if timeout <= 0 {
		return q.take(batch, 0)
	}
	deadline := time.Now().Add(timeout)
	for left := timeout; left > 0; left = time.Until(deadline) {
		if n, err := q.take(batch, left); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// take returns what has been read and not yet taken; if that is nothing it
// reads, waiting for at most wait.
func (q *batchQueue) take(batch []Packet, wait time.Duration) (int, error) {
	if q.closed.Load() {
		return 0, closedError("receive")
	}
	if n := q.parse(batch); n > 0 {
		return n, nil
	}
	if q.gone != 0 {
		return 0, goneError(q.number, q.gone)
	}
	r := &q.reader
	r.wait = wait
	if err := q.raw.Read(r.read); err != nil {
		return 0, q.failed("receive", err)
	}
	q.next, q.filled = 0, 0
	switch r.errno {
	case 0:
		q.filled = r.count
	case unix.EAGAIN, unix.EINTR:
	case unix.ENOBUFS:
		q.counters.overruns.Add(1)
	default:
		return 0, wrap("receive", r.errno)
	}
	return q.parse(batch), nil
}

// parse fills batch from the datagrams read.
func (q *batchQueue) parse(batch []Packet) (n int) {
	for n < len(batch) {
		if len(q.rest) == 0 {
			if q.next == q.filled {
				return n
			}
			q.rest = q.datagram(q.next)
			q.next++
			continue
		}
		m, rest, ok := cutMessage(q.rest)
		q.rest = rest
		if !ok {
			q.counters.malformed.Add(1)
			continue
		}
		if q.understand(m, &batch[n]) {
			n++
		}
	}
	return n
}

// datagram is the i-th datagram, or nothing if the kernel did not send it.
func (q *batchQueue) datagram(i int) []byte {
	b, fromKernel, cut := q.reader.datagram(i)
	if cut {
		q.counters.truncated.Add(1)
	}
	if !fromKernel || len(b) == 0 {
		q.counters.malformed.Add(1)
		return nil
	}
	return b
}

// understand reports whether the message has put a packet into p.
func (q *batchQueue) understand(m message, p *Packet) bool {
	switch m.kind {
	case msgPacket:
		if !m.packet(p) {
			q.counters.malformed.Add(1)
			return false
		}
		q.counters.packet(p)
		return true
	case unix.NLMSG_ERROR:
		switch errno := m.errno(); {
		case errno == 0:
		case m.about() == msgConfig:
			q.gone = errno
		default:
			q.counters.refused(errno, m.answers())
		}
	case unix.NLMSG_NOOP, unix.NLMSG_DONE:
	default:
		q.counters.malformed.Add(1)
	}
	return false
}

func (q *batchQueue) verdict(id uint32, v Verdict, mark uint32, payload []byte) {
	if q.same(id, v, mark, payload) {
		return
	}
	q.latest = latest{is: q.inOrder && len(payload) == 0, v: v, id: id, mark: mark, at: len(q.out)}
	q.out = appendVerdict(q.out, q.number, id, v, mark, payload)
}

func (q *batchQueue) flush() error {
	if len(q.out) == 0 {
		return nil
	}
	q.sendErr = nil
	if err := q.raw.Write(q.write); err != nil {
		return q.failed("send verdicts", err)
	}
	return wrap("send verdicts", q.sendErr)
}

// writeTo sends out, and keeps of it what could not be sent. The kernel takes
// verdicts in the sender's own time and never makes it wait.
func (q *batchQueue) writeTo(fd uintptr) bool {
	left := q.out
	for len(left) > 0 {
		size, packets := prefix(left, q.sendLimit)
		_, err := unix.Write(int(fd), left[:size])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			q.sendErr = err
			break
		}
		q.counters.verdicts.Add(uint64(packets))
		left = left[size:]
	}
	q.out, q.latest = q.out[:copy(q.out, left)], latest{}
	return true
}

func (q *batchQueue) request(op string, m []byte) error {
	var sendErr error
	err := q.raw.Write(func(fd uintptr) bool {
		_, sendErr = unix.Write(int(fd), m)
		return true
	})
	if err != nil {
		return q.failed(op, err)
	}
	return wrap(op, sendErr)
}

// failed is why a descriptor could not be had.
func (q *batchQueue) failed(op string, err error) error {
	if q.closed.Load() {
		return closedError(op)
	}
	return wrap(op, err)
}

// close wakes recv with an answer from the kernel, for the descriptor is closed when
// nobody uses it. Where there is no room for the answer recv does not sleep, and where
// the socket is gone it does so for no longer than blockTime.
func (q *batchQueue) close() error {
	q.closed.Store(true)
	q.request("wake", noop())
	return wrap("close queue", q.file.Close())
}

// reader reads datagrams into memory of its own.
type reader struct {
	read  func(fd uintptr) bool
	wait  time.Duration
	busy  time.Duration // Config.BusyPoll
	count int
	errno syscall.Errno

	headers [datagrams]mmsghdr
	vectors [datagrams]unix.Iovec
	senders [datagrams]unix.RawSockaddrNetlink
	used    int // headers the kernel has written to
	poll    [1]unix.PollFd
	timeout unix.Timespec
}

func (r *reader) init() {
	buf := make([]byte, datagrams*datagramSize)
	for i := range r.headers {
		r.vectors[i].Base = &buf[i*datagramSize]
		r.vectors[i].SetLen(datagramSize)
		h := &r.headers[i].header
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.senders[i]))
		h.Namelen = unix.SizeofSockaddrNetlink
	}
	r.read = r.readFrom
}

// readFrom reads what there is. It waits itself rather than through the
// runtime's poller, which would wake this goroutine by way of another thread: in
// recvmmsg, so that a packet that comes alone costs no other system call, or for a
// time that is not the socket's in ppoll.
func (r *reader) readFrom(fd uintptr) bool {
	if r.busyPoll(fd) {
		return true
	}
	if r.wait >= blockTime {
		r.receive(fd, unix.MSG_WAITFORONE)
		return true
	}
	r.receive(fd, unix.MSG_DONTWAIT)
	if r.errno != unix.EAGAIN || r.wait <= 0 {
		return true
	}
	r.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	r.timeout = unix.NsecToTimespec(int64(r.wait))
	if _, err := unix.Ppoll(r.poll[:], &r.timeout, nil); err == nil {
		r.receive(fd, unix.MSG_DONTWAIT)
	}
	return true
}

// busyPoll reads without waiting until there is something, for no longer than busy. It
// reports whether there was.
func (r *reader) busyPoll(fd uintptr) bool {
	if r.busy <= 0 || r.wait <= 0 {
		return false
	}
	for end := time.Now().Add(min(r.busy, r.wait)); ; {
		r.receive(fd, unix.MSG_DONTWAIT)
		if r.errno != unix.EAGAIN {
			return true
		}
		if !time.Now().Before(end) {
			return false
		}
	}
}

func (r *reader) receive(fd uintptr, flags int) {
	for i := range r.headers[:r.used] {
		r.headers[i].header.Namelen = unix.SizeofSockaddrNetlink
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])),
		datagrams, uintptr(flags), 0, 0)
	r.count, r.used, r.errno = int(n), datagrams, errno
	if errno != 0 {
		r.count = 0
	}
}

func (r *reader) datagram(i int) (b []byte, fromKernel, cut bool) {
	h := &r.headers[i]
	b = unsafe.Slice(r.vectors[i].Base, datagramSize)[:h.size:h.size]
	return b, r.senders[i].Pid == 0, h.header.Flags&unix.MSG_TRUNC != 0
}
