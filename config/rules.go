package config

import (
	"errors"
	"fmt"
	"strings"

	"tlsgate/tlsrules"
)

// rules reads every [[rule]].
func (l *loader) rules(root *table) []tlsrules.Rule {
	list := root.tables("rule")
	rules := make([]tlsrules.Rule, 0, len(list))
	for _, t := range list {
		rules = append(rules, l.rule(t))
	}
	return rules
}

// rulePath names rule i as people count.
func rulePath(i int) string { return fmt.Sprintf("rule[%d]", i+1) }

// maxName bounds a rule's name, which is also a metric label.
const maxName = 64

func (l *loader) rule(t *table) tlsrules.Rule {
	hold := t.m["hold"] != nil
	if s, ok := t.m["action"].(string); ok && strings.EqualFold(s, holdAction) {
		t.m["action"], hold = tlsrules.Accept.String(), true
	}
	r := tlsrules.Rule{
		Name:  t.str("name", ""),
		Match: l.conditions(t.table("match")), Unless: l.conditions(t.table("unless")), Require: l.conditions(t.table("require")),
		HasAction: t.m["action"] != nil,
		Action:    t.action("action", tlsrules.Continue, tlsrules.Accept, tlsrules.Alert, tlsrules.Refuse, tlsrules.Continue),
		Otherwise: t.action("otherwise", tlsrules.Reset, tlsrules.Alert, tlsrules.Refuse),
		Observe:   t.boolean("observe", false),
		RefuseFor: t.duration("refuse_for", 0, leastTime),
		Pin:       readPin(t.table("pin")),
		Hold:      readHold(t.table("hold")),
	}
	if hold && r.Hold == nil {
		r.Hold = &tlsrules.Hold{}
	}
	r.UnseenAllow = t.oneOf("unseen", 0, []string{"", "allow"}) == 1
	if len(r.Name) > maxName || strings.ContainsFunc(r.Name, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' }) {
		t.fail("name", fmt.Sprintf("at most %d letters, without control characters: events and metrics carry it", maxName), "cannot be a name")
	}
	if t.m["require"] == nil && r.Pin == nil && r.Hold == nil {
		for _, k := range []string{"otherwise", "unseen"} {
			if t.m[k] != nil {
				t.fail(k, "add a require, or leave it out", "has no effect without require, pin or hold")
			}
		}
	}
	t.finish()
	return r
}

// conditions reads match, unless or require.
func (l *loader) conditions(t *table) (list []tlsrules.Condition) {
	for _, k := range tlsrules.Keys() {
		if c, ok := l.condition(t, k); ok {
			list = append(list, c)
		}
	}
	t.finish()
	return list
}

// policy makes the policy of rules that could be read.
func (l *loader) policy(rules []tlsrules.Rule, d Default) *tlsrules.Policy {
	p, err := tlsrules.New(rules, tlsrules.Defaults{Action: d.Action, NotTLS: d.NotTLS, Observe: d.Observe})
	if err == nil {
		return p
	}
	all := []error{err}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		all = several.Unwrap()
	}
	for _, err := range all {
		var bad *tlsrules.RuleError
		if !errors.As(err, &bad) {
			l.fail("rule", "", "%s", err)
			continue
		}
		key := rulePath(bad.Index)
		if bad.Key != "" {
			key = join(key, bad.Key)
		}
		l.fail(key, bad.Hint, "rule %q: %s", bad.Name, bad.Msg)
	}
	return nil
}

// warnings are those of rules, then those of sets, tests and the file.
func (l *loader) warnings(c *Config) (list []string) {
	for _, r := range c.Policy.Rules() {
		for _, w := range r.Warn {
			list = append(list, fmt.Sprintf("rule %q %s", r.Name, w))
		}
	}
	for _, s := range c.Sets {
		if !l.sets.used[s.Name] {
			list = append(list, fmt.Sprintf("set @%s is not used", s.Name))
		}
	}
	for _, t := range c.Tests {
		if !c.Intercept.has(t.Client.From.Port()) && !c.Intercept.has(t.Client.To.Port()) {
			list = append(list, fmt.Sprintf("test %q connects to port %d, which intercept.ports does not send to the queue", t.Name, t.Client.To.Port()))
		}
	}
	if d := &c.Default; d.Action.Refuses() && !d.NotTLS.Refuses() {
		list = append(list, fmt.Sprintf("default.action = %q is for TLS: what no rule decides and is not TLS passes, because default.not_tls is %q", d.Action, d.NotTLS))
	}
	if c.Default.Observe {
		list = append(list, `default.mode is "observe": nothing is refused`)
	}
	return list
}
