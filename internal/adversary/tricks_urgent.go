package adversary

import (
	"bytes"
	"fmt"

	"tlsgate/conntrack/packet"
)

func urgents() (list []Trick) {
	const why = "a receiver takes the byte out of the stream or does not: urgent data before the handshake is read is ambiguous"
	for _, u := range []struct {
		name    string
		at      int // of the byte too many, -1 for none
		pointer func(off, n int) uint16
	}{
		{"a byte too many, left out by Linux", 30, func(off, n int) uint16 { return uint16(30 - off + 1) }},
		{"a byte too many in front", 0, func(off, n int) uint16 { return 1 }},
		{"a byte too many in the name", 140, func(off, n int) uint16 { return uint16(140 - off + 1) }},
		{"a pointer of 0", -1, func(int, int) uint16 { return 0 }},
		{"a pointer of 1", -1, func(int, int) uint16 { return 1 }},
		{"a pointer to the segment's end", -1, func(off, n int) uint16 { return uint16(n) }},
		{"a pointer behind the segment", -1, func(off, n int) uint16 { return uint16(n + 1) }},
		{"a pointer of 65535", -1, func(int, int) uint16 { return 0xffff }},
	} {
		for _, size := range []int{60, 2000} {
			list = append(list, Trick{
				Name: fmt.Sprintf("%s, segments of %d", u.name, size), Group: Urgent, Ambiguous: true, Why: why,
				Play: func(p *Peer) {
					stream := p.Hello
					if u.at >= 0 {
						stream = bytes.Clone(p.Hello[:u.at])
						stream = append(append(stream, 'X'), p.Hello[u.at:]...)
					}
					p.open()
					p.mean(0, stream)
					for off := 0; off < len(stream); off += size {
						s := p.segment(off, stream[off:min(off+size, len(stream))])
						if n := len(s.Payload); u.at < 0 || u.at >= off && u.at < off+n {
							s.Flags |= packet.URG
							s.Pointer = u.pointer(off, n)
						}
						p.send(s)
					}
				},
			})
		}
	}
	// empty is a pointer without data, and then the byte that it is to.
	empty := func(name string, ambiguous bool, when func(p *Peer, s Segment)) Trick {
		t := Trick{Name: name, Group: Urgent, Ambiguous: ambiguous, Why: why, Play: func(p *Peer) {
			s := p.segment(0, nil)
			s.Flags |= packet.URG
			s.Pointer = 1
			when(p, s)
			p.data(0, append([]byte{'X'}, p.Hello...))
		}}
		if !ambiguous {
			t.Why = "what no receiver takes is dropped, for its pointer alone"
		}
		return t
	}
	return append(list,
		empty("a pointer without data, then the byte", true, func(p *Peer, s Segment) {
			p.open()
			s.Seq, s.Ack = p.at(0), p.next()
			p.send(s)
		}),
		empty("the pointer on the third packet", true, func(p *Peer, s Segment) {
			p.connect()
			s.Seq, s.Ack = p.at(0), p.next()
			p.send(s)
		}),
		empty("the pointer on the SYN", true, func(p *Peer, s Segment) {
			s = p.syn()
			s.Flags |= packet.URG
			s.Pointer = 2
			p.send(s)
			p.answered()
			p.ack()
		}),
		empty("the pointer with an acknowledgement too old", false, func(p *Peer, s Segment) {
			p.open()
			s.Ack = p.next() - 1<<20
			p.send(s)
		}),
		empty("the pointer beyond the window", false, func(p *Peer, s Segment) {
			p.open()
			s.Seq, s.Ack = p.at(1<<30), p.next()
			p.send(s)
		}),
		Trick{Name: "a pointer without the flag", Group: Urgent, Honest: true, Why: "without the flag the field means nothing",
			Play: func(p *Peer) {
				p.open()
				p.mean(0, p.Hello)
				s := p.segment(0, p.Hello)
				s.Pointer = 30
				p.send(s)
			}},
		Trick{Name: "urgent data in a retransmission that was acknowledged", Group: Urgent,
			Why: why, Ambiguous: true,
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Hello[:60])
				p.settle()
				s := p.segment(0, p.Hello[:60])
				s.Flags |= packet.URG
				s.Pointer = 61
				p.send(s)
				p.data(60, append([]byte{'X'}, p.Hello[60:]...))
			}},
	)
}

func subflows() []Trick {
	const why = "the option is taken out of the SYN, so that both ends fall back to TCP (mptcp = \"strip\")"
	capable := []byte{2, 4, 5, 180, 1, 3, 3, 7, 30, 4, 0x01, 0x01}
	join := []byte{2, 4, 5, 180, 30, 12, 0x10, 1, 1, 2, 3, 4, 5, 6, 7, 8}
	return []Trick{
		{Name: "MP_CAPABLE on the SYN", Group: MPTCP, Honest: true, Why: why,
			Play: func(p *Peer) { p.Options = capable; p.open(); p.pieces(0, p.Hello, 60) }},
		{Name: "MP_CAPABLE of version 0, with a key", Group: MPTCP, Honest: true, Why: why,
			Play: func(p *Peer) {
				p.Options = []byte{2, 4, 5, 180, 30, 12, 0, 0x81, 1, 2, 3, 4, 5, 6, 7, 8}
				p.open()
				p.pieces(0, p.Hello, 60)
			}},
		{Name: "MP_JOIN on the SYN", Group: MPTCP, Honest: true, Why: why,
			Play: func(p *Peer) { p.Options = join; p.open(); p.pieces(0, p.Hello, 60) }},
		{Name: "a data sequence signal that leaves out bytes", Group: MPTCP, Honest: true, Why: why,
			Play: func(p *Peer) {
				p.Options = capable
				p.open()
				p.mean(0, p.Hello)
				for off := 0; off < len(p.Hello); off += 60 {
					s := p.segment(off, p.Hello[off:min(off+60, len(p.Hello))])
					s.Options = []byte{30, 18, 0x20, 0x04, 0, 0, 0, byte(off), 0, 0, 0, 1, 0, 60, 0, 0, 1, 1}
					p.send(s)
				}
			}},
		{Name: "MP_CAPABLE on the third packet", Group: MPTCP, Honest: true,
			Why: "a server that keeps nothing of the SYN would take it (RFC 8684, Section 3.1, with SYN cookies): it is taken out there too",
			Play: func(p *Peer) {
				p.connect()
				s := p.segment(0, nil)
				s.Options = append([]byte{30, 20, 1, 1}, bytes.Repeat([]byte{7}, 16)...)
				p.send(s)
				p.settle()
				p.data(0, p.Hello)
			}},
		{Name: "half an MPTCP option", Group: MPTCP, Honest: true, Why: why,
			Play: func(p *Peer) { p.Options = []byte{2, 4, 5, 180, 1, 1, 30, 9}; p.open(); p.data(0, p.Hello) }},
	}
}
