package capture

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Recorder writes the IP packets of interfaces to a file while they pass, see
// packet(7).
type Recorder struct {
	what   string // the interfaces, for errors
	socket *os.File
	out    *Writer
	ending atomic.Bool
	done   chan struct{}
	stop   sync.Once

	// Owned by the recording goroutine until done is closed, then by Stop.
	fd     int
	wanted map[int]bool // by index; empty: all
	names  map[int]string
	buf    []byte // room for a cooked header, and what is received behind it
	oob    []byte
	last   int64 // time of the last packet
	sum    Recorded
	err    error
}

// Recorded counts what a Recorder saw.
type Recorded struct {
	Packets uint64 // written
	Lost    uint64 // came faster than they were written
}

const (
	// recordBuffer is what the kernel may hold for us, in bytes; it doubles it.
	recordBuffer = 16 << 20
	// maxWaiting is more packets than fit in that: each takes 512 bytes and more.
	maxWaiting = 2 * recordBuffer / 512
)

// Live records the packets that pass the interfaces, or all of them if none is
// named, to a pcapng file, until Stop. Every packet sent or received after Live
// has returned is recorded, with the name of its interface, once on the loopback
// interface. It takes CAP_NET_RAW in the network namespace of the calling thread,
// whose interfaces are meant.
func Live(ifaces []string, path string) (*Recorder, error) {
	r := &Recorder{
		what:   "any",
		done:   make(chan struct{}),
		wanted: map[int]bool{},
		names:  map[int]string{},
		buf:    make([]byte, maxPacket),
		oob:    make([]byte, 128),
	}
	if len(ifaces) > 0 {
		r.what = strings.Join(ifaces, ",")
	}
	// No protocol: nothing arrives before bind, from interfaces not asked for.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fail("record", r.what, 0, err)
	}
	r.fd, r.socket = fd, os.NewFile(uintptr(fd), "packet")
	if err := r.listen(ifaces); err != nil {
		r.socket.Close()
		return nil, err
	}
	// Cooked, for tcpdump does not read raw IP of more than one interface.
	if r.out, err = create(path, layers.LinkTypeLinuxSLL); err != nil {
		r.socket.Close()
		return nil, err
	}
	go r.run()
	return r, nil
}

// listen sets the socket up and binds it.
func (r *Recorder) listen(ifaces []string) error {
	address := &unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ALL)}
	for _, name := range ifaces {
		req, err := unix.NewIfreq(name)
		if err == nil {
			err = unix.IoctlIfreq(r.fd, unix.SIOCGIFINDEX, req)
		}
		if err != nil {
			return fail("record", name, 0, err)
		}
		index := int(req.Uint32())
		r.wanted[index], r.names[index] = true, name
		if len(ifaces) == 1 {
			address.Ifindex = index
		}
	}
	if unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, recordBuffer) != nil {
		// Without CAP_NET_ADMIN: as much as there is to be had. Losses are counted.
		_ = unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, recordBuffer)
	}
	err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if err == nil {
		err = r.socket.SetReadDeadline(time.Time{})
	}
	if err == nil {
		err = unix.Bind(r.fd, address)
	}
	return fail("record", r.what, 0, err)
}

// Stop ends the recording: packets that passed before it are in the file, which
// is closed. Calling it again returns the same. It is safe for concurrent use.
func (r *Recorder) Stop() (Recorded, error) {
	r.stop.Do(func() {
		r.ending.Store(true)
		_ = r.socket.SetReadDeadline(time.Unix(1, 0)) // as listen has tried
		<-r.done
		for n := 0; n < maxWaiting && r.err == nil; n++ {
			if r.err = r.one(); r.err == unix.EAGAIN {
				r.err = nil
				break
			}
		}
		if s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			r.sum.Lost = uint64(s.Drops)
		}
		r.socket.Close()
		if err := r.out.Close(); r.err == nil {
			r.err = err
		}
	})
	return r.sum, r.err
}

// run records until the deadline that Stop sets, or the first error.
func (r *Recorder) run() {
	defer close(r.done)
	conn, err := r.socket.SyscallConn()
	if err != nil {
		r.err = fail("record", r.what, 0, err)
		return
	}
	// What Read returns is the deadline: drain keeps the errors.
	_ = conn.Read(func(uintptr) bool { return !r.drain() })
}

// drain records what waits, and reports whether to wait for more.
func (r *Recorder) drain() bool {
	for !r.ending.Load() {
		switch err := r.one(); err {
		case nil:
			continue
		case unix.EAGAIN:
			r.err = r.out.Flush()
		default:
			r.err = err
		}
		return r.err == nil
	}
	return false
}

// one records one packet, or returns EAGAIN when none waits.
func (r *Recorder) one() error {
	in := r.buf[sllHeader:]
	n, oobn, _, from, err := unix.RecvmsgBuffers(r.fd, [][]byte{in}, r.oob, unix.MSG_TRUNC)
	switch err {
	case nil:
	case unix.EAGAIN:
		return err
	case unix.EINTR, unix.ENETDOWN: // an interface went down; it may come back
		return nil
	default:
		return fail("record", r.what, 0, err)
	}
	l, ok := from.(*unix.SockaddrLinklayer)
	if !ok || len(r.wanted) > 0 && !r.wanted[l.Ifindex] {
		return nil
	}
	if l.Hatype == unix.ARPHRD_LOOPBACK && l.Pkttype != unix.PACKET_OUTGOING {
		return nil // seen when it was sent
	}
	held := min(n, len(in))
	ip := carried(swap(l.Protocol), in[:held])
	if ip == nil {
		return nil
	}
	frame := r.buf[held-len(ip) : sllHeader+held]
	cooked((*[sllHeader]byte)(frame), l, ip)
	// The kernel begins to stamp packets only after the first ones waited for us,
	// and those get the time they are read.
	r.last = max(r.last, stamp(r.oob[:oobn]))
	r.sum.Packets++
	return r.out.write(frame, len(frame)+n-held, r.last, r.name(l.Ifindex))
}

// cooked writes the header of LINKTYPE_LINUX_SLL for an IP packet.
func cooked(h *[sllHeader]byte, l *unix.SockaddrLinklayer, ip []byte) {
	kind := uint16(etherIPv4)
	if ip[0]>>4 == 6 {
		kind = etherIPv6
	}
	binary.BigEndian.PutUint16(h[:], uint16(l.Pkttype))
	binary.BigEndian.PutUint16(h[2:], l.Hatype)
	binary.BigEndian.PutUint16(h[4:], uint16(l.Halen))
	copy(h[6:sllProtocol], l.Addr[:])
	binary.BigEndian.PutUint16(h[sllProtocol:], kind)
}

// name asks for the name of an interface in the namespace of the socket.
func (r *Recorder) name(index int) string {
	name, ok := r.names[index]
	if ok {
		return name
	}
	name = "if" + strconv.Itoa(index) // gone already
	if req, err := unix.NewIfreq(""); err == nil {
		req.SetUint32(uint32(index))
		if unix.IoctlIfreq(r.fd, unix.SIOCGIFNAME, req) == nil {
			name = req.Name()
		}
	}
	r.names[index] = name
	return name
}

// stamp returns the time the kernel gave a packet.
func stamp(oob []byte) int64 {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(data) >= 16 {
			return int64(binary.NativeEndian.Uint64(data))*1e9 + int64(binary.NativeEndian.Uint64(data[8:]))
		}
		oob = rest
	}
	return time.Now().UnixNano()
}

// swap turns a number of 16 bits from host to network order, or back.
func swap(v uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], v)
	return binary.BigEndian.Uint16(b[:])
}
