package engine

import (
	"fmt"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
)

// change is what another policy has otherwise.
type change struct {
	name   string
	policy func() *tlsrules.Policy
	config func(c *Config)
	// forbids is what the new policy forbids, and known at which byte of whom that is:
	// nothing, if it permits the connection.
	forbids string
}

const (
	bySYN    = "syn"
	byName   = "name"
	bySuite  = "suite"
	byRecord = "certificate"
)

func changes() []change {
	still := func() *tlsrules.Policy { return policy(acceptAll) }
	return []change{
		{"action, and a rule accepts", func() *tlsrules.Policy {
			return policy(tlsrules.Defaults{Action: tlsrules.Reset, NotTLS: tlsrules.Accept}, rule("new", tlsrules.Accept, "sni", "api.bank.example"))
		}, nil, ""},
		{"action", func() *tlsrules.Policy {
			return policy(tlsrules.Defaults{Action: tlsrules.Reset, NotTLS: tlsrules.Reset})
		}, nil, bySYN},
		{"a rule on ports", func() *tlsrules.Policy { return policy(acceptAll, rule("new", tlsrules.Drop, "port", "443")) }, nil, bySYN},
		{"a rule on names", func() *tlsrules.Policy { return named("www.bank.example") }, nil, byName},
		{"a rule on names, that permits", func() *tlsrules.Policy { return named("api.bank.example") }, nil, ""},
		{"a rule on suites", func() *tlsrules.Policy { return otherwise(tlsrules.Reset, "cipher", "AES128-SHA") }, nil, bySuite},
		{"a rule on versions", func() *tlsrules.Policy { return otherwise(tlsrules.Reset, "version", "1.0") }, nil, bySuite},
		{"a rule on certificates", func() *tlsrules.Policy { return otherwise(tlsrules.Reset, "cert_key", "ecdsa") }, nil, byRecord},
		{"a pin", func() *tlsrules.Policy { return pinRule(nil) }, nil, ""},
		{"mptcp", still, func(c *Config) { c.MPTCP = MPTCPRefuse }, ""},
		{"offload", still, func(c *Config) { c.Offload = !c.Offload }, ""},
		{"midstream", still, func(c *Config) { c.Default.Midstream = MidstreamDrop }, ""},
		{"malformed, ambiguous, undecided", still, func(c *Config) {
			c.Default.Malformed, c.Default.Ambiguous, c.Default.Undecided = tlsrules.Drop, tlsrules.Drop, tlsrules.Drop
		}, ""},
		{"overload", still, func(c *Config) { c.Overload = tlsrules.Reset }, ""},
		{"limits", still, func(c *Config) {
			c.Limits = Limits{Connections: 4, HalfOpen: 2, Buffered: 1 << 20, PerConnection: 4 << 10, Hello: 1 << 10, Decide: 100_000_000, Refused: 1, Stories: 1}
		}, ""},
	}
}

// TestReloadAnytime: another policy comes at each moment of a connection, and changes each
// key. Who is permitted notices nothing; of who is forbidden nothing passes from the moment
// on at which that is known, one event tells of it, and both ends are reset.
func TestReloadAnytime(t *testing.T) {
	for _, x := range conversations(t) {
		for _, m := range x.instants() {
			for _, ch := range changes() {
				for i := range 4 {
					x.reload(t, m, ch, i&1 != 0, i&2 != 0)
				}
			}
		}
	}
}

func (x *conversation) reload(t *testing.T, m instant, ch change, offload, walks bool) {
	t.Helper()
	what := fmt.Sprintf("%s, %s, %s, offload %v, walk %v", x.name, m.name, ch.name, offload, walks)
	cfg := config()
	cfg.Offload = offload
	l := newLab(t, cfg, policy(acceptAll))
	k := l.link4()
	k.to(x, m)
	heard := [2]int{len(k.ends[1].got), len(k.ends[0].got)}
	next := l.e.cfg
	if next.Generation = 6; ch.config != nil {
		ch.config(&next)
	}
	l.e.adopt(next, ch.policy())
	if walks {
		l.around()
	}
	k.on(x, m)
	if m.fins == 0 && x.turns[0].dir == original { // time goes by
		l.now += second
		l.e.Tick(l.now)
	}
	drops := l.sink.drop
	if ch.forbids == "" {
		if len(drops) != 0 || m.fins == 0 && !k.complete(x.turns) {
			t.Errorf("%s: %d and %d bytes came, closed %v %v, %+v", what, len(k.ends[1].got), len(k.ends[0].got), k.ends[0].closed, k.ends[1].closed, drops)
		}
		return
	}
	if m.fins > 0 || m.turns == len(x.turns) && !walks { // no more is said
		return
	}
	for d := conntrack.Original; d <= conntrack.Reply; d++ {
		limit := x.known(ch.forbids, d)
		if got := len(k.ends[d.Other()].got); limit >= 0 && got > max(heard[d], limit-1) {
			t.Errorf("%s: %d bytes came in direction %d, %d before, and it is forbidden at %d", what, got, d, heard[d], limit)
		}
	}
	if len(drops) != 1 && ch.forbids != byRecord {
		t.Errorf("%s: %d drop events", what, len(drops))
	}
}

// known is the byte of a direction with which it is known what is forbidden; -1: another
// direction tells.
func (x *conversation) known(what string, d conntrack.Direction) int {
	switch {
	case what == bySYN:
		return 0
	case what == byName && d == original:
		return x.hello
	case what == bySuite && d == reply:
		return x.answer
	}
	return -1
}
