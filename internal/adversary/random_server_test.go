package adversary

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/internal/engine"
)

// TestRandomServer has a server shake hands and answer by chance, of all that the
// tricks of servers are made of. Its client is as a kernel is.
func TestRandomServer(t *testing.T) {
	policies := []string{Policy(""), Strict("")}
	stacks := Stacks()
	client, at := netip.MustParseAddrPort("198.18.1.2:61000"), netip.MustParseAddrPort("198.18.2.2:443")
	for i := range uint64(*randoms) / 2 {
		r := rand.New(rand.NewPCG(*seed+i, 2))
		policy := policyOf(t, policies[r.IntN(2)])
		stack := stacks[r.IntN(len(stacks))]
		m := NewModel(policy, engine.MidstreamAccept, stack, at)
		p := NewPeer(m, client, at, Stake(r.IntN(2)), 100*time.Millisecond)
		p.Later = stack.Later
		c := oddServer{r: r}
		c.set(m.Server)
		c.play(p)
		if how := p.Won(m.Server.names); how != "" {
			t.Fatalf("seed %d, %s, %s: %s; refused for %v:\n%s", *seed+i, stack.Name, p.Stake, how, m.Reasons(), strings.Join(c.said, "\n"))
		}
	}
}

// oddServer composes what a server does, and notes it.
type oddServer struct {
	r    *rand.Rand
	said []string
}

// set gives a server its ways: each is the same whenever it is asked for.
func (c *oddServer) set(s *receiver) {
	n, k := c.r.Uint64(), c.r.Uint64()
	s.FastOpen = c.r.IntN(2) == 0
	if c.r.IntN(4) > 0 {
		s.greet = func(s *receiver) { c.greet(s, rand.New(rand.NewPCG(n, uint64(s.greeted)/2))) }
	}
	if c.r.IntN(4) > 0 {
		s.speak = func(s *receiver) { c.speak(s, rand.New(rand.NewPCG(k, 1))) }
	}
}

// play has the client say its hello, and the server something in the middle of it.
func (c *oddServer) play(p *Peer) {
	sent := []int{0, 0, 1, 1 + c.r.IntN(len(p.Hello)-1)}[c.r.IntN(4)]
	c.said = append(c.said, fmt.Sprintf("%d bytes on the SYN", sent))
	if !p.dialFast(sent) { // a kernel sends nothing then
		return
	}
	for sent < len(p.Hello) {
		n := min(1+c.r.IntN(len(p.Hello)), len(p.Hello)-sent)
		p.data(sent, p.Hello[sent:sent+n])
		sent += n
		if c.r.IntN(4) == 0 {
			p.settle()
		}
		if c.r.IntN(4) == 0 {
			p.server(func(s *receiver) {
				c.send("says early", s, c.odd(s, s.made(s.sent(), packet.ACK|packet.PSH, c.early(p)), c.r))
			})
		}
		if c.r.IntN(8) == 0 {
			d := []time.Duration{time.Second, 25 * time.Second, 125 * time.Second}[c.r.IntN(3)]
			c.said = append(c.said, "pass "+d.String())
			p.pass(d)
		}
	}
	p.insist()
}

func (c *oddServer) early(p *Peer) []byte {
	all := [][]byte{nil, text, serverHello(aes128), serverHello(chacha20), most(serverHello(chacha20)), []byte("220 x ESMTP\r\n"),
		record(recordAlert, []byte{1, 112}), record(recordCCS, []byte{1}), p.Good}
	return all[c.r.IntN(len(all))]
}

// greet answers a SYN with one to three segments.
func (c *oddServer) greet(s *receiver, r *rand.Rand) {
	for range 1 + r.IntN(3) {
		flags := []packet.Flags{packet.SYN | packet.ACK, packet.SYN | packet.ACK, packet.SYN | packet.ACK, packet.SYN, packet.ACK, packet.RST, packet.RST | packet.ACK, packet.FIN}[r.IntN(8)]
		g := s.made(s.iss, flags, nil)
		if flags == packet.SYN {
			g.Ack = 0
		}
		if flags != packet.SYN && r.IntN(6) == 0 { // as if nothing had come on the SYN
			g.Ack = s.irs + 1
		}
		if r.IntN(4) == 0 {
			g.Payload = [][]byte{text, serverHello(aes128), serverHello(chacha20), {1}}[r.IntN(4)]
		}
		c.send("answers the SYN", s, c.odd(s, g, r))
	}
}

// speak sends the answer in pieces, in any order, and others in their place.
func (c *oddServer) speak(s *receiver, r *rand.Rand) {
	milder := bytes.Clone(s.reply)
	if i := 5 + 4 + 2 + 32 + 1 + 32; len(milder) > i+1 {
		milder[i], milder[i+1] = aes128>>8, aes128&0xff
	}
	for range 1 + r.IntN(6) {
		from := r.IntN(130)
		b := [][]byte{s.reply, s.reply, milder}[r.IntN(3)]
		from = min(from, len(b))
		to := min(from+1+r.IntN(200), len(b))
		c.send(fmt.Sprintf("says [%d:%d)", from, to), s, c.odd(s, s.made(s.base+s.iss+1+uint32(from), packet.ACK|packet.PSH, b[from:to]), r))
	}
	if r.IntN(2) == 0 { // and all of it
		for at := 0; at < len(s.reply); at += 700 {
			s.segment(s.base+s.iss+1+uint32(at), packet.ACK|packet.PSH, s.reply[at:min(at+700, len(s.reply))])
		}
	}
}

// odd makes a segment odd, now and then.
func (c *oddServer) odd(s *receiver, g Segment, r *rand.Rand) Segment {
	for r.IntN(3) == 0 {
		switch r.IntN(10) {
		case 0, 1, 2:
			g.TTL = 8
		case 3:
			g.BadChecksum = true
		case 4:
			g.Seq += []uint32{1, 100, 1 << 20, ^uint32(0), ^uint32(99), 1 << 31}[r.IntN(6)]
		case 5:
			g.Ack += []uint32{1, 100, 1 << 20, ^uint32(0), ^uint32(99), 1 << 31}[r.IntN(6)]
		case 6:
			g.Flags ^= []packet.Flags{packet.ACK, packet.FIN, packet.RST, packet.SYN}[r.IntN(4)]
		case 7:
			g.Flags |= packet.URG
			g.Pointer = uint16(r.IntN(100))
		case 8:
			g.Options = append([]byte{19, 18}, make([]byte, 18)...)
		case 9:
			g.Window = uint16(r.IntN(3))
		}
	}
	return g
}

func (c *oddServer) send(what string, s *receiver, g Segment) {
	c.said = append(c.said, fmt.Sprintf("%s: seq %+d, ack %+d, flags %06b, %d bytes, ttl %d, pointer %d, options %x", what,
		int32(g.Seq-s.iss-1), int32(g.Ack-s.irs-1), g.Flags, len(g.Payload), g.TTL, g.Pointer, g.Options))
	s.send(g.Packet())
}
