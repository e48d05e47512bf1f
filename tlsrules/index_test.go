package tlsrules

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"tlsgate/tlsrules/tlswire"
)

// TestIndex: with an index a policy decides as without one.
func TestIndex(t *testing.T) {
	prefixes := []string{"192.0.2.1", "192.0.2.0/24", "192.0.0.0/16", "0.0.0.0/0", "2001:db8::1", "2001:db8::/32", "::/0", "192.0.2.128/25"}
	hosts := []string{"192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1", "2001:db9::1", "::ffff:192.0.2.1"}
	wanted := []string{"a.example", "b.a.example", "*.example", "*.a.example", "none", "c.test"}
	sent := []string{"a.example", "B.A.Example.", "x.b.a.example", "example", ".", "", "c.test", "*.example"}
	rapid.Check(t, func(t *rapid.T) {
		var rules []Rule
		for range rapid.IntRange(1, 30).Draw(t, "rules") {
			r := Rule{Otherwise: Reset, HasAction: true, Action: rapid.SampledFrom([]Action{Accept, Drop, Reset, Continue}).Draw(t, "action")}
			for key, values := range map[string][]string{"source": prefixes, "destination": prefixes, "sni": wanted, "port": {"443", "8443"}} {
				if rapid.IntRange(0, 1).Draw(t, key) == 1 {
					c, err := ParseCondition(mustKey(key), rapid.SliceOfN(rapid.SampledFrom(values), 1, 3).Draw(t, key))
					if err != nil {
						t.Fatal(err)
					}
					r.Match = append(r.Match, c)
				}
			}
			rules = append(rules, r)
		}
		p, err := New(rules, Defaults{Action: Accept, NotTLS: Accept})
		if err != nil {
			t.Fatal(err)
		}
		plain := *p
		plain.index, p.index = nil, newIndex(p.rules)
		for i := range rules {
			if a, b := p.shadow(i), plain.shadow(i); a != b {
				t.Fatalf("rule %d with index %q, without %q", i+1, a, b)
			}
		}
		f := &Facts{
			Source:      netip.MustParseAddr(rapid.SampledFrom(hosts).Draw(t, "from")),
			Destination: netip.MustParseAddr(rapid.SampledFrom(hosts).Draw(t, "to")), Port: 443,
		}
		var with, without Judgement
		same := func(at string) {
			a, b := p.Decide(f, &with), plain.Decide(f, &without)
			if a != b || with.flags != without.flags {
				t.Fatalf("at %s: with index %+v, without %+v", at, a, b)
			}
		}
		same("nothing")
		f.Known.Add(StageSYN)
		same("syn")
		f.Known.Add(StageFirstBytes)
		f.Protocol = rapid.SampledFrom([]tlswire.Protocol{tlswire.ProtocolTLS, tlswire.ProtocolHTTP}).Draw(t, "protocol")
		same("first bytes")
		if f.Protocol == tlswire.ProtocolHTTP {
			return
		}
		if rapid.Bool().Draw(t, "no hello") {
			f.Never.Add(StageClientHello, StageServerHello)
			same("no hello")
			return
		}
		name := rapid.SampledFrom(sent).Draw(t, "sent")
		f.Client = &tlswire.ClientHello{ServerName: []byte(name), HasServerName: name != "."}
		f.Known.Add(StageClientHello)
		same("hello")
		with.Again()
		without.Again()
		f.Client = &tlswire.ClientHello{ServerName: []byte("a.example"), HasServerName: true}
		same("another hello")
	})
}

func mustKey(name string) Key {
	k, _ := ParseKey(name)
	return k
}

// TestIndexOverflow: more lengths of prefixes than there is room for.
func TestIndexOverflow(t *testing.T) {
	var rules []Rule
	for bits := 1; bits <= 32; bits++ {
		rules = append(rules, Rule{
			Match:     conds(cond(t, "destination", fmt.Sprintf("%s/%d", netip.PrefixFrom(netip.MustParseAddr("203.0.113.7"), bits).Masked().Addr(), bits))),
			HasAction: true, Action: Continue, Require: conds(cond(t, "port", "443")), Otherwise: Reset,
		})
	}
	rules = append(rules, Rule{Name: "last", HasAction: true, Action: Drop})
	p := policy(t, Defaults{Action: Accept}, rules...)
	f := &Facts{Destination: netip.MustParseAddr("203.0.113.7"), Source: netip.MustParseAddr("192.0.2.1"), Port: 443}
	f.Known.Add(StageSYN)
	j := &Judgement{}
	if d := p.Decide(f, j); d.Rule != "last" || j.nbound != 32 {
		t.Errorf("%+v, %d bound", d, j.nbound)
	}
}
