package suites

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// list is a cipher list being read.
type list struct {
	*release
	order
	said *Expansion
}

// errEmpty is for a list that selects nothing, TLS 1.3 aside, which no list
// selects.
var errEmpty = errors.New("suites: empty cipher list")

// expand returns the suites that the release makes of a cipher list.
func (r *release) expand(expression string) (e Expansion, err error) {
	l := list{release: r, order: newOrder(r), said: &e}
	for _, s := range suiteB {
		if expression == s.word || !r.suiteBWhole && strings.HasPrefix(expression, s.word) {
			if expression != s.word {
				e.note(fmt.Sprintf("%s at the beginning says all, and the rest of the list means nothing to OpenSSL", s.word))
			}
			expression = s.list
			break
		}
	}
	if rest, ok := strings.CutPrefix(expression, "DEFAULT"); ok {
		if err := l.read(r.standard); err != nil {
			return e, err
		}
		expression = strings.TrimPrefix(rest, ":")
	}
	if err := l.read(expression); err != nil {
		return e, err
	}
	e.Codes = l.codes(slices.Clone(r.tls13))
	if len(e.Codes) == len(r.tls13) {
		return e, errEmpty
	}
	return e, nil
}

// separator reports whether OpenSSL ends an entry of a list there.
func separator(c byte) bool { return c == ':' || c == ' ' || c == ';' || c == ',' }

// read applies the entries of a list. Every byte is read once, and every entry
// walks the release's suites once.
func (l *list) read(s string) error {
	for i := 0; i < len(s); {
		if separator(s[i]) {
			i++
			continue
		}
		start, op := i, opAdd
		switch s[i] {
		case '-':
			op = opRemove
		case '+':
			op = opLast
		case '!':
			op = opKill
		case '@':
			op = opCommand
		}
		if op != opAdd {
			i++
		}
		if op == opCommand {
			end := l.wordEnd(s, i)
			if err := l.command(s[i:end], s[start:]); err != nil {
				return err
			}
			i = entryEnd(s, end)
			continue
		}
		next, err := l.entry(s, start, i, op)
		if err != nil {
			return err
		}
		i = next
	}
	return nil
}

// wordEnd returns where the word that begins at i ends.
func (r *release) wordEnd(s string, i int) int {
	for ; i < len(s); i++ {
		c := s[i]
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' ||
			c == '=' && r.level || c == '_' && r.standardNames) {
			break
		}
	}
	return i
}

// entryEnd returns where the entry ends that i is in.
func entryEnd(s string, i int) int {
	for i < len(s) && !separator(s[i]) {
		i++
	}
	return i
}

// entry applies one entry, the words of which begin at i, and returns where
// reading goes on: behind it, or, where OpenSSL finds a word it does not have
// or two that exclude each other, at the next separator.
func (l *list) entry(s string, start, i int, op op) (int, error) {
	var all selector
	for {
		end := l.wordEnd(s, i)
		if end == i {
			return 0, syntaxError(s[start:], i-start)
		}
		w, found := l.find(s[i:end])
		if !found {
			l.ignore(s, i, end)
			return entryEnd(s, end), nil
		}
		if !l.intersect(&all, &w) {
			return entryEnd(s, end), nil
		}
		i = end
		if i == len(s) || s[i] != '+' {
			l.apply(op, func(c *cipher) bool { return l.selects(&all, c) })
			return i, nil
		}
		i++
	}
}

// intersect narrows all to what w selects too, and reports false when that is
// nothing by the words alone.
func (r *release) intersect(all, w *selector) bool {
	all.code = w.code
	if r.strengthFirst && all.strength == 0 && w.strength != 0 {
		all.extra = 0
	}
	for _, f := range [...]struct {
		all *algorithms
		w   algorithms
	}{
		{&all.kx, w.kx}, {&all.auth, w.auth}, {&all.enc, w.enc}, {&all.mac, w.mac},
		{&all.extra, w.extra}, {&all.strength, w.strength}, {&all.version, w.version},
	} {
		switch {
		case f.w == 0:
		case *f.all == 0:
			*f.all = f.w
		default:
			if *f.all &= f.w; *f.all == 0 {
				return false
			}
		}
	}
	return true
}

// selects reports whether a selector takes a suite.
func (r *release) selects(s *selector, c *cipher) bool {
	if s.extra == extraExport|extraNotExport && s.strength == 0 && c.extra == extraExport {
		return true // 1.0.2d's COMPLEMENTOFDEFAULT: export suites, whatever else they have
	}
	return (!r.byNumber || s.code == 0 || s.code == c.code) &&
		s.kx.takes(c.kx) && s.auth.takes(c.auth) && s.enc.takes(c.enc) && s.mac.takes(c.mac) &&
		s.version.takes(c.version) && s.strength.takes(c.strength) && s.extra.takes(c.extra)
}

func (s algorithms) takes(have algorithms) bool { return s == 0 || s&have != 0 }

// command runs what follows an @.
func (l *list) command(name, from string) error {
	switch {
	case name == "STRENGTH":
		l.sortByStrength()
		return nil
	case l.level && len(name) == len("SECLEVEL=n") && strings.HasPrefix(name, "SECLEVEL="):
		if n := name[len(name)-1]; '0' <= n && n <= '5' {
			l.said.note(fmt.Sprintf("@%s takes nothing out of the list; a program that uses it may refuse more", name))
			return nil
		}
		return &ExpressionError{Msg: fmt.Sprintf("has %q, and levels are 0 to 5", "@"+name)}
	case name == "":
		return syntaxError(from, 1)
	}
	known := []string{"@STRENGTH"}
	if l.level {
		known = append(known, "@SECLEVEL=2")
	}
	return &ExpressionError{
		Msg:  fmt.Sprintf("has %q, which OpenSSL %s refuses", "@"+short(name), l.name),
		Hint: suggest(Closest("@"+name, known), "commands are "+strings.Join(known, ", ")),
	}
}

// syntaxError is for what OpenSSL calls an invalid command: no word at i.
func syntaxError(s string, i int) *ExpressionError {
	if i >= len(s) || separator(s[i]) {
		return &ExpressionError{Msg: fmt.Sprintf("has %q without a word behind it", s[:i])}
	}
	e := &ExpressionError{Msg: fmt.Sprintf("has %q where OpenSSL wants a word, in %q", s[i:i+1], short(s))}
	if s[i] == '[' || s[i] == '|' {
		e.Hint = "groups of equal preference are BoringSSL's"
	}
	return e
}

// short cuts what a message repeats of an expression.
func short(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}
