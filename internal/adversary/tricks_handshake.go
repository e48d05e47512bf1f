package adversary

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"tlsgate/conntrack/packet"
)

func handshakes() []Trick {
	return slices.Concat(numbers(), synsAround(), synData(), forgedHandshakes(), synOptions(), hiddenSYNs())
}

// numbers are initial sequence numbers at the edges of their space.
func numbers() (list []Trick) {
	for _, iss := range []uint32{0xffffffff, 0xffffffff - 100, 0x7fffffff, 0x7fffffff - 100, 0, 1 << 31} {
		list = append(list, Trick{
			Name: fmt.Sprintf("initial sequence number %#x", iss), Group: Handshake, Honest: true,
			Why:  "all arithmetic is modulo 2^32 (RFC 9293, Section 3.4)",
			Play: func(p *Peer) { p.ISS = iss; p.open(); p.pieces(0, p.Hello, 50) },
		})
	}
	return list
}

// synsAround are SYNs before and behind the one that counts.
func synsAround() []Trick {
	const candidate = "a SYN with other numbers is a candidate: which one was taken the SYN-ACK and its acknowledgement say"
	other := func(p *Peer, shift uint32) Segment {
		s := p.syn()
		s.Seq += shift
		return s
	}
	return []Trick{
		{Name: "the SYN three times", Group: Handshake, Honest: true, Why: "the same SYN again is the same SYN",
			Play: func(p *Peer) { p.send(p.syn()); p.send(p.syn()); p.open(); p.data(0, p.Hello) }},
		{Name: "a SYN that never arrives, then another", Group: Handshake, Honest: true, Why: candidate,
			Play: func(p *Peer) { p.decoy(other(p, 1<<20)); p.open(); p.data(0, p.Hello) }},
		{Name: "a SYN, then one that never arrives", Group: Handshake, Honest: true, Why: candidate,
			Play: func(p *Peer) {
				p.send(p.syn())
				p.decoy(other(p, 1<<20))
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "a SYN behind the SYN-ACK that never arrives", Group: Handshake, Honest: true, Why: candidate,
			Play: func(p *Peer) {
				p.connect()
				p.decoy(other(p, 100))
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "three SYNs, the middle one counts", Group: Handshake, Why: candidate,
			Play: func(p *Peer) {
				p.decoy(other(p, 1<<20))
				p.send(p.syn())
				p.decoy(other(p, 1<<21))
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "a SYN one before, so that the hello is one off", Group: Handshake, Honest: true, Why: candidate,
			Play: func(p *Peer) {
				p.decoy(other(p, ^uint32(0)))
				p.open()
				p.data(0, p.Hello)
			}},
		{Name: "the SYN again on an open connection", Group: Handshake, Honest: true,
			Why: "the server challenges it (RFC 5961, Section 4), and the connection goes on",
			Play: func(p *Peer) {
				p.open()
				p.send(other(p, 3<<30))
				p.settle()
				p.data(0, p.Hello)
			}},
		{Name: "a SYN in the window of an open connection, and a connection of its own that never comes", Group: Handshake, Ambiguous: true, Why: candidate,
			Play: func(p *Peer) {
				p.open()
				p.decoy(other(p, 50))
				s := p.segment(50, text)
				p.decoy(s)
				p.data(0, p.Hello)
			}},
		{Name: "a SYN between two pieces that never arrives", Group: Handshake, Honest: true, Why: candidate,
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Hello[:70])
				p.decoy(other(p, 1<<22))
				p.data(70, p.Hello[70:])
			}},
		{Name: "the third packet never arrives, the hello does", Group: Handshake, Honest: true,
			Why:  "the hello's own acknowledgement completes the handshake",
			Play: func(p *Peer) { p.connect(); p.decoy(p.segment(0, nil)); p.data(0, p.Hello) }},
		{Name: "the third packet acknowledges another number", Group: Handshake, Honest: true,
			Why: "what acknowledges neither SYN-ACK completes nothing",
			Play: func(p *Peer) {
				p.connect()
				s := p.segment(0, nil)
				s.Ack += 12345
				s.TTL = 8 // to which the server would answer with an RST
				p.send(s)
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "stray acknowledgements before the SYN", Group: Handshake, Honest: true, Unseen: true,
			Why: "what began unseen is over when the server answers a SYN",
			Play: func(p *Peer) {
				p.decoy(p.segment(0, nil))
				p.decoy(p.segment(500, nil))
				p.open()
				p.data(0, p.Hello)
			}},
		{Name: "text before the SYN, as of a connection that began unseen", Group: Handshake,
			Why: "what began unseen is over when the server answers a SYN",
			Play: func(p *Peer) {
				s := p.segment(-len(text), text)
				s.Ack = 0x4fffff00
				p.decoy(s)
				p.decoy(p.segment(0, nil))
				p.open()
				p.data(0, p.Hello)
			}},
	}
}

// synData is data on a SYN.
func synData() (list []Trick) {
	const why = "data on a SYN is read, and held against what comes in its place; whether a server takes it is not asked"
	for title, options := range map[string][]byte{
		"without fast open": nil, "with a fast open cookie": {34, 10, 1, 2, 3, 4, 5, 6, 7, 8}, "with a request for a cookie": {34, 2},
	} {
		with := func(p *Peer, b []byte) Segment {
			s := p.syn()
			s.Payload, s.Options = b, append(bytes.Clone(s.Options), options...)
			return s
		}
		list = append(list,
			Trick{Name: "the hello on the SYN, " + title, Group: Handshake, Honest: true, Why: why,
				Play: func(p *Peer) {
					p.mean(0, p.Hello)
					p.send(with(p, p.Hello))
					p.answered()
					p.send(p.segment(0, nil))
				}},
			Trick{Name: "half the hello on the SYN, " + title, Group: Handshake, Honest: true, Why: why,
				Play: func(p *Peer) {
					p.send(with(p, p.Hello[:90]))
					p.answered()
					p.send(p.segment(0, nil))
					p.data(0, p.Hello[:90])
					p.data(90, p.Hello[90:])
				}},
			Trick{Name: "an innocent hello on the SYN, " + title, Group: Handshake, Ambiguous: true, Why: why,
				Play: func(p *Peer) {
					p.send(with(p, p.Good))
					p.answered()
					p.send(p.segment(0, nil))
					p.data(0, p.Hello)
				}},
			Trick{Name: "the hello on the SYN, until another has taken its place, " + title, Group: Handshake, Ambiguous: true,
				Model: "it takes as many connections as limits allow",
				Why:   "a connection that left the table with data on its SYN is remembered",
				Play: func(p *Peer) {
					p.send(with(p, p.Hello))
					p.wire.(*Model).Crowd(70)
					p.answered()
					p.send(p.segment(0, nil))
					p.mean(0, p.Hello)
				}},
			Trick{Name: "a SYN with data around the SYN that counts, two minutes, and bytes in front, " + title, Group: Handshake, Ambiguous: true,
				Model: "it takes minutes",
				Why:   "a connection that left the table with data on its SYN is remembered",
				Play: func(p *Peer) {
					s := with(p, text)
					s.Seq--
					p.decoy(s)
					p.open()
					p.pass(125 * time.Second)
					p.behind(text)
				}},
			Trick{Name: "text on a SYN that never arrives, " + title, Group: Handshake, Ambiguous: true, Why: why,
				Play: func(p *Peer) {
					p.decoy(with(p, text))
					p.open()
					p.data(0, p.Hello)
				}},
			Trick{Name: "a hello in which another one lies, on a SYN that never arrives, " + title, Group: Handshake,
				Why: "a SYN-ACK that answers a number inside the data of another SYN is ambiguous, and dropped",
				Play: func(p *Peer) {
					nested, at := p.nested()
					s := with(p, nested)
					s.Seq -= uint32(at)
					p.decoy(s)
					p.open()
					p.data(0, p.Hello)
				}},
		)
	}
	slices.SortFunc(list, func(a, b Trick) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return list
}

// nested is an innocent hello whose last bytes are the whole hello, and where that
// begins.
func (p *Peer) nested() (b []byte, at int) {
	h := innocent()
	h.After = []Extension{{0xface, p.Hello}}
	b = h.Record()
	return b, len(b) - len(p.Hello)
}

// forgedHandshakes have the client play both ends.
func forgedHandshakes() []Trick {
	const why = "a SYN-ACK is the server's only when it comes from where the server is, and answers the SYN"
	mine := func(p *Peer, seq, ack uint32) Segment {
		s := p.segment(0, nil)
		s.Flags, s.Seq, s.Ack, s.Options = packet.SYN|packet.ACK, seq, ack, p.Options
		return s
	}
	return []Trick{
		{Name: "a SYN-ACK of the client's before its SYN", Group: Handshake, Honest: true, Why: why,
			Play: func(p *Peer) { p.decoy(mine(p, p.ISS, 1000)); p.open(); p.data(0, p.Hello) }},
		{Name: "a SYN-ACK of the client's behind its SYN", Group: Handshake, Honest: true, Why: why,
			Play: func(p *Peer) {
				p.send(p.syn())
				p.decoy(mine(p, p.ISS, 1000))
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "a SYN-ACK of the client's on the open connection", Group: Handshake, Honest: true, Why: why,
			Play: func(p *Peer) { p.open(); p.decoy(mine(p, p.ISS+5000, p.next())); p.data(0, p.Hello) }},
		{Name: "a SYN in the server's name: simultaneous open", Group: Handshake, Why: why,
			Play: func(p *Peer) {
				p.send(p.syn())
				p.irs = 0x70000000
				s := p.forged(0, packet.SYN)
				s.Seq, s.Ack, s.Options = p.irs, 0, p.Options
				p.send(s)
				p.decoy(mine(p, p.ISS, p.irs+1))
				p.decoy(p.segment(0, text))
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "the server's SYN comes first, and the client answers it", Group: Handshake, Why: why,
			Play: func(p *Peer) {
				p.irs = 0x70000000
				s := p.forged(0, packet.SYN)
				s.Seq, s.Ack, s.Options = p.irs, 0, p.Options
				p.send(s)
				p.decoy(mine(p, p.ISS, p.irs+1))
				p.send(p.forged(0, packet.ACK))
				p.decoy(p.segment(0, p.Good))
				p.send(p.forged(len(p.Good), packet.ACK))
				p.open()
				p.data(0, p.Hello)
			}},
		{Name: "the server's SYN comes first, two minutes, and bytes in front of the stream", Group: Handshake, Model: "it takes minutes",
			Ambiguous: true, Why: "a connection that left the table in the middle of its handshake is remembered",
			Play: func(p *Peer) {
				s := p.forged(0, packet.SYN)
				s.Seq, s.Ack, s.Options = 0x70000000, 0, p.Options
				p.send(s)
				p.open()
				p.pass(125 * time.Second)
				p.behind(text)
			}},
		{Name: "a SYN-ACK in the server's name, with another number", Group: Handshake, Why: why,
			Play: func(p *Peer) {
				p.send(p.syn())
				p.irs = 0x70000000
				s := p.forged(0, packet.SYN|packet.ACK)
				s.Seq, s.Options = p.irs, p.Options
				p.send(s)
				p.decoy(p.segment(0, text))
				p.answered()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "an RST in the server's name answers the SYN", Group: Handshake, Honest: true, Why: why,
			Play: func(p *Peer) {
				p.send(p.syn())
				s := p.forged(0, packet.RST|packet.ACK)
				s.Seq = 0
				p.send(s)
				p.settle()
				p.reset = false
				p.open()
				p.data(0, p.Hello)
			}},
	}
}

// synOptions are what a SYN says besides.
func synOptions() (list []Trick) {
	for _, o := range []struct {
		name    string
		options []byte
	}{
		{"none", nil},
		{"a window scale of 255", []byte{3, 3, 255}},
		{"a window scale of 14 twice", []byte{3, 3, 14, 3, 3, 0}},
		{"an option of length 0", []byte{2, 4, 5, 180, 77, 0, 1, 1}},
		{"an option longer than the header", []byte{2, 4, 5, 180, 77, 40, 1, 1}},
		{"a segment size of 48", []byte{2, 4, 0, 48}},
		{"a segment size of wrong length", []byte{2, 3, 5, 180, 1, 1, 1, 1}},
		{"forty octets of unknown ones", append([]byte{200, 20, 18: 0, 19: 0}, append([]byte{201, 20}, make([]byte, 18)...)...)},
		{"timestamps", []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}},
	} {
		list = append(list, Trick{
			Name: "options of the SYN: " + o.name, Group: Handshake, Honest: true, Why: "options that are broken are passed over, as receivers do",
			Play: func(p *Peer) { p.Options = o.options; p.open(); p.pieces(0, p.Hello, 40) },
		})
	}
	return append(list, Trick{
		Name: "minutes between SYN-ACK and third packet", Group: Handshake, Honest: true, Model: "it takes a minute",
		Unseen: true, Why: "the SYN-ACK comes again, and says where both begin",
		Play: func(p *Peer) {
			p.connect()
			p.pass(70 * time.Second)
			p.ack()
			p.data(0, p.Hello)
		},
	})
}
