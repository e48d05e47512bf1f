package lab

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue and ifreqData are struct ethtool_value of linux/ethtool.h and
// struct ifreq of linux/if.h in its form with a pointer.
type ethtoolValue struct{ cmd, data uint32 }

type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// offloadOff are the commands that turn a link's offloads off. Without checksum
// offload the kernel refuses segmentation offload by itself; it is named all the
// same, for links where that is not so.
var offloadOff = []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO, unix.ETHTOOL_STXCSUM}

// setOffload gives commands a value, 0 or 1, for a link of the thread's namespace.
func setOffload(name string, on uint32, cmds ...uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return wrap("open a socket for ethtool", err)
	}
	defer unix.Close(fd)
	for _, cmd := range cmds {
		value := ethtoolValue{cmd: cmd, data: on}
		var req ifreqData
		copy(req.name[:unix.IFNAMSIZ-1], name)
		req.data = unsafe.Pointer(&value)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		if errno != 0 && !errors.Is(errno, unix.EOPNOTSUPP) {
			return wrap("set offload of "+name, errno)
		}
	}
	return nil
}
