package nfq

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

var errNotIP = errors.New("not an IP packet")

// injector owns a raw socket for each IP version. Safe for concurrent use.
type injector struct {
	mu     sync.Mutex
	v4, v6 int // -1: closed, or the kernel has no such version
	mark   uint32
	closed bool
}

func openInjector(mark uint32) (*injector, error) {
	v4, err := rawSocket(unix.AF_INET, mark)
	if err != nil {
		return nil, socketError("open raw IPv4 socket", err)
	}
	v6, err := rawSocket(unix.AF_INET6, mark)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		unix.Close(v4)
		return nil, socketError("open raw IPv6 socket", err)
	}
	return &injector{v4: v4, v6: v6, mark: mark}, nil
}

// rawSocket opens a socket that sends whole packets and receives none: raw(7).
func rawSocket(family int, mark uint32) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil || mark == 0 {
		return fd, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// sendMarked sends a packet under another mark than the others.
func (in *injector) sendMarked(ip []byte, ifindex uint32, mark uint32) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return closedError("inject")
	}
	fd := in.v4
	if len(ip) > 0 && ip[0]>>4 == 6 {
		fd = in.v6
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return wrap("mark a packet", err)
	}
	err := in.sendLocked(ip, ifindex)
	if back := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(in.mark)); back != nil {
		return wrap("mark a packet", back)
	}
	return err
}

func (in *injector) send(ip []byte, ifindex uint32) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return closedError("inject")
	}
	return in.sendLocked(ip, ifindex)
}

func (in *injector) sendLocked(ip []byte, ifindex uint32) error {
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4:
		return wrap("inject", unix.Sendto(in.v4, ip, 0, &unix.SockaddrInet4{Addr: [4]byte(ip[16:20])}))
	case len(ip) >= 40 && ip[0]>>4 == 6 && in.v6 >= 0:
		return wrap("inject", unix.Sendto(in.v6, ip, 0, &unix.SockaddrInet6{Addr: [16]byte(ip[24:40]), ZoneId: ifindex}))
	case len(ip) >= 40 && ip[0]>>4 == 6:
		return wrap("inject", unix.EAFNOSUPPORT)
	}
	return wrap("inject", errNotIP)
}

func (in *injector) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return
	}
	in.closed = true
	unix.Close(in.v4)
	if in.v6 >= 0 {
		unix.Close(in.v6)
	}
}
