package nfq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrGone: the queue is not ours any more. No packet will come, and what the rules
// send there meets their fail policy.
var ErrGone = errors.New("the queue is gone")

// Probe asks the kernel whether the queue is still ours, by giving it the length that
// it has. A queue that is gone answers, and Recv then returns an error that wraps
// ErrGone; the kernel says nothing of it by itself. Safe from any goroutine.
func (q *Queue) Probe() error { return q.backend.probe() }

// appendProbe appends a NFQNL_MSG_CONFIG. No acknowledgement is asked for, so only a
// queue that is gone is answered for (nfnetlink_queue.c:nfqnl_recv_config).
func appendProbe(dst []byte, queue uint16, maxLen uint32) []byte {
	start := len(dst)
	dst = appendHeader(dst, msgConfig, queue)
	dst = appendAttribute(dst, configMaxLen, 4)
	dst = binary.BigEndian.AppendUint32(dst, maxLen)
	binary.NativeEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// about is the kind of message that a NLMSG_ERROR is the answer to.
func (m message) about() uint16 {
	if len(m.body) < 4+sizeNetlink {
		return 0
	}
	return binary.NativeEndian.Uint16(m.body[8:])
}

// goneError says what has become of a queue.
func goneError(number uint16, errno unix.Errno) error {
	op := fmt.Sprintf("receive from queue %d", number)
	const hint = "start tlsgate again: what was decided stands in the kernel, and until then queue.fail_open says what passes"
	switch errno {
	case unix.ENODEV:
		return &Error{op, fmt.Errorf("%w: the kernel has unbound it (%w)", ErrGone, errno), hint}
	case unix.EPERM:
		return &Error{op, fmt.Errorf("%w: it is bound by %s (%w)", ErrGone, holder(number), errno), hint}
	}
	return &Error{op, fmt.Errorf("%w: %w", ErrGone, errno), hint}
}

// socketGone reports whether an error of mdlayher/netlink is the socket's own, and no
// answer of the kernel to what was sent.
func socketGone(err error) bool {
	var call *os.SyscallError
	return errors.As(err, &call) && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN)
}
