package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationBigTCP: a link that may hand over what no queue can hold is named when
// the daemon starts, and when it becomes one; where none is to be seen, the first such
// packet is told of. Either way a transfer arrives whole, and without standing still.
func TestIntegrationBigTCP(t *testing.T) {
	for _, seen := range []bool{true, false} {
		t.Run(fmt.Sprintf("seen=%v", seen), func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			w := watchTLS(t, l, &tls.Config{})
			labtest.BigTCP(t, l.Client.Run, lab.HostLink, 200_000)
			if seen {
				labtest.BigTCP(t, l.Gateway.Run, lab.GatewayClientLink, 200_000)
			}
			f := startFirewall(t, l, inspected, "--events", "none")
			if strings.Contains(f.said(), "links may hand over packets that are too long for a queue: client (gso_max_size 200000,") != seen {
				t.Errorf("at its start it says %q", f.said())
			}
			out, err := program(t, l.Gateway, "rules", "up", "-c", f.policy).CombinedOutput()
			if err != nil || strings.Contains(string(out), "tlsgate: warning: links may hand over") != seen {
				t.Errorf("rules up: %v: %s", err, out)
			}
			for range 2 {
				began := time.Now()
				if _, err := exchange(dial(t, l, netip.AddrPortFrom(l.Server.IPv4, 443)), &tls.Config{}, 16<<20); err != nil {
					t.Error(err)
				}
				t.Logf("16 MiB there and back in %s", time.Since(began).Round(time.Millisecond))
				w.next(t)
			}
			dropped := f.statsNow().Dropped["truncated"]
			health, _, code := f.ask(l, "health")
			if seen {
				if dropped != 0 || code != 1 || !strings.Contains(health, "links: links may hand over") || !strings.Contains(health, "ip link set dev LINK gso_max_size 65536") {
					t.Errorf("%d dropped; health: %d: %s", dropped, code, health)
				}
				labtest.BigTCP(t, l.Gateway.Run, lab.GatewayClientLink, 65536)
				if !within(linksEvery+5*time.Second, func() bool { return strings.Contains(f.said(), "no packets any more") }) {
					t.Errorf("the link is as it should be, and it says %q", f.said())
				}
				if out, errs, code := f.ask(l, "health"); code != 0 {
					t.Errorf("health afterwards: %d: %s%s", code, out, errs)
				}
				return
			}
			if dropped == 0 || dropped > 1000 || code != 1 || !strings.Contains(health, "too_long: ") || !strings.Contains(health, "from 198.18.1.2:") || !strings.Contains(health, "to 198.18.2.2:443 by client") {
				t.Errorf("%d dropped; health: %d: %s", dropped, code, health)
			}
			if !strings.Contains(f.said(), "to 198.18.2.2:443 by client; from now on the kernel cuts up") {
				t.Errorf("it says %q", f.said())
			}
		})
	}
}
