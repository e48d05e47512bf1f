package tlsrules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tlsgate/tlsrules/tlswire"
)

func bound(p *Policy, j *Judgement) (names []string) {
	for _, r := range p.Bound(j) {
		names = append(names, r.Name)
	}
	return names
}

// TestBound: pins and holds bind when their rule applies, and to the end.
func TestBound(t *testing.T) {
	sni := conds(cond(t, "sni", "a.example"))
	p, err := New([]Rule{
		{Name: "pinned", Match: sni, Pin: &Pin{}, Otherwise: Reset},
		{Name: "required", Require: conds(cond(t, "version", "1.2", "1.3")), Otherwise: Reset},
		{Name: "held", Match: sni, Action: Accept, HasAction: true, Hold: &Hold{}, Otherwise: AlertOf(40)},
	}, Defaults{Action: Accept, NotTLS: Accept})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want []string
	}{{"a.example", []string{"pinned", "held"}}, {"b.example", nil}} {
		f := &Facts{Protocol: tlswire.ProtocolTLS}
		j := &Judgement{}
		f.Known.Add(StageSYN, StageFirstBytes)
		if d := p.Decide(f, j); d.Decided || len(bound(p, j)) != 0 {
			t.Errorf("%s: before the hello %+v binds %v", c.name, d, bound(p, j))
		}
		f.Client = &tlswire.ClientHello{ServerName: []byte(c.name), HasServerName: true}
		f.Known.Add(StageClientHello)
		if d := p.Decide(f, j); !d.Decided || d.Action != Accept {
			t.Errorf("%s: %+v", c.name, d)
		}
		if got := bound(p, j); !slices.Equal(got, c.want) || j.Pins() != (c.want != nil) || j.Holds() != (c.want != nil) {
			t.Errorf("%s: bound %v, want %v", c.name, got, c.want)
		}
		j.Again()
		if got := bound(p, j); !slices.Equal(got, c.want) {
			t.Errorf("%s: bound %v after another hello, want %v", c.name, got, c.want)
		}
	}
	f := &Facts{}
	f.Known.Add(StageSYN)
	if d := p.Violated(2, ReasonHoldExpired, f); d.Action != Alert || d.Rule != "held" || d.Observed || d.Reason.String() != "hold.expired" {
		t.Errorf("violated: %+v", d)
	}
}

// TestBoundNotTLS: what is not TLS cannot hold a pin: the default decides, unless
// the rule allows the unseen.
func TestBoundNotTLS(t *testing.T) {
	for _, c := range []struct {
		unseen bool
		want   Reason
	}{{false, ReasonNotTLS}, {true, ReasonRule}} {
		for _, r := range []Rule{{Pin: &Pin{}}, {Hold: &Hold{}}} {
			r.Action, r.HasAction, r.Otherwise, r.UnseenAllow = Accept, true, Reset, c.unseen
			p, err := New([]Rule{r}, Defaults{Action: Accept, NotTLS: Accept})
			if err != nil {
				t.Fatal(err)
			}
			f := &Facts{Protocol: tlswire.ProtocolHTTP}
			f.Known.Add(StageSYN, StageFirstBytes)
			if d := p.Decide(f, &Judgement{}); d.Reason != c.want || d.Action != Accept {
				t.Errorf("unseen allowed %t: %+v", c.unseen, d)
			}
		}
	}
}

func TestPinErrors(t *testing.T) {
	for want, r := range map[string]Rule{
		"grouped by cipher":                {Pin: &Pin{Per: []Key{KeyCipher}}, Otherwise: Reset},
		"not a number from 1":              {Pin: &Pin{Connections: MaxPinned + 1}, Otherwise: Reset},
		"no effect on a pin to a conn":     {Pin: &Pin{TLS13: PinTLS13Allow}, Otherwise: Reset},
		"would let a violated requirement": {Pin: &Pin{}, Otherwise: Accept},
		"is never asked":                   {Pin: &Pin{}, HasAction: true, Action: Drop},
		"action = \"reset\" refuses first": {Hold: &Hold{}, HasAction: true, Action: Reset},
	} {
		if _, err := New([]Rule{r}, Defaults{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
}

// TestPinning: of what was missed no rule knows anything, and a requirement that it
// may have violated hides no pin.
func TestPinning(t *testing.T) {
	from := conds(cond(t, "source", "192.0.2.0/24"))
	accept := Rule{Name: "accepted", Match: conds(cond(t, "source", "192.0.2.9")), Action: Accept, HasAction: true}
	p, err := New([]Rule{
		accept,
		{Name: "required", Require: conds(cond(t, "version", "1.2")), Otherwise: Reset},
		{Name: "named", Match: conds(cond(t, "sni", "a.example")), Pin: &Pin{}, Otherwise: Reset},
		{Name: "pinned", Match: from, Pin: &Pin{}, Otherwise: Reset},
		{Name: "watched", Match: from, Action: Reset, HasAction: true, Observe: true},
		{Name: "unless", Match: from, Unless: conds(cond(t, "source", "192.0.2.8")), Pin: &Pin{}, Otherwise: Reset, HasAction: true, Action: Accept},
		{Name: "last", Pin: &Pin{}, Otherwise: Reset},
	}, Defaults{Action: Accept, NotTLS: Accept})
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string][]string{
		"192.0.2.1": {"pinned", "unless"}, "192.0.2.8": {"pinned", "last"}, "192.0.2.9": nil, "198.51.100.1": {"last"},
	} {
		f := &Facts{Source: netip.MustParseAddr(source)}
		f.Known.Add(StageSYN)
		var got []string
		for i, r := range p.Pinning(f) {
			got = append(got, r.Name)
			if at, named := p.Named(r.Name); at != i || named != r {
				t.Errorf("%s is at %d, not %d", r.Name, at, i)
			}
		}
		if !slices.Equal(got, want) || f.Never != 0 {
			t.Errorf("%s: %v, want %v", source, got, want)
		}
	}
	if i, r := p.Named("nobody"); i != -1 || r != nil {
		t.Error("a rule is found that is not there")
	}
}
