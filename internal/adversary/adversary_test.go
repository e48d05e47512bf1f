package adversary

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/config"
	"tlsgate/internal/engine"
)

func policyOf(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("policy.toml", []byte(text), ".")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTricks plays the table in memory.
func TestTricks(t *testing.T) {
	policies := map[string]*config.Config{"names refused": policyOf(t, Policy("")), "names required": policyOf(t, Strict("")), "names alone": policyOf(t, Names(""))}
	for _, trick := range Tricks() {
		t.Run(string(trick.Group)+"/"+trick.Name, func(t *testing.T) {
			if trick.Wire != "" {
				return
			}
			ambiguous := uint64(0)
			for title, policy := range policies {
				if trick.Strict && title != "names required" {
					continue
				}
				for _, stack := range trick.Stacks() {
					for midstream := range map[engine.Midstream]bool{engine.MidstreamAccept: true, engine.MidstreamInspect: true} {
						for _, family := range []string{"198.18.1.2 198.18.2.2", "2001:db8:1::2 2001:db8:2::2"} {
							if strings.Contains(family, ":") && stack.Name != "Linux" {
								continue // TCP is the same
							}
							for _, stake := range trick.Stakes() {
								what := fmt.Sprintf("%s, %s, midstream %d, %s, %s", title, stack.Name, midstream, family, stake)
								if stake == StakeSuite && title == "names alone" {
									continue
								}
								if stake == StakeNone && trick.Unseen && midstream == engine.MidstreamInspect {
									continue
								}
								if t.Failed() {
									return // one is enough
								}
								ambiguous += play(t, what, &trick, policy, stack, midstream, family, stake)
							}
						}
					}
				}
			}
			if (ambiguous > 0) != trick.Ambiguous && !t.Failed() {
				t.Errorf("%d connections were counted as ambiguous, and the table says %v", ambiguous, trick.Ambiguous)
			}
		})
	}
}

func play(t *testing.T, what string, trick *Trick, policy *config.Config, stack Stack, midstream engine.Midstream, family string, stake Stake) (ambiguous uint64) {
	t.Helper()
	hosts := strings.Fields(family)
	client := netip.AddrPortFrom(netip.MustParseAddr(hosts[0]), 61000)
	server := netip.AddrPortFrom(netip.MustParseAddr(hosts[1]), 443)
	m := NewModel(policy, midstream, stack, server)
	p := NewPeer(m, client, server, stake, 100*time.Millisecond)
	p.Later = stack.Later
	p.Play(trick)
	if wrong := p.Won(m.Server.names); wrong != "" {
		t.Errorf("%s: %s; refused for %v, the server has seen %v and is in state %d", what, wrong, m.Reasons(), m.Server.names, m.Server.state)
	}
	if stake != StakeNone && m.Left() {
		t.Errorf("%s: left to the kernel", what)
	}
	return m.Stats().Ambiguous
}

// TestWithoutFirewall: where nobody is in between, each trick wins with one of the
// receivers, or it would prove nothing.
func TestWithoutFirewall(t *testing.T) {
	policy := policyOf(t, Policy(""))
	client, server := netip.MustParseAddrPort("198.18.1.2:61000"), netip.MustParseAddrPort("198.18.2.2:443")
	for _, trick := range Tricks() {
		if trick.Wire != "" {
			continue
		}
		won := false
		for _, stack := range trick.Stacks() {
			for _, stake := range []Stake{StakeName, StakeSuite} {
				m := NewModel(policy, engine.MidstreamAccept, stack, server)
				m.open = true
				p := NewPeer(m, client, server, stake, 100*time.Millisecond)
				p.Play(&trick)
				won = won || p.Won(m.Server.names) != ""
			}
		}
		if won == trick.Futile {
			t.Errorf("%s/%s: wins: %v", trick.Group, trick.Name, won)
		}
	}
}
