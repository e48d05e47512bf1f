package adversary

import (
	"bytes"
	"fmt"
	"slices"

	"tlsgate/conntrack/packet"
)

// published are tricks that Geneva's collection, zapret and byedpi have and that are
// not told above by another name: those on the client's segments with the data, those
// on its handshake, and overlaps in sequence space.
func published() []Trick {
	return slices.Concat(genevaData(), genevaHandshake(), sequenceOverlaps(), namesAround(), comeAsYouAre())
}

// genevaData are copies of the segment with the hello, spoilt, in front of it.
func genevaData() (list []Trick) {
	for _, c := range []struct {
		name, why string
		honest    bool
		spoil     func(p *Peer, s Segment) Segment
	}{
		{"a data offset of 10 and a bad checksum", whyDropped, true, func(_ *Peer, s Segment) Segment { s.Offset, s.BadChecksum = 10, true; return s }},
		{"a data offset of 10 and a short TTL", whyRead, false, func(_ *Peer, s Segment) Segment { s.Offset, s.TTL = 10, 8; return s }},
		{"a data offset of 10 and a wrong acknowledgement", whyDropped, true, func(_ *Peer, s Segment) Segment { s.Offset, s.Ack = 10, s.Ack+1<<28; return s }},
		{"a broken window scale, a data offset of 8 and a short TTL", whyRead, false, func(_ *Peer, s Segment) Segment {
			s.Options, s.Offset, s.TTL = []byte{3, 3, 0xee}, 8, 8
			return s
		}},
		{"FIN, and an IP length too short", whyDropped, true, func(_ *Peer, s Segment) Segment {
			s.Flags |= packet.FIN
			s.Longer = -(len(s.Payload) - 38)
			return s
		}},
		{"a hello whose padding holds the next one, and a short TTL", whyRead, false, func(p *Peer, s Segment) Segment {
			s.Payload, s.TTL = p.around(), 8
			return s
		}},
		{"a hello whose padding holds the next one, and an MD5 option", whyRead, false, func(p *Peer, s Segment) Segment {
			s.Payload, s.Options = p.around(), append(s.Options, append([]byte{19, 18}, make([]byte, 16)...)...)
			return s
		}},
	} {
		list = append(list, Trick{Name: "a copy in front: " + c.name, Group: Published, Why: c.why, Honest: c.honest, Ambiguous: !c.honest,
			Play: func(p *Peer) {
				p.open()
				p.settle()
				p.send(c.spoil(p, p.segment(0, p.Good)))
				p.data(0, p.Hello)
			}})
	}
	return append(list,
		Trick{Name: "eight bytes, four, and the rest backward", Group: Published, Honest: true, Why: "what comes early passes only if it was kept",
			Play: func(p *Peer) {
				p.open()
				p.data(8, p.Hello[8:12])
				p.data(12, p.Hello[12:])
				p.data(0, p.Hello[:8])
			}},
		Trick{Name: "the rest, eight bytes, and an acknowledgement from elsewhere", Group: Published, Honest: true, Why: "a segment beyond the window is nobody's",
			Play: func(p *Peer) {
				p.open()
				p.data(8, p.Hello[8:])
				s := p.segment(0, nil)
				s.Seq += 0x3ac5_1234
				p.send(s)
				p.data(0, p.Hello[:8])
			}},
		Trick{Name: "a broken user timeout option on every segment", Group: Published, Honest: true, Why: "options that mean nothing are passed over",
			Play: func(p *Peer) {
				p.open()
				p.mean(0, p.Hello)
				s := p.segment(0, p.Hello)
				s.Options = []byte{28, 4, 0xff, 0xff}
				p.send(s)
			}},
		Trick{Name: "a timestamp of the future that never arrives", Group: Published, Honest: true, Why: "timestamps are the receiver's: nothing is taken as old for them",
			Play: func(p *Peer) {
				p.Stamps = true
				p.open()
				s := p.segment(0, nil)
				s.Options, s.TTL = stamp(p.clock+1<<20, p.echo), 8
				p.send(s)
				p.pieces(0, p.Hello, 60)
			}},
	)
}

// genevaHandshake are copies of the SYN, and of the third packet.
func genevaHandshake() (list []Trick) {
	const all = packet.FIN | packet.RST | packet.ACK | packet.PSH | packet.URG | packet.ECE
	signed := append([]byte{19, 18}, make([]byte, 18)...)
	for _, c := range []struct {
		name  string
		spoil func(s Segment) Segment
	}{
		{"RST with ACK and a bad checksum", func(s Segment) Segment { s.Flags, s.BadChecksum = packet.RST|packet.ACK, true; return s }},
		{"all flags but SYN, and a bad checksum", func(s Segment) Segment { s.Flags, s.BadChecksum = all, true; return s }},
		{"all flags but SYN, and a short TTL", func(s Segment) Segment { s.Flags, s.TTL = all, 8; return s }},
		{"FIN, RST, ACK, ECE and CWR, and a short TTL", func(s Segment) Segment {
			s.Flags, s.Reserved, s.TTL = packet.FIN|packet.RST|packet.ACK|packet.ECE|packet.CWR, 1, 8
			return s
		}},
		{"all flags but SYN, an MD5 option and a short TTL", func(s Segment) Segment { s.Flags, s.Options, s.TTL = all, signed, 8; return s }},
	} {
		list = append(list, Trick{Name: "behind the third packet: " + c.name, Group: Published, Honest: true,
			Why: "a connection seen to end is still watched, and what comes is read on",
			Play: func(p *Peer) {
				p.open()
				p.send(c.spoil(p.segment(0, nil)))
				p.settle()
				p.data(0, p.Hello)
			}})
	}
	return append(list,
		Trick{Name: "behind the third packet: RST with an MD5 option, that arrives", Group: Published,
			Why: "Linux does not take it, others do: what comes behind it is read on either way",
			Play: func(p *Peer) {
				p.open()
				s := p.segment(0, nil)
				s.Flags, s.Options = packet.RST, signed
				p.send(s)
				p.settle()
				p.data(0, p.Hello)
			}},
		Trick{Name: "the SYN with an MD5 option first", Group: Published,
			Why: "whether a server takes it its SYN-ACK says",
			Play: func(p *Peer) {
				s := p.syn()
				s.Options = signed
				p.send(s)
				p.open()
				p.data(0, p.Hello)
			}},
		Trick{Name: "the SYN, and the same with text on it that never arrives", Group: Published, Ambiguous: true,
			Why: "data on a SYN is read, and held against what comes in its place; whether a server takes it is not asked",
			Play: func(p *Peer) {
				p.send(p.syn())
				s := p.syn()
				s.Payload = text
				p.decoy(s)
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
	)
}

// sequenceOverlaps are segments of the real hello that begin before their place, with
// something else in front.
func sequenceOverlaps() (list []Trick) {
	front := func(p *Peer, n int) []byte { return bytes.Repeat(p.Good, 4)[:n] }
	for _, n := range []int{1, 5, 200, 600} {
		list = append(list, Trick{
			Name: fmt.Sprintf("the first segment begins %d bytes before the stream", n), Group: Published, Honest: true,
			Why: "what lies in front of the stream is trimmed, as receivers do (RFC 9293, Section 3.10.7.4)",
			Play: func(p *Peer) {
				p.open()
				p.send(p.segment(-n, append(front(p, n), p.Hello[:70]...)))
				p.data(70, p.Hello[70:]) // nothing comes again without
			},
		})
	}
	for _, n := range []int{1, 20, 69} {
		list = append(list, Trick{
			Name: fmt.Sprintf("the second segment first, with %d bytes of another first one", n), Group: Published, Ambiguous: true,
			Why: "it is kept as it came, and the first one that differs from it is an overlap",
			Play: func(p *Peer) {
				p.open()
				other := bytes.Repeat([]byte{0x33}, n)
				p.send(p.segment(70-n, append(other, p.Hello[70:]...)))
				p.settle()
				p.data(0, p.Hello[:70])
				p.mean(70, p.Hello[70:])
			},
		})
	}
	return list
}

// namesAround have another name in front of the real one and behind it, hidden.
func namesAround() (list []Trick) {
	for _, u := range unseens() {
		if u.honest || u.stamps {
			continue
		}
		model := ""
		if u.name == "an AO option" {
			model = "a kernel without TCP-AO takes it, and then the name is a permitted one"
		}
		list = append(list, Trick{Name: "only the name, before and after the real one: " + u.name, Group: Published, Ambiguous: true, Why: whyRead,
			Model: model,
			Play: func(p *Peer) {
				p.open()
				p.settle()
				from := bytes.Index(p.Hello, []byte("api."))
				to := from + len(Permitted)
				fake := []byte("www.spot.example")
				p.data(0, p.Hello[:from])
				p.send(u.hide(p, p.segment(from, fake)))
				p.data(from, p.Hello[from:to])
				p.send(u.hide(p, p.segment(from, fake)))
				p.data(to, p.Hello[to:])
			}})
	}
	return list
}

// around is a permitted hello that says it is longer by the real one, as if that were
// its padding.
func (p *Peer) around() []byte {
	h := innocent()
	h.After = []Extension{{21, p.Hello}}
	b := h.Record()
	return b[: len(b)-len(p.Hello) : len(b)-len(p.Hello)]
}
