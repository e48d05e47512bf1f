package adversary

import (
	"bytes"
	"net/netip"
	"time"

	"tlsgate/conntrack/packet"
)

func middles() []Trick {
	const whyAgain = "a second hello on a connection is judged as the first, and counts as a renegotiation"
	return []Trick{
		{
			Name: "an innocent hello that is answered, then the hello", Group: Middle, Why: whyAgain,
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Good)
				p.settle()
				p.data(len(p.Good), p.Hello)
			},
		},
		{
			Name: "an innocent hello that is answered, ChangeCipherSpec, then the hello", Group: Middle, Why: whyAgain,
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Good)
				p.settle()
				p.data(len(p.Good), record(recordCCS, []byte{1}))
				p.data(len(p.Good)+6, p.Hello)
			},
		},
		{
			Name: "an innocent hello that is answered, application data, then the hello", Group: Middle,
			Why: "what follows in an encrypted connection its server takes for encrypted, and refuses",
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Good)
				p.settle()
				b := record(recordData, bytes.Repeat([]byte{9}, 53))
				p.data(len(p.Good), b)
				p.settle()
				p.data(len(p.Good)+len(b), p.Hello)
			},
		},
		{
			Name: "an innocent hello that is answered, left alone, then the hello in its place", Group: Middle,
			Why: "what is acknowledged is with the server already",
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Good)
				p.settle()
				p.send(p.segment(0, p.Hello))
			},
		},
		{
			Name: "application data before the handshake, then the hello", Group: Middle,
			Why: "records out of their order are malformed",
			Play: func(p *Peer) {
				p.open()
				b := record(recordData, bytes.Repeat([]byte{9}, 200))
				p.data(0, b)
				p.settle()
				p.data(len(b), p.Hello)
			},
		},
		{
			Name: "the daemon starts between the handshake and the hello", Group: Middle, Model: OwnDaemon,
			Why: "a hello in a connection that began unseen is judged as any other",
			Play: func(p *Peer) {
				p.open()
				p.restart()
				p.data(0, p.Hello)
			},
		},
		{
			Name: "the daemon starts between SYN and SYN-ACK", Group: Middle, Model: OwnDaemon,
			Why: "a SYN-ACK tells where both begin",
			Play: func(p *Peer) {
				p.send(p.syn())
				p.restart()
				p.pass(time.Second)
				p.answered()
				p.ack()
				p.behind(text)
			},
		},
		{
			Name: "the daemon starts between SYN and SYN-ACK, and an empty record comes first", Group: Middle, Model: OwnDaemon,
			Why: "a connection whose SYN-ACK was seen is judged from its first byte",
			Play: func(p *Peer) {
				p.send(p.syn())
				p.restart()
				p.pass(time.Second)
				p.answered()
				p.ack()
				p.data(0, append(record(recordHandshake, nil), p.Hello...))
			},
		},
		{
			Name: "the daemon starts, and the client acknowledges what the server has not said yet", Group: Middle, Model: OwnDaemon,
			Ambiguous: true, Why: "what is said after it was acknowledged is ambiguous",
			Play: func(p *Peer) {
				p.open()
				p.restart()
				p.send(p.segment(-1, nil)) // a keep-alive, which the server answers
				p.settle()
				s := p.segment(0, nil)
				s.Ack += 5000
				p.decoy(s)
				p.data(0, p.Hello)
			},
		},
		{
			Name: "the same, between two pieces of the hello", Group: Middle, Model: OwnDaemon,
			Ambiguous: true, Why: "an acknowledgement changes nothing of what its sender has said",
			Play: func(p *Peer) {
				p.open()
				p.restart()
				p.send(p.segment(-1, nil))
				p.settle()
				p.data(0, p.Hello[:2])
				p.settle()
				s := p.segment(2, nil)
				s.Ack += 5000
				p.decoy(s)
				p.data(0, p.Hello)
			},
		},
		{
			Name: "the daemon starts, and the client's port is the lower one", Group: Middle, Model: OwnDaemon,
			Why: "a hello says who is the client, whatever the ports look like",
			Play: func(p *Peer) {
				p.Client = netip.AddrPortFrom(p.Client.Addr(), 100)
				p.open()
				p.restart()
				p.data(0, p.Hello)
			},
		},
		{
			Name: "the daemon starts, a SYN-ACK of the client's, and the hello where the server awaits it", Group: Middle, Model: OwnDaemon,
			Why: "a SYN-ACK that goes back to where it came from says nothing of where a stream begins",
			Play: func(p *Peer) {
				p.connect()
				p.restart()
				s := p.forged(0, packet.SYN|packet.ACK)
				s.Seq, s.Ack = s.Seq+1<<24, s.Ack-99
				p.send(s)
				p.data(0, p.Hello)
			},
		},
		{
			Name: "half the hello, a minute, the rest", Group: Middle, Model: "it takes a minute",
			Why: "a hello that is not there within limits.decide is refused",
			Play: func(p *Peer) {
				p.open()
				p.data(0, p.Hello[:100])
				p.pass(time.Minute)
				p.data(100, p.Hello[100:])
			},
		},
		{
			Name: "the daemon starts, and the hello comes in pieces and backward", Group: Middle, Model: OwnDaemon,
			Why: "a hello in a connection that began unseen is judged as any other",
			Play: func(p *Peer) {
				p.open()
				p.restart()
				p.ack()
				p.data(100, p.Hello[100:])
				p.data(50, p.Hello[50:100])
				p.data(0, p.Hello[:50])
			},
		},
	}
}
