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
func (q *Queue) Probe() error {
	m := appendHeader(nil, msgConfig, q.number)
	m = binary.BigEndian.AppendUint32(appendAttribute(m, configMaxLen, 4), q.maxLen)
	return q.request("probe", m)
}

// Segment has the kernel cut up large packets (GSO) before it queues them, or not, as
// at first. It costs several times the work, and is for packets larger than a message
// can hold. Safe from any goroutine.
func (q *Queue) Segment(on bool) error {
	flags := uint32(flagGSO)
	if on {
		flags = 0
	}
	m := appendHeader(nil, msgConfig, q.number)
	m = binary.BigEndian.AppendUint32(appendAttribute(m, configMask, 4), flagGSO)
	m = binary.BigEndian.AppendUint32(appendAttribute(m, configFlags, 4), flags)
	return q.request("set flags", m)
}

// request sends a NFQNL_MSG_CONFIG. No acknowledgement is asked for, so only a queue
// that is gone is answered for (nfnetlink_queue.c:nfqnl_recv_config).
func (q *Queue) request(op string, m []byte) error {
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	return q.backend.request(op, m)
}

// about is the kind of message that a NLMSG_ERROR is the answer to.
func (m message) about() uint16 {
	if len(m.body) < 4+sizeNetlink {
		return 0
	}
	return binary.NativeEndian.Uint16(m.body[8:])
}

// answers is for how many packets the verdict is that a NLMSG_ERROR is the answer to.
func (m message) answers() int {
	if m.about() != msgVerdictBatch {
		return 1
	}
	return answered(m.body[4:])
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
