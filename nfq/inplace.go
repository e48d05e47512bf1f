package nfq

import (
	"context"
	"slices"
	"strings"
)

// InPlace reports whether these very rules are in place, as Install would put them
// there: those of another policy, or none, are not.
func (r Rules) InPlace(ctx context.Context) (bool, error) {
	if err := r.check(); err != nil {
		return false, err
	}
	families, err := r.families()
	if err != nil {
		return false, err
	}
	for _, t := range families {
		out, err := t.run(ctx, "", "save", "-t", "mangle")
		if err != nil || !r.are(out) {
			return false, err
		}
	}
	return true, nil
}

// are reports whether what iptables-save prints has these rules. Our own stand there
// as we write them; between chains the order says nothing.
func (r Rules) are(saved string) bool {
	var have []string
	for line := range strings.Lines(saved) {
		rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A ")
		if chain, _, _ := strings.Cut(rule, " "); ok && slices.Contains(chains, chain) {
			have = append(have, rule)
		}
	}
	var jumps []string
	for _, j := range r.jumps() {
		jumps = append(jumps, j.rule())
	}
	return slices.Equal(byChain(have), byChain(r.rules())) && sameSet(parseSave(saved).jumps, jumps)
}

func byChain(rules []string) (sorted []string) {
	for _, c := range chains {
		for _, rule := range rules {
			if strings.HasPrefix(rule, c+" ") {
				sorted = append(sorted, rule)
			}
		}
	}
	return sorted
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
