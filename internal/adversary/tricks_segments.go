package adversary

import (
	"bytes"
	"slices"
	"time"

	"tlsgate/conntrack/packet"
)

func segments() []Trick {
	return []Trick{
		{
			Name: "a hello in one segment", Group: Segments, Honest: true,
			Why:  "no trick: what all others are compared with",
			Play: func(p *Peer) { p.open(); p.data(0, p.Hello) },
		},
		{
			Name: "one byte a segment", Group: Segments, Honest: true,
			Why:  "the segment that completes the hello is judged with all before it",
			Play: func(p *Peer) { p.open(); p.pieces(0, p.Hello, 1) },
		},
		{
			Name: "backward, seven bytes a segment", Group: Segments, Honest: true,
			Why: "what comes early passes only if it was kept; the first one is judged with all of it",
			Play: func(p *Peer) {
				p.open()
				for at := len(p.Hello) - len(p.Hello)%7; at >= 0; at -= 7 {
					p.data(at, p.Hello[at:min(at+7, len(p.Hello))])
				}
			},
		},
		{
			Name: "every second byte, then the others", Group: Segments, Honest: true,
			Why: "hundreds of holes are kept as well as one",
			Play: func(p *Peer) {
				p.open()
				for _, first := range []int{1, 0} {
					for at := first; at < len(p.Hello); at += 2 {
						p.data(at, p.Hello[at:at+1])
					}
				}
			},
		},
		{
			Name: "all but the first byte, a long pause, the first", Group: Segments, Honest: true,
			Why: "the time to decide runs from the first byte that can be read",
			Play: func(p *Peer) {
				p.open()
				p.data(1, p.Hello[1:])
				p.pass(200 * time.Millisecond)
				p.data(0, p.Hello[:1])
			},
		},
		{
			Name: "each segment three times", Group: Segments, Honest: true,
			Why: "copies that say the same change nothing",
			Play: func(p *Peer) {
				p.open()
				for at := 0; at < len(p.Hello); at += 50 {
					for range 3 {
						p.data(at, p.Hello[at:min(at+50, len(p.Hello))])
					}
				}
			},
		},
		{
			Name: "data with the third packet of the handshake", Group: Segments, Honest: true,
			Why:  "the third packet is read like any other",
			Play: func(p *Peer) { p.connect(); p.data(0, p.Hello) },
		},
		{
			Name: "FIN on the hello", Group: Segments, Honest: true,
			Why: "a segment with FIN is read before it is passed",
			Play: func(p *Peer) {
				p.open()
				p.mean(0, p.Hello)
				s := p.segment(0, p.Hello)
				s.Flags |= packet.FIN
				p.send(s)
			},
		},
		{
			Name: "keep-alives with a byte of garbage", Group: Segments, Honest: true,
			Why: "the byte before the stream's first is nobody's",
			Play: func(p *Peer) {
				p.open()
				p.send(p.segment(-1, []byte{0x16}))
				p.settle()
				p.data(0, p.Hello[:60])
				p.settle()
				s := p.segment(59, p.Hello[59:60])
				p.send(s)
				p.data(60, p.Hello[60:])
			},
		},
		{
			Name: "a window of zero, then of one", Group: Segments, Honest: true,
			Why: "what the server may send says nothing of what the client does",
			Play: func(p *Peer) {
				p.open()
				for i, w := range []uint16{0, 1, 0xffff} {
					s := p.segment(i*40, p.Hello[i*40:(i+1)*40])
					s.Window = w
					p.mean(i*40, s.Payload)
					p.send(s)
				}
				p.data(120, p.Hello[120:])
			},
		},
		{
			Name: "ECN, and reserved bits", Group: Segments, Honest: true,
			Why: "bits that say nothing of the stream are not looked at",
			Play: func(p *Peer) {
				s := p.syn()
				s.Flags |= packet.ECE | packet.CWR
				p.send(s)
				p.answered()
				p.ack()
				p.mean(0, p.Hello)
				for at := 0; at < len(p.Hello); at += 60 {
					s := p.segment(at, p.Hello[at:min(at+60, len(p.Hello))])
					s.Flags |= packet.CWR
					s.Reserved = 0xe
					p.send(s)
				}
			},
		},
		{
			Name: "forty octets of options on every segment", Group: Segments, Honest: true,
			Why: "options that mean nothing are passed over",
			Play: func(p *Peer) {
				p.open()
				p.mean(0, p.Hello)
				for at := 0; at < len(p.Hello); at += 60 {
					s := p.segment(at, p.Hello[at:min(at+60, len(p.Hello))])
					s.Options = append(bytes.Repeat([]byte{1}, 30), 0xfe, 10, 1, 2, 3, 4, 5, 6, 7, 8)
					p.send(s)
				}
			},
		},
		{
			Name: "no PSH, and PSH on nothing", Group: Segments, Honest: true,
			Why: "PSH says nothing of the stream",
			Play: func(p *Peer) {
				p.open()
				p.mean(0, p.Hello)
				for piece := range slices.Chunk(p.Hello, 80) {
					s := p.segment(0, nil)
					s.Flags |= packet.PSH
					p.send(s)
					_ = piece
				}
				s := p.segment(0, p.Hello)
				s.Flags &^= packet.PSH
				p.send(s)
			},
		},
	}
}
