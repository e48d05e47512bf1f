package main

import (
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// explanation says why we are right, or why nobody is wrong, where an oracle
// tells something else. Patterns are those of path.Match, over the whole text, and
// a|b for several; one that is left out matches everything, - the empty text.
type explanation struct {
	Oracle string `toml:"oracle"`
	Field  string `toml:"field"`
	File   string `toml:"file"`
	Ours   string `toml:"ours"`
	Theirs string `toml:"theirs"`
	// When are patterns for other facts of ours of the same connection, or with
	// "theirs." before the name of the oracle's.
	When map[string]string `toml:"when"`
	// OneMore: of one type of record we count one more.
	OneMore bool   `toml:"one_more"`
	Why     string `toml:"why"`

	used int
}

func readExplanations(file string) ([]explanation, error) {
	var f struct {
		Explained []explanation `toml:"explained"`
	}
	meta, err := toml.DecodeFile(file, &f)
	if err != nil {
		return nil, err
	}
	if keys := meta.Undecoded(); len(keys) > 0 {
		return nil, fmt.Errorf("%s: unknown key %s", file, keys[0])
	}
	for i, e := range f.Explained {
		if e.Field == "" || e.Why == "" {
			return nil, fmt.Errorf("%s: explanation %d has no field or no reason", file, i+1)
		}
		for _, p := range []string{e.File, e.Ours, e.Theirs, e.Field} {
			if _, err := path.Match(p, ""); err != nil {
				return nil, fmt.Errorf("%s: explanation %d: %q: %w", file, i+1, p, err)
			}
		}
	}
	return f.Explained, nil
}

func (e *explanation) matches(d *difference) bool {
	for name, pattern := range e.When {
		fact := d.facts[name]
		if name, ok := strings.CutPrefix(name, "theirs."); ok {
			fact = d.theirFacts[name]
		}
		if !fits(pattern, fact) {
			return false
		}
	}
	if e.OneMore && !oneMore(d.ours, d.theirs) {
		return false
	}
	return fits(e.Oracle, d.oracle) && fits(e.Field, d.field) && fits(e.File, filepath.Base(d.file)) &&
		fits(e.Ours, d.ours) && fits(e.Theirs, d.theirs)
}

// fits is path.Match in which * stands for any text, slashes included.
func fits(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	for p := range strings.SplitSeq(pattern, "|") {
		if p == "-" && s == "" {
			return true
		}
		if ok, _ := path.Match(slashless(p), slashless(s)); ok {
			return true
		}
	}
	return false
}

// slashless puts a byte that no pattern has in place of slashes.
func slashless(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '/' {
			b[i] = 0
		}
	}
	return string(b)
}

// names reports whether the explanation is for this file by name.
func (e *explanation) names(file string) bool {
	return e.File != "" && e.File != "*" && fits(e.File, filepath.Base(file))
}

// oneMore reports whether counts such as "alert=1 handshake=3" are the same but
// for one more of one type.
func oneMore(ours, theirs string) bool {
	counts := map[string]int{}
	sum := func(text string, sign int) {
		for word := range strings.FieldsSeq(text) {
			name, number, _ := strings.Cut(word, "=")
			n, _ := strconv.Atoi(number)
			counts[name] += sign * n
		}
	}
	sum(ours, 1)
	sum(theirs, -1)
	total := 0
	for _, n := range counts {
		if n < 0 {
			return false
		}
		total += n
	}
	return total == 1
}
