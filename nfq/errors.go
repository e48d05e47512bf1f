package nfq

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What can be wrong before any packet has come. Every *Error for one of these
// wraps it.
var (
	ErrPermission  = errors.New("no permission")
	ErrTaken       = errors.New("queue taken")
	ErrUnsupported = errors.New("not supported by this system")

	// ErrPassed: a packet that our rules should have dropped has left.
	ErrPassed = errors.New("the packet passed: our rules are not in place")

	errBackend = errors.New("unknown backend")
)

// Error is a failure of the kernel or of a program we ran. Hint, if not empty,
// says what an administrator can do about it.
type Error struct {
	Op   string
	Err  error
	Hint string
}

func (e *Error) Error() string { return "nfq: " + e.Op + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// wrap gives nil for nil.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Err: err}
}

// socketError explains why a socket could not be had or be configured.
func socketError(op string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &Error{op, fmt.Errorf("%w: %w", ErrPermission, err),
			"needs CAP_NET_ADMIN and CAP_NET_RAW in the user namespace that owns this network namespace (root has them)"}
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOPROTOOPT):
		return &Error{op, fmt.Errorf("%w: %w", ErrUnsupported, err),
			"the kernel needs CONFIG_NETFILTER_NETLINK_QUEUE (modprobe nfnetlink_queue)"}
	}
	return wrap(op, err)
}

// bindError explains a refused NFQNL_CFG_CMD_BIND. The kernel says EPERM for a
// queue that another socket holds (nfnetlink_queue.c:nfqnl_recv_config); that we
// may configure queues at all has been seen just before.
func bindError(number uint16, err error) error {
	op := fmt.Sprintf("bind queue %d", number)
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EBUSY) {
		return socketError(op, err)
	}
	return &Error{op, fmt.Errorf("%w by %s", ErrTaken, holder(number)),
		"stop that program or choose another queue number"}
}

// holder names the process whose socket holds a queue, as far as /proc tells.
func holder(number uint16) string {
	line, err := kernelCounters(number)
	if err != nil {
		return "another socket"
	}
	id := fmt.Sprintf("netlink port %d", line.portID)
	table, err := os.ReadFile(procNet("netlink"))
	if err != nil {
		return id
	}
	// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
	for row := range strings.Lines(string(table)) {
		f := strings.Fields(row)
		if len(f) == 10 && f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[2] == strconv.FormatUint(uint64(line.portID), 10) {
			return socketOwner(f[9], id)
		}
	}
	return id
}

// socketOwner finds the process that has the socket with this inode open.
func socketOwner(inode, otherwise string) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); target == "socket:["+inode+"]" {
			dir := filepath.Dir(filepath.Dir(fd))
			name, _ := os.ReadFile(filepath.Join(dir, "comm"))
			return fmt.Sprintf("process %s (%s)", filepath.Base(dir), strings.TrimSpace(string(name)))
		}
	}
	return otherwise
}
