package adversary

import "bytes"

// extensionPadding is RFC 7685's.
const extensionPadding = 21

// larger are decoys that the link behind the firewall has no room for.
func larger() []Trick {
	// fits is how much of b the client's link takes in one packet, and the next does not.
	fits := func(p *Peer, off int, b []byte) []byte {
		s := p.segment(off, nil)
		return b[:NextLink+4-len(s.Packet())]
	}
	padded := func(h Hello) []byte {
		h.After = append(h.After, Extension{extensionPadding, make([]byte, 1700)})
		return h.Record()
	}
	trick := func(name string, play func(p *Peer)) Trick {
		return Trick{Name: "too large for the next link: " + name, Group: Decoys, Why: whyRead, Ambiguous: true, Play: func(p *Peer) {
			p.open()
			p.settle()
			play(p)
		}}
	}
	return []Trick{
		trick("text", func(p *Peer) {
			p.send(p.segment(0, fits(p, 0, bytes.Repeat(text, 40))))
			p.data(0, p.Hello)
		}),
		trick("an innocent hello", func(p *Peer) {
			p.send(p.segment(0, fits(p, 0, padded(innocent()))))
			p.data(0, p.Hello)
		}),
		trick("the rest of an innocent hello between two pieces", func(p *Peer) {
			h := p.Spec
			h.Name, h.Suites, h.ID = Permitted, []uint16{aes128}, idInnocent
			twin := padded(h)
			p.Hello = padded(p.Spec)
			p.data(0, p.Hello[:30])
			p.send(p.segment(30, fits(p, 30, twin[30:])))
			p.pieces(30, p.Hello[30:], 600)
		}),
		trick("the end of an innocent hello before its beginning", func(p *Peer) {
			h := p.Spec
			h.Name, h.Suites, h.ID = Permitted, []uint16{aes128}, idInnocent
			twin := padded(h)
			p.Hello = padded(p.Spec)
			p.send(p.segment(30, fits(p, 30, twin[30:])))
			p.pieces(30, p.Hello[30:], 600)
			p.settle()
			p.data(0, p.Hello[:30])
		}),
	}
}
