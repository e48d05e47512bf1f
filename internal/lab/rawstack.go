package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Ports of raw connections. They lie above the ports the kernel gives to its own
// (ip_local_port_range), so that one rule can keep the kernel from resetting
// connections it does not know.
const (
	rawPortFirst = 61000
	rawPortLast  = 65535
)

// stack sends and receives the TCP packets of a host's raw connections on a
// packet socket: beside the kernel's TCP, and beside its netfilter.
type stack struct {
	host   *Host
	file   *os.File
	socket syscall.RawConn
	done   chan struct{} // closed when receive has ended

	mu    sync.Mutex
	conns map[uint16]*RawConn
	ports map[uint16]*RawPort
	next  uint16
}

// rawStack returns the host's stack, which the first call makes.
func (h *Host) rawStack() (*stack, error) {
	h.rawMu.Lock()
	defer h.rawMu.Unlock()
	if h.raw != nil {
		return h.raw, nil
	}
	if h.link.index == 0 {
		return nil, &Error{Op: "raw connection", Err: fmt.Errorf("%s has no one link", h.Name)}
	}
	s, err := newStack(h)
	if err != nil {
		return nil, err
	}
	h.raw = s
	return s, nil
}

func newStack(h *Host) (*stack, error) {
	programs := []string{"iptables"}
	if h.IPv6.IsValid() {
		programs = append(programs, "ip6tables")
	}
	for _, program := range programs {
		err := h.iptables(h.lab.ctx, program, "-A", "OUTPUT", "-p", "tcp",
			"--sport", fmt.Sprintf("%d:%d", rawPortFirst, rawPortLast),
			"--tcp-flags", "RST", "RST", "-j", "DROP")
		if err != nil {
			return nil, err
		}
	}
	s := &stack{
		host: h, done: make(chan struct{}), conns: make(map[uint16]*RawConn), ports: make(map[uint16]*RawPort),
		next: rawPortFirst + rand.N(uint16(rawPortLast-rawPortFirst)),
	}
	err := h.Run(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return permissionError("open a packet socket", err)
		}
		// Without room for a burst of one-byte segments the socket would lose some.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20)
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: h.link.index}); err != nil {
			unix.Close(fd)
			return wrap("bind a packet socket", err)
		}
		s.file = os.NewFile(uintptr(fd), "packet")
		s.socket, err = s.file.SyscallConn()
		return wrap("open a packet socket", err)
	})
	if err != nil {
		return nil, err
	}
	go s.receive()
	return s, h.lab.atClose(s.close)
}

// bigEndian turns a number round for a field in network order.
func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

func (s *stack) close() {
	s.file.Close()
	<-s.done
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for _, c := range conns {
		c.fail(os.ErrClosed)
	}
}

// add gives a connection a port.
func (s *stack) add(c *RawConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return &Error{Op: "raw connection", Err: os.ErrClosed}
	}
	for range rawPortLast - rawPortFirst {
		if s.next++; s.next < rawPortFirst {
			s.next = rawPortFirst
		}
		if s.conns[s.next] == nil && s.ports[s.next] == nil {
			s.conns[s.next] = c
			c.local = netip.AddrPortFrom(c.local.Addr(), s.next)
			return nil
		}
	}
	return &Error{Op: "raw connection", Err: context.DeadlineExceeded}
}

func (s *stack) remove(c *RawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.local.Port())
}

// receive hands packets to their connections until the socket is closed.
func (s *stack) receive() {
	defer close(s.done)
	var (
		ip4 layers.IPv4
		ip6 layers.IPv6
		tcp layers.TCP
	)
	parser4 := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &ip4, &tcp)
	parser6 := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv6, &ip6, &tcp)
	parser4.IgnoreUnsupported, parser6.IgnoreUnsupported = true, true
	var decoded []gopacket.LayerType
	buffer := make([]byte, 1<<17)
	for {
		packet, ok := s.read(buffer)
		if !ok {
			return
		}
		if len(packet) == 0 || s.toPort(packet) {
			continue
		}
		var from netip.Addr
		var err error
		if packet[0]>>4 == 4 {
			err = parser4.DecodeLayers(packet, &decoded)
			from, _ = netip.AddrFromSlice(ip4.SrcIP)
		} else {
			err = parser6.DecodeLayers(packet, &decoded)
			from, _ = netip.AddrFromSlice(ip6.SrcIP)
		}
		if err != nil || len(decoded) != 2 {
			continue
		}
		s.mu.Lock()
		c := s.conns[uint16(tcp.DstPort)]
		s.mu.Unlock()
		if c != nil && c.remote == netip.AddrPortFrom(from, uint16(tcp.SrcPort)) {
			c.received(&tcp)
		}
	}
}

// read returns the next packet for this host, or one of no bytes.
func (s *stack) read(buffer []byte) ([]byte, bool) {
	var (
		n    int
		from unix.Sockaddr
		err  error
	)
	if s.socket.Read(func(fd uintptr) bool {
		n, from, err = unix.Recvfrom(int(fd), buffer, 0)
		return err != unix.EAGAIN
	}) != nil {
		return nil, false
	}
	if l, ok := from.(*unix.SockaddrLinklayer); err != nil || !ok || l.Pkttype != unix.PACKET_HOST {
		return nil, true
	}
	return buffer[:n], true
}

// send sends one segment of a connection. What the kernel does not take counts
// as lost on the way.
func (s *stack) send(c *RawConn, tcp *layers.TCP, how *Segment) {
	ttl := how.TTL
	if ttl == 0 {
		ttl = 64
	}
	tcp.SrcPort, tcp.DstPort = layers.TCPPort(c.local.Port()), layers.TCPPort(c.remote.Port())
	var ip gopacket.SerializableLayer
	protocol := uint16(unix.ETH_P_IP)
	if c.remote.Addr().Is4() {
		l := &layers.IPv4{
			Version: 4, TTL: ttl, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment,
			SrcIP: c.local.Addr().AsSlice(), DstIP: c.remote.Addr().AsSlice(),
		}
		tcp.SetNetworkLayerForChecksum(l)
		ip = l
	} else {
		l := &layers.IPv6{
			Version: 6, HopLimit: ttl, NextHeader: layers.IPProtocolTCP,
			SrcIP: c.local.Addr().AsSlice(), DstIP: c.remote.Addr().AsSlice(),
		}
		tcp.SetNetworkLayerForChecksum(l)
		ip, protocol = l, unix.ETH_P_IPV6
	}
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if gopacket.SerializeLayers(buffer, options, ip, tcp, gopacket.Payload(how.Data)) != nil {
		return
	}
	packet := buffer.Bytes()
	if how.BadChecksum {
		packet[len(packet)-len(how.Data)-4] ^= 0x55 // last four octets: checksum, urgent pointer
	}
	s.transmit(packet, protocol)
}

// transmit sends an IP packet to the gateway.
func (s *stack) transmit(packet []byte, protocol uint16) {
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(protocol), Ifindex: s.host.link.index, Halen: 6}
	copy(to.Addr[:], s.host.link.gateway)
	s.socket.Write(func(fd uintptr) bool {
		return unix.Sendto(int(fd), packet, 0, to) != unix.EAGAIN
	})
}
