package lab

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// sides are the two networks of the lab.
type side struct {
	host           *Host
	link           string // the gateway's
	index          int    // of link
	host4, router4 netip.Addr
	host6, router6 netip.Addr
}

func (l *Lab) sides() [2]side {
	return [2]side{
		{l.Client, GatewayClientLink, 101, addr("198.18.1.2"), addr("198.18.1.1"), addr("2001:db8:1::2"), addr("2001:db8:1::1")},
		{l.Server, GatewayServerLink, 102, addr("198.18.2.2"), addr("198.18.2.1"), addr("2001:db8:2::2"), addr("2001:db8:2::1")},
	}
}

// connect lays the links and gives addresses and routes.
func (l *Lab) connect(ctx context.Context) error {
	_, err := os.Stat("/proc/sys/net/ipv6")
	ipv6 := err == nil
	for _, h := range []*Host{l.Client, l.Gateway, l.Server} {
		if err := h.Run(func() error { return l.prepare(h == l.Gateway, ipv6) }); err != nil {
			return err
		}
	}
	gateway, err := netlink.NewHandleAt(l.Gateway.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return wrap("open netlink in gateway", err)
	}
	defer gateway.Close()
	if err := setUp(gateway, "lo"); err != nil {
		return err
	}
	for _, s := range l.sides() {
		if err := l.connectSide(gateway, s, ipv6); err != nil {
			return err
		}
		s.host.IPv4 = s.host4
		if ipv6 {
			s.host.IPv6 = s.host6
		}
	}
	l.Gateway.IPv4 = l.sides()[0].router4
	if ipv6 {
		l.Gateway.IPv6 = l.sides()[0].router6
	}
	return l.lose(ctx, ipv6)
}

// prepare sets the parameters of the namespace the thread is in, before it has
// links: those of conf/default are copied to each new link.
func (l *Lab) prepare(forward, ipv6 bool) error {
	set := [][2]string{}
	if ipv6 {
		set = append(set, [][2]string{
			{"net.ipv6.conf.default.accept_dad", "0"}, // addresses are usable at once
			{"net.ipv6.conf.default.accept_ra", "0"},
			{"net.ipv6.conf.default.router_solicitations", "0"},
			{"net.ipv6.conf.default.disable_ipv6", "0"},
		}...)
	}
	if forward {
		set = append(set, [2]string{"net.ipv4.ip_forward", "1"})
		if ipv6 {
			set = append(set, [2]string{"net.ipv6.conf.all.forwarding", "1"})
		}
	}
	for name, value := range l.options.Sysctls {
		set = append(set, [2]string{name, value})
	}
	for _, s := range set {
		if err := writeSysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// connectSide joins the gateway and one host.
func (l *Lab) connectSide(gateway *netlink.Handle, s side, ipv6 bool) error {
	host, err := netlink.NewHandleAt(s.host.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return wrap("open netlink in "+s.host.Name, err)
	}
	defer host.Close()
	if err := setUp(host, "lo"); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.link
	// Where both ends of a pair have the same number, the kernel takes a second
	// to see that the link is up (link_watch.c), and the first SYN is lost.
	attrs.Index = s.index
	attrs.MTU = l.options.MTU
	if attrs.MTU == 0 {
		attrs.MTU = 1500
	}
	err = gateway.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: HostLink, PeerNamespace: netlink.NsFd(s.host.ns)})
	if err != nil {
		return &Error{"make a veth pair", err, "the kernel needs CONFIG_VETH (modprobe veth)"}
	}
	type address struct {
		at   *netlink.Handle
		link string
		ip   netip.Addr
		bits int
	}
	addresses := []address{{gateway, s.link, s.router4, 24}, {host, HostLink, s.host4, 24}}
	routers := []netip.Addr{s.router4}
	if ipv6 {
		addresses = append(addresses, address{gateway, s.link, s.router6, 64}, address{host, HostLink, s.host6, 64})
		routers = append(routers, s.router6)
	}
	for _, a := range addresses {
		if err := addAddress(a.at, a.link, netip.PrefixFrom(a.ip, a.bits)); err != nil {
			return err
		}
	}
	if err := s.host.Run(func() error { return l.tune(HostLink) }); err != nil {
		return err
	}
	if err := l.Gateway.Run(func() error { return l.tune(s.link) }); err != nil {
		return err
	}
	if err := setUp(host, HostLink); err != nil {
		return err
	}
	if err := setUp(gateway, s.link); err != nil {
		return err
	}
	for _, r := range routers {
		if err := host.RouteAdd(&netlink.Route{Gw: r.AsSlice()}); err != nil {
			return wrap("add a route in "+s.host.Name, err)
		}
	}
	return s.host.learnLink(gateway, host, s.link)
}

// learnLink notes what a raw sender has to know.
func (h *Host) learnLink(gateway, host *netlink.Handle, name string) error {
	theirs, err := gateway.LinkByName(name)
	if err != nil {
		return wrap("find link "+name, err)
	}
	ours, err := host.LinkByName(HostLink)
	if err != nil {
		return wrap("find link "+HostLink, err)
	}
	h.link = link{ours.Attrs().Index, theirs.Attrs().HardwareAddr, ours.Attrs().MTU}
	return nil
}

func setUp(at *netlink.Handle, name string) error {
	l, err := at.LinkByName(name)
	if err == nil {
		err = at.LinkSetUp(l)
	}
	return wrap("set "+name+" up", err)
}

func addAddress(at *netlink.Handle, name string, p netip.Prefix) error {
	l, err := at.LinkByName(name)
	if err == nil {
		a := &netlink.Addr{IPNet: &net.IPNet{
			IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		}}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		err = at.AddrAdd(l, a)
	}
	return wrap("add address "+p.String(), err)
}

// tune applies Options.NoOffload and ReceiveOffload to a link of the thread's
// namespace.
func (l *Lab) tune(name string) error {
	if l.options.NoOffload {
		if err := setOffload(name, 0, offloadOff...); err != nil {
			return err
		}
	}
	if l.options.ReceiveOffload {
		return setOffload(name, 1, unix.ETHTOOL_SGRO)
	}
	return nil
}

// lose makes each host lose its share of what arrives, and the gateway too,
// before any other rule sees it.
func (l *Lab) lose(ctx context.Context, ipv6 bool) error {
	if l.options.Loss == 0 {
		return nil
	}
	programs := []string{"iptables"}
	if ipv6 {
		programs = append(programs, "ip6tables")
	}
	for _, h := range []*Host{l.Client, l.Gateway, l.Server} {
		for _, program := range programs {
			err := h.iptables(ctx, program, "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "!", "-i", "lo",
				"-m", "statistic", "--mode", "random",
				"--probability", strconv.FormatFloat(l.options.Loss, 'f', -1, 64), "-j", "DROP")
			if err != nil {
				return err
			}
		}
	}
	return nil
}
