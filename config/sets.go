package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"tlsgate/tlsrules"
)

// sets are those of [sets], expanded when first asked for.
type sets struct {
	l        *loader
	tables   *table
	expanded map[string][]string
	within   map[string][]string // the sets that a set names
	open     []string            // being expanded: a set among its own is a circle
	used     map[string]bool     // by rules, or by sets that are
}

// all expands every set of the file, used or not.
func (s *sets) all() []Set {
	s.expanded, s.within, s.used = map[string][]string{}, map[string][]string{}, map[string]bool{}
	var list []Set
	for _, name := range slices.Sorted(maps.Keys(s.tables.m)) {
		list = append(list, Set{name, s.expand(name)})
	}
	return list
}

// expand gives a set's values, each once, with the sets and files it names.
func (s *sets) expand(name string) []string {
	if values, done := s.expanded[name]; done {
		return values
	}
	s.open = append(s.open, name)
	values, seen := []string{}, map[string]bool{}
	add := func(more ...string) {
		for _, v := range more {
			if !seen[v] {
				seen[v] = true
				values = append(values, v)
			}
		}
	}
	for _, v := range s.tables.list(name, nil) {
		switch {
		case strings.HasPrefix(v, "@"):
			s.within[name] = append(s.within[name], v[1:])
			add(s.named(s.tables.key(name), v[1:])...)
		case strings.HasPrefix(v, "file:"):
			add(s.file(name, strings.TrimPrefix(v, "file:"))...)
		default:
			add(v)
		}
	}
	s.open = s.open[:len(s.open)-1]
	s.expanded[name] = values
	return values
}

// named gives the set that the value at key asks for.
func (s *sets) named(key, name string) []string {
	if slices.Contains(s.open, name) {
		s.l.fail(key, "", "@%s contains itself: %s", name, strings.Join(append(s.open, name), " > "))
		return nil
	}
	if _, ok := s.tables.m[name]; !ok {
		names := slices.Sorted(maps.Keys(s.tables.m))
		hint := "[sets] has: " + strings.Join(names, ", ")
		if c := closest(name, names); c != "" {
			hint = fmt.Sprintf("did you mean \"@%s\"?", c)
		} else if len(names) == 0 {
			hint = "there is no [sets] in this file"
		}
		s.l.fail(key, hint, "there is no set @%s", name)
		return nil
	}
	return s.expand(name)
}

// use notes that a rule names a set.
func (s *sets) use(name string) {
	if s.used[name] {
		return
	}
	s.used[name] = true
	for _, n := range s.within[name] {
		s.use(n)
	}
}

// file reads one value a line; # starts a comment.
func (s *sets) file(set, path string) (values []string) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.l.dir, path)
	}
	data, err := readFile(path)
	if err != nil {
		s.l.errs = append(s.l.errs, &Error{
			File: s.l.file, Line: s.l.lines.of(s.tables.key(set)), Key: s.tables.key(set), Err: err,
			Msg: fmt.Sprintf("cannot read %s: %s", path, systemText(err)), Hint: "paths are relative to the policy file",
		})
		return nil
	}
	s.l.hash.Write(data)
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			values = append(values, line)
		}
	}
	return values
}

// condition reads the values of a condition, with its sets.
func (l *loader) condition(t *table, k tlsrules.Key) (tlsrules.Condition, bool) {
	return l.conditionAt(t, k.String(), k)
}

// conditionAt reads the values of a condition that stand under another name.
func (l *loader) conditionAt(t *table, name string, k tlsrules.Key) (tlsrules.Condition, bool) {
	if t.m[name] == nil {
		t.take(name)
		return tlsrules.Condition{}, false
	}
	var values []string
	from := map[string]string{} // which set a value came from
	before := len(l.errs)
	given := t.list
	if k.Bool() {
		given = t.truths
	}
	for _, v := range given(name, nil) {
		switch {
		case strings.HasPrefix(v, "@"):
			l.sets.use(v[1:])
			for _, w := range l.sets.named(t.key(name), v[1:]) {
				values = append(values, w)
				from[w] = v
			}
		case strings.HasPrefix(v, "file:"):
			t.fail(name, `write it in [sets] and "@name" here`, "%q can only stand in a set", v)
		default:
			values = append(values, v)
		}
	}
	if len(l.errs) > before {
		return tlsrules.Condition{}, false
	}
	c, err := tlsrules.ParseCondition(k, values)
	if err != nil {
		var bad *tlsrules.ValueError
		errors.As(err, &bad)
		l.value(t.key(name), from[bad.Value], err)
		return tlsrules.Condition{}, false
	}
	return c, true
}

// value reports a value tlsrules does not take, and which set it came from.
func (l *loader) value(key, set string, err error) {
	var bad *tlsrules.ValueError
	errors.As(err, &bad)
	if set != "" {
		l.fail(key, bad.Hint, "%q (of %s) %s", bad.Value, set, bad.Msg)
		return
	}
	l.fail(key, bad.Hint, "%q %s", bad.Value, bad.Msg)
}
