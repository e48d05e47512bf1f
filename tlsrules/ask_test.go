package tlsrules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// checkAsked holds what Ask says to the decision that the same judgement gave.
func checkAsked(t *rapid.T, p *Policy, j *Judgement, d Decision, asked []Asked) {
	if len(asked) != p.Len() {
		t.Fatalf("%d rules, %d told", p.Len(), len(asked))
	}
	last := len(asked) - 1 // the last rule that was asked
	switch {
	case d.Index >= 0:
		last = d.Index
	case d.Reason == ReasonNotTLS:
		last = slices.IndexFunc(asked, func(a Asked) bool { return a.Says == NotAsked }) - 1
		if last < 0 {
			last = len(asked) - 1
		}
	}
	for i, a := range asked {
		r := p.rules[i]
		decides := d.Decided && i == d.Index
		if a.Index != i || a.Rule != r.Name || a.Decides != decides {
			t.Fatalf("rule %d: %+v, decision %+v", i, a, d)
		}
		if asks := a.Says != NotAsked; asks != (i <= last) {
			t.Fatalf("rule %d says %q, the last asked is %d: %+v", i, a.Says, last, d)
		}
		if (a.Says == Waits) != (!d.Decided && i == d.Index) && !(d.Decided && d.Key != KeyNone && i < d.Index) {
			t.Fatalf("rule %d says %q: %+v", i, a.Says, d)
		}
		if decides && a.Says != Applies || decides && d.Reason == ReasonRule && r.Action != d.Action {
			t.Fatalf("the rule that decides says %+v: %+v", a, d)
		}
		if a.Bound != j.isBound(i) || a.Bound && len(r.Require) == 0 {
			t.Fatalf("rule %d is bound %v", i, a.Bound)
		}
		if a.Says == Applies && len(r.Require) > 0 && !a.Bound {
			t.Fatalf("rule %d applies and binds nothing", i)
		}
		violated := slices.IndexFunc(a.Require, func(c AskedCondition) bool { return c.Violated })
		if decides && d.Key != KeyNone && (violated < 0 || !slices.ContainsFunc(a.Require, func(c AskedCondition) bool { return c.Violated && c.Key == d.Key })) {
			t.Fatalf("refused for %s, not so %+v", d.Key, a.Require)
		}
		if a.Bound && violated >= 0 && !r.Observe && !(d.Decided && d.Key != KeyNone) {
			t.Fatalf("rule %d is violated, yet %+v", i, d)
		}
	}
}

// checkAnswers holds each answer to the model's.
func checkAnswers(t *rapid.T, m *model, w world, asked []Asked) {
	words := map[Answer]string{NotYet: "?", True: "yes", False: "no", Never: "never", NoMatter: "moot"}
	for i, a := range asked {
		r := m.rules[i]
		for _, part := range []struct {
			told  []AskedCondition
			model map[Key][]string
		}{{a.Match, r.match}, {a.Unless, r.unless}, {a.Require, r.require}} {
			if len(part.told) != len(part.model) {
				t.Fatalf("rule %d: told %v of %v", i, part.told, part.model)
			}
			for _, c := range part.told {
				if want := ask(w, c.Key, part.model[c.Key]); words[c.Answer] != want {
					t.Fatalf("rule %d, %s: %q, want %q", i, c.Key, c.Answer, want)
				}
				if c.Wanted == "" || c.Answer != NotYet && c.Seen == "" {
					t.Fatalf("rule %d says nothing: %+v", i, c)
				}
			}
		}
	}
}

// TestAsk has one rule in each condition that a rule can be in.
func TestAsk(t *testing.T) {
	rule := func(name string, match, require []Condition, a Action) Rule {
		return Rule{Name: name, Match: match, Require: require, Action: a, HasAction: true, Otherwise: Reset}
	}
	c := func(k Key, values ...string) []Condition { return []Condition{mustCondition(t, k, values...)} }
	p, err := New([]Rule{
		rule("elsewhere", c(KeyPort, "25"), nil, Reset),
		rule("versions", nil, c(KeyVersion, "1.3"), Continue),
		rule("partner", c(KeyServerName, "*.bank.example"), c(KeyCipher, "AES128-SHA"), Accept),
		rule("rest", nil, nil, Reset),
	}, Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	f := Facts{Source: netip.MustParseAddr("192.0.2.1"), Destination: netip.MustParseAddr("203.0.113.1"), Port: 443}
	f.Known.Add(StageSYN)
	var j Judgement
	if got := says(p.Ask(&f, &j)); got != "not asked, not asked, not asked, not asked" {
		t.Errorf("before it was judged: %s", got)
	}
	p.Decide(&f, &j)
	asked := p.Ask(&f, &j)
	if got, want := says(asked), "does not apply, applies, waits, not asked"; got != want {
		t.Errorf("SYN: got %s, want %s", got, want)
	}
	want := []AskedCondition{{Key: KeyPort, Answer: False, Seen: "the server's port is 443", Wanted: "25"}}
	if diff := cmp.Diff(want, asked[0].Match); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !asked[1].Bound || asked[1].Require[0].Answer != NotYet || asked[2].Match[0].Seen != "" {
		t.Errorf("SYN: %+v", asked)
	}
	f.Protocol = tlswire.ProtocolTLS
	f.Client = &tlswire.ClientHello{HasServerName: true, ServerName: []byte("api.bank.example")}
	f.Known.Add(StageFirstBytes, StageClientHello)
	p.Decide(&f, &j)
	f.Server = &tlswire.ServerHello{Version: suites.VersionTLS12, CipherSuite: 0xc02f}
	f.Known.Add(StageServerHello)
	if d := p.Decide(&f, &j); d.Rule != "versions" {
		t.Fatalf("decided: %+v", d)
	}
	asked = p.Ask(&f, &j)
	if got, want := says(asked), "does not apply, applies, not asked, not asked"; got != want {
		t.Errorf("refused: got %s, want %s", got, want)
	}
	if a := asked[1]; !a.Decides || !a.Require[0].Violated || a.Require[0].Seen != "server selected TLS 1.2" || a.Require[0].Wanted != "1.3" {
		t.Errorf("refused: %+v", a)
	}
	if !asked[2].Bound { // it has accepted before
		t.Errorf("rule %q is not bound any more", asked[2].Rule)
	}
	text := ""
	for _, fact := range f.Told() {
		text += fact.Stage.String() + ": " + fact.Text + "\n"
	}
	for _, part := range []string{`client_hello: client asked for server name "api.bank.example"`, "server_hello: server selected TLS 1.2", "syn: the server's port is 443"} {
		if !strings.Contains(text, part) {
			t.Errorf("told:\n%snot %q", text, part)
		}
	}
}

func says(asked []Asked) string {
	var list []string
	for _, a := range asked {
		list = append(list, a.Says.String())
	}
	return strings.Join(list, ", ")
}

func mustCondition(t *testing.T, k Key, values ...string) Condition {
	t.Helper()
	c, err := ParseCondition(k, values)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestToldIsBounded: whatever a client writes, a sentence is short and valid text.
func TestToldIsBounded(t *testing.T) {
	f := Facts{Protocol: tlswire.ProtocolTLS, Client: &tlswire.ClientHello{
		HasServerName: true, ServerName: []byte(strings.Repeat("ü\x00", 20000)),
	}}
	f.Known.Add(StageSYN, StageFirstBytes, StageClientHello)
	for _, fact := range f.Told() {
		if len(fact.Text) > mostTold+3 || strings.ContainsAny(fact.Text, "\x00\x1b") {
			t.Errorf("%s: %d bytes: %q", fact.Key, len(fact.Text), fact.Text)
		}
	}
}

// TestToldZero: facts that say nothing are told without harm.
func TestToldZero(t *testing.T) {
	f := Facts{Known: ^Stages(0)}
	f.Told()
	f = Facts{Known: ^Stages(0), Protocol: tlswire.ProtocolTLS, Client: &tlswire.ClientHello{}, Server: &tlswire.ServerHello{}}
	f.Told()
	c := f.Clone()
	c.Told()
}

// TestCloneShares: a copy of facts and judgement does not change with them.
func TestCloneShares(t *testing.T) {
	h := &tlswire.ClientHello{ServerName: []byte("a.example"), CipherSuites: []uint16{1, 2}}
	f := Facts{Client: h, Server: &tlswire.ServerHello{ALPN: []byte("h2")}}
	j := Judgement{more: &[]uint16{7}}
	kept, judged := f.Clone(), j.Clone()
	h.ServerName[0], h.CipherSuites[0], f.Server.ALPN[0], (*j.more)[0] = 'b', 9, 'x', 8
	if string(kept.Client.ServerName) != "a.example" || kept.Client.CipherSuites[0] != 1 || string(kept.Server.ALPN) != "h2" || (*judged.more)[0] != 7 {
		t.Errorf("shared: %+v %+v", kept, judged)
	}
}
