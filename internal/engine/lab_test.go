package engine

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

const (
	original = conntrack.Original
	reply    = conntrack.Reply
	second   = int64(1e9)
	foreign  = uint32(0x5a00_0001) // bits of the packet mark that are not ours
)

// lab is an engine between hosts, with as much of the kernel around it as our
// rules make use of: connection marks, and what a mark in a verdict does.
type lab struct {
	t     testing.TB
	e     *Engine
	marks nfq.Marks
	sink  *sink
	now   int64
	links []*link
	ports uint16
	// alter, if not nil, changes a packet before it is queued; replacedBy is told of
	// what one goes on as.
	alter      func(*nfq.Packet)
	replacedBy func(*packet.Parsed)
	drops      int // verdicts, refusals by mark included
}

// link is one connection through the engine.
type link struct {
	lab  *lab
	ends [2]*end // by direction: the sender
	mark uint32  // the connection's mark
	buf  []byte
	// offloaded packets were left to the kernel.
	offloaded, queued int
	unkernelled       bool       // every packet is queued, whatever the mark
	lost              bool       // what passes is lost behind the engine
	lossy             *rand.Rand // loses packets before and behind the engine
	latest            bool       // of copies not yet read, receivers take the latest
	released          int        // segments sent in its name by the engine, with data
	losing            int        // so many alerts, or segments with data, of ours are lost
	deaf              [2]int     // so many packets of ours, but alerts, are lost on the way to an end
	ours              int        // packets of ours, but alerts
	alerts            [][]byte   // sent in its name, whole packets
}

// end is a TCP endpoint, as far as a receiver goes.
type end struct {
	addr      netip.AddrPort
	iss       uint32
	got       []byte       // what its application was given
	early     map[int]byte // beyond that, by offset: the first copy counts
	closed    bool         // by an RST that RFC 5961 lets it take
	challenge bool         // owes a challenge ACK for an RST that was not exact
	asked     *uint32      // when it was closed already: owes an RST with this number
	ended     bool         // has got a FIN of ours
	owes      bool         // owes an ACK for what we sent
	delivered int          // segments
}

// sink notes what the engine tells.
type sink struct {
	tls, drop, flow []Report
}

func (s *sink) TLS(r *Report)  { s.tls = append(s.tls, keep(r)) }
func (s *sink) Drop(r *Report) { s.drop = append(s.drop, keep(r)) }
func (s *sink) Flow(r *Report) { s.flow = append(s.flow, keep(r)) }

// keep copies a report; what it points to is gone after the call.
func keep(r *Report) Report {
	k := *r
	k.Alerts = slices.Clone(r.Alerts)
	k.TLS, k.Facts = nil, nil
	return k
}

// config is what most tests use: every default enforces.
func config() Config {
	marks, err := nfq.NewMarks(0x00ff0000)
	if err != nil {
		panic(err)
	}
	return Config{
		Default:  Defaults{Malformed: tlsrules.Reset, Ambiguous: tlsrules.Reset, Midstream: MidstreamAccept, Undecided: tlsrules.Reset},
		MPTCP:    MPTCPStrip,
		Overload: tlsrules.Drop,
		Offload:  true, Marks: marks, Generation: 5,
	}
}

func newLab(t testing.TB, cfg Config, p *tlsrules.Policy) *lab {
	l := &lab{t: t, marks: cfg.Marks, sink: &sink{}, now: 1_700_000_000 * second, ports: 40000}
	if cfg.Sink == nil {
		cfg.Sink = l.sink
	}
	cfg.Inject, cfg.Refuse = l.injected, l.refused
	l.e = New(cfg, p)
	return l
}

// injected takes a packet of the engine's own to its receiver: an RST, an alert
// with the FIN, what has waited for a gate, or a question.
func (l *lab) injected(ip []byte, _ uint32) error {
	var p packet.Parsed
	sound := packet.Decode(ip, &p) == packet.OK && p.ChecksumOK()
	rst := p.Flags&^packet.ACK == packet.RST && len(p.Payload) == 0
	alert := p.Flags == packet.FIN|packet.PSH|packet.ACK && len(p.Payload) == 7 && p.Payload[0] == 21
	question := p.Flags == packet.ACK && len(p.Payload) == 0
	data := p.Flags&^packet.PSH == packet.ACK && len(p.Payload) > 0 && p.Size() <= 1280
	if !sound || !rst && !alert && !question && !data {
		l.t.Errorf("injected %x: neither a sound RST nor an alert nor a question", ip)
		return nil
	}
	src, dst := netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)
	for _, k := range l.links {
		for d, to := range k.ends {
			if from := k.ends[1-d]; to.addr == dst && from.addr == src {
				switch {
				case data:
					k.released++
					if k.losing > 0 {
						k.losing--
						return nil
					}
					k.deliver(segmentOf(&p))
					to.owes = true
				case alert:
					k.alert(to, from, &p)
				default:
					k.reset(to, from, &p)
				}
				return nil
			}
		}
	}
	l.t.Errorf("injected packet from %s to %s: nobody there", src, dst)
	return nil
}

// alert gives an alert to its receiver.
func (k *link) alert(to, from *end, p *packet.Parsed) {
	k.alerts = append(k.alerts, slices.Clone(p.Raw))
	if k.losing > 0 {
		k.losing--
		return
	}
	s := segment{src: from.addr, dst: to.addr, seq: uint32(p.Seq), flags: p.Flags, payload: slices.Clone(p.Payload)}
	k.deliver(s)
	if at := s.seq + uint32(len(s.payload)); at == from.iss+1+uint32(len(to.got)) && !to.closed {
		to.ended = true
	}
	to.owes = true
}

// refused is what our rules and the kernel's tracking do with a packet that
// carries a refusal.
func (l *lab) refused(ip []byte, _ uint32) error {
	var p packet.Parsed
	if packet.Decode(ip, &p) != packet.OK || p.ChecksumOK() {
		l.t.Errorf("refusal carried by %x: want a wrong checksum, should it leave", ip)
	}
	src, dst := netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)
	for _, k := range l.links {
		for d, flags := range []packet.Flags{packet.SYN, packet.SYN | packet.ACK} {
			if k.ends[d].addr == src && k.ends[1-d].addr == dst && p.Flags == flags {
				k.mark = l.marks.Refused()
				return nil
			}
		}
	}
	l.t.Errorf("refusal carried by %x: nobody's", ip)
	return nil
}

// reset is RFC 5961, Section 3.2 (and RFC 9293, Section 3.10.7.3 in SYN-SENT).
func (k *link) reset(to, from *end, p *packet.Parsed) {
	k.ours++
	for d, e := range k.ends {
		if e == to && k.deaf[d] > 0 {
			k.deaf[d]--
			return
		}
	}
	if !p.Flags.Has(packet.RST) && p.Window != 0 { // acknowledges what its sender has got
		to.delivered++
		return
	}
	if !p.Flags.Has(packet.RST) { // RFC 9293, Section 3.10.7.4: what is old is answered
		if int32(uint32(p.Seq)-from.nxt(to)) >= 0 {
			k.lab.t.Errorf("asked at %d, which may be taken", p.Seq)
		}
		if to.challenge = true; to.closed {
			to.asked = new(uint32(p.Ack))
		}
		return
	}
	if uint32(p.Seq) == from.nxt(to) || to.delivered == 0 && p.Flags.Has(packet.ACK) && uint32(p.Ack)-to.iss-1 < 1500 {
		to.closed = true
		return
	}
	to.challenge = true
}

// nxt is the number that the other end expects next.
func (e *end) nxt(other *end) uint32 {
	n := e.iss + 1 + uint32(len(other.got))
	if other.ended {
		n++
	}
	return n
}

// challenges lets the ends answer RSTs that were not exact, and alerts.
func (k *link) challenges() {
	for d, e := range k.ends {
		if (e.challenge || e.owes) && !e.closed {
			e.challenge, e.owes = false, false
			k.ack(conntrack.Direction(d))
		}
		if e.asked != nil { // RFC 9293, Section 3.10.7.1
			s := k.segment(conntrack.Direction(d), 0, nil, packet.RST)
			s.seq, s.ack, e.asked = *e.asked, 0, nil
			k.raw(s)
		}
	}
}

func (l *lab) link4() *link { return l.link("192.0.2.10", "203.0.113.10", 1000, 5000) }
func (l *lab) link6() *link { return l.link("2001:db8::10", "2001:db8:1::10", 1000, 5000) }

// link makes two ends; open has to introduce them.
func (l *lab) link(client, server string, iss, irs uint32) *link {
	l.ports++
	k := &link{lab: l, ends: [2]*end{
		{addr: netip.AddrPortFrom(netip.MustParseAddr(client), l.ports), iss: iss},
		{addr: netip.AddrPortFrom(netip.MustParseAddr(server), 443), iss: irs},
	}}
	l.links = append(l.links, k)
	return k
}

// again uses the ports of k for a new connection.
func (k *link) again(iss, irs uint32) {
	k.ends = [2]*end{{addr: k.ends[0].addr, iss: iss}, {addr: k.ends[1].addr, iss: irs}}
}

// segment gives the segment of direction d whose payload is at offset.
func (k *link) segment(d conntrack.Direction, offset int, payload []byte, flags packet.Flags) segment {
	from, to := k.ends[d], k.ends[d.Other()]
	return segment{
		src: from.addr, dst: to.addr, flags: flags, payload: payload,
		seq: from.iss + 1 + uint32(offset), ack: to.nxt(from),
	}
}

// raw sends a segment through kernel and engine, and reports whether it came out.
func (k *link) raw(s segment) bool {
	k.buf = s.append(k.buf[:0])
	l := k.lab
	if k.lossy != nil {
		if k.lossy.IntN(8) == 0 {
			return false
		}
		k.lost = k.lossy.IntN(8) == 0
	}
	p := nfq.Packet{Payload: k.buf, Hook: nfq.Forward, InDev: inside(k.buf), OutDev: 3 - inside(k.buf), Mark: foreign | k.mark}
	if l.marks.Mask() != 0 && l.e.cfg.Offload && !k.unkernelled && s.flags&(packet.SYN|packet.FIN|packet.RST) == 0 &&
		k.mark == l.marks.Accepted(l.e.cfg.Generation) {
		k.offloaded++
		k.deliver(s)
		return true
	}
	if l.alter != nil {
		l.alter(&p)
	}
	k.queued++
	l.now += 1000
	r := l.e.Packet(&p, l.now)
	if l.now/1000%2 == 0 {
		l.e.restAll()
	}
	defer k.challenges()
	if r.Verdict == nfq.Accept && l.marks.Mask() == 0 || r.Verdict == nfq.Repeat && k.repeated(p.Mark, r.Mark) {
		if r.Payload != nil {
			s = k.replaced(r.Payload, s)
		}
		k.deliver(s)
		return true
	}
	l.drops++
	return false
}

// replaced is what a verdict has made of a segment: sound, and no more than it was.
func (k *link) replaced(b []byte, s segment) segment {
	var p packet.Parsed
	if st := packet.Decode(b, &p); st != packet.OK || !p.ChecksumOK() {
		k.lab.t.Errorf("replaced by %x: %v, checksum right %v", b, st, p.ChecksumOK())
		return s
	}
	r, want := segmentOf(&p), s.payload
	switch front := int(int32(r.seq - s.seq)); {
	case front > 0: // what lay in front of the stream is gone
		want = want[min(front, len(want)):]
	case front < 0: // or it says again what its sender has said before
		d := conntrack.Direction(inside(b) - 1)
		said, at := k.ends[d.Other()].got, int(int32(r.seq-k.ends[d].iss-1))
		if lost := at - front - len(said); lost > 0 { // on the way: its receiver does not know it
			said = append(slices.Clone(said), r.payload[-front-lost:-front]...)
		}
		want = append(slices.Clone(said[at:at-front]), want...)
	}
	if r.ack != s.ack || r.flags&^s.flags != 0 || !bytes.HasPrefix(want, r.payload) {
		k.lab.t.Errorf("replaced by %+v: not a part of %+v", r, s)
	}
	if k.lab.replacedBy != nil {
		k.lab.replacedBy(&p)
	}
	return r
}

func segmentOf(p *packet.Parsed) segment {
	return segment{
		src: netip.AddrPortFrom(p.Src, p.SrcPort), dst: netip.AddrPortFrom(p.Dst, p.DstPort),
		seq: uint32(p.Seq), ack: uint32(p.Ack), flags: p.Flags, payload: slices.Clone(p.Payload),
	}
}

// repeated does what our rules do with the mark of a verdict.
func (k *link) repeated(had, mark uint32) bool {
	m := k.lab.marks
	if (had^mark)&^m.Mask() != 0 {
		k.lab.t.Errorf("mark %#x became %#x: foreign bits changed", had, mark)
	}
	switch ours := mark & m.Mask(); {
	case ours == 0:
		k.lab.t.Errorf("Repeat with a mark of 0: it would be queued for ever")
	case m.Kind(mark) == nfq.Accepted: // or held
		k.mark = ours
	case m.Kind(mark) == nfq.Refused:
		k.mark = ours
		return false
	case ours == m.Clear():
		k.mark = 0
	}
	return true
}

// deliver gives a segment to its receiver.
func (k *link) deliver(s segment) {
	if k.lost {
		return
	}
	d := original
	if s.src == k.ends[1].addr {
		d = reply
	}
	from, to := k.ends[d], k.ends[d.Other()]
	to.delivered++
	if s.flags.Has(packet.RST) || to.closed {
		return
	}
	at := int(int32(s.seq - from.iss - 1))
	if s.flags.Has(packet.SYN) {
		at++
	}
	if to.early == nil {
		to.early = map[int]byte{}
	}
	for i, b := range s.payload {
		if at+i < len(to.got) {
			continue
		}
		if _, has := to.early[at+i]; !has || k.latest {
			to.early[at+i] = b
		}
	}
	for {
		b, ok := to.early[len(to.got)]
		if !ok {
			return
		}
		delete(to.early, len(to.got))
		to.got = append(to.got, b)
	}
}

// data sends bytes at an offset of direction d.
func (k *link) data(d conntrack.Direction, offset int, b []byte) bool {
	return k.raw(k.segment(d, offset, b, packet.ACK|packet.PSH))
}

// ack acknowledges, from d, what d has got.
func (k *link) ack(d conntrack.Direction) bool {
	return k.raw(k.segment(d, len(k.ends[d.Other()].got), nil, packet.ACK))
}

// open is the three-way handshake; it reports whether it came through.
func (k *link) open() bool { return k.syn() && k.synAck() && k.ack(original) }

func (k *link) syn() bool {
	s := k.segment(original, -1, nil, packet.SYN)
	s.ack = 0
	s.options = []byte{2, 4, 5, 180, 1, 3, 3, 7}
	return k.raw(s)
}

func (k *link) synAck() bool {
	s := k.segment(reply, -1, nil, packet.SYN|packet.ACK)
	s.options = []byte{2, 4, 5, 180, 1, 3, 3, 7}
	return k.raw(s)
}

// close ends a connection with FINs.
func (k *link) close() {
	for d := original; d <= reply; d++ {
		at := len(k.ends[d.Other()].got)
		k.raw(k.segment(d, at, nil, packet.FIN|packet.ACK))
	}
	s := k.segment(original, len(k.ends[1].got)+1, nil, packet.ACK)
	s.ack++
	k.raw(s)
	s = k.segment(reply, len(k.ends[0].got)+1, nil, packet.ACK)
	s.ack++
	k.raw(s)
}

func (k *link) closed() bool { return k.ends[0].closed && k.ends[1].closed }

// inside is the interface that a packet of the lab comes in by: 1 where the client
// is, 2 where the server is, which has the lower port.
func inside(ip []byte) uint32 {
	at := 40
	if ip[0]>>4 == 4 {
		at = int(ip[0]&15) * 4
	}
	if len(ip) >= at+4 && binary.BigEndian.Uint16(ip[at:]) < binary.BigEndian.Uint16(ip[at+2:]) {
		return 2
	}
	return 1
}
