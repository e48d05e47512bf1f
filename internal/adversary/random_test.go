package adversary

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/internal/engine"
)

var (
	randoms = flag.Int("randoms", 3000, "how many random tricks are played")
	seed    = flag.Uint64("seed", 1, "of the first one")
)

// TestRandom composes tricks by chance, of all that the others are made of.
func TestRandom(t *testing.T) {
	policies := []string{Policy(""), Strict(""), Names("")}
	stacks := Stacks()
	midstreams := []engine.Midstream{engine.MidstreamAccept, engine.MidstreamInspect}
	for i := range uint64(*randoms) {
		r := rand.New(rand.NewPCG(*seed+i, 1))
		which := r.IntN(len(policies))
		policy := policyOf(t, policies[which])
		stack := stacks[r.IntN(len(stacks))]
		client, server := netip.MustParseAddrPort("198.18.1.2:61000"), netip.MustParseAddrPort("198.18.2.2:443")
		m := NewModel(policy, midstreams[r.IntN(2)], stack, server)
		p := NewPeer(m, client, server, Stake(r.IntN(2)), 100*time.Millisecond)
		if which == 2 && p.Stake == StakeSuite {
			continue // any suite passes
		}
		p.Later = stack.Later
		c := composer{r: r, p: p}
		c.play()
		if how := p.Won(m.Server.names); how != "" {
			t.Fatalf("seed %d, %s, %s: %s; refused for %v:\n%s", *seed+i, stack.Name, p.Stake, how, m.Reasons(), strings.Join(c.said, "\n"))
		}
	}
}

// composer plays a random trick, and notes what it does.
type composer struct {
	r       *rand.Rand
	p       *Peer
	said    []string
	cookies []uint32 // that were heard: how far from the client's number
}

func (c *composer) say(format string, args ...any) {
	c.said = append(c.said, fmt.Sprintf(format, args...))
}

func (c *composer) play() {
	r, p := c.r, c.p
	p.Stamps = r.IntN(4) == 0
	p.ISS = []uint32{0x10203040, 0xffffff80, 0x7fffffc0}[r.IntN(3)]
	if r.IntN(4) == 0 {
		c.before()
	}
	opened := false
	at := r.IntN(4) // what comes before the SYN
	for i := range 2 + r.IntN(9) {
		if i == at {
			c.say("open, third packet: %v", r.IntN(4) != 0)
			if p.connect() && !strings.HasSuffix(c.said[len(c.said)-1], "false") {
				p.ack()
			}
			opened = true
		}
		c.step(opened)
	}
	if !opened {
		p.open()
	}
	if r.IntN(2) == 0 {
		c.say("the hello")
		p.data(0, p.Hello)
	} else {
		c.say("the hello is sent again")
		p.mean(0, p.Hello)
	}
	p.insist()
}

// before is an innocent connection on the same ports, which ends or seems to.
func (c *composer) before() {
	r, p := c.r, c.p
	c.say("an innocent connection")
	p.open()
	p.data(0, p.Good[:len(p.Good)-r.IntN(2)])
	p.settle()
	for range r.IntN(4) {
		s := p.segment(len(p.stream), nil)
		s.Flags = []packet.Flags{packet.RST, packet.FIN | packet.ACK, packet.ACK}[r.IntN(3)]
		c.send("its end", c.odd(s))
		p.settle()
	}
	if r.IntN(3) == 0 {
		c.say("pass two minutes")
		p.pass(125 * time.Second)
	}
	shift := []uint32{1 << 20, 300, 1 << 31, ^uint32(1 << 20), 0}[r.IntN(5)]
	c.say("another on its ports, %+d", int32(shift))
	p.again(p.ISS + shift)
}

func (c *composer) step(opened bool) {
	r, p := c.r, c.p
	switch n := r.IntN(20); {
	case n < 11:
		c.segment()
	case n < 13:
		c.forge()
	case n < 15:
		d := []time.Duration{time.Millisecond, time.Second, 25 * time.Second, 125 * time.Second, 2 * time.Hour}[r.IntN(5)]
		c.say("pass %s", d)
		p.pass(d)
	case n < 16:
		c.say("crowd")
		p.wire.(*Model).Crowd(70)
	case n < 17:
		s := p.syn()
		s.Seq += []uint32{0, 1, 100, 1 << 20, ^uint32(0), ^uint32(99)}[r.IntN(6)]
		if r.IntN(3) == 0 {
			s.Payload = c.bytes()
		}
		c.send("SYN", c.odd(s))
	default:
		c.say("settle")
		p.settle()
	}
}

// bytes are some that a hello is, or is to look like.
func (c *composer) bytes() []byte {
	p := c.p
	nested, _ := p.nested()
	all := [][]byte{p.Hello, p.twin(), p.Good, text, nested, record(recordCCS, []byte{1}), record(recordHandshake, nil),
		append([]byte{recordData, 3, 3, 1, 0}, p.Hello...), append([]byte("X"), p.Hello...), []byte("EHLO x\r\n")}
	return bytes.Clone(all[c.r.IntN(len(all))])
}

// segment sends a piece of some bytes, where it belongs or elsewhere.
func (c *composer) segment() {
	r, p := c.r, c.p
	b := c.bytes()
	from := 0
	if r.IntN(2) == 0 {
		from = r.IntN(len(b))
	}
	to := len(b)
	if r.IntN(2) == 0 {
		to = from + r.IntN(len(b)-from) + 1
	}
	off := from
	switch r.IntN(6) {
	case 0:
		off = -from - 1 - r.IntN(300)
	case 1:
		off = from - r.IntN(60)
	case 2:
		off = from - len(b)
	}
	s := p.segment(off, b[from:to])
	if r.IntN(6) == 0 {
		s.Payload = nil
	}
	c.send(fmt.Sprintf("[%d:%d) of %.12q at %d", from, to, b, off), c.odd(s))
}

// odd makes a segment odd, now and then.
func (c *composer) odd(s Segment) Segment {
	r := c.r
	for r.IntN(2) == 0 {
		switch r.IntN(14) {
		case 0, 1, 2, 3:
			s.TTL = 8
		case 4:
			s.BadChecksum = true
		case 5:
			s.Flags ^= packet.ACK
		case 6:
			s.Flags |= packet.FIN
		case 7:
			s.Flags |= packet.RST
		case 8:
			s.Flags |= packet.URG
			s.Pointer = uint16(r.IntN(4) * r.IntN(100))
		case 9:
			s.Options = append(append([]byte{}, 19, 18), make([]byte, 18)...)
		case 10:
			s.Ack += []uint32{1, 100, 5000, 1 << 20, ^uint32(0), ^uint32(1 << 20)}[r.IntN(6)]
		case 11:
			s.Seq += []uint32{1, 100, 70000, 1 << 24, ^uint32(0), 1 << 31}[r.IntN(6)]
		case 12:
			s.Options = stamp(c.p.clock-1<<19, c.p.echo)
		case 13:
			s.Window = uint16(r.IntN(3))
		}
	}
	return s
}

// forge sends something in the server's name.
func (c *composer) forge() {
	r, p := c.r, c.p
	flags := []packet.Flags{packet.ACK, packet.ACK, packet.RST, packet.RST | packet.ACK, packet.FIN | packet.ACK, packet.SYN | packet.ACK, packet.SYN}[r.IntN(7)]
	s := p.forged(r.IntN(300), flags)
	if r.IntN(3) == 0 {
		s.Payload = [][]byte{[]byte("SSH-2.0-x\r\n"), serverHello(aes128), []byte("220 x ESMTP\r\n")}[r.IntN(3)]
	}
	if r.IntN(4) == 0 {
		s.Seq += uint32(r.IntN(100000))
	}
	c.send("in the server's name", s)
}

func (c *composer) send(what string, s Segment) {
	c.say("%s: seq %+d, ack %+d, flags %06b, %d bytes, ttl %d, pointer %d, options %x", what,
		int32(s.Seq-c.p.ISS-1), int32(s.Ack-c.p.irs-1), s.Flags, len(s.Payload), s.TTL, s.Pointer, s.Options)
	c.p.send(s)
}
