package tlsrules

import "math/bits"

// RuleInfo is what a rule came to mean, for people.
type RuleInfo struct {
	Index  int
	Rule         // with Name and Action filled in
	Stage  Stage // from which the rule itself says nothing new
	Final  Stage // from which a connection this rule decides is decided for good
	Always bool  // it is never decided for good: every record is judged
	Warn   []string
}

// Names returns the names of the rules, in order.
func (p *Policy) Names() []string {
	names := make([]string, len(p.rules))
	for i := range p.rules {
		names[i] = p.rules[i].Name
	}
	return names
}

// Rules tells what the rules came to mean, in order.
func (p *Policy) Rules() []RuleInfo {
	infos := make([]RuleInfo, 0, len(p.rules))
	var before steps // what earlier rules may still ask about
	for i := range p.rules {
		r := &p.rules[i]
		own := stepsOf(r.Match) | stepsOf(r.Unless)
		infos = append(infos, RuleInfo{
			Index: i, Rule: r.Rule,
			Stage: last(own | r.needs), Final: last(before | own | r.needs),
			Always: (before|own|r.needs)&stepRecords.bit() != 0,
			Warn:   p.warnings(i),
		})
		infos[i].Action = r.Action
		before |= own
		if r.Action == Continue || r.Observe && r.Action.Refuses() {
			before |= r.needs
		}
	}
	return infos
}

// Final is the stage from which a connection that no rule decides is decided
// for good, and whether that is never, because records are judged.
func (p *Policy) Final() (at Stage, always bool) {
	all := stepFirstBytes.bit()
	for i := range p.rules {
		r := &p.rules[i]
		all |= stepsOf(r.Match) | stepsOf(r.Unless)
		if r.Action == Continue {
			all |= r.needs
		}
	}
	return last(all), all&stepRecords.bit() != 0
}

func stepsOf(conditions []Condition) (s steps) {
	for i := range conditions {
		s |= conditions[i].step
	}
	return s
}

// last is the stage of the latest step. That a text is not there is known when the
// cleartext ends, which up to TLS 1.2 is behind the certificate.
func last(s steps) Stage {
	if s&stepContains.bit() != 0 {
		s |= stepCertificate.bit()
	}
	return step(max(0, bits.Len16(uint16(s))-1)).stage()
}
