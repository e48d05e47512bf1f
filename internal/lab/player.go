package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Recorded is a packet of a recorded connection, from the TCP header on.
type Recorded struct {
	FromServer bool
	TCP        []byte
}

// Played connections are told apart by their addresses, ports and sequence numbers.
// As many as playedPairs are; then they begin again, further on in sequence space.
const (
	playedPairs   = 1 << 18
	playedLap     = 0x1000 // added to the high half of sequence numbers
	playedClients = 1 << 12
	playedServers = 1 << 8
)

// Networks whose hosts are played, and the neighbours they are said to be behind:
// nobody, so that a packet that has passed the gateway costs no more than that.
var (
	playedNets = [2][2]netip.Prefix{
		{netip.MustParsePrefix("198.19.0.0/17"), netip.MustParsePrefix("2001:db8:8001::/48")},
		{netip.MustParsePrefix("198.19.128.0/17"), netip.MustParsePrefix("2001:db8:8002::/48")},
	}
	playedVia = [2][2]netip.Addr{
		{addr("198.18.1.254"), addr("2001:db8:1::fe")},
		{addr("198.18.2.254"), addr("2001:db8:2::fe")},
	}
	nobody = net.HardwareAddr{2, 0, 0, 0, 0, 0xfe}
)

// Player plays recorded connections through the gateway from both of its sides at
// once, each time from other addresses of 198.19.0.0/16 and 2001:db8::/32, checksums
// right. Neither side's kernel takes part. It is for one goroutine.
type Player struct {
	out     [2]*sender // by side: the client's, the server's
	scripts [][]template
	number  uint32 // of connections played
}

// template is a packet whose variable fields are patched for each connection.
type template struct {
	from  int // the side
	ipv6  bool
	frame []byte
}

// Player prepares the gateway's routes and a socket in each host. Every recording is
// played over IPv4, and over IPv6 where the kernel has it.
func (l *Lab) Player(recordings [][]Recorded) (*Player, error) {
	p := &Player{}
	versions := 1
	if l.Gateway.IPv6.IsValid() {
		versions = 2
	}
	if err := l.routePlayed(versions); err != nil {
		return nil, err
	}
	for i, h := range []*Host{l.Client, l.Server} {
		s, err := newSender(h)
		if err != nil {
			p.Close()
			return nil, err
		}
		p.out[i] = s
	}
	hosts := [2]*Host{l.Client, l.Server}
	for _, r := range recordings {
		for version := range versions {
			var script []template
			for _, packet := range r {
				script = append(script, newTemplate(hosts, packet, version == 1))
			}
			p.scripts = append(p.scripts, script)
		}
	}
	return p, nil
}

// routePlayed has the gateway send what is for the played hosts to nobody.
func (l *Lab) routePlayed(versions int) error {
	gateway, err := netlink.NewHandleAt(l.Gateway.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return wrap("open netlink in gateway", err)
	}
	defer gateway.Close()
	for side, name := range []string{GatewayClientLink, GatewayServerLink} {
		link, err := gateway.LinkByName(name)
		if err != nil {
			return wrap("find link "+name, err)
		}
		for version := range versions {
			via, to := playedVia[side][version], playedNets[side][version]
			err := gateway.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: via.AsSlice(), HardwareAddr: nobody})
			if err != nil {
				return wrap("add a neighbour", err)
			}
			dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
			if err := gateway.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Gw: via.AsSlice()}); err != nil {
				return wrap("add a route to "+to.String(), err)
			}
		}
	}
	return nil
}

// Close closes the sockets.
func (p *Player) Close() error {
	for _, s := range p.out {
		if s != nil {
			s.close()
		}
	}
	return nil
}

// Play plays connections, together of them at the same time: the first packet of
// each, then the second of each. Before packets are sent, send is called with their
// number, and waits if it likes; its error ends it all. It returns how many packets
// were sent. All are sent on one CPU, as packets of two CPUs would overtake each other.
func (p *Player) Play(connections, together int, send func(packets int) error) (packets int, err error) {
	runtime.LockOSThread() // which must not end: what it started would die with it
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return 0, wrap("read CPU affinity", err)
	}
	defer unix.SchedSetaffinity(0, &before)
	if err := unix.SchedSetaffinity(0, lastOf(&before)); err != nil {
		return 0, wrap("set CPU affinity", err)
	}
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // for whoever waits in send
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	for left := connections; left > 0 && err == nil; left -= together {
		var n int
		n, err = p.playGroup(min(left, together), send)
		packets += n
	}
	return packets, err
}

// Skip leaves the addresses and ports of the next connections unused.
func (p *Player) Skip(connections int) { p.number += uint32(connections) }

func lastOf(may *unix.CPUSet) *unix.CPUSet {
	last := &unix.CPUSet{}
	for cpu := range len(may) * 64 {
		if may.IsSet(cpu) {
			last.Zero()
			last.Set(cpu)
		}
	}
	return last
}

func (p *Player) playGroup(connections int, send func(int) error) (packets int, err error) {
	first := p.number
	p.number += uint32(connections)
	for step := 0; ; step++ {
		over := true
		for i := range uint32(connections) {
			n := first + i
			script := p.scripts[int(n)%len(p.scripts)]
			if step >= len(script) {
				continue
			}
			over = false
			t := &script[step]
			t.write(p.out[t.from].next(len(t.frame)), n)
		}
		if over {
			return packets, nil
		}
		n := p.out[0].waiting + p.out[1].waiting
		if err := send(n); err != nil {
			return packets, err
		}
		packets += n
		for _, s := range p.out {
			if err := s.flush(); err != nil {
				return packets, err
			}
		}
	}
}

const ethernetSize = 14

// newTemplate puts headers before a TCP packet, with addresses of the played hosts'
// networks and no client port.
func newTemplate(hosts [2]*Host, r Recorded, ipv6 bool) template {
	t := template{ipv6: ipv6}
	version := 0
	if r.FromServer {
		t.from = 1
	}
	if ipv6 {
		version = 1
	}
	src, dst := playedNets[t.from][version].Addr().AsSlice(), playedNets[1-t.from][version].Addr().AsSlice()
	f := append(slices.Clone(hosts[t.from].link.gateway), 2, 0, 0, 0, 0, byte(t.from))
	if ipv6 {
		f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, byte(len(r.TCP)>>8), byte(len(r.TCP)), unix.IPPROTO_TCP, 64)
		f = append(append(f, src...), dst...)
	} else {
		size := 20 + len(r.TCP)
		f = append(f, 8, 0, 0x45, 0, byte(size>>8), byte(size), 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0)
		f = append(append(f, src...), dst...)
		put(f[ethernetSize+10:], ^onesSum(0, f[ethernetSize:]))
	}
	at := len(f)
	f = append(f, r.TCP...)
	put(f[at+2*t.from:], 0)
	put(f[at+16:], 0)
	pseudo := append(append(slices.Clone(src), dst...), 0, unix.IPPROTO_TCP, byte(len(r.TCP)>>8), byte(len(r.TCP)))
	put(f[at+16:], ^onesSum(onesSum(0, pseudo), f[at:]))
	t.frame = f
	return t
}

// write writes the packet as connection number n has it. No two connections of a lap
// have the same addresses and port.
func (t *template) write(b []byte, n uint32) {
	copy(b, t.frame)
	pair := n % playedPairs
	host := [2]uint16{1 + uint16(pair%playedClients), 1 + uint16(pair/3%playedServers)}
	port := 1024 + uint16(pair%50000)
	lap := uint16(n/playedPairs) * playedLap

	src, dst, tcp := ethernetSize+14, ethernetSize+18, ethernetSize+20 // low halves of addresses
	if t.ipv6 {
		src, dst, tcp = ethernetSize+22, ethernetSize+38, ethernetSize+40
	}
	addresses := change(b[src:], get(b[src:])|host[t.from], 0)
	addresses = change(b[dst:], get(b[dst:])|host[1-t.from], addresses)
	if !t.ipv6 {
		put(b[ethernetSize+10:], ^onesAdd(^get(b[ethernetSize+10:]), addresses))
	}
	sum := onesAdd(^get(b[tcp+16:]), addresses)
	sum = change(b[tcp+2*t.from:], port, sum)
	sum = change(b[tcp+4:], get(b[tcp+4:])+lap, sum)
	if b[tcp+13]&flagACK != 0 {
		sum = change(b[tcp+8:], get(b[tcp+8:])+lap, sum)
	}
	put(b[tcp+16:], ^sum)
}

const flagACK = 0x10

// change puts v in the place of what stands there, and carries the checksum's sum on
// (RFC 1624).
func change(b []byte, v, sum uint16) uint16 {
	sum = onesAdd(onesAdd(sum, ^get(b)), v)
	put(b, v)
	return sum
}

func get(b []byte) uint16    { return binary.BigEndian.Uint16(b) }
func put(b []byte, v uint16) { binary.BigEndian.PutUint16(b, v) }

// onesAdd is addition in one's complement (RFC 1071).
func onesAdd(a, b uint16) uint16 {
	n := uint32(a) + uint32(b)
	return uint16(n + n>>16)
}

func onesSum(sum uint16, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum = onesAdd(sum, get(b))
	}
	if len(b) == 1 {
		sum = onesAdd(sum, uint16(b[0])<<8)
	}
	return sum
}
