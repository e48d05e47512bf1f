package adversary

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"tlsgate/config"
	"tlsgate/conntrack/packet"
	"tlsgate/internal/engine"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// Model is an engine in memory between a client and a server of a stack, with as
// much of the kernel around it as our rules make use of. It is a Wire.
type Model struct {
	Server *receiver

	engine *engine.Engine
	cfg    engine.Config
	policy *tlsrules.Policy
	mark   uint32 // the connection's
	now    int64
	queue  [][]byte // for the client
	depth  int
	open   bool // no firewall
	sink   reasons
}

const (
	clientLink, serverLink = 1, 2
	generation             = 5
)

// began is when a model's clock begins.
const began = 1_700_000_000_000_000_000

// NewModel makes one for a policy.
func NewModel(c *config.Config, midstream engine.Midstream, s Stack, server netip.AddrPort) *Model {
	marks, err := nfq.NewMarks(0x00ff0000)
	if err != nil {
		panic(err)
	}
	m := &Model{now: began, policy: c.Policy}
	m.Server = &receiver{Stack: s, addr: server, send: m.fromServer}
	m.cfg = engine.Config{
		Default: engine.Defaults{
			Malformed: c.Default.Malformed, Ambiguous: c.Default.Ambiguous, Undecided: c.Default.Undecided, Midstream: midstream,
		},
		MPTCP: engine.MPTCPStrip, Overload: c.Default.Overload, Offload: true, Marks: marks, Generation: generation,
		Limits: engine.Limits{Connections: 64}, Inject: m.inject, Sink: &m.sink,
	}
	m.engine = engine.New(m.cfg, m.policy)
	return m
}

// Send takes a packet from the client's link.
func (m *Model) Send(ip []byte) { m.arrive(slices.Clone(ip), clientLink) }

func (m *Model) fromServer(ip []byte) { m.arrive(slices.Clone(ip), serverLink) }

// arrive takes a packet through the gateway, and to where it says.
func (m *Model) arrive(ip []byte, in uint32) {
	if m.depth > 64 || len(ip) < 40 || badHeader(ip) {
		return
	}
	m.depth++
	defer func() { m.depth-- }()
	to, out := destination(ip), uint32(clientLink)
	if to == m.Server.addr.Addr() {
		out = serverLink
	}
	if hops(ip) <= 1 {
		return
	}
	forward(ip)
	m.now += int64(time.Millisecond)
	if ip = m.judge(ip, in, out); ip == nil {
		return
	}
	if out == clientLink {
		m.queue = append(m.queue, ip)
	} else if hops(ip) >= behind && len(ip) <= NextLink && !badOptions(ip) {
		m.Server.receive(ip)
	}
}

// judge is our rules with the engine behind them; nil is a packet that is dropped.
func (m *Model) judge(ip []byte, in, out uint32) []byte {
	if m.open {
		return ip
	}
	var t packet.Parsed
	marks := m.cfg.Marks
	if packet.Decode(ip, &t) == packet.OK && t.Flags&synFINRST == 0 && m.mark == marks.Accepted(generation) {
		return ip // the kernel's
	}
	p := nfq.Packet{Payload: ip, Hook: nfq.Forward, InDev: in, OutDev: out, Mark: m.mark, ChecksumUnverified: true}
	untracked := m.untracked(&t)
	if untracked {
		p.Mark = marks.Untracked()
	}
	r := m.engine.Packet(&p, m.now)
	if r.Verdict != nfq.Repeat {
		return nil
	}
	if untracked {
		return ip
	}
	switch ours := r.Mark & marks.Mask(); {
	case marks.Kind(ours) == nfq.Refused:
		m.mark = ours
		return nil
	case marks.Kind(ours) == nfq.Accepted:
		m.mark = ours
	case ours == marks.Clear():
		m.mark = 0
	}
	if r.Payload != nil {
		return slices.Clone(r.Payload)
	}
	return ip
}

// untracked reports whether an RST of the client's is none of the connection's to the
// kernel (nf_conntrack_proto_tcp.c:tcp_valid_flags and tcp_in_window).
func (m *Model) untracked(t *packet.Parsed) bool {
	return t.Flags.Has(packet.RST) && t.Dst == m.Server.addr.Addr() &&
		(t.Flags&(packet.SYN|packet.FIN|packet.URG) != 0 || t.Flags.Has(packet.ACK) && int32(uint32(t.Ack)-m.Server.last()) > 0)
}

// inject takes a packet of the engine's own to where it says.
func (m *Model) inject(ip []byte, _ uint32) error {
	ip = slices.Clone(ip)
	if destination(ip) == m.Server.addr.Addr() {
		m.Server.receive(ip)
	} else {
		m.queue = append(m.queue, ip)
	}
	return nil
}

// Recv returns what came for the client.
func (m *Model) Recv(time.Duration) []byte {
	if len(m.queue) == 0 {
		return nil
	}
	ip := m.queue[0]
	m.queue = m.queue[1:]
	return ip
}

// Pass lets time pass, for the engine and for the server's timers.
func (m *Model) Pass(d time.Duration) {
	step := int64(max(100*time.Millisecond, d/200))
	for end := m.now + int64(d); m.now < end; {
		m.now = min(end, m.now+step)
		m.engine.Tick(m.now)
	}
	m.Server.minute = uint32((m.now - began) / int64(time.Minute))
	m.Server.again()
}

// Restart ends the engine, and begins another that knows of nothing.
func (m *Model) Restart() {
	m.engine.Close(m.now)
	m.engine = engine.New(m.cfg, m.policy)
}

// Crowd has n other connections come, from other clients, and fall silent.
func (m *Model) Crowd(n int) {
	for i := range n {
		c := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 40000)
		s := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, 0, 1}), 443)
		for _, g := range []Segment{
			{From: c, To: s, Seq: 1, Flags: packet.SYN, Window: 0xffff},
			{From: s, To: c, Seq: 1, Ack: 2, Flags: packet.SYN | packet.ACK, Window: 0xffff},
			{From: c, To: s, Seq: 2, Ack: 2, Flags: packet.ACK, Window: 0xffff},
		} {
			m.now++
			in := uint32(clientLink)
			if g.From == s {
				in = serverLink
			}
			m.engine.Packet(&nfq.Packet{Payload: g.Packet(), Hook: nfq.Forward, InDev: in, OutDev: clientLink + serverLink - in}, m.now)
		}
	}
	m.Pass(11 * time.Second)
}

// Stats are the engine's counters.
func (m *Model) Stats() engine.Stats {
	m.engine.Tick(m.now)
	return m.engine.Stats()
}

// Reasons are those of the connections that were refused.
func (m *Model) Reasons() []string { return m.sink }

// Left reports whether a connection is left to the kernel that no hello was
// answered in.
func (m *Model) Left() bool {
	return m.mark == m.cfg.Marks.Accepted(generation) && m.Server.flights == 0
}

// reasons is the sink.
type reasons []string

func (s *reasons) TLS(*engine.Report)    {}
func (s *reasons) Flow(*engine.Report)   {}
func (s *reasons) Drop(r *engine.Report) { *s = append(*s, r.Decision.Reason.String()) }

func destination(ip []byte) netip.Addr {
	if ip[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(ip[16:20]))
	}
	return netip.AddrFrom16([16]byte(ip[24:40]))
}

func hops(ip []byte) uint8 {
	if ip[0]>>4 == 4 {
		return ip[8]
	}
	return ip[7]
}

// forward is what a router does to a header.
func forward(ip []byte) {
	if ip[0]>>4 == 6 {
		ip[7]--
		return
	}
	head := ip[:int(ip[0]&15)*4]
	ip[8]--
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, head))
}

// badOptions reports what a host discards for its IP options: IPv4's broken, or
// IPv6's unknown where that is to be said (RFC 8200, Section 4.2).
func badOptions(ip []byte) bool {
	if ip[0]>>4 == 4 {
		return ip[0]&15 > 5 && ip[20] == 0x82 && ip[21] > 11
	}
	return ip[6] == 60 && ip[42]&0xc0 == 0xc0
}

// badHeader reports what ip_input.c:ip_rcv_core discards before any rule sees it.
func badHeader(ip []byte) bool {
	head := int(ip[0]&15) * 4
	return ip[0]>>4 == 4 && (head < 20 || head > len(ip) || sum(0, ip[:head]) != 0xffff)
}
