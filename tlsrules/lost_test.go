package tlsrules

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestLost: what a condition says of a fact that is lost, and what becomes of the
// rule that asks about it.
func TestLost(t *testing.T) {
	ask := func(key, value string) []Condition { return []Condition{cond(t, key, value)} }
	accept := Rule{Name: "accept", Action: Accept, HasAction: true}
	reset := Rule{Name: "reset", Action: Reset, HasAction: true}
	with := func(r Rule, match, unless, require []Condition) Rule {
		r.Match, r.Unless, r.Require, r.Otherwise = match, unless, require, Reset
		return r
	}
	tests := []struct {
		name   string
		lost   Lost
		rules  []Rule
		decide bool // it is decided
		final  bool
		action Action
	}{
		{"a match that would not hold", LostHello, []Rule{with(reset, ask("offers_cipher", "NULL-SHA"), nil, nil), accept}, false, false, Drop},
		{"a match that would not hold, nothing lost", 0, []Rule{with(reset, ask("offers_cipher", "NULL-SHA"), nil, nil), accept}, true, true, Accept},
		{"another group is lost", LostCertificate, []Rule{with(reset, ask("offers_cipher", "NULL-SHA"), nil, nil), accept}, true, true, Accept},
		{"beside it a condition that does not hold", LostHello, []Rule{with(reset, append(ask("offers_cipher", "NULL-SHA"), ask("version", "1.0")...), nil, nil), accept}, true, true, Accept},
		{"an exception that may hold", LostHello, []Rule{with(reset, nil, ask("ja4", "*_*_*"), nil), accept}, false, false, Drop},
		{"a requirement that would be violated", LostHello, []Rule{with(accept, nil, nil, ask("offers_only_version", "1.0"))}, true, false, Accept},
		{"behind it a rule that refuses", LostHello, []Rule{with(Rule{Name: "c"}, nil, nil, ask("offers_only_version", "1.0")), reset}, true, true, Reset},
		{"beside it one that is violated", LostHello, []Rule{with(accept, nil, nil, append(ask("offers_only_version", "1.0"), ask("cipher", "NULL-SHA")...))}, true, true, Reset},
		{"unseen = allow does not help", LostHello, []Rule{{Name: "a", Action: Accept, HasAction: true, Require: ask("ja3s", "00112233445566778899aabbccddeeff"), Otherwise: Reset, UnseenAllow: true}}, true, false, Accept},
		{"a rule before it decides", LostHello, []Rule{accept, with(reset, ask("offers_cipher", "NULL-SHA"), nil, nil)}, true, true, Accept},
		{"a text that was not found", LostTexts, []Rule{with(reset, ask("contains", "grace"), nil, nil), accept}, false, false, Drop},
		{"a text that is required", LostTexts, []Rule{with(accept, nil, nil, ask("contains", "grace"))}, true, false, Accept},
		{"a certificate", LostCertificate, []Rule{with(accept, nil, nil, ask("cert_self_signed", "true"))}, true, false, Accept},
		{"the name is kept", LostHello | LostCertificate | LostTexts, []Rule{with(reset, ask("sni", "api.bank.example"), nil, nil)}, true, true, Reset},
	}
	for _, tt := range tests {
		p, err := New(tt.rules, Defaults{Action: Accept, NotTLS: Accept})
		if err != nil {
			t.Fatal(tt.name, err)
		}
		f := *atCertificate()
		f.Lost, f.ContainsOver, f.Contains = tt.lost, true, 0
		var j Judgement
		d := p.Decide(&f, &j)
		if d.Decided != tt.decide || d.Final != tt.final || d.Decided && d.Action != tt.action {
			t.Errorf("%s: %+v", tt.name, d)
		}
		if p.Explain(d, &f) == "" {
			t.Errorf("%s: no explanation", tt.name)
		}
	}
}

// TestLostNeverContradicts: a connection of which some is lost is decided for good
// only as it would be were nothing lost.
func TestLostNeverContradicts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := drawPolicy(t, false)
		w, events := drawEvents(t)
		events = slices.DeleteFunc(events, func(e event) bool { return e.content != "" })
		var all, some Facts
		for _, e := range events {
			e.tell(t, p, w, &all)
			e.tell(t, p, w, &some)
		}
		some.Lost = Lost(rapid.IntRange(1, 7).Draw(t, "lost"))
		var j, k Judgement
		d, got := p.Decide(&all, &j), p.Decide(&some, &k)
		d.Stage = got.Stage // what was lost may have been waited for
		if got.Decided && got.Action.Refuses() != d.Action.Refuses() && (got.Final || got.Action.Refuses()) || got.Final && !got.Action.Refuses() && d != got {
			t.Fatalf("-all +some\n%s\nrules %+v", cmp.Diff(d, got), p.rules)
		}
	})
}

func TestTranslate(t *testing.T) {
	contains := func(texts ...string) *Policy {
		p, err := New([]Rule{{Name: "t", Match: []Condition{cond(t, "contains", texts...)}, Action: Reset, HasAction: true}}, Defaults{Action: Accept, NotTLS: Accept})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	tests := []struct {
		name     string
		old, now []string
		said     string // before; then comes more
		more     string
		found    uint64 // by now's places
		all      bool
	}{
		{"another place", []string{"grace", "amazing"}, []string{"amazing", "grace"}, "a grace", "", 2, true},
		{"partly there", []string{"grace", "amazing"}, []string{"amazing", "grace"}, "so amaz", "ing grace", 3, true},
		{"partly there, by another text", []string{"gracegate", "egg"}, []string{"egg"}, "graceg", "ate eg", 0, true},
		{"an end of what is partly there", []string{"amazinggrace", "inggraceful"}, []string{"inggraceful"}, "amazinggrac", "eful", 1, true},
		{"not searched for", []string{"grace"}, []string{"grace", "amazing"}, "amazing grace", "", 1, false},
		{"not searched for, comes later", []string{"grace"}, []string{"amazing"}, "grace", "amazing", 1, false},
		{"no longer searched for", []string{"grace", "amazing"}, []string{"grace"}, "amazing", "", 0, true},
	}
	for _, tt := range tests {
		old, now := contains(tt.old...), contains(tt.now...)
		state, found := old.Search(0, []byte(tt.said))
		ours, all := now.Translate(old, found)
		_, more := now.Search(now.TranslateState(old, state), []byte(tt.more))
		if ours|more != tt.found || all != tt.all {
			t.Errorf("%s: got %b, %v, want %b, %v", tt.name, ours|more, all, tt.found, tt.all)
		}
	}
	none, err := New(nil, Defaults{Action: Accept, NotTLS: Accept})
	if err != nil {
		t.Fatal(err)
	}
	if found, all := none.Translate(contains("a"), 1); found != 0 || !all || none.TranslateState(contains("ab"), 1) != 0 {
		t.Errorf("to a policy without texts: %d, %v", found, all)
	}
	if found, all := contains("a").Translate(none, 0); found != 0 || all || contains("a").TranslateState(none, 0) != 0 {
		t.Errorf("from a policy without texts: %d, %v", found, all)
	}
}
