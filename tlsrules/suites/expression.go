package suites

import (
	"fmt"
	"slices"
	"strings"
)

// Expansion is what an expression came to. The zero Expansion is nothing.
type Expansion struct {
	// Codes are the suites, in the expression's order, each once.
	Codes []uint16
	// Ignored are words of a cipher list that no OpenSSL knows. OpenSSL reads
	// over them; who wrote them meant something.
	Ignored []Ignored
	// Notes are what a reader should know about the list, a sentence each.
	Notes []string
}

// Ignored is a word of a cipher list that no OpenSSL knows.
type Ignored struct {
	Word string
	Hint string // what may have been meant, or empty
}

// ExpressionError says why an expression cannot be taken.
type ExpressionError struct {
	Msg  string // what is wrong with it: "is not a cipher suite"
	Hint string // may be empty
}

func (e *ExpressionError) Error() string {
	if e.Hint == "" {
		return e.Msg
	}
	return e.Msg + "; " + e.Hint
}

// kinds are the prefixes of expressions.
var kinds = []string{"openssl", "class", "mozilla", "aws"}

// Expand returns the suites that an expression of a policy stands for: a name
// or number, as Lookup and ParseCode take it, or
//
//	openssl:LIST         a cipher list, as OpenSSL 3.0 reads it
//	openssl-RELEASE:LIST as that release reads it: 3.0, 3.5, 1.1.1, 1.0.2, 1.0.2d
//	class:NAME           one of Classes
//	mozilla:NAME-VERSION a guideline of Mozilla's, without a version the newest
//	aws:NAME             a predefined policy of AWS's load balancers
//
// The error is an *ExpressionError. The time is linear in the length.
func Expand(s string) (Expansion, error) {
	if code, ok := codeOf(s); ok {
		return Expansion{Codes: []uint16{code}}, nil
	}
	prefix, rest, is := strings.Cut(s, ":")
	if !is {
		return Expansion{}, notASuite(s)
	}
	switch kind := strings.ToLower(strings.TrimSpace(prefix)); {
	case kind == "openssl":
		return expandOpenSSL(&releases[0], rest)
	case strings.HasPrefix(kind, "openssl-"):
		for i := range releases {
			if kind == "openssl-"+releases[i].name {
				return expandOpenSSL(&releases[i], rest)
			}
		}
		return Expansion{}, &ExpressionError{
			Msg:  fmt.Sprintf("names a release of OpenSSL that is not known: %q", short(prefix)),
			Hint: "known are openssl-3.0 (also openssl:), openssl-3.5, openssl-1.1.1, openssl-1.0.2, and openssl-1.0.2d for before 1.0.2g",
		}
	case kind == "class":
		return expandClass(strings.TrimSpace(rest))
	case kind == "mozilla":
		return expandMozilla(strings.TrimSpace(rest))
	case kind == "aws":
		return expandAWS(strings.TrimSpace(rest))
	}
	return Expansion{}, notASuite(s)
}

func codeOf(s string) (uint16, bool) {
	if suite, ok := Lookup(s); ok {
		return suite.Code, true
	}
	return ParseCode(s)
}

// notASuite says what may have been meant by what is neither a name nor an
// expression.
func notASuite(s string) *ExpressionError {
	e := &ExpressionError{Msg: "is not a cipher suite"}
	prefix, rest, is := strings.Cut(s, ":")
	if kind := Closest(prefix, kinds); is && kind != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", kind+":"+short(rest))
	} else if IsCipherList(s) {
		e.Hint = fmt.Sprintf("did you mean %q?", "openssl:"+short(s))
	} else {
		e.Hint = suggest(Suggest(s), "")
	}
	return e
}

// suggest says what was meant, or else what there is.
func suggest(closest, known string) string {
	if closest == "" {
		return known
	}
	return fmt.Sprintf("did you mean %q?", closest)
}

func (e *Expansion) note(s string) {
	if !slices.Contains(e.Notes, s) {
		e.Notes = append(e.Notes, s)
	}
}

func expandClass(name string) (Expansion, error) {
	class := strings.ToLower(name)
	if !slices.Contains(Classes(), class) {
		return Expansion{}, &ExpressionError{
			Msg:  fmt.Sprintf("names a class that is not known: %q", short(name)),
			Hint: suggest(SuggestClass(class), "the classes are "+strings.Join(Classes(), ", ")),
		}
	}
	var e Expansion
	for i := range table {
		if table[i].Class == class {
			e.Codes = append(e.Codes, table[i].Code)
		}
	}
	return e, nil
}

// expandOpenSSL adds to the release's answer what another one would have said.
func expandOpenSSL(r *release, s string) (Expansion, error) {
	if strings.TrimSpace(s) == "" {
		return Expansion{}, &ExpressionError{Msg: "has no cipher list behind the colon", Hint: `for OpenSSL's own default write "openssl:DEFAULT"`}
	}
	e, err := r.expand(s)
	if err != errEmpty {
		return e, err
	}
	empty := &ExpressionError{Msg: "selects no suite of OpenSSL " + r.name}
	if len(e.Ignored) > 0 {
		empty.Msg += fmt.Sprintf(", which does not know %q", e.Ignored[0].Word)
		empty.Hint = e.Ignored[0].Hint
		return e, empty
	}
	for i := range releases {
		if other := &releases[i]; other != r {
			if _, err := other.expand(s); err == nil {
				empty.Hint = fmt.Sprintf("OpenSSL %s has some: \"openssl-%s:...\"", other.name, other.name)
				break
			}
		}
	}
	return e, empty
}

// mostIgnored bounds the ignored words that are kept, for each is compared with
// every name.
const mostIgnored = 8

// ignore notes an entry that OpenSSL reads over: its word not found is s[i:end].
// A word that another release has is just empty.
func (l *list) ignore(s string, i, end int) {
	word := s[i:end]
	whole := s[i:entryEnd(s, end)]
	suite, named := Lookup(whole)
	if !named {
		whole = word
	}
	if named && slices.Contains(l.tls13, suite.Code) {
		l.said.note(fmt.Sprintf("%s in a cipher list means nothing to OpenSSL, which puts its TLS 1.3 suites in front of every list", suite.IANA))
		return
	}
	seen := func(i Ignored) bool { return i.Word == short(whole) }
	if len(l.said.Ignored) == mostIgnored || slices.ContainsFunc(l.said.Ignored, seen) || known(word) {
		return
	}
	l.said.Ignored = append(l.said.Ignored, Ignored{Word: short(whole), Hint: l.meant(whole)})
}

// known reports whether some release of OpenSSL has a word.
func known(w string) bool {
	if i, ok := nameRow(w); ok && names[i].name == w {
		return true
	}
	for i := range releases {
		if _, ok := releases[i].word(w); ok {
			return true
		}
	}
	_, ok := slices.BinarySearch(otherWords, w)
	return ok
}

// meant guesses what a word that OpenSSL does not know was to be.
func (r *release) meant(w string) string {
	if w == "DEFAULT" {
		return "DEFAULT means something only at the beginning of a list"
	}
	if suite, ok := Lookup(w); ok && suite.OpenSSL != "" && suite.OpenSSL != w {
		return fmt.Sprintf("OpenSSL takes its own names, and case counts: %q", suite.OpenSSL)
	}
	c := closest{to: w}
	c.offer("DEFAULT")
	for i := range r.words {
		c.offer(r.words[i].name)
	}
	for i := range r.ciphers {
		c.offer(r.ciphers[i].name)
	}
	if strings.EqualFold(c.best, w) {
		return fmt.Sprintf("case counts: %q", c.best)
	}
	return suggest(c.best, "")
}

// IsCipherList reports whether s looks like a cipher list of OpenSSL's rather
// than a name: one of its entries is a command, or begins with a word that is
// no suite's name.
func IsCipherList(s string) bool {
	for i := 0; i < len(s); i++ {
		if separator(s[i]) {
			continue
		}
		start := i
		for i < len(s) && strings.IndexByte("+-!@", s[i]) >= 0 {
			i++
		}
		word := s[i:releases[0].wordEnd(s, i)]
		if _, named := Lookup(word); !named && (strings.HasPrefix(word, "DEFAULT") || known(word)) || start < i && word != "" {
			return true
		}
		i = entryEnd(s, i)
	}
	return false
}
