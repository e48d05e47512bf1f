package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// rawPortBacklog is how many packets wait for a RawPort's holder; more are lost.
const rawPortBacklog = 1024

// RawPort is a TCP port of a host that has no TCP at all: its holder sends
// whatever packets it likes, and is given those that come for the port. It is
// safe for concurrent use.
type RawPort struct {
	Port  uint16
	stack *stack
	in    chan []byte
}

// RawPort takes a port. Needs iptables and ip6tables.
func (h *Host) RawPort() (*RawPort, error) {
	s, err := h.rawStack()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for range rawPortLast - rawPortFirst {
		if s.next++; s.next < rawPortFirst {
			s.next = rawPortFirst
		}
		if s.conns[s.next] == nil && s.ports[s.next] == nil {
			p := &RawPort{Port: s.next, stack: s, in: make(chan []byte, rawPortBacklog)}
			s.ports[s.next] = p
			return p, nil
		}
	}
	return nil, &Error{Op: "raw port", Err: fmt.Errorf("all are taken: %w", context.DeadlineExceeded)}
}

// Send sends an IP packet to the gateway, as it is. What the kernel does not take
// (it is larger than the link allows) counts as lost on the way.
func (p *RawPort) Send(ip []byte) {
	protocol := uint16(unix.ETH_P_IP)
	if len(ip) > 0 && ip[0]>>4 == 6 {
		protocol = unix.ETH_P_IPV6
	}
	p.stack.transmit(ip, protocol)
}

// Recv returns the next IP packet that came for the port, nil if none comes in
// time.
func (p *RawPort) Recv(wait time.Duration) []byte {
	select {
	case ip := <-p.in:
		return ip
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case ip := <-p.in:
		return ip
	case <-timer.C:
		return nil
	}
}

// Close gives the port back.
func (p *RawPort) Close() error {
	p.stack.mu.Lock()
	defer p.stack.mu.Unlock()
	delete(p.stack.ports, p.Port)
	return nil
}

// toPort gives a packet to the RawPort it is for, and reports whether there is one.
func (s *stack) toPort(ip []byte) bool {
	at, protocol := 40, 6
	if ip[0]>>4 == 4 {
		at, protocol = int(ip[0]&15)*4, 9
	}
	if len(ip) < at+4 || ip[protocol] != unix.IPPROTO_TCP {
		return false
	}
	s.mu.Lock()
	p := s.ports[binary.BigEndian.Uint16(ip[at+2:])]
	s.mu.Unlock()
	if p == nil {
		return false
	}
	select {
	case p.in <- slices.Clone(ip):
	default:
	}
	return true
}
