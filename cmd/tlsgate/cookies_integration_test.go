package main

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"tlsgate/internal/adversary"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationCookies plays the tricks with SYN cookies against a kernel that answers
// every SYN by one. Each but what only a smaller link allows wins where there is no
// firewall, over IPv4 or IPv6.
func TestIntegrationCookies(t *testing.T) {
	l := labtest.New(t, lab.Options{Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.tcp_syncookies": "2"}})
	if !l.Server.IPv6.IsValid() {
		labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
	}
	seen := serveAdversaries(t, l)
	play := func(restart func()) (won map[string]int) {
		won = map[string]int{}
		for _, trick := range adversary.Tricks() {
			if trick.Group != adversary.Cookies || trick.Model != "" && trick.Model != adversary.OwnDaemon {
				continue
			}
			won[trick.Name] = 0
			for _, server := range []netip.Addr{l.Server.IPv4, l.Server.IPv6} {
				if wrong := playRestarting(l, seen, &trick, netip.AddrPortFrom(server, 443), adversary.StakeName, restart); wrong != "" {
					won[trick.Name]++
				}
			}
		}
		return won
	}
	for name, n := range play(func() {}) {
		t.Logf("without a firewall %d of 2: %s", n, name)
		if n == 0 {
			t.Errorf("it wins against nobody: %s", name)
		}
	}
	f := startFirewall(t, l, adversary.Policy(""))
	for name, n := range play(func() {
		f.cmd.Process.Kill()
		<-f.ended
		f = startFirewall(t, l, adversary.Policy(""))
	}) {
		if n != 0 {
			t.Errorf("it wins %d times: %s", n, name)
		}
	}
}

// TestIntegrationFirstOctets: a client that says an octet a segment, and does not wait for
// its server, loses none of them to what a SYN cookie could begin.
func TestIntegrationFirstOctets(t *testing.T) {
	l := labtest.New(t, lab.Options{Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": "0"}})
	if !l.Server.IPv6.IsValid() {
		labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
	}
	seen := serveAdversaries(t, l)
	f := startFirewall(t, l, adversary.Policy(""))
	tricks := adversary.Tricks()
	i := slices.IndexFunc(tricks, func(x adversary.Trick) bool { return x.Name == "one byte a segment" })
	for _, server := range []netip.Addr{l.Server.IPv4, l.Server.IPv6} {
		if wrong := playOnWire(l, seen, &tricks[i], netip.AddrPortFrom(server, 443), adversary.StakeNone); wrong != "" {
			t.Errorf("%v: %s", server, wrong)
		}
	}
	if n := f.statsNow().Dropped["syn_cookie"]; n != 0 {
		t.Errorf("%d segments were dropped", n)
	}
}
