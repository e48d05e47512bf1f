package adversary

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"tlsgate/conntrack/packet"
)

// cookies are tricks for servers that answer a SYN by a cookie and keep nothing of it,
// as Linux does once its queue of SYNs is full, which the client can see to.
func cookies() []Trick {
	const why = "once the server may have the connection no more, what acknowledges a SYN cookie is dropped"
	const forgets = "once it may be over, a connection of which only the mark is known says nothing any more"
	end := func(p *Peer, f packet.Flags, meanwhile func()) {
		p.open()
		p.data(0, bytes.Clone(p.Good))
		p.settle()
		meanwhile()
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
				end(p, packet.RST, func() {})
				p.heard = false
				p.connect()
				p.ack()
				p.data(0, p.Hello)
			}},
		{Name: "the same, and the hello where the innocent one ended", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				end(p, packet.RST, func() {})
				p.ISS, p.irs = p.ISS+uint32(len(p.Good)), p.irs+uint32(len(p.Good))
				p.send(p.segment(0, p.Hello))
				p.settle()
				p.data(0, p.Hello)
			}},
		{Name: "the same, and the hello in the middle of the innocent one", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				end(p, packet.RST, func() {})
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
		Why: "what stands a few octets behind the first goes on with those in front of it", Model: "nothing is lost behind the firewall on that wire",
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
	list = append(list, crookedCookies()...)
	list = append(list, Trick{Name: "an innocent connection that makes room for others, a FIN in the server's name, a reset, and the hello on its numbers", Group: Cookies, Why: forgets,
		Model: "it takes as many connections as limits allow",
		Play: func(p *Peer) {
			end(p, packet.RST, func() {
				for range 2 {
					p.wire.(*Model).Crowd(100)
				}
				p.send(p.forged(len(p.Good)+500, packet.FIN|packet.ACK))
			})
			p.data(0, p.Hello)
		}})
	list = append(list, Trick{Name: "an innocent connection, a restart, it ends, five minutes of acknowledgements, and the hello on its numbers", Group: Cookies, Why: forgets,
		Model: "it takes minutes",
		Play: func(p *Peer) {
			end(p, packet.FIN|packet.ACK, p.restart)
			for range 10 {
				p.ack()
				p.pass(30 * time.Second)
			}
			p.data(0, p.Hello)
		}})
	for _, e := range []struct {
		name  string
		flags packet.Flags
	}{{"is reset", packet.RST}, {"is reset, with ACK", packet.RST | packet.ACK}, {"ends", packet.FIN | packet.ACK}} {
		list = append(list, Trick{Name: "an innocent connection that " + e.name + ", and the hello on its numbers", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				end(p, e.flags, func() {})
				p.data(0, p.Hello)
			}}, Trick{Name: "an innocent connection, a restart, it " + e.name + ", and the hello on its numbers", Group: Cookies, Why: forgets, Model: OwnDaemon,
			Play: func(p *Peer) {
				end(p, e.flags, p.restart)
				p.data(0, p.Hello)
			}}, Trick{Name: "an innocent connection that makes room for others, it " + e.name + ", and the hello on its numbers", Group: Cookies, Why: forgets,
			Ambiguous: e.flags.Has(packet.RST), Model: "it takes as many connections as limits allow",
			Play: func(p *Peer) {
				end(p, e.flags, func() {
					for range 2 { // the first finds it too young to make room
						p.wire.(*Model).Crowd(100)
					}
				})
				p.data(0, p.Hello)
			}})
	}
	return list
}

// crookedCookies have a server begin a connection elsewhere than where it seems to, or end
// it unseen.
func crookedCookies() []Trick {
	const (
		why       = "once the server may have the connection no more, what acknowledges a SYN cookie is dropped"
		elsewhere = "before the server has shown that it has the connection, nothing goes on that its receiver would discard"
		unknown   = "an RST that the kernel's connection tracking does not know is dropped: the connection's mark would stand"
		untracked = "where the kernel's tracking takes the end for none of the connection, packets of ours clear the mark"
		ended     = "whatever the number of an RST, whose receiver takes it is the receiver's: the connection may be over"
	)
	bare := func(p *Peer, off int, f packet.Flags) {
		s := p.segment(off, nil)
		s.Flags = f
		p.send(s)
	}
	// the beginning of an innocent hello, an end, and the hello where it began.
	after := func(p *Peer, n int, end func()) {
		p.open()
		p.data(0, bytes.Clone(p.Good[:n]))
		p.settle()
		end()
		p.settle()
		p.got, p.stream, p.early = nil, nil, map[int]byte{}
		p.data(0, p.Hello)
	}
	// an innocent connection of which its client has the kernel's tracking lose the server:
	// to that it acknowledges, selectively, what was never sent.
	lost := func(p *Peer, end func(unseen func(off int, f packet.Flags, b []byte))) {
		p.Options, p.Stamps = []byte{2, 4, 5, 180, 4, 2}, true
		after(p, len(p.Good), func() {
			end(func(off int, f packet.Flags, b []byte) {
				s := p.segment(off, b)
				far := s.Ack + 1<<20
				s.Flags = f
				s.Options = append(append(s.Options, 1, 1, 5, 10), binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, far), far+1)...)
				p.send(s)
			})
		})
	}
	return []Trick{
		{Name: "the third packet of a connection that begins further on, and a hello with another one there", Group: Cookies, Why: elsewhere,
			Play: func(p *Peer) {
				p.connect()
				nested, at := p.nested()
				s := p.segment(at, nil)
				s.Ack += uint32(at)
				p.send(s)
				p.data(0, nested)
				p.irs += uint32(at)
			}},
		{Name: "the third packet of a larger segment size's cookie", Group: Cookies, Why: elsewhere,
			Play: func(p *Peer) {
				p.connect()
				p.irs++
				p.ack()
				p.irs--
				p.data(0, p.Hello)
				p.irs++
			}},
		{Name: "a third packet that never arrives, one of the next minute's cookie, and the hello", Group: Cookies, Why: elsewhere,
			Model: "it takes a minute",
			Play: func(p *Peer) {
				p.Options, p.Stamps = []byte{2, 4, 5, 180, 1, 3, 3, 14}, true
				p.connect()
				first := p.irs
				for range 2 {
					p.wire.Pass(40 * time.Second)
					p.heard = false
					p.connect()
				}
				second := p.irs
				p.irs = first
				p.decoy(p.segment(0, nil))
				p.irs = second
				p.ack()
				p.irs = first
				p.data(0, p.Hello)
				p.irs = second
			}},
		{Name: "an innocent connection that is reset, and the hello on the numbers of the cookie of the minute before", Group: Cookies,
			Why: why, Model: "it takes a minute",
			Play: func(p *Peer) {
				p.connect()
				first := p.irs
				p.wire.Pass(61 * time.Second)
				p.heard = false
				after(p, len(p.Good), func() { bare(p, len(p.Good), packet.RST); p.settle(); p.irs = first })
			}},
		{Name: "the same, of an earlier connection on its ports", Group: Cookies, Why: why, Model: "it takes a minute",
			Play: func(p *Peer) {
				end := func() { bare(p, len(p.Good), packet.RST); p.settle() }
				p.open()
				p.data(0, bytes.Clone(p.Good))
				p.settle()
				end()
				iss, irs := p.ISS, p.irs
				p.wire.Pass(61 * time.Second)
				p.again(p.ISS + 1<<20)
				after(p, len(p.Good), func() { end(); p.ISS, p.irs = iss, irs })
			}},
		{Name: "a SYN again and again for minutes, an innocent connection that is reset, and the hello on its numbers", Group: Cookies,
			Why: "of how old a cookie can be its SYN-ACK tells", Model: "it takes minutes",
			Play: func(p *Peer) {
				for range 5 {
					p.heard = false
					p.connect()
					p.wire.Pass(50 * time.Second)
				}
				p.heard = false
				after(p, len(p.Good), func() { bare(p, len(p.Good), packet.RST) })
			}},
		{Name: "an innocent connection that is reset, another in its place in the table, text, and the hello on its numbers", Group: Cookies,
			Why: "a connection that left the table while a cookie of it may be good is remembered", Ambiguous: true, Model: "it takes as many connections as limits allow",
			Play: func(p *Peer) {
				after(p, len(p.Good), func() {
					bare(p, len(p.Good), packet.RST)
					p.wire.(*Model).Crowd(100)
					p.decoy(p.segment(-len(text), text))
				})
			}},
		{Name: "half of the handshake, another takes its place, a SYN-ACK of the client's, and the hello further on", Group: Cookies,
			Why: "a SYN-ACK that goes back to where it came from says nothing of where a stream begins", Ambiguous: true,
			Model: "it takes as many connections as limits allow",
			Play: func(p *Peer) {
				p.connect()
				p.wire.(*Model).Crowd(100)
				s := p.forged(181, packet.SYN|packet.ACK)
				s.Payload = text
				p.send(s)
				p.ISS, p.irs = p.ISS+1<<20, p.irs+1<<20
				p.ack()
				p.send(p.segment(-len(text), text))
				p.decoy(p.segment(0, nil))
				p.data(0, p.Hello)
			}},
		{Name: "a FIN in front of the stream, the server's, and the hello on the cookie of a larger segment size", Group: Cookies, Why: why,
			Play: func(p *Peer) {
				p.connect()
				s := p.segment(-1, nil)
				s.Flags = packet.FIN | packet.ACK
				p.send(s)
				p.settle()
				p.irs++ // the server's FIN
				p.send(p.segment(1, nil))
				p.data(0, p.Hello)
			}},
		{Name: "an innocent connection that is reset, a FIN from far away that never arrives, and the hello on its numbers", Group: Cookies,
			Why: "what a client says of its own numbers is no measure of what its server has",
			Play: func(p *Peer) {
				after(p, len(p.Good), func() {
					bare(p, len(p.Good), packet.RST)
					s := p.segment(len(p.Good), nil)
					s.Flags, s.Seq = packet.FIN|packet.ACK, s.Seq+1<<31
					p.decoy(s)
				})
			}},
		{Name: "an innocent connection that ends, acknowledgements from far away that never arrive, and the hello on its numbers", Group: Cookies,
			Why: "nothing comes behind a FIN that could be acknowledged",
			Play: func(p *Peer) {
				after(p, len(p.Good), func() {
					bare(p, len(p.Good), packet.FIN|packet.ACK)
					p.settle()
					s := p.segment(len(p.Good)+1, nil)
					s.Ack++
					p.send(s)
					for range 2 {
						s.Ack += 1<<31 - 1
						p.decoy(s)
					}
				})
			}},
		{Name: "an innocent connection whose last acknowledgement and reset come at once, and the hello on its numbers", Group: Cookies,
			Why: "what ends a connection clears its mark, whatever that said when the packet was queued",
			Play: func(p *Peer) {
				p.open()
				p.data(0, bytes.Clone(p.Good))
				for b := p.wire.Recv(p.patient); b != nil; b = p.wire.Recv(p.patient) {
					p.take(b)
				}
				old := p.segment(len(p.Good), nil)
				old.Ack = p.irs + 1
				for range 200 { // whoever reads them is busy
					p.send(old)
				}
				p.ack()
				bare(p, len(p.Good), packet.RST)
				p.settle()
				p.got, p.stream, p.early = nil, nil, map[int]byte{}
				p.data(0, p.Hello)
			}},
		{Name: "an innocent connection that ends unseen by the kernel's connection tracking, and the hello on its numbers", Group: Cookies, Why: untracked,
			Play: func(p *Peer) {
				lost(p, func(unseen func(off int, f packet.Flags, b []byte)) {
					unseen(len(p.Good), packet.FIN|packet.ACK, nil)
					p.settle()
					s := p.segment(len(p.Good)+1, nil)
					s.Ack++ // the server's FIN
					p.send(s)
				})
			}},
		{Name: "an innocent connection, a restart, it ends unseen by the kernel's connection tracking, and the hello on its numbers", Group: Cookies,
			Why: "an end that the kernel's tracking does not know, of a connection that began before this run, does not pass", Model: OwnDaemon,
			Play: func(p *Peer) {
				lost(p, func(unseen func(off int, f packet.Flags, b []byte)) {
					p.restart()
					unseen(len(p.Good), packet.FIN|packet.ACK, nil)
					p.settle()
					s := p.segment(len(p.Good)+1, nil)
					s.Ack++ // the server's FIN
					p.send(s)
				})
			}},
		{Name: "an innocent connection that its server resets unseen by the kernel's connection tracking, and the hello on its numbers", Group: Cookies, Why: untracked,
			Wire: "it takes a kernel's RST",
			Play: func(p *Peer) {
				lost(p, func(unseen func(off int, f packet.Flags, b []byte)) {
					for i := range 6 { // what is not read when it is closed has it reset
						unseen(len(p.Good)+1200*i, packet.ACK, bytes.Repeat([]byte{99}, 1200))
					}
				})
			}},
		{Name: "an innocent connection that is reset, with FIN, and the hello on its numbers", Group: Cookies, Why: ended,
			Play: func(p *Peer) {
				after(p, len(p.Good), func() { bare(p, len(p.Good), packet.RST|packet.FIN|packet.ACK) })
			}},
		{Name: "an innocent connection that is reset, with URG, and the hello on its numbers", Group: Cookies, Why: unknown,
			Play: func(p *Peer) {
				after(p, len(p.Good), func() { bare(p, len(p.Good), packet.RST|packet.URG) })
			}},
		{Name: "an innocent connection that is reset, acknowledging what was never sent, and the hello on its numbers", Group: Cookies, Why: unknown,
			Play: func(p *Peer) {
				after(p, len(p.Good), func() {
					s := p.segment(len(p.Good), nil)
					s.Flags, s.Ack = packet.RST|packet.ACK, s.Ack+1<<24
					p.send(s)
				})
			}},
		{Name: "most of an innocent hello, a FIN, a reset one before, and the hello on its numbers", Group: Cookies, Why: ended,
			Play: func(p *Peer) {
				n := len(p.Good) - 1
				after(p, n, func() {
					bare(p, n, packet.FIN|packet.ACK)
					p.settle()
					bare(p, n, packet.RST)
				})
			}},
		{Name: "most of an innocent hello, a reset somewhere in the window, and the hello on its numbers", Group: Cookies, Why: ended,
			Model: "Linux takes no such reset",
			Play: func(p *Peer) {
				after(p, len(p.Good)-1, func() { bare(p, len(p.Good)+500, packet.RST) })
			}},
	}
}
