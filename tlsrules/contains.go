package tlsrules

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// maxPatterns bounds how many texts the rules of a policy may search for: each
// is a bit of Facts.Contains, and the last bit says that the search is over.
const maxPatterns = 63

// maxPattern bounds one text, bytes.
const maxPattern = 256

// search is what was found of a policy's patterns so far. The zero search has
// found nothing yet.
type search uint64

const searchOver search = 1 << maxPatterns

func (s search) over() bool { return s&searchOver != 0 }

func (f *Facts) search() search {
	s := search(f.Contains) &^ searchOver
	if f.ContainsOver {
		s |= searchOver
	}
	return s
}

// found asks what was found. One of the patterns is enough; that there is none
// is known only when the search is over.
func (c *Condition) found(v *view) truth {
	switch {
	case uint64(v.search)&c.bits != 0:
		return yes
	case v.search.over() && !v.lost(KeyContains):
		return no
	}
	return waiting
}

// parsePattern takes text as it stands, or bytes after "hex:".
func (c *Condition) parsePattern(s string) *ValueError {
	text := s
	if digits, ok := strings.CutPrefix(s, "hex:"); ok {
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			return &ValueError{Msg: "is not hexadecimal", Hint: `write two digits a byte, as in "hex:16 03 01"`}
		}
		text = string(b)
	}
	if text == "" || len(text) > maxPattern {
		return &ValueError{Msg: "cannot be searched for", Hint: "a text has 1 to " + strconv.Itoa(maxPattern) + " bytes"}
	}
	before := len(c.text)
	if c.show(s); len(c.text) > before {
		c.words = append(c.words, text)
	}
	return nil
}

// number gives each pattern of the policy's rules its bit of Facts.Contains.
func (p *Policy) number(conditions []Condition) {
	places := map[string]int{}
	for i, text := range p.patterns {
		places[text] = i
	}
	for i := range conditions {
		c := &conditions[i]
		if c.key != KeyContains {
			continue
		}
		c.bits = 0
		for _, text := range c.words {
			place, ok := places[text]
			if !ok {
				place = len(p.patterns)
				places[text] = place
				p.patterns = append(p.patterns, text)
			}
			c.bits |= 1 << min(place, maxPatterns)
		}
	}
}

// Patterns are the texts that conditions on contains search for: at most 63,
// pattern i has bit i of Facts.Contains. The caller must not change them.
func (p *Policy) Patterns() []string { return p.patterns }
