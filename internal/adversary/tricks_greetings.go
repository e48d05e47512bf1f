package adversary

import (
	"bytes"
	"slices"

	"tlsgate/conntrack/packet"
)

// greeting is a server's way with the handshake. client says what a client without
// tricks does then; nil dials and says its hello.
type greeting struct {
	name, why         string
	honest, ambiguous bool
	greet             func(r *receiver)
	client            func(p *Peer)
}

func (g greeting) trick(group Group) Trick {
	return Trick{Name: g.name, Group: group, Why: g.why, Honest: g.honest, Ambiguous: g.ambiguous, Ours: true, Play: func(p *Peer) {
		p.server(func(r *receiver) { r.greet = g.greet })
		if g.client != nil {
			g.client(p)
			return
		}
		if p.dial() {
			p.data(0, p.Hello)
		}
	}}
}

// synAck is the server's, with what a trick changes of it.
func synAck(r *receiver, change func(s *Segment)) {
	s := r.made(r.iss, packet.SYN|packet.ACK, nil)
	if change != nil {
		change(&s)
	}
	r.send(s.Packet())
}

// Why greetings fail.
const (
	whyNumbers = "the numbers of a server are those that its client acknowledges"
	whyAnswers = "a SYN-ACK that answers no SYN is no client's, and begins nothing"
	whyLoad    = "a SYN-ACK with data is dropped: where a server's bytes begin is certain once its client says so, and it comes again without (RFC 7413, Section 4.2.2)"
	whyAssumed = "where a SYN was not seen that a SYN-ACK answers, the client's first segment has to say the same of where it begins"
	whyHalf    = "what came on a SYN is not forgotten for an answer to a SYN that nobody sent, and what follows it is no stream of its own"
	whyCrossed = "two SYNs that cross are a handshake too (RFC 9293, Section 3.5)"
	whyRefused = "an RST ends nothing for us: what comes behind it is read"
)

// greetings are SYN-ACKs as no kernel sends them.
func greetings() (list []Trick) {
	other := func(s *Segment) { s.Seq += 1 << 20 }
	wrong := func(s *Segment) { s.Ack += 12345 << 8 }
	short := func(change func(*Segment)) func(*Segment) {
		return func(s *Segment) { change(s); s.TTL = 8 }
	}
	for _, g := range []greeting{
		{name: "the SYN-ACK three times", why: "the same SYN-ACK again is the same SYN-ACK", honest: true,
			greet: func(r *receiver) { synAck(r, nil); synAck(r, nil); synAck(r, nil) }},
		{name: "the SYN-ACK, and one with another number", why: whyNumbers, honest: true,
			greet: func(r *receiver) { synAck(r, nil); synAck(r, other) }},
		{name: "a SYN-ACK with another number that never arrives, and the one that does", why: whyNumbers, honest: true,
			greet: func(r *receiver) { synAck(r, short(other)); synAck(r, nil) }},
		{name: "the SYN-ACK, and one with another number that never arrives", why: whyNumbers, honest: true,
			greet: func(r *receiver) { synAck(r, nil); synAck(r, short(other)) }},
		{name: "a SYN-ACK one before, that never arrives, and the one that does", why: whyNumbers, honest: true,
			greet: func(r *receiver) { synAck(r, short(func(s *Segment) { s.Seq-- })); synAck(r, nil) }},
		{name: "three SYN-ACKs, the middle one arrives", why: "two numbers are remembered, and what fits neither is dropped",
			greet: func(r *receiver) {
				synAck(r, short(other))
				synAck(r, nil)
				synAck(r, short(func(s *Segment) { s.Seq += 1 << 21 }))
			}},
		{name: "a SYN-ACK that acknowledges another number, alone", why: whyAnswers,
			greet: func(r *receiver) { synAck(r, wrong) }},
		{name: "a SYN-ACK that acknowledges the SYN's own number, then the right one", why: whyAnswers, honest: true,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Ack-- }); synAck(r, nil) }},
		{name: "a SYN-ACK that acknowledges a byte too much, then the right one", why: whyAnswers,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Ack++ }); synAck(r, nil) }},
		{name: "a SYN-ACK with text that is sent again as the answer", why: whyLoad,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Payload = text }) }},
		{name: "a SYN-ACK with a permitted ServerHello, in place of which the answer comes", why: whyLoad,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Payload = serverHello(aes128) }) }},
		{name: "a SYN-ACK with a forbidden ServerHello", why: whyLoad,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Payload = serverHello(chacha20) }) }},
		{name: "a SYN-ACK with text, which comes again without", why: whyLoad, honest: true,
			greet: func(r *receiver) {
				synAck(r, func(s *Segment) {
					if r.greeted == 1 {
						s.Payload = text
					}
				})
			}},
		{name: "a SYN-ACK with a FIN", why: "a FIN ends nothing for us: what comes behind it is read",
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Flags |= packet.FIN }) }},
		{name: "a SYN-ACK with an RST, then the SYN-ACK", why: whyRefused,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Flags |= packet.RST }); synAck(r, nil) }},
		{name: "a SYN-ACK with urgent data to come", why: "a receiver takes the byte out of the stream or does not", ambiguous: true,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Flags |= packet.URG; s.Pointer = 1 }) }},
		{name: "a SYN-ACK with all reserved bits", why: "reserved bits are passed over, as receivers do", honest: true,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Reserved = 15; s.Flags |= packet.ECE | packet.CWR }) }},
		{name: "a SYN-ACK with a bad checksum and another number, then the right one", why: "no receiver takes it: it is dropped, and changes nothing", honest: true,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { other(s); s.BadChecksum = true }); synAck(r, nil) }},
		{name: "a SYN-ACK with an MD5 option", why: "whether a client takes it what it says next shows",
			greet: func(r *receiver) {
				synAck(r, func(s *Segment) { s.Options = append([]byte{19, 18}, make([]byte, 16)...) })
			}},
		{name: "a SYN-ACK without a window, which opens later", why: "a window of zero is a window", honest: true,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Window = 0 }) },
			client: func(p *Peer) {
				if !p.dial() {
					return
				}
				p.data(0, p.Hello[:1]) // a probe
				p.settle()
				p.server((*receiver).challenge)
				p.settle()
				p.data(1, p.Hello[1:])
			}},
		{name: "the SYN-ACK again behind the hello, with another number", why: whyNumbers, honest: true,
			greet: func(r *receiver) { synAck(r, nil) },
			client: func(p *Peer) {
				p.dial()
				p.data(0, p.Hello[:90])
				p.server(func(r *receiver) { synAck(r, other) })
				p.settle()
				p.data(90, p.Hello[90:])
			}},
		{name: "SYN and ACK apart", why: whyCrossed, honest: true,
			greet: func(r *receiver) { r.segment(r.iss, packet.ACK, nil); crossing(r, nil) }},
		{name: "ACK and SYN apart, the SYN first", why: whyCrossed, honest: true,
			greet: func(r *receiver) { crossing(r, nil); r.segment(r.iss+1, packet.ACK, nil) }},
		{name: "a SYN in place of the SYN-ACK", why: whyCrossed, honest: true,
			greet: func(r *receiver) { crossing(r, nil) }},
		{name: "a SYN-ACK that acknowledges a hundred bytes less and never arrives, and a SYN in its place", why: whyAssumed,
			greet: func(r *receiver) { synAck(r, short(func(s *Segment) { s.Ack -= 100 })); crossing(r, nil) }},
		{name: "a SYN-ACK for a SYN never sent that never arrives, and one for half the hello on the SYN", why: whyHalf,
			greet: func(r *receiver) {
				synAck(r, short(func(s *Segment) { s.Ack += 1 << 20 }))
				synAck(r, nil)
			},
			client: func(p *Peer) {
				p.server(func(r *receiver) { r.FastOpen = true })
				if p.dialFast(90) {
					p.data(90, p.Hello[90:])
				}
			}},
		{name: "a SYN-ACK with a number a hundred less, and the right one, that never arrive, and a SYN in their place", why: "of two numbers the one that the client acknowledges counts: what the server has sent since is no measure",
			greet: func(r *receiver) {
				synAck(r, short(func(s *Segment) { s.Seq -= 100 }))
				crossing(r, nil)
				synAck(r, short(func(*Segment) {}))
				r.segment(r.iss+1, packet.ACK, nil)
			}},
		{name: "a SYN-ACK and an RST that never arrive, the SYN-ACK again, and one a byte before that never arrives", why: "until its client has confirmed one the answers to a SYN are answers to that SYN: of two numbers the one that the client acknowledges counts",
			greet: func(r *receiver) {
				if r.greeted == 1 {
					synAck(r, short(func(*Segment) {}))
					synAck(r, short(func(s *Segment) { s.Flags, s.Ack = packet.RST, 0 }))
					return
				}
				synAck(r, nil)
				synAck(r, short(func(s *Segment) { s.Seq-- }))
				r.segment(r.iss+1, packet.ACK, nil)
			}},
		{name: "a SYN with another number that never arrives, then the SYN-ACK", why: whyNumbers,
			greet: func(r *receiver) { crossing(r, short(other)); synAck(r, nil) }},
		{name: "an RST without ACK in place of the SYN-ACK, then the SYN-ACK", why: whyRefused, honest: true,
			greet: func(r *receiver) { r.segment(r.iss, packet.RST, nil); synAck(r, nil) }},
		{name: "an RST that refuses the SYN and never arrives, then the SYN-ACK", why: whyRefused, honest: true,
			greet: func(r *receiver) {
				s := r.made(0, packet.RST|packet.ACK, nil)
				s.TTL = 8
				r.send(s.Packet())
				synAck(r, nil)
			}},
	} {
		list = append(list, g.trick(Servers))
	}
	return slices.Concat(list, swaps(), oddOptions())
}

// swaps are to have the server taken for the client, and what it says in the middle of
// the hello for that of a client that does not speak TLS.
func swaps() (list []Trick) {
	const (
		stays = "a client whose SYN is crossed is the client still: its number says so"
		half  = "half a hello is TLS, whatever the other end says: what is not TLS then is malformed"
	)
	short := func(change func(s *Segment)) func(s *Segment) {
		return func(s *Segment) { change(s); s.TTL = 8 }
	}
	middle := func(p *Peer) {
		if !p.dial() {
			return
		}
		p.data(0, p.Hello[:60])
		p.settle()
		p.server(func(r *receiver) {
			r.segment(r.sent(), packet.ACK|packet.PSH, text)
			r.base += uint32(len(text))
		})
		p.settle()
		p.data(60, p.Hello[60:])
	}
	again := func(p *Peer) {
		greet := func(g func(r *receiver)) { p.server(func(r *receiver) { r.greet = g }) }
		greet(nil)
		p.dial()
		p.data(0, p.Good)
		p.settle()
		p.server(func(r *receiver) { r.state = closed })
		greet(func(r *receiver) { crossing(r, nil) })
		p.again(p.ISS + 1<<20)
		middle(p)
	}
	for _, g := range []greeting{
		{name: "an RST that refuses the SYN and never arrives", greet: func(r *receiver) {
			synAck(r, short(func(s *Segment) { s.Flags, s.Seq = packet.RST|packet.ACK, 0 }))
			crossing(r, nil)
		}},
		{name: "a SYN with another number that never arrives", greet: func(r *receiver) {
			crossing(r, short(func(s *Segment) { s.Seq += 1 << 20 }))
			crossing(r, nil)
		}},
		{name: "a SYN-ACK with another number that never arrives", greet: func(r *receiver) {
			synAck(r, short(func(s *Segment) { s.Seq += 1 << 20 }))
			crossing(r, nil)
		}},
		{name: "a SYN-ACK for a SYN never sent that never arrives", greet: func(r *receiver) {
			synAck(r, short(func(s *Segment) { s.Seq += 1 << 20; s.Ack -= 100 }))
			crossing(r, nil)
		}},
	} {
		g.why, g.honest = stays, true
		g.name += ", and a SYN in its place"
		list = append(list, g.trick(Servers))
		g.name += ", then text in the middle of the hello"
		g.why, g.honest, g.client = half, false, middle
		list = append(list, g.trick(Servers))
	}
	return append(list, greeting{
		name: "a SYN in place of the SYN-ACK on ports that are used again, then text in the middle of the hello", why: stays, client: again,
	}.trick(Servers))
}

// crossing is a SYN of the server's that does not answer.
func crossing(r *receiver, change func(s *Segment)) {
	synAck(r, func(s *Segment) {
		s.Flags, s.Ack = packet.SYN, 0
		if change != nil {
			change(s)
		}
	})
}

// oddOptions are what a SYN-ACK says besides.
func oddOptions() (list []Trick) {
	for _, o := range []struct {
		name    string
		options []byte
	}{
		{"a window scale of 255", []byte{3, 3, 255}},
		{"a window scale that the SYN did not offer twice", []byte{3, 3, 14, 3, 3, 0}},
		{"an option of length 0", []byte{2, 4, 5, 180, 77, 0, 1, 1}},
		{"an option longer than the header", []byte{2, 4, 5, 180, 77, 40, 1, 1}},
		{"a segment size of 0", []byte{2, 4, 0, 0}},
		{"forty octets of unknown ones", slices.Concat([]byte{200, 20}, make([]byte, 18), []byte{201, 20}, make([]byte, 18))},
		{"timestamps that were not offered", append([]byte{1, 1}, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0)},
	} {
		list = append(list, greeting{
			name: "options of the SYN-ACK: " + o.name, why: "options that are broken are passed over, as receivers do", honest: true,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Options = o.options }) },
		}.trick(Servers))
	}
	return list
}

// comeAsYouAre are the strategies of a server's alone that Bock et al. found (Come as
// You Are: Helping Unmodified Clients Bypass Censorship with Server-side Evasion,
// SIGCOMM 2020, Section 5), in their order. Clients need not know of them.
func comeAsYouAre() (list []Trick) {
	load := bytes.Repeat([]byte{0xa7}, 40)
	loaded := func(b []byte) func(s *Segment) { return func(s *Segment) { s.Payload = b } }
	wrong := func(s *Segment) { s.Ack ^= 0x5a5a5a5a }
	rst := func(r *receiver) { r.segment(r.iss, packet.RST, nil) }
	for _, g := range []greeting{
		{name: "1, simultaneous open, injected RST", why: whyCrossed, honest: true, greet: func(r *receiver) { rst(r); crossing(r, nil) }},
		{name: "2, simultaneous open, injected load", why: whyLoad, greet: func(r *receiver) { crossing(r, nil); crossing(r, loaded(load)) }},
		{name: "3, corrupt ACK, simultaneous open", why: "a SYN-ACK that answers a SYN we did not see begins that one's connection, and its own client's numbers do not fit it", greet: func(r *receiver) { synAck(r, wrong); crossing(r, nil) }},
		{name: "4, corrupt ACK alone", why: whyAnswers, honest: true, greet: func(r *receiver) { synAck(r, wrong); synAck(r, nil) }},
		{name: "5, corrupt ACK, injected load", why: whyLoad, greet: func(r *receiver) { synAck(r, wrong); synAck(r, loaded(load)) }},
		{name: "6, injected load, induced RST", why: whyLoad, greet: func(r *receiver) {
			r.segment(r.iss, packet.FIN, load)
			synAck(r, wrong)
			synAck(r, nil)
		}},
		{name: "7, injected RST, induced RST", why: whyRefused, honest: true, greet: func(r *receiver) { rst(r); synAck(r, wrong); synAck(r, nil) }},
		{name: "8, TCP window reduction", why: "a hello in segments of ten bytes is a hello", honest: true,
			greet: func(r *receiver) { synAck(r, func(s *Segment) { s.Window = 10 }) },
			client: func(p *Peer) {
				if p.dial() {
					p.pieces(0, p.Hello, max(int(p.window), 1))
				}
			}},
		{name: "9, triple load", why: whyLoad, greet: func(r *receiver) {
			for range 3 {
				synAck(r, loaded(load))
			}
		}},
		{name: "10, double GET", why: whyLoad, greet: func(r *receiver) {
			for range 2 {
				synAck(r, loaded([]byte("GET / HTTP1.")))
			}
		}},
		{name: "11, null flags", why: "what has no flag is nobody's", honest: true, greet: func(r *receiver) { r.segment(r.iss, 0, nil); synAck(r, nil) }},
	} {
		g.name = "Come as You Are, strategy " + g.name
		list = append(list, g.trick(Published))
	}
	return list
}
