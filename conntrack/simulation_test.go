package conntrack

import (
	"net/netip"

	"pgregory.net/rapid"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// end is an honest TCP after RFC 9293, Section 3.10, and RFC 5961, with as
// little as is needed: its application sends zeros and reads when told to.
type end struct {
	at, peer  netip.AddrPort
	state     endState
	iss       seqnum.Value
	una, nxt  seqnum.Value
	wnd       uint32 // SND.WND
	wl1, wl2  seqnum.Value
	maxWnd    uint32
	irs, rcv  seqnum.Value
	edge      seqnum.Value // right edge of the window offered last
	room      uint32       // what the application would take now
	later     [][2]seqnum.Value
	fin       bool // our FIN is sent: nxt is after it
	finRcvd   bool
	laterFin  bool
	finAt     seqnum.Value
	shift     uint8
	offers    bool // window scaling
	scaling   bool
	peerShift uint8
	out       []packet.Parsed
}

type endState uint8

const (
	gone endState = iota
	listening
	synSent
	synReceived
	established
)

func (e *end) window(syn bool) uint16 {
	shift := uint8(0)
	if e.scaling && !syn {
		shift = e.shift
	}
	w := min(e.room>>shift, 65535)
	if e.state >= synReceived || e.state == synSent && syn {
		e.edge = e.rcv.Add(w << shift)
	}
	return uint16(w)
}

func (e *end) emit(f packet.Flags, seq seqnum.Value, n int) {
	p := seg(e.at, e.peer, f, seq, e.rcv, n)
	p.Window = e.window(f.Has(packet.SYN))
	if f.Has(packet.SYN) && (e.offers || f.Has(packet.ACK) && e.scaling) {
		p.HasWindowScale, p.WindowScale = true, e.shift
	}
	if !f.Has(packet.ACK) {
		p.Ack = 0
	}
	e.out = append(e.out, p)
}

func (e *end) ack() { e.emit(packet.ACK, e.nxt, 0) }

func (e *end) sendSYN() {
	if e.state == synReceived {
		e.emit(packet.SYN|packet.ACK, e.iss, 0)
	} else {
		e.emit(packet.SYN, e.iss, 0)
	}
}

func (e *end) open(iss seqnum.Value) {
	e.state, e.iss, e.una, e.nxt = synSent, iss, iss, iss.Add(1)
	e.emit(packet.SYN, iss, 0)
}

// send sends up to n bytes of new data, as far as the window allows.
func (e *end) send(n int) {
	free := e.una.Add(e.wnd).Diff(e.nxt)
	if e.state == established && !e.fin && free > 0 {
		n = min(n, int(free))
		at := e.nxt
		e.nxt = e.nxt.Add(uint32(n))
		e.emit(packet.ACK|packet.PSH, at, n)
	}
}

func (e *end) close() {
	if e.state == established && !e.fin && e.una.Add(e.wnd).Diff(e.nxt) >= 0 {
		e.fin = true
		e.nxt = e.nxt.Add(1)
		e.emit(packet.FIN|packet.ACK, e.nxt.Sub(1), 0)
	}
}

// again retransmits up to n bytes from una on, or the SYN, or the FIN.
func (e *end) again(n int) {
	switch e.state {
	case synSent, synReceived:
		e.sendSYN()
	case established:
		f, have := packet.ACK, int(e.una.Size(e.nxt))
		if e.fin && have > 0 {
			if have--; n >= have {
				f |= packet.FIN
			}
		}
		if n = min(n, have); n > 0 || f.Has(packet.FIN) {
			e.emit(f, e.una, n)
		}
	}
}

// probe sends a keep-alive, or a byte into a window that may be closed.
func (e *end) probe(n int) {
	switch {
	case e.state != established:
	case e.una == e.nxt && e.wnd == 0 && !e.fin && n > 0:
		e.nxt = e.nxt.Add(1)
		e.emit(packet.ACK, e.una, 1)
	default:
		e.emit(packet.ACK, e.una.Sub(1), n)
	}
}

func (e *end) abort() {
	if e.state >= synReceived {
		e.emit(packet.RST|packet.ACK, e.nxt, 0)
	}
	e.state = gone
}

// receive handles a segment and reports whether it was one to act upon.
func (e *end) receive(p *packet.Parsed) bool {
	switch e.state {
	case gone, listening:
		return e.receiveIdle(p)
	case synSent:
		return e.receiveSynSent(p)
	}
	if e.state == synReceived && p.Flags.Has(packet.SYN) && p.Seq == e.irs { // ours again, or crossing
		if !p.Flags.Has(packet.ACK) {
			e.sendSYN()
			return false
		}
		if p.Ack != e.iss.Add(1) {
			return false
		}
		e.establish(p)
		e.ack()
		return true
	}
	size := e.rcv.Size(e.edge)
	last := p.Seq.Add(max(p.SegLen(), 1) - 1)
	inside := p.Seq.InWindow(e.rcv, size) || last.InWindow(e.rcv, size)
	if size == 0 || p.SegLen() == 0 { // tcp_input.c:tcp_sequence takes what lies at either edge
		inside = inside || p.Seq == e.rcv || p.SegLen() == 0 && p.Seq == e.edge
	}
	switch {
	case !inside:
		if !p.Flags.Has(packet.RST) {
			e.ack()
		}
		return false
	case p.Flags.Has(packet.RST):
		if p.Seq != e.rcv {
			e.ack() // RFC 5961, Section 3
			return false
		}
		e.state = gone
		return true
	case p.Flags.Has(packet.SYN):
		e.ack()
		return false
	case e.state == synReceived:
		if p.Ack != e.iss.Add(1) && !between(p.Ack, e.iss.Add(1), e.nxt) {
			return false
		}
		e.establish(p)
	case !between(p.Ack, e.una.Sub(e.maxWnd), e.nxt):
		e.ack()
		return false
	}
	e.acknowledge(p)
	e.take(p, size)
	return true
}

func (e *end) receiveIdle(p *packet.Parsed) bool {
	switch {
	case p.Flags.Has(packet.RST):
		return false
	case p.Flags.Has(packet.ACK):
		r := seg(e.at, e.peer, packet.RST, p.Ack, 0, 0)
		e.out = append(e.out, r)
		return false
	case e.state == gone:
		r := seg(e.at, e.peer, packet.RST|packet.ACK, 0, p.Seq.Add(p.SegLen()), 0)
		e.out = append(e.out, r)
		return false
	}
	e.state, e.una, e.nxt = synReceived, e.iss, e.iss.Add(1)
	e.takeSYN(p)
	e.sendSYN()
	return true
}

func (e *end) receiveSynSent(p *packet.Parsed) bool {
	if p.Flags.Has(packet.ACK) && p.Ack != e.nxt {
		if !p.Flags.Has(packet.RST) {
			r := seg(e.at, e.peer, packet.RST, p.Ack, 0, 0)
			e.out = append(e.out, r)
		}
		return false
	}
	switch {
	case p.Flags.Has(packet.RST):
		if p.Flags.Has(packet.ACK) {
			e.state = gone
		}
		return p.Flags.Has(packet.ACK)
	case !p.Flags.Has(packet.SYN):
		return false
	}
	e.takeSYN(p)
	if p.Flags.Has(packet.ACK) {
		e.establish(p)
		e.ack()
		return true
	}
	e.state = synReceived
	e.sendSYN()
	return true
}

func (e *end) takeSYN(p *packet.Parsed) {
	e.irs, e.rcv = p.Seq, p.Seq.Add(1)
	e.scaling, e.peerShift = e.offers && p.HasWindowScale, p.WindowScale
	e.wnd, e.wl1, e.wl2 = uint32(p.Window), p.Seq, e.una
	e.maxWnd = e.wnd
}

func (e *end) establish(p *packet.Parsed) {
	e.state = established
	e.una = p.Ack
	e.wl2 = p.Ack
}

func (e *end) acknowledge(p *packet.Parsed) {
	newer := e.una.Less(p.Ack) // tcp_input.c:tcp_may_update_window
	if newer {
		e.una = p.Ack
	}
	if newer || e.wl1.Less(p.Seq) || e.wl1 == p.Seq && e.wl2.LessEq(p.Ack) {
		e.wnd = uint32(p.Window)
		if e.scaling && !p.Flags.Has(packet.SYN) {
			e.wnd <<= e.peerShift
		}
		e.wl1, e.wl2, e.maxWnd = p.Seq, p.Ack, max(e.maxWnd, e.wnd)
	}
}

func (e *end) take(p *packet.Parsed, size uint32) {
	if p.SegLen() == 0 {
		return
	}
	from, to := p.Seq, p.Seq.Add(uint32(len(p.Payload)))
	if p.Flags.Has(packet.FIN) {
		e.laterFin, e.finAt = true, to
	}
	if edge := e.rcv.Add(size); edge.Less(to) {
		to = edge
	}
	e.later = append(e.later, [2]seqnum.Value{from, to})
	for moved := true; moved; {
		moved = false
		for _, l := range e.later {
			if l[0].LessEq(e.rcv) && e.rcv.Less(l[1]) {
				e.room -= min(e.room, e.rcv.Size(l[1]))
				e.rcv, moved = l[1], true
			}
		}
	}
	if e.laterFin && !e.finRcvd && e.rcv == e.finAt {
		e.rcv, e.finRcvd = e.rcv.Add(1), true
	}
	e.ack()
}

// drawEnd draws an end's number and options.
func drawEnd(t *rapid.T, at, peer netip.AddrPort) *end {
	e := &end{at: at, peer: peer}
	e.iss = rapid.OneOf(rapid.SampledFrom([]seqnum.Value{0, 1<<32 - 1, 1<<32 - 900, 1<<31 - 900}),
		rapid.Map(rapid.Uint32(), func(v uint32) seqnum.Value { return seqnum.Value(v) })).Draw(t, "iss")
	e.offers = rapid.Bool().Draw(t, "offers")
	e.shift = rapid.SampledFrom([]uint8{0, 2, 7, 14}).Draw(t, "shift")
	e.room = uint32(rapid.SampledFrom([]int{0, 1, 500, 5000, 65535, 1 << 20, 1 << 30}).Draw(t, "room"))
	return e
}
