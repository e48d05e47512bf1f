package adversary

import (
	"bytes"
	"fmt"

	"tlsgate/conntrack/packet"
)

// cookies are tricks for servers that answer a SYN by a cookie and keep nothing of it,
// as Linux does once its queue of SYNs is full, which the client can see to.
func cookies() []Trick {
	const why = "once the server may have the connection no more, what acknowledges a SYN cookie is dropped"
	end := func(p *Peer, f packet.Flags) {
		p.open()
		p.data(0, bytes.Clone(p.Good))
		p.settle()
		s := p.segment(len(p.Good), nil)
		s.Flags = f
		p.send(s)
		p.settle()
		if f.Has(packet.FIN) {
			s = p.segment(len(p.Good)+1, nil)
			s.Ack++ // the server's FIN
			p.send(s)
			p.settle()
		}
		p.got, p.stream, p.early = nil, nil, map[int]byte{}
	}
	list := []Trick{
		{Name: "an innocent connection that is reset, its SYN again, and the hello on its numbers", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				end(p, packet.RST)
				p.heard = false
				p.connect()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "the same, and the hello where the innocent one ended", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				end(p, packet.RST)
				p.ISS, p.irs = p.ISS+uint32(len(p.Good)), p.irs+uint32(len(p.Good))
				p.send(p.segment(0, p.Hello))
				p.settle()
				p.data(0, p.Hello)
			}},
		{Name: "the same, and the hello in the middle of the innocent one", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				end(p, packet.RST)
				p.ISS, p.irs = p.ISS+99, p.irs+99
				p.send(p.segment(0, nil))
				p.data(0, p.Hello)
			}},
		{Name: "half an innocent hello that the server has, a reset, and the hello behind it", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				p.open()
				p.data(0, bytes.Clone(p.Good[:99]))
				p.settle()
				s := p.segment(99, nil)
				s.Flags = packet.RST
				p.send(s)
				p.ISS, p.irs = p.ISS+99, p.irs+99
				p.stream = nil
				p.send(p.segment(0, nil))
				p.data(0, p.Hello)
			}},
	}
	const early = "before the server has shown that it has the connection, what acknowledges the cookie of another segment size is dropped"
	for _, further := range []uint32{1, 3} {
		list = append(list, Trick{Name: fmt.Sprintf("the hello %d bytes further on, in place of the third packet", further), Group: Cookies, Why: early,
			Play: func(p *Peer) {
				p.connect()
				p.ISS += further
				p.send(p.segment(0, p.Hello))
				p.settle()
				p.data(0, p.Hello)
			}},
			Trick{Name: fmt.Sprintf("the third packet %d bytes further on, then the hello", further), Group: Cookies, Why: early,
				Play: func(p *Peer) {
					p.connect()
					p.ISS += further
					p.ack()
					p.settle()
					p.data(0, p.Hello)
				}})
	}
	list = append(list, Trick{Name: "an octet that never arrives, and the hello behind it", Group: Cookies,
		Why: "what stands a few octets behind the first goes on with those in front of it",
		Play: func(p *Peer) {
			p.connect()
			p.decoy(p.segment(0, p.Hello[:1]))
			p.ISS++
			p.send(p.segment(0, p.Hello))
			p.settle()
			p.data(0, p.Hello)
		}})
	const front = "before the server has shown that it has the connection, nothing in front of the stream goes on"
	list = append(list, Trick{Name: "the hello an octet in front of its stream, in place of the third packet", Group: Cookies, Why: front,
		Play: func(p *Peer) {
			p.connect()
			p.ISS--
			p.send(p.segment(0, p.Hello))
			p.settle()
			p.data(0, p.Hello)
		}},
		Trick{Name: "a keep-alive with an octet in place of the third packet, and the rest of the hello", Group: Cookies, Why: front,
			Play: func(p *Peer) {
				p.connect()
				p.ISS--
				p.send(p.segment(0, p.Hello[:1]))
				p.settle()
				p.data(1, p.Hello[1:])
			}})
	for _, e := range []struct {
		name  string
		flags packet.Flags
	}{{"is reset", packet.RST}, {"is reset, with ACK", packet.RST | packet.ACK}, {"ends", packet.FIN | packet.ACK}} {
		list = append(list, Trick{Name: "an innocent connection that " + e.name + ", and the hello on its numbers", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				end(p, e.flags)
				p.data(0, p.Hello)
			}})
	}
	return list
}
