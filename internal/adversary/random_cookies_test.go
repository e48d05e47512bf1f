package adversary

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/internal/engine"
)

// TestRandomCookies is TestRandom with servers that answer by SYN cookies, and with what
// can be done about those.
func TestRandomCookies(t *testing.T) {
	policies := []string{Policy(""), Strict(""), strings.Replace(Policy(""), "[[rule]]", recordsRead+"[[rule]]", 1)}
	stacks := []Stack{{Name: "Linux", Cookies: true}, {Name: "Linux, IPv6", Cookies: true, Larger: 1}, {Name: "RFC 793", RFC793: true, Cookies: true}}
	midstreams := []engine.Midstream{engine.MidstreamAccept, engine.MidstreamInspect, engine.MidstreamReset}
	for i := range uint64(*randoms) {
		r := rand.New(rand.NewPCG(*seed+i, 2))
		which := r.IntN(3)
		policy := policyOf(t, policies[which])
		stack := stacks[r.IntN(3)]
		client, server := netip.MustParseAddrPort("198.18.1.2:61000"), netip.MustParseAddrPort("198.18.2.2:443")
		midstream := midstreams[r.IntN(3)]
		m := NewModel(policy, midstream, stack, server)
		p := NewPeer(m, client, server, Stake(r.IntN(2)), 100*time.Millisecond)
		c := composer{r: r, p: p}
		c.playCookies(which == 2, midstream == engine.MidstreamReset)
		if how := p.Won(m.Server.names); how != "" {
			t.Fatalf("seed %d, %s, %s: %s; refused for %v:\n%s", *seed+i, stack.Name, p.Stake, how, m.Reasons(), strings.Join(c.said, "\n"))
		}
	}
}

// recordsRead has every record of a connection read, so that it is not left to the kernel.
const recordsRead = `[[rule]]
name = "records"
require = { content_type = ["handshake", "change_cipher_spec", "application_data", "alert"] }
`

// playCookies plays with cookies of another minute that no SYN-ACK has said only where all
// is read: nobody could know them. A daemon starts again only where it resets what began
// unseen: docs/EVASION.md, "What is left".
func (c *composer) playCookies(read, restarts bool) {
	r, p := c.r, c.p
	if p.Stamps = r.IntN(2) == 0; p.Stamps {
		p.Options = []byte{2, 4, 5, 180, 1, 3, 3, 14}
	}
	c.say("open, third packet")
	connect := func() bool {
		heard := p.connect()
		if heard {
			c.cookies = append(c.cookies, p.irs-p.ISS)
		}
		return heard
	}
	if connect() && r.IntN(2) == 0 {
		p.ack()
	}
	for range 2 + r.IntN(9) {
		switch r.IntN(9) {
		case 0:
			c.further(read)
		case 1:
			s := p.segment(len(p.stream), nil)
			s.Flags = []packet.Flags{packet.RST, packet.FIN | packet.ACK}[r.IntN(2)]
			c.send("its end", c.odd(s))
			p.settle()
		case 2:
			c.say("pass 40 seconds")
			p.pass(40 * time.Second)
		case 3:
			p.ISS += []uint32{0, 0, 100, 1 << 20}[r.IntN(4)]
			c.say("the SYN")
			p.heard, p.reset = false, false
			connect()
		case 4:
			n := len(p.Good) * r.IntN(2)
			c.say("an innocent hello from %d", n/2)
			p.data(n/2, p.Good[n/2:])
			p.settle()
		case 5:
			if restarts {
				c.say("the daemon starts again")
				p.restart()
			}
		case 6:
			c.say("what it had is forgotten")
			p.got, p.stream, p.early = nil, nil, map[int]byte{}
		default:
			c.step(true)
		}
	}
	c.say("the hello")
	p.got, p.early = nil, map[int]byte{}
	p.data(0, p.Hello)
	p.insist()
}

// further goes on with both numbers elsewhere, and perhaps those of another cookie.
func (c *composer) further(read bool) {
	r, p := c.r, c.p
	_, at := p.nested()
	k := []uint32{1, 3, 99, 500, 1 << 20, uint32(at)}[r.IntN(6)]
	if r.IntN(2) == 0 {
		k = -k
	}
	ack := k + []uint32{0, 0, 1, ^uint32(0)}[r.IntN(4)]
	minute := cookieAhead(1) - cookieAhead(0)
	switch r.IntN(4) {
	case 0:
		if read {
			ack = k + []uint32{minute, -minute}[r.IntN(2)]
		}
	case 1:
		if n := len(c.cookies); n > 0 {
			ack = k + c.cookies[r.IntN(n)] - (p.irs - p.ISS)
		}
	}
	s := p.segment(int(int32(k)), nil)
	s.Ack += ack
	if r.IntN(2) == 0 {
		s.Payload = c.bytes()
	}
	c.send("further", c.odd(s))
	switch r.IntN(3) {
	case 0:
		p.ISS, p.irs = p.ISS+k, p.irs+ack
	case 1:
		p.irs += ack
	}
}
