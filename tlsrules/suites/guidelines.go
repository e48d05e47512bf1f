package suites

import (
	"fmt"
	"slices"
	"strings"
)

// guideline is one of Mozilla's server side TLS guidelines.
type guideline struct {
	name, version string
	codes         []uint16
}

// elbPolicy is a predefined policy of AWS's Elastic Load Balancing.
type elbPolicy struct {
	name       string
	confidence string
	codes      []uint16
}

// confidences say what an entry of AWS rests on, but for "doc".
var confidences = map[string]string{
	"mirror":   "rests on a third party's emulator of AWS, not on a document of AWS's",
	"inferred": "is inferred from AWS's naming scheme, not taken from a document of AWS's",
}

// classic is before names that Classic Load Balancers have policies by.
const classic = "classic:"

// expandMozilla finds "intermediate-5.7", or "intermediate" in the newest
// version that has it.
func expandMozilla(s string) (Expansion, error) {
	var newest *guideline
	name, version, versioned := strings.Cut(s, "-")
	for i := range mozilla {
		g := &mozilla[i]
		if !strings.EqualFold(g.name, name) {
			continue
		}
		newest = g // versions ascend
		if versioned && g.version == version {
			return Expansion{Codes: slices.Clone(g.codes)}, nil
		}
	}
	switch {
	case newest == nil:
		return Expansion{}, &ExpressionError{
			Msg:  fmt.Sprintf("names a guideline that Mozilla does not have: %q", short(s)),
			Hint: suggest(Closest(s, mozillaNames()), "known are modern, intermediate and old, with a version as in intermediate-5.7"),
		}
	case versioned:
		return Expansion{}, &ExpressionError{
			Msg:  fmt.Sprintf("names a version of Mozilla's guidelines that is not known: %q", short(s)),
			Hint: "of " + newest.name + " there are " + strings.Join(mozillaVersions(newest.name), ", "),
		}
	}
	return Expansion{Codes: slices.Clone(newest.codes)}, nil
}

func mozillaNames() (list []string) {
	for i := range mozilla {
		list = append(list, mozilla[i].name, mozilla[i].name+"-"+mozilla[i].version)
	}
	return list
}

func mozillaVersions(name string) (list []string) {
	for i := range mozilla {
		if mozilla[i].name == name {
			list = append(list, mozilla[i].version)
		}
	}
	return list
}

// expandAWS finds a policy by its name, of a Classic Load Balancer where there
// is no other of that name or "classic:" is before it.
func expandAWS(s string) (Expansion, error) {
	p := findAWS(s)
	if p == nil {
		p = findAWS(classic + s)
	}
	if p == nil {
		return Expansion{}, &ExpressionError{
			Msg:  fmt.Sprintf("names a policy that is not known of AWS: %q", short(s)),
			Hint: suggest(closestAWS(s), "names are as in ELBSecurityPolicy-TLS13-1-2-2021-06"),
		}
	}
	if len(p.codes) == 0 {
		return Expansion{}, &ExpressionError{
			Msg:  fmt.Sprintf("names a policy of AWS of which only name and versions are known, not the suites: %q", p.name),
			Hint: "aws elbv2 describe-ssl-policies --names " + p.name + " tells them: list them by name",
		}
	}
	e := Expansion{Codes: slices.Clone(p.codes)}
	if why := confidences[p.confidence]; why != "" {
		e.note(fmt.Sprintf("aws:%s %s (confidence %q): aws elbv2 describe-ssl-policies confirms it", p.name, why, p.confidence))
	}
	return e, nil
}

func findAWS(name string) *elbPolicy {
	for i := range aws {
		if strings.EqualFold(aws[i].name, name) {
			return &aws[i]
		}
	}
	return nil
}

// closestAWS also takes names without what they all begin with.
func closestAWS(s string) string {
	c := closest{to: s}
	if p := findAWS("ELBSecurityPolicy-" + s); p != nil {
		return p.name
	}
	for i := range aws {
		c.offer(aws[i].name)
	}
	return c.best
}
