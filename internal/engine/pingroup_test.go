package engine

import (
	"net/netip"
	"strings"
	"testing"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// TestGroupNames: a connection comes to the group that an operator names by the same
// values, and no name that a hello can have comes to that of another.
func TestGroupNames(t *testing.T) {
	r := &tlsrules.Rule{Name: "one", Pin: &tlsrules.Pin{Per: []tlsrules.Key{
		tlsrules.KeySource, tlsrules.KeyDestination, tlsrules.KeyPort, tlsrules.KeyInInterface, tlsrules.KeyServerName,
	}}}
	groups := map[string]string{}
	for _, name := range []string{"", "none", "NONE", "a.example", "A.example", "a.example,port=1", "a=b", "%6e", "\x00\xff", "é.example", strings.Repeat("a", 300)} {
		f := &tlsrules.Facts{
			Source: netip.MustParseAddr("2001:db8::1"), Destination: netip.MustParseAddr("192.0.2.1"), Port: 443, InInterface: "eth0.1",
			Client: &tlswire.ClientHello{ServerName: []byte(name), HasServerName: name != ""},
		}
		group, ok := groupOf(r.Pin, f)
		if !ok {
			t.Fatalf("%q: no group", name)
		}
		if other, is := groups[group]; is && !strings.EqualFold(other, name) {
			t.Errorf("%q and %q are one group: %s", name, other, group)
		}
		groups[group] = name
		values := GroupValues(group)
		if got, err := GroupNamed(r, values); err != nil || got != group || len(values) != 5 {
			t.Errorf("%q: %s names %s, %v", name, group, got, err)
		}
		if strings.ContainsAny(name, "%,=\x00") || name == "none" || name == "NONE" || name == "" {
			continue
		}
		values["sni"], values["source"] = name, "2001:DB8:0::1"
		if got, err := GroupNamed(r, values); err != nil || got != group {
			t.Errorf("%q names %s, not %s, %v", name, got, group, err)
		}
	}
	if _, ok := groupOf(r.Pin, &tlsrules.Facts{}); ok {
		t.Error("a group is known without its name")
	}
	if group, err := GroupNamed(&tlsrules.Rule{Pin: &tlsrules.Pin{}}, nil); group != "" || err != nil {
		t.Errorf("one group: %q, %v", group, err)
	}
}
