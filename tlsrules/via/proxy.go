package via

import (
	"net/netip"
	"strconv"
	"strings"

	"tlsgate/tlsrules/tlswire"
)

// maxProxy1 is the longest header of version 1, with what ends it ("The PROXY
// protocol", Section 2.1).
const maxProxy1 = 107

// unwrapped goes on behind a PROXY header: the client begins anew, what its
// server says has not begun yet.
func (c *Conn) unwrapped() Status {
	s := &c.sides[tlswire.Client]
	s.n, s.step, s.look = 0, 0, true
	c.proto, c.asked, c.inClear = opening, 0, false
	if !c.lead(Proxy) {
		return TooDeep
	}
	return NeedMore
}

// proxy1 takes the header of version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 1025 25".
func (c *Conn) proxy1(line []byte) Status {
	words := strings.Split(string(line), " ")
	switch {
	case len(line) > maxProxy1-2 || len(words) < 2:
	case words[1] == "UNKNOWN":
		c.Proxied = Proxied{}
		return c.unwrapped()
	case len(words) == 6 && (words[1] == "TCP4" || words[1] == "TCP6"):
		source, ok1 := addrPort(words[2], words[4])
		destination, ok2 := addrPort(words[3], words[5])
		if ok1 && ok2 {
			c.Proxied = Proxied{source, destination}
			return c.unwrapped()
		}
	}
	return c.lose()
}

func addrPort(addr, port string) (netip.AddrPort, bool) {
	a, err1 := netip.ParseAddr(addr)
	p, err2 := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(p)), err1 == nil && err2 == nil
}

// readProxy2 consumes bytes of the header of version 2 (Section 2.2): signature,
// version and command, family, length, addresses, and what may follow them.
func (c *Conn) readProxy2(b []byte) (n int, st Status) {
	const fixed = 16
	s := &c.sides[tlswire.Client]
	n, ok := s.gather(b, fixed)
	if !ok {
		return n, NeedMore
	}
	length := int(uint16Of(s.buf[14:]))
	addresses := 0
	switch s.buf[13] >> 4 {
	case 1:
		addresses = 4
	case 2:
		addresses = 16
	}
	need := 2*addresses + 4
	command := s.buf[12]
	if command>>4 != 2 || command&15 > 1 {
		return n, c.lose()
	}
	if command&15 == 0 || addresses == 0 || length < need {
		addresses, need = 0, 0
	}
	k, ok := s.gather(b[n:], fixed+need)
	n += k
	if !ok {
		return n, NeedMore
	}
	c.Proxied = Proxied{}
	if addresses > 0 {
		a := s.buf[fixed:]
		ports := a[2*addresses:]
		c.Proxied.Source = netip.AddrPortFrom(addressOf(a[:addresses]), uint16Of(ports))
		c.Proxied.Destination = netip.AddrPortFrom(addressOf(a[addresses:2*addresses]), uint16Of(ports[2:]))
	}
	if rest := uint64(length - need); rest > 0 {
		s.n, s.skip = 0, rest
		return n, NeedMore
	}
	return n, c.unwrapped()
}
