package adversary

import (
	"net/netip"
	"slices"
	"sync"

	"tlsgate/conntrack/packet"
)

// Server is one client's server without a kernel, on a wire: it does to its segments
// whatever a trick tells it to. It is safe for concurrent use.
type Server struct {
	mu sync.Mutex
	r  receiver
}

// NewServer makes one that sends by send.
func NewServer(s Stack, at netip.AddrPort, send func(ip []byte)) *Server {
	return &Server{r: receiver{Stack: s, addr: at, send: send}}
}

// Receive takes a packet that came over the last link, unless it ended before.
func (s *Server) Receive(ip []byte) {
	if len(ip) < 40 || hops(ip) < behind || len(ip) > NextLink || badOptions(ip) {
		return
	}
	s.with(func(r *receiver) { r.receive(ip) })
}

// Again sends again what was not acknowledged.
func (s *Server) Again() { s.with((*receiver).again) }

// Names are those that its program was asked for.
func (s *Server) Names() (names []string) {
	s.with(func(r *receiver) { names = slices.Clone(r.names) })
	return names
}

func (s *Server) with(f func(r *receiver)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.r)
}

// served is a wire with a server of ours at its end.
type served interface{ with(f func(r *receiver)) }

// server has the server of a trick that is Ours do something.
func (p *Peer) server(f func(r *receiver)) { p.wire.(served).with(f) }

func (m *Model) with(f func(r *receiver)) { f(m.Server) }

// dial is open as a kernel does it (RFC 9293, Section 3.10.7.3), whatever the server
// makes of the handshake.
func (p *Peer) dial() bool {
	p.kernel = true
	for try := range 4 {
		s := p.syn()
		if try == 0 && p.fast > 0 { // as Linux does: when it comes again it is without
			s.Options = append(slices.Clone(s.Options), cookie...)
			s.Payload = p.stream[:p.fast]
		}
		p.send(s)
		for b := p.wire.Recv(4 * p.patient); b != nil && !p.heard && !p.reset; b = p.wire.Recv(p.patient) {
			p.take(b)
		}
		if p.heard || p.reset {
			break
		}
		p.wire.Pass(p.patient)
	}
	if off := int(p.una - p.at(0)); p.heard && off < p.fast {
		p.send(p.segment(off, p.stream[off:p.fast]))
		return true
	}
	return p.heard && p.ack()
}

// dialFast is dial with the beginning of the hello on the SYN (RFC 7413). A SYN-ACK may
// leave it out, or a part of it: that is sent again.
func (p *Peer) dialFast(n int) bool {
	p.mean(0, p.Hello[:n])
	p.fast = n
	return p.dial()
}

// cookie is one of TCP Fast Open.
var cookie = []byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8}

// acknowledges reports whether a kernel takes ack for one of its SYN, with or without
// what came on it (tcp_input.c:tcp_rcv_synsent_state_process).
func (p *Peer) acknowledges(ack uint32) bool { return ack-p.at(0) <= uint32(p.fast) }

// takeSYN takes a SYN or SYN-ACK that came for the client.
func (p *Peer) takeSYN(t *packet.Parsed) {
	answers := t.Flags.Has(packet.ACK)
	switch right := answers && uint32(t.Ack)-p.ISS-1 < 1<<16; {
	case p.heard, p.crossed && uint32(t.Seq) != p.irs:
		if p.kernel { // RFC 5961, Section 4
			p.ack()
		}
	case right && p.kernel && !p.acknowledges(uint32(t.Ack)), answers && !right && p.kernel:
		s := p.segment(0, nil)
		s.Flags, s.Seq, s.Ack = packet.RST, uint32(t.Ack), 0
		p.send(s)
	case right:
		p.irs, p.heard, p.una, p.window = uint32(t.Seq), true, uint32(t.Ack), t.Window
		if p.Later && p.kernel && len(t.Payload) > 0 { // RFC 9293; Linux does not
			p.hear(0, t.Payload)
		}
	case p.kernel && !answers && !p.crossed: // simultaneous open
		p.irs, p.crossed = uint32(t.Seq), true
		s := p.syn()
		s.Flags, s.Ack = packet.SYN|packet.ACK, p.next()
		p.send(s)
	}
}
