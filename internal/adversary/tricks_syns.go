package adversary

import (
	"slices"

	"tlsgate/conntrack/packet"
)

// hiddenSYNs are SYNs, and what goes with them, that are to hide which one counts.
func hiddenSYNs() []Trick {
	const (
		candidate = "a SYN with other numbers is a candidate: which one was taken the SYN-ACK and its acknowledgement say"
		inside    = "a SYN-ACK that answers a number inside the data of another SYN is ambiguous, and dropped"
		before    = "what comes before the SYN-ACK ends nothing, and says nothing of where the stream begins"
	)
	syn := func(p *Peer, shift int, b []byte) Segment {
		s := p.syn()
		s.Seq, s.Payload = s.Seq+uint32(shift), b
		return s
	}
	flagged := func(s Segment, f packet.Flags) Segment {
		s.Flags = f
		return s
	}
	return []Trick{
		{Name: "a hello in which another one lies, on a SYN, and a third SYN behind which the second hides", Group: Handshake, Why: inside,
			Play: func(p *Peer) {
				nested, at := p.nested()
				p.decoy(syn(p, -at, nested))
				p.send(p.syn())
				p.decoy(syn(p, 1e6, nil))
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "a SYN, the one that counts, and the first again with a hello in which another one lies", Group: Handshake, Why: inside,
			Play: func(p *Peer) {
				nested, at := p.nested()
				p.decoy(syn(p, -at, nil))
				p.send(p.syn())
				p.decoy(syn(p, -at, nested))
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "text on a SYN that never arrives and ends where the stream begins", Group: Handshake, Why: inside,
			Play: func(p *Peer) {
				p.decoy(syn(p, -len(text), text))
				p.open()
				p.data(0, p.Hello)
			}},
		{Name: "half a hello on a SYN, which an RST and another SYN are to hide", Group: Handshake, Honest: true, Why: inside,
			Play: func(p *Peer) {
				p.ISS -= 99
				p.mean(0, p.Hello[:99])
				p.send(syn(p, 0, p.Hello[:99]))
				p.decoy(flagged(syn(p, 1, nil), packet.RST))
				p.decoy(syn(p, 1e6, nil))
				p.answered()
				p.ack()
				p.data(99, p.Hello[99:])
			}},
		{Name: "text before the SYN, and an acknowledgement behind it, as of a connection that began unseen", Group: Handshake,
			Why: "what began unseen is over when the server answers a SYN",
			Play: func(p *Peer) {
				s := p.segment(-len(text), text)
				s.Ack = 0x4fffff00
				p.decoy(s)
				p.send(p.syn())
				s = p.segment(0, nil)
				s.Ack = 0x4fffff00
				p.decoy(s)
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "a SYN-ACK of the client's before its SYN, with another number", Group: Handshake, Honest: true, Why: candidate,
			Play: func(p *Peer) {
				s := flagged(p.segment(-500, nil), packet.SYN|packet.ACK)
				s.Ack = 0x4fffff00
				p.decoy(s)
				p.open()
				p.data(0, p.Hello)
			}},
		{Name: "RST, FIN and text behind the SYN", Group: Handshake, Honest: true, Why: before,
			Play: func(p *Peer) {
				p.send(p.syn())
				p.decoy(flagged(p.segment(0, nil), packet.RST))
				s := flagged(p.segment(0, slices.Clone(text)), packet.ACK|packet.FIN)
				s.Ack = 0x4fffff00
				p.decoy(s)
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "the SYN again on an open connection, with a hello that never arrives", Group: Handshake, Honest: true, Why: "data on a SYN of an open connection is dropped",
			Play: func(p *Peer) {
				p.open()
				p.decoy(syn(p, 0, p.Good))
				p.data(0, p.Hello)
			}},
		{Name: "an innocent connection that is reset, and another on its ports with its numbers", Group: Handshake, Honest: true, Why: candidate,
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Good)
				p.settle()
				p.send(flagged(p.segment(len(p.Good), nil), packet.RST))
				p.settle()
				p.again(p.at(len(p.Good) - 20))
				p.open()
				p.data(0, p.Hello)
			}},
	}
}
