package lab

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	senderFrames = 512 // sent by one sendmmsg, at most
	senderSlot   = 2048
)

// sender sends Ethernet frames from a host, many by one system call, beside the
// queueing discipline. It receives nothing. It is for one goroutine.
type sender struct {
	fd      int
	waiting int
	slots   []byte
	vectors [senderFrames]unix.Iovec
	headers [senderFrames]mmsghdr
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	size   uint32
}

func newSender(h *Host) (*sender, error) {
	s := &sender{fd: -1, slots: make([]byte, senderFrames*senderSlot)}
	err := h.Run(func() (err error) {
		// Protocol 0: nothing that arrives is for this socket.
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return permissionError("open a packet socket", err)
		}
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20)
		if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
			return wrap("set PACKET_QDISC_BYPASS", err)
		}
		return wrap("bind a packet socket", unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: h.link.index}))
	})
	if err != nil {
		s.close()
		return nil, err
	}
	for i := range s.headers {
		s.vectors[i].Base = &s.slots[i*senderSlot]
		s.headers[i].header.Iov = &s.vectors[i]
		s.headers[i].header.SetIovlen(1)
	}
	return s, nil
}

func (s *sender) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
	s.fd = -1
}

// next is where the next frame is to be written. There must be room: senderFrames are
// sent at once.
func (s *sender) next(size int) []byte {
	i := s.waiting
	s.waiting++
	s.vectors[i].SetLen(size)
	return s.slots[i*senderSlot:][:size]
}

// flush sends what is waiting.
func (s *sender) flush() error {
	for at := 0; at < s.waiting; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.headers[at])), uintptr(s.waiting-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(n)
		case syscall.EINTR:
		case syscall.ENOBUFS, syscall.EAGAIN: // for a moment
			time.Sleep(time.Millisecond)
		default:
			s.waiting = 0
			return wrap("send packets", errno)
		}
	}
	s.waiting = 0
	return nil
}
