package tlsrules

import (
	"testing"

	"tlsgate/tlsrules/tlswire"
)

// TestTwoNames: what some servers read another name in is seen, if the policy asks
// for names at all.
func TestTwoNames(t *testing.T) {
	sni := func(values ...string) []Condition {
		c, err := ParseCondition(KeyServerName, values)
		if err != nil {
			t.Fatal(err)
		}
		return []Condition{c}
	}
	version, err := ParseCondition(KeyOffersVersion, []string{"1.3"})
	if err != nil {
		t.Fatal(err)
	}
	none := Rule{Match: []Condition{version}, Action: Reset, HasAction: true}
	for name, want := range map[string]bool{
		"www.example.com": false, "WWW.example.com": false, "_dns.example.com": false, "192.0.2.1": false, "2001:db8::1": false, "xn--bcher-kva.example": false,
		"www.example.com:443": true, "www.example.com\x00": true, "\x00": true, " www.example.com": true, "www.example.com\t": true,
		"www.exa mple.com": true, "[2001:db8::1]:443": true, "www.example.com\x7f": true, ":": true,
	} {
		h := &tlswire.ClientHello{HasServerName: true, ServerName: []byte(name)}
		for part, r := range map[string]Rule{
			"match":   {Match: sni("www.example.com"), Action: Reset, HasAction: true},
			"unless":  {Unless: sni("www.example.com"), Action: Reset, HasAction: true},
			"require": {Require: sni("www.example.com")},
		} {
			p, err := New([]Rule{none, r}, Defaults{Action: Accept, NotTLS: Accept})
			if err != nil {
				t.Fatal(err)
			}
			if got := p.TwoNames(h); got != want {
				t.Errorf("%q, %s: %v", name, part, got)
			}
		}
		if p, _ := New([]Rule{none}, Defaults{Action: Accept, NotTLS: Accept}); p.TwoNames(h) {
			t.Errorf("%q: a policy that asks for no name", name)
		}
		if p, _ := New([]Rule{none, {Match: sni("www.example.com"), Action: Reset, HasAction: true}}, Defaults{Action: Accept, NotTLS: Accept}); p.TwoNames(&tlswire.ClientHello{}) {
			t.Error("a hello without a name has two")
		}
	}
}
