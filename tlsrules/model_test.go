package tlsrules

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The model is POLICY.md, "How a connection is judged", as slowly and plainly
// as it reads: every rule is asked again from the first at every step, and a
// fact is a word or one of "?", "never" and "moot".

type world map[Key]string

type modelRule struct {
	match, unless, require map[Key][]string
	rule                   Rule
}

type model struct {
	rules []modelRule
	def   Defaults

	lost Lost // facts that are never told

	bound   []int
	refused *Decision
	would   *Decision
	last    Decision
}

// ask gives the model's four-valued answer of one condition.
func ask(w world, k Key, values []string) string {
	switch fact := w[k]; fact {
	case "?", "never", "moot":
		return fact
	default:
		word, more := strings.CutSuffix(fact, "+") // and there may be others
		switch {
		case slices.Contains(values, word):
			return "yes"
		case more:
			return "?"
		}
		return "no"
	}
}

// hold asks several: "yes", "no" or "?".
func hold(w world, conditions map[Key][]string) string {
	answer := "yes"
	for k, values := range conditions {
		switch ask(w, k, values) {
		case "no", "never", "moot":
			return "no"
		case "?":
			answer = "?"
		}
	}
	return answer
}

// step judges one step; at is the stage a decision now would have, and taken
// the step.
func (m *model) step(w world, taken step, at Stage) {
	if m.refused != nil {
		return
	}
	for _, i := range m.bound {
		if m.violated(w, i, at) {
			return
		}
	}
	if m.last.Decided && taken != stepRecords {
		for _, i := range m.bound {
			for k := range m.rules[i].require {
				if keys[k].step == taken {
					m.last.Stage = at
				}
			}
		}
	}
	before := m.last
	m.walk(w, at)
	if before.Decided && m.last.Decided && m.refused == nil && before.Index == m.last.Index && before.Reason == m.last.Reason {
		m.last.Stage = before.Stage // decided then, and still
	}
}

func (m *model) walk(w world, at Stage) {
	for i, r := range m.rules {
		match, unless := hold(w, r.match), "no"
		if len(r.unless) > 0 {
			unless = hold(w, r.unless)
		}
		if match == "no" || unless == "yes" {
			continue
		}
		if match == "?" || unless == "?" {
			m.last = Decision{Index: i}
			return
		}
		if len(r.require) > 0 && !slices.Contains(m.bound, i) {
			m.bound = append(m.bound, i)
			if m.violated(w, i, at) {
				return
			}
		}
		switch {
		case !r.rule.HasAction || r.rule.Action == Continue:
		case r.rule.Action == Accept:
			m.last = Decision{Decided: true, Action: Accept, Reason: ReasonRule, Stage: at, Index: i}
			for k := range r.require {
				if w[k] == "moot" && !r.rule.UnseenAllow {
					m.fall(m.def.NotTLS, ReasonNotTLS, at)
					break
				}
			}
			return
		case m.refuse(i, r.rule.Action, ReasonRule, KeyNone, at):
			return
		}
	}
	switch {
	case w[KeyProtocol] == "http":
		m.fall(m.def.NotTLS, ReasonNotTLS, at)
	case w[KeyProtocol] == "?" && (m.def.Action != m.def.NotTLS || m.def.Action == Accept):
		m.last = Decision{Index: -1}
	default:
		m.fall(m.def.Action, ReasonDefault, at)
	}
}

func (m *model) violated(w world, i int, at Stage) bool {
	r := m.rules[i]
	for _, k := range Keys() {
		values, asked := r.require[k]
		if !asked {
			continue
		}
		answer := ask(w, k, values)
		if answer == "no" || answer == "never" && !r.rule.UnseenAllow {
			return m.refuse(i, r.rule.Otherwise, ReasonRequire(k), k, at)
		}
	}
	return false
}

func (m *model) refuse(i int, a Action, why Reason, k Key, at Stage) bool {
	d := Decision{Decided: true, Action: a, Reason: why, Key: k, Stage: at, Index: i}
	if m.rules[i].rule.Observe {
		if m.would == nil {
			m.would = &d
		}
		return false
	}
	m.last, m.refused = d, &d
	return true
}

func (m *model) fall(a Action, why Reason, at Stage) {
	m.last = Decision{Decided: true, Action: a, Reason: why, Stage: at, Index: -1}
	if a.Refuses() {
		d := m.last
		m.refused = &d
	}
}

// searches reports whether a rule asks for a text.
func (m *model) searches(text string) bool {
	return slices.ContainsFunc(m.rules, func(r modelRule) bool {
		return slices.Contains(r.match[KeyContains], text) || slices.Contains(r.unless[KeyContains], text) || slices.Contains(r.require[KeyContains], text)
	})
}

// take tells the model what an event means, step by step.
func (m *model) take(e event, w, seen world, at *Stage) {
	set := func(s step, to string) {
		for k := range alphabet {
			if keys[k].step == s {
				seen[k] = to
				switch {
				case to == "" && k.lostWith() != 0 && m.lost.Has(k.lostWith()):
					seen[k] = "?"
				case to == "":
					seen[k] = w[k]
				}
			}
		}
		m.step(seen, s, *at)
	}
	to := ""
	if e.never {
		to = "never"
	}
	switch {
	case e.group:
		set(stepGroup, to)
	case e.resumed:
		set(stepResumed, to)
	case e.found != "":
		if m.searches(e.found) {
			seen[KeyContains] = e.found + "+"
			m.step(seen, stepContains, *at)
		}
	case e.over:
		if word, found := strings.CutSuffix(seen[KeyContains], "+"); !m.lost.Has(LostTexts) {
			if seen[KeyContains] = word; !found {
				seen[KeyContains] = "nothing"
			}
		}
		m.step(seen, stepContains, *at)
	case e.content != "":
		seen[KeyContentType] = e.content
		m.step(seen, stepRecords, StageRecords)
	case e.stage == StageServerHello:
		if !e.never {
			*at = e.stage
		}
		set(stepServerHello, to)
		if w[KeyVersion] == "1.3" {
			to = "never"
		}
		set(stepALPN, to)
		if e.never {
			set(stepResumed, to)
			set(stepGroup, to)
		}
	default:
		if !e.never {
			*at = e.stage
		}
		if e.stage == StageFirstBytes && !e.never && w[KeyProtocol] == "http" {
			for k := range alphabet {
				if keys[k].step >= stepClientHello {
					seen[k] = "moot"
				}
			}
		}
		set(stageSteps[e.stage], to)
	}
}

// compare leaves out what the model does not know: names, finality, and what a
// waiting rule waits for.
func compare(d Decision) Decision {
	d.Rule, d.Final = "", false
	if !d.Decided {
		return Decision{Index: d.Index}
	}
	return d
}

func TestModel(t *testing.T) {
	t.Run("each event", rapid.MakeCheck(func(t *rapid.T) { agree(t, 0, false) }))
	t.Run("several events at once", rapid.MakeCheck(func(t *rapid.T) { agree(t, 0, true) }))
	t.Run("facts lost", rapid.MakeCheck(func(t *rapid.T) {
		agree(t, rapid.SampledFrom([]Lost{LostHello, LostCertificate, LostTexts, LostHello | LostCertificate | LostTexts}).Draw(t, "lost"), false)
	}))
}

// agree feeds the same connection to Decide and to the model.
func agree(t *rapid.T, lost Lost, batch bool) {
	p, m := drawPolicy(t, true)
	m.lost = lost
	w, events := drawEvents(t)
	seen := world{}
	for k := range alphabet {
		seen[k] = "?"
	}
	f := Facts{Lost: lost}
	var j Judgement
	var at Stage
	var would *Decision
	var settled *Decision
	for i, e := range events {
		e.tell(t, p, w, &f)
		m.take(e, w, seen, &at)
		if batch && e.content == "" && !e.searches() && i < len(events)-1 && !events[i+1].searches() && rapid.Bool().Draw(t, "later") {
			continue
		}
		d := p.Decide(&f, &j)
		asked := p.Ask(&f, &j)
		checkAsked(t, p, &j, d, asked)
		if !batch && m.refused == nil {
			checkAnswers(t, m, seen, asked)
		}
		f.Content = 0
		if o, ok := p.Observed(&j); ok {
			o = compare(o)
			o.Observed = false
			would = &o
		}
		if diff := cmp.Diff(compare(m.last), compare(d)); diff != "" {
			t.Fatalf("after %+v (-model +got):\n%s\nrules: %+v", e, diff, p.rules)
		}
		if settled != nil {
			if diff := cmp.Diff(*settled, d); diff != "" {
				t.Fatalf("a final decision changed (-was +is):\n%s", diff)
			}
		}
		if d.Final {
			settled = &d
		}
	}
	if diff := cmp.Diff(m.would, would); diff != "" {
		t.Fatalf("would (-model +got):\n%s", diff)
	}
}

// TestOnceOrStageByStage: where nothing but facts that stay is asked about, a
// connection known at once and one that becomes known end alike.
func TestOnceOrStageByStage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := drawPolicy(t, false)
		w, events := drawEvents(t)
		events = slices.DeleteFunc(events, func(e event) bool { return e.content != "" || e.searches() })
		var slow, once Facts
		var j, k Judgement
		var last Decision
		for _, e := range events {
			e.tell(t, p, w, &slow)
			e.tell(t, p, w, &once)
			last = p.Decide(&slow, &j)
		}
		if diff := cmp.Diff(last, p.Decide(&once, &k)); diff != "" {
			t.Fatalf("-stage by stage +at once:\n%s", diff)
		}
	})
}
