package adversary

import (
	"bytes"
	"time"

	"tlsgate/conntrack/packet"
)

// ending is a segment that ends a connection, or seems to.
type ending struct {
	name string
	// lost: it is a decoy. Else the server gets it, and ignores it.
	lost bool
	make func(p *Peer, off int) Segment
	// keeps: our entry stays for as long, and reads on.
	keeps time.Duration
}

func endings() []ending {
	flagged := func(f packet.Flags, shift int) func(*Peer, int) Segment {
		return func(p *Peer, off int) Segment {
			s := p.segment(off, nil)
			s.Flags, s.Seq = f, s.Seq+uint32(shift)
			return s
		}
	}
	const hour, days = time.Hour, 5 * 24 * time.Hour
	return []ending{
		{"RST that never arrives", true, flagged(packet.RST, 0), 0},
		{"RST with ACK that never arrives", true, flagged(packet.RST|packet.ACK, 0), 0},
		{"RST further on that never arrives", true, flagged(packet.RST, 100), days},
		{"FIN that never arrives", true, flagged(packet.FIN|packet.ACK, 0), hour},
		{"RST beyond the window", false, flagged(packet.RST, 1<<30), days},
		{"RST before the window", false, flagged(packet.RST, -1000), days},
		{"FIN beyond the window", false, flagged(packet.FIN|packet.ACK, 1<<30), days},
		{"FIN without ACK", false, flagged(packet.FIN, 5), days},
		{"RST with a bad checksum", false, func(p *Peer, off int) Segment {
			s := flagged(packet.RST, 0)(p, off)
			s.BadChecksum = true
			return s
		}, days},
		{"RST with an MD5 option, that never arrives", true, func(p *Peer, off int) Segment {
			s := flagged(packet.RST, 0)(p, off)
			s.Options = append([]byte{19, 18}, make([]byte, 18)...)
			return s
		}, 0},
		{"RST with text, that never arrives", true, func(p *Peer, off int) Segment {
			s := flagged(packet.RST|packet.ACK, 0)(p, off)
			s.Payload = text
			return s
		}, 0},
		{"SYN of a new connection that never arrives", true, func(p *Peer, off int) Segment {
			s := p.syn()
			s.Seq += 5000000
			return s
		}, days},
	}
}

func teardowns() (list []Trick) {
	const why = "a connection seen to end is still watched, and what comes is read on"
	for _, e := range endings() {
		end := func(p *Peer, off int) {
			s := e.make(p, off)
			if e.lost {
				s.TTL = 8
			}
			p.send(s)
		}
		list = append(list,
			Trick{Name: e.name, Group: Teardown, Why: why, Honest: true,
				Play: func(p *Peer) { p.open(); end(p, 0); p.settle(); p.data(0, p.Hello) }},
			Trick{Name: e.name + ", between two pieces", Group: Teardown, Why: why, Honest: true,
				Play: func(p *Peer) {
					p.open()
					p.data(0, p.Hello[:80])
					end(p, 80)
					p.settle()
					p.data(80, p.Hello[80:])
				}},
			Trick{Name: e.name + ", before the third packet", Group: Teardown, Why: why, Honest: true,
				Play: func(p *Peer) { p.connect(); end(p, 0); p.ack(); p.data(0, p.Hello) }},
			Trick{Name: e.name + ", and a connection on the same ports that never comes", Group: Teardown, Why: why,
				Play: func(p *Peer) {
					p.open()
					end(p, 0)
					s := p.syn()
					s.Seq += 1 << 24
					p.decoy(s)
					s = p.segment(0, text)
					s.Seq += 1 << 24
					p.decoy(s)
					p.data(0, p.Hello)
				}},
			Trick{Name: e.name + ", hours of silence, and bytes that the server has already", Group: Teardown, Model: "it takes hours", Ambiguous: true,
				Why: "a connection that was not read to its end is remembered when its entry goes: no bytes in front of a hello are taken for the middle of something",
				Play: func(p *Peer) {
					p.open()
					p.settle()
					end(p, 0)
					for _, d := range []time.Duration{121 * time.Second, time.Hour, 5 * 24 * time.Hour} {
						if d >= e.keeps {
							p.pass(d)
							p.behind(text)
						}
					}
				}},
		)
	}
	return append(list,
		Trick{Name: "silence until another connection has taken its place, and bytes that the server has already", Group: Teardown, Ambiguous: true,
			Model: "it takes as many connections as limits allow",
			Why:   "the same of a connection whose entry made room for another",
			Play: func(p *Peer) {
				p.open()
				p.settle()
				p.pass(11 * time.Second)
				p.wire.(*Model).Crowd(100)
				p.behind(p.Hello[:7])
			}},
		Trick{Name: "the same before the first byte, and text that never arrives", Group: Teardown, Ambiguous: true,
			Model: "it takes as many connections as limits allow",
			Why:   "the same of a connection that had said nothing yet",
			Play: func(p *Peer) {
				p.open()
				p.pass(11 * time.Second)
				p.wire.(*Model).Crowd(100)
				p.decoy(p.segment(-len(text), text))
				p.data(0, p.Hello)
			}},
		Trick{Name: "silence until another has taken its place, then the hello", Group: Teardown, Ambiguous: true,
			Model: "it takes as many connections as limits allow",
			Why:   "the same: what its server has of it is not known",
			Play: func(p *Peer) {
				p.open()
				p.pass(11 * time.Second)
				p.wire.(*Model).Crowd(100)
				p.data(0, p.Hello)
			}},
		Trick{Name: "half of the handshake, another takes its place, then the rest", Group: Teardown, Honest: true, Unseen: true,
			Model: "it takes as many connections as limits allow",
			Why:   "the SYN-ACK comes again, and begins a connection that is read",
			Play: func(p *Peer) {
				p.connect()
				p.wire.(*Model).Crowd(100)
				p.ack()
				p.data(0, p.Hello)
			}},
		Trick{Name: "an innocent connection that ends, and another on its ports", Group: Teardown, Honest: true,
			Why: "a new connection is read from its beginning, whatever became of the old one",
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Good)
				p.settle()
				s := p.segment(len(p.Good), nil)
				s.Flags |= packet.FIN
				p.send(s)
				p.settle()
				s = p.segment(len(p.Good)+1, nil)
				s.Ack++
				p.send(s)
				s.Flags = packet.RST
				p.send(s)
				p.again(p.ISS + 1<<20)
				p.open()
				p.data(0, p.Hello)
			}},
		Trick{Name: "an innocent connection that is reset, and another on its ports", Group: Teardown, Honest: true,
			Why: "a new connection is read from its beginning, whatever became of the old one",
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Good)
				p.settle()
				s := p.segment(len(p.Good), nil)
				s.Flags = packet.RST
				p.send(s)
				p.settle()
				p.again(p.ISS + 1<<20)
				p.open()
				p.data(0, p.Hello)
			}},
		Trick{Name: "an innocent connection, and the hello on its old numbers", Group: Teardown, Why: "what was read and acknowledged is with the server already",
			Play: func(p *Peer) {
				p.open()
				p.data(0, bytes.Clone(p.Good))
				p.settle()
				for i := range 3 {
					p.send(p.segment(len(p.Good)-i*30, p.Hello))
					p.settle()
				}
			}},
	)
}

// behind sends the hello behind bytes in front of the stream, which the server
// leaves out, for it has them.
func (p *Peer) behind(b []byte) {
	p.mean(0, p.Hello)
	p.send(p.segment(-len(b), append(bytes.Clone(b), p.Hello...)))
	p.settle()
}
