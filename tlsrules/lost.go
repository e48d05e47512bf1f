package tlsrules

import "slices"

// Lost says which facts of a connection were known once and are not any more: its
// judgement was over, and another policy asks. A condition on one is neither true
// nor false, and stays so.
type Lost uint8

const (
	// LostHello: what the hellos said beside the server's name, ALPN, how a session
	// is resumed, ECH, early data, the fallback, version, suite and group.
	LostHello Lost = 1 << iota
	LostCertificate
	// LostTexts: cleartext has passed in which not all patterns were searched for.
	// What is found in the rest is found, but that a text is not there is not known.
	LostTexts
	// LostNames: the server's name and ALPN were too long to be remembered.
	LostNames
)

// Has reports whether the facts of all groups in g are lost.
func (l Lost) Has(g Lost) bool { return l&g == g }

// lostWith returns the group a key's fact is lost with, 0 for none.
func (k Key) lostWith() Lost {
	switch k {
	case KeyOffersVersion, KeyOffersCipher, KeyOffersGroup, KeyOffersExtension, KeyOffersSignature,
		KeyOffersOnlyCipher, KeyOffersOnlyVersion, KeyOffersOnlyGroup, KeyClientRandom, KeyJA3, KeyJA4, KeyJA3S:
		return LostHello
	case KeyContains:
		return LostTexts
	case KeyServerName, KeyALPN:
		return LostNames
	}
	if keys[k].step == stepCertificate {
		return LostCertificate
	}
	return 0
}

func (v *view) lost(k Key) bool { return v.Lost != 0 && v.Lost&k.lostWith() != 0 }

// owes reports whether a requirement that binds asks about what is lost.
func (p *Policy) owes(v *view, j *Judgement) bool {
	for k := range int(j.nbound) {
		if slices.ContainsFunc(p.rules[j.at(k)].Require, func(c Condition) bool { return v.lost(c.key) && c.eval(v) == waiting }) {
			return true
		}
	}
	return false
}

// Translate turns what was found of another policy's patterns into what was found
// of p's; all is false if p has patterns that the other one did not search for.
func (p *Policy) Translate(other *Policy, found uint64) (ours uint64, all bool) {
	all = true
	for i, text := range p.patterns {
		switch place := slices.Index(other.patterns, text); {
		case place < 0:
			all = false
		case found>>place&1 != 0:
			ours |= 1 << i
		}
	}
	return ours, all
}

// TranslateState turns how far a search for another policy's patterns has come into
// the same of p's: of a pattern that both have and that is partly there nothing is
// forgotten.
func (p *Policy) TranslateState(other *Policy, s SearchState) SearchState {
	if s == 0 {
		return 0
	}
	for _, text := range other.patterns { // a state is the beginning of a text
		var at SearchState
		for i := range len(text) {
			if at, _ = other.Search(at, []byte(text[i:i+1])); at == s {
				ours, _ := p.Search(0, []byte(text[:i+1]))
				return ours
			}
		}
	}
	return 0
}
