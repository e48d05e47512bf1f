package adversary

import (
	"bytes"
	"fmt"
	"slices"

	"tlsgate/conntrack/packet"
)

// text is what no TLS begins with.
var text = []byte("GET / HTTP/1.1\r\nHost: api.good.example\r\nUser-Agent: curl/8.0\r\n\r\n")

// unseen is a way to have a segment not taken by the server.
type unseen struct {
	name, why string
	honest    bool // no server takes it
	stamps    bool
	hide      func(p *Peer, s Segment) Segment
}

const (
	whyRead    = "it is read as if it arrived, and what differs from it later is an overlap"
	whyDropped = "no receiver takes it: it is dropped, and changes nothing"
)

func unseens() []unseen {
	return []unseen{
		{name: "a short TTL", why: whyRead, hide: func(_ *Peer, s Segment) Segment { s.TTL = 8; return s }},
		{name: "a bad checksum", why: whyDropped, honest: true, hide: func(_ *Peer, s Segment) Segment { s.BadChecksum = true; return s }},
		{name: "a checksum off by one", why: whyDropped, honest: true, hide: func(_ *Peer, s Segment) Segment { s.Sum = 1; return s }},
		{name: "no ACK", why: "all but SYN and RST acknowledge (RFC 9293, Section 3.10.7.4): it is dropped", honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Flags &^= packet.ACK; return s }},
		{name: "no flags at all", why: whyDropped, honest: true, hide: func(_ *Peer, s Segment) Segment { s.Flags = 0; return s }},
		{name: "SYN and FIN", why: "no TCP sends it, and receivers differ: it is dropped", honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Flags |= packet.SYN | packet.FIN; s.Flags &^= packet.ACK; return s }},
		{name: "an MD5 option", why: whyRead, hide: func(_ *Peer, s Segment) Segment {
			s.Options = append(append(s.Options, 19, 18), make([]byte, 18)...)
			return s
		}},
		{name: "an AO option", why: whyRead, hide: func(_ *Peer, s Segment) Segment {
			s.Options = append(append(s.Options, 29, 16, 1, 1), make([]byte, 12)...)
			return s
		}},
		{name: "an old timestamp", why: whyRead, stamps: true, hide: func(p *Peer, s Segment) Segment {
			s.Options = stamp(p.clock-1<<19, p.echo)
			return s
		}},
		{name: "a number before the window", why: "it is read where it says it belongs, which is nowhere", honest: true,
			hide: func(p *Peer, s Segment) Segment { s.Seq = p.at(-1 - len(s.Payload)); return s }},
		{name: "a number far before the window", why: whyDropped, honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Seq -= 1 << 31; return s }},
		{name: "a number beyond the window", why: whyDropped, honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Seq += 1 << 30; return s }},
		{name: "an acknowledgement of what was never sent", why: whyDropped, honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Ack += 1 << 20; return s }},
		{name: "an acknowledgement far too old", why: whyDropped, honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Ack -= 1 << 30; return s }},
		{name: "a data offset of 4", why: whyDropped, honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Offset = 4; return s }},
		{name: "a data offset beyond the segment", why: whyDropped, honest: true,
			hide: func(_ *Peer, s Segment) Segment {
				s.Offset, s.Payload = 15, s.Payload[:min(20, len(s.Payload))]
				return s
			}},
		{name: "a bad IPv4 header checksum, or hop limit 1", why: "the kernel drops it in front of the rules", honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.BadHeader, s.TTL = true, 1; return s }},
		{name: "an IP length too long", why: whyDropped, honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Longer = 9; return s }},
		{name: "an IP length too short", why: "what IP does not count is not there: the checksum is wrong, and it is dropped", honest: true,
			hide: func(_ *Peer, s Segment) Segment { s.Longer = -9; return s }},
		{name: "a source route with hops to go", why: "its receiver is somebody else: it is dropped", honest: true,
			hide: func(p *Peer, s Segment) Segment {
				s.IPOptions = append([]byte{131, 7, 4}, 198, 18, 2, 77)
				s.Headers = []Header{{43, append([]byte{2, 0, 1, 0, 0, 0, 0}, p.Server.Addr().AsSlice()...)}}
				if p.Server.Addr().Is4() {
					s.Headers = nil
				} else {
					s.IPOptions = nil
				}
				return s
			}},
		{name: "a broken IP option", why: whyRead, hide: func(p *Peer, s Segment) Segment {
			s.IPOptions = []byte{0x82, 40, 1, 1}
			s.Headers = []Header{{60, []byte{0, 0xc1, 4, 0, 0, 0, 0}}} // to be answered with an ICMP
			return s
		}},
		{name: "a protocol that is not TCP", why: "another protocol's packet is none of the connection", honest: true,
			hide: func(_ *Peer, s Segment) Segment {
				s.Protocol = 253
				return s
			}},
	}
}

// placed is what is hidden, and where it stands.
type placed struct {
	name string
	play func(p *Peer, hide func(Segment) Segment)
}

func placements() []placed {
	return []placed{
		{"an innocent hello", func(p *Peer, hide func(Segment) Segment) {
			p.send(hide(p.segment(0, p.Good)))
			p.data(0, p.Hello)
		}},
		{"text", func(p *Peer, hide func(Segment) Segment) {
			p.send(hide(p.segment(0, text)))
			p.data(0, p.Hello)
		}},
		{"text as long as two hellos", func(p *Peer, hide func(Segment) Segment) {
			p.send(hide(p.segment(0, bytes.Repeat(text, 8))))
			p.pieces(0, p.Hello, 100)
		}},
		{"half a hello", func(p *Peer, hide func(Segment) Segment) {
			p.send(hide(p.segment(0, p.Good[:90])))
			p.data(0, p.Hello)
		}},
		{"the rest of an innocent hello between two pieces", func(p *Peer, hide func(Segment) Segment) {
			twin := p.twin()
			p.data(0, p.Hello[:60])
			p.send(hide(p.segment(60, twin[60:])))
			p.data(60, p.Hello[60:])
		}},
		{"the end of an innocent hello before its beginning", func(p *Peer, hide func(Segment) Segment) {
			twin := p.twin()
			p.send(hide(p.segment(60, twin[60:])))
			p.data(60, p.Hello[60:])
			p.settle()
			p.data(0, p.Hello[:60])
		}},
		{"an innocent hello, and an answer acknowledged", func(p *Peer, hide func(Segment) Segment) {
			p.send(hide(p.segment(0, p.Good)))
			s := p.segment(len(p.Good), nil)
			s.Ack += 100
			p.send(hide(s))
			p.data(0, p.Hello)
		}},
	}
}

func decoys() (list []Trick) {
	for _, u := range unseens() {
		for _, w := range placements() {
			list = append(list, Trick{
				Name: fmt.Sprintf("%s: %s", u.name, w.name), Group: Decoys, Why: u.why, Honest: u.honest, Ambiguous: !u.honest,
				Play: func(p *Peer) {
					p.Stamps = u.stamps
					p.open()
					p.settle()
					w.play(p, func(s Segment) Segment { return u.hide(p, s) })
				},
			})
		}
	}
	return slices.Concat(list, larger(), forgeries())
}

// forgeries are in the server's name.
func forgeries() []Trick {
	const why = "a packet in the server's name that comes from the client's side is nobody's: it is dropped"
	return []Trick{
		{
			Name: "a decoy, and the server's acknowledgement forged", Group: Decoys, Ambiguous: true, Why: why,
			Play: func(p *Peer) {
				p.open()
				p.decoy(p.segment(0, p.Good))
				p.send(p.forged(len(p.Good), packet.ACK))
				p.data(0, p.Hello)
			},
		},
		{
			Name: "the same with text, in pieces", Group: Decoys, Ambiguous: true, Why: why,
			Play: func(p *Peer) {
				p.open()
				long := bytes.Repeat(text, 10)
				for at := 0; at < len(long); at += 60 {
					p.decoy(p.segment(at, long[at:min(at+60, len(long))]))
					p.send(p.forged(min(at+60, len(long)), packet.ACK))
				}
				p.pieces(0, p.Hello, 60)
			},
		},
		{
			Name: "a whole handshake forged for another number", Group: Decoys, Why: why,
			Play: func(p *Peer) {
				fake := p.syn()
				p.decoy(fake)
				p.irs = 0x70000000
				s := p.forged(0, packet.SYN|packet.ACK)
				s.Seq = p.irs
				p.send(s)
				p.decoy(p.segment(0, nil))
				p.decoy(p.segment(0, text))
				p.send(p.forged(len(text), packet.ACK))
				p.open()
				p.data(0, p.Hello)
			},
		},
		{
			Name: "a banner and a dialogue forged", Group: Decoys, Ambiguous: true, Why: why,
			Play: func(p *Peer) {
				p.open()
				s := p.forged(0, packet.ACK|packet.PSH)
				s.Payload = []byte("SSH-2.0-OpenSSH_9.6\r\n")
				p.send(s)
				p.decoy(p.segment(0, []byte("SSH-2.0-OpenSSH_9.6\r\n")))
				s = p.forged(21, packet.ACK)
				s.Seq += 21
				p.send(s)
				p.data(0, p.Hello)
			},
		},
		{
			Name: "RST and FIN forged", Group: Decoys, Why: why,
			Play: func(p *Peer) {
				p.open()
				p.send(p.forged(0, packet.RST|packet.ACK))
				p.send(p.forged(0, packet.FIN|packet.ACK))
				p.data(0, p.Hello)
			},
		},
	}
}
