package nfq

import (
	"errors"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// detach takes the socket away from the runtime's poller, where conn has put it, and
// closes conn. There every packet that arrives would wake a second thread, which finds
// that nobody has asked it to wait: a sixth of the daemon's time under load.
func detach(conn *netlink.Conn) (*os.File, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, wrap("reach netlink socket", err)
	}
	own, dupErr := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		if own, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); dupErr == nil {
			// os.NewFile gives the poller what does not block. Writing to the kernel
			// never waits.
			timeout := unix.NsecToTimeval(int64(blockTime))
			dupErr = errors.Join(unix.SetNonblock(own, false), unix.SetsockoptTimeval(own, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
		}
	})
	if err = errors.Join(err, dupErr, conn.Close()); err != nil {
		if own >= 0 {
			unix.Close(own)
		}
		return nil, wrap("reach netlink socket", err)
	}
	return os.NewFile(uintptr(own), "netlink"), nil
}
