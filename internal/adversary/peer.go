package adversary

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"tlsgate/conntrack/packet"
)

const synFINRST = packet.SYN | packet.FIN | packet.RST

// Peer is the client of one connection, or of several on the same ports. It sends
// what a trick tells it, acknowledges only when told, and sends again what was
// meant to arrive when the trick is over.
type Peer struct {
	Client, Server netip.AddrPort
	// Stake is what Hello and Spec are made for; Good is another, permitted hello.
	Stake       Stake
	Spec        Hello
	Hello, Good []byte

	// Options of the SYN; Stamps puts timestamps on all that follows.
	Options []byte
	Stamps  bool
	ISS     uint32
	// Later: of two copies not yet read the later one counts.
	Later bool

	wire    Wire
	irs     uint32
	heard   bool // the SYN-ACK came
	got     []byte
	early   map[int]byte
	una     uint32 // of ours, acknowledged before
	stream  []byte // what is meant to arrive
	reset   bool
	clock   uint32
	echo    uint32
	window  uint16 // the server's, last
	came    int    // packets
	patient time.Duration
	strict  bool // any answer is won
	retries bool // a HelloRetryRequest answers a hello that is permitted
	kernel  bool // the handshake is a kernel's
	fast    int  // bytes that its SYN brought
	crossed bool // a SYN of the server's came in answer to ours
}

// NewPeer makes a client. quiet is how long nothing comes when nothing will.
func NewPeer(w Wire, client, server netip.AddrPort, s Stake, quiet time.Duration) *Peer {
	spec := hello(s)
	return &Peer{
		Client: client, Server: server, Stake: s, Spec: spec, Hello: spec.Record(), Good: innocent().Record(),
		Options: []byte{2, 4, 5, 180, 1, 3, 3, 7}, ISS: 0x10203040, wire: w, patient: quiet, clock: 1 << 20,
		early: map[int]byte{},
	}
}

// Answers are the ServerHellos that came.
func (p *Peer) Answers() []Answer { return answers(p.got) }

// Reset reports whether a reset came that the client would take.
func (p *Peer) Reset() bool { return p.reset }

// at is the sequence number of an offset of the stream.
func (p *Peer) at(off int) uint32 { return p.ISS + 1 + uint32(off) }

// next is what we expect of the server.
func (p *Peer) next() uint32 { return p.irs + 1 + uint32(len(p.got)) }

// segment is one with data at an offset of the stream, as it should be.
func (p *Peer) segment(off int, data []byte) Segment {
	s := Segment{From: p.Client, To: p.Server, Seq: p.at(off), Ack: p.next(), Flags: packet.ACK, Window: 0xffff, Payload: data}
	if len(data) > 0 {
		s.Flags |= packet.PSH
	}
	if p.Stamps {
		p.clock++
		s.Options = stamp(p.clock, p.echo)
	}
	return s
}

// forgedWindow tells the client its own forgeries from what the server sent.
const forgedWindow = 12345

// forged is a segment in the server's name; acked is how much of ours it has.
func (p *Peer) forged(acked int, flags packet.Flags) Segment {
	return Segment{From: p.Server, To: p.Client, Seq: p.next(), Ack: p.at(acked), Flags: flags, Window: forgedWindow}
}

func stamp(value, echo uint32) []byte {
	return []byte{1, 1, 8, 10, byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value),
		byte(echo >> 24), byte(echo >> 16), byte(echo >> 8), byte(echo)}
}

// syn is the client's first segment.
func (p *Peer) syn() Segment {
	s := p.segment(-1, nil)
	s.Flags, s.Ack, s.Options = packet.SYN, 0, p.Options
	if p.Stamps {
		s.Options = append(slices.Clone(p.Options), stamp(p.clock, 0)...)
	}
	return s
}

// send sends a segment, whatever becomes of it.
func (p *Peer) send(s Segment) { p.wire.Send(s.Packet()) }

// decoy sends a segment that ends behind the firewall.
func (p *Peer) decoy(s Segment) {
	s.TTL = 8
	p.send(s)
}

// data sends bytes at an offset of the stream, and means them.
func (p *Peer) data(off int, b []byte) {
	p.mean(off, b)
	p.send(p.segment(off, b))
}

// mean notes what is to arrive at an offset: what was not acknowledged when the
// trick is over is sent again.
func (p *Peer) mean(off int, b []byte) {
	if n := off + len(b); n > len(p.stream) {
		p.stream = append(p.stream, make([]byte, n-len(p.stream))...)
	}
	copy(p.stream[off:], b)
}

// pieces sends bytes in segments of a size.
func (p *Peer) pieces(off int, b []byte, size int) {
	for piece := range slices.Chunk(b, size) {
		p.data(off, piece)
		off += len(piece)
	}
}

// open is the three-way handshake.
func (p *Peer) open() bool { return p.connect() && p.ack() }

// connect is open without the last acknowledgement.
func (p *Peer) connect() bool {
	for range 4 {
		p.send(p.syn())
		if p.answered() {
			return true
		}
		p.wire.Pass(100 * time.Millisecond)
	}
	return false
}

// answered waits for the SYN-ACK.
func (p *Peer) answered() bool {
	for range 16 {
		p.take(p.wire.Recv(8 * p.patient))
		if p.heard || p.reset {
			break
		}
	}
	return p.heard
}

// ack acknowledges what came.
func (p *Peer) ack() bool {
	p.send(p.segment(len(p.stream), nil))
	return true
}

// settle takes what comes until nothing does.
func (p *Peer) settle() {
	for b := p.wire.Recv(p.patient); b != nil; b = p.wire.Recv(p.patient) {
		had := len(p.got)
		if p.take(b); len(p.got) > had {
			p.ack()
		}
	}
}

// pass lets time pass.
func (p *Peer) pass(d time.Duration) {
	p.settle()
	p.wire.Pass(d)
	p.settle()
}

// restart has the daemon end, and another one begin that knows of nothing.
func (p *Peer) restart() { p.wire.(interface{ Restart() }).Restart() }

// again begins another connection on the ports.
func (p *Peer) again(iss uint32) {
	p.settle()
	p.ISS, p.irs, p.heard, p.reset, p.una, p.fast, p.crossed = iss, 0, false, false, 0, 0, false
	p.got, p.stream, p.early = nil, nil, map[int]byte{}
}

// insist sends again what the server has not acknowledged, as a TCP would.
func (p *Peer) insist() {
	p.settle()
	for try := range 5 {
		if p.reset || !p.heard || len(p.Answers()) > 0 || p.una == p.at(len(p.stream)) {
			return
		}
		off := max(int(int32(p.una-p.at(0))), 0)
		for len(p.stream)-off > 0 {
			n := min(1200, len(p.stream)-off)
			p.send(p.segment(off, p.stream[off:off+n]))
			off += n
		}
		p.wire.Pass(time.Duration(try) * p.patient)
		p.settle()
	}
}

// take takes a packet that came for the client.
func (p *Peer) take(ip []byte) {
	var t packet.Parsed
	if ip == nil || hops(ip) < behind || packet.Decode(ip, &t) != packet.OK || p.kernel && !t.ChecksumOK() || t.Src != p.Server.Addr() || t.SrcPort != p.Server.Port() || t.Window == forgedWindow {
		return
	}
	p.came++
	if t.HasTimestamp {
		p.echo = t.TSVal
	}
	switch {
	case t.Flags.Has(packet.RST):
		if p.heard && uint32(t.Seq)-p.next() < 1<<16 || !p.heard && t.Flags.Has(packet.ACK) && p.acknowledges(uint32(t.Ack)) {
			p.reset = true
		}
		return
	case t.Flags.Has(packet.SYN):
		p.takeSYN(&t)
		return
	case p.crossed && !p.heard && t.Flags.Has(packet.ACK) && p.acknowledges(uint32(t.Ack)):
		p.heard, p.una = true, uint32(t.Ack)
	}
	if t.Flags.Has(packet.ACK) && int32(uint32(t.Ack)-p.una) > 0 {
		p.una = uint32(t.Ack)
	}
	p.window = t.Window
	if p.heard && len(t.Payload) > 0 {
		p.hear(int(int32(uint32(t.Seq)-p.irs-1)), t.Payload)
	}
}

// hear puts the server's bytes in order.
func (p *Peer) hear(at int, b []byte) {
	for i, v := range b {
		if at := at + i; at >= len(p.got) && at < 1<<20 {
			if _, has := p.early[at]; !has || p.Later {
				p.early[at] = v
			}
		}
	}
	for v, ok := p.early[len(p.got)]; ok; v, ok = p.early[len(p.got)] {
		delete(p.early, len(p.got))
		p.got = append(p.got, v)
	}
}

// Play plays a trick, and sends again what was meant to arrive.
func (p *Peer) Play(t *Trick) {
	p.strict = t.Strict
	t.Play(p)
	p.insist()
}

// HangUp resets what is left of the connection.
func (p *Peer) HangUp() {
	for _, seq := range []uint32{p.una, p.at(len(p.stream))} {
		s := p.segment(0, nil)
		s.Flags, s.Seq = packet.RST, seq
		p.send(s)
	}
}

// Won says what is wrong with what came of a play: names are those that the
// server's program was asked for. With something at stake that is what the client
// has won, with nothing that its hello was not answered.
func (p *Peer) Won(names []string) string {
	for _, n := range names {
		if p.Stake == StakeName && (p.strict || asServersRead(n) == Forbidden) {
			return "the server has read a hello for " + n
		}
	}
	told := len(names) > 0 && !p.strict // and what it was told is not forbidden
	answered := false
	for _, a := range p.Answers() {
		answered = answered || a.ID == idAtStake
		switch {
		case p.Stake == StakeName && a.ID == idAtStake && !told && !(a.Retry && p.retries):
			return "the server has answered"
		case p.Stake == StakeSuite && a.Suite == chacha20 && !a.Retry:
			return "the ServerHello came"
		}
	}
	if p.Stake == StakeNone && !answered {
		return "a permitted hello is not answered"
	}
	return ""
}

// asServersRead is a name as the server reads it that makes most of it: nginx takes
// a port off, Caddy spaces, C what is behind a NUL, and dots at the end are taken off
// by many.
func asServersRead(name string) string {
	name, _, _ = strings.Cut(name, "\x00")
	name, _, _ = strings.Cut(strings.TrimSpace(name), ":")
	return strings.Trim(strings.ToLower(name), ".")
}

// twin is the hello without what is forbidden, and as long.
func (p *Peer) twin() []byte {
	h := p.Spec
	h.Name, h.Suites, h.ID = Permitted, []uint16{aes128}, idInnocent
	return h.Record()
}
