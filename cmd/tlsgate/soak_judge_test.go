package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// life is that of one daemon.
type life struct {
	began, ended time.Time
	killed       bool // without a moment to tell what it knew
}

// moment is when something was done to a connection.
type moment struct {
	from netip.AddrPort
	at   time.Time
}

// soakAccount is what was done, and what was told.
type soakAccount struct {
	lives   []life
	killed  []moment
	opened  []moment       // one by one
	gate    []window       // when the gate was open, as far as somebody knows: longer, if anything
	forbade []window       // when a policy was in force that forbids what is permitted
	told    map[string]int // events by type
	byFrom  map[netip.AddrPort][]refusalTold
	byID    map[string][]refusalTold
	// claimed are ends of which it is known whose they are.
	claimed map[netip.AddrPort]bool
}

// refusalTold is a drop event.
type refusalTold struct {
	id, rule, reason, detail string
	from                     netip.AddrPort
	at                       time.Time
}

// take takes the events that the daemon has written since.
func (s *soak) take() {
	a := &s.account
	if a.told == nil {
		a.told, a.byFrom, a.byID = map[string]int{}, map[netip.AddrPort][]refusalTold{}, map[string][]refusalTold{}
	}
	for _, e := range s.f.take() {
		a.told[e.Type]++
		if e.Type != "drop" || e.Ours.Verdict == "hold" { // what waits is not refused
			continue
		}
		at, err := time.Parse("2006-01-02T15:04:05.000000-0700", e.Time)
		if err != nil {
			s.t.Errorf("event: %v", err)
		}
		id, _, _ := strings.Cut(e.TLS.SNI, ".")
		r := refusalTold{id, e.Ours.Rule, e.Ours.Reason, e.Ours.Detail, netip.AddrPortFrom(e.SrcIP, e.SrcPort), at}
		a.byFrom[r.from] = append(a.byFrom[r.from], r)
		if id != "" {
			a.byID[id] = append(a.byID[id], r)
		}
		if r.detail == "" {
			s.t.Errorf("a refusal without a sentence: %+v", e)
		}
	}
}

// refusals are those that are told of a transfer.
func (s *soak) refusals(x *transfer) (list []refusalTold) {
	list = slices.Clone(s.account.byID[x.id])
	for _, from := range s.ends(x) {
		for _, r := range s.account.byFrom[from] {
			if r.id == "" && r.at.After(x.began.Add(-time.Second)) && r.at.Before(x.ended.Add(time.Second)) {
				list = append(list, r)
			}
		}
	}
	return list
}

// ends are the client's ends of a transfer, as far as anybody has seen them.
func (s *soak) ends(x *transfer) (ends []netip.AddrPort) {
	if x.from.IsValid() {
		ends = append(ends, x.from)
	}
	for _, a := range s.server.accounts(x.id) {
		ends = append(ends, a.from)
	}
	for _, r := range s.account.byID[x.id] {
		ends = append(ends, r.from)
	}
	slices.SortFunc(ends, netip.AddrPort.Compare)
	return slices.Compact(ends)
}

// explains reports whether a refusal is what is to be expected, of the class or of
// what was done meanwhile.
func (s *soak) explains(x *transfer, r refusalTold) bool {
	switch r.reason {
	case "killed":
		return slices.ContainsFunc(s.account.killed, func(m moment) bool {
			return m.from == r.from && m.at.Before(r.at.Add(time.Second)) && m.at.After(x.began)
		})
	case "rule":
		if r.rule == forbidden {
			return x.class.name == "ok" && slices.ContainsFunc(s.account.forbade, func(w window) bool { return w.around(r.at, time.Second) })
		}
	case "midstream", "default":
		return s.restarted(x, false)
	}
	return slices.Contains(x.class.reasons, r.reason)
}

// restarted reports whether the daemon began anew while a transfer went on, or its
// last packets were under way; or only whether one was killed.
func (s *soak) restarted(x *transfer, killed bool) bool {
	lives := s.account.lives
	for i := 1; i < len(lives); i++ {
		if (!killed || lives[i-1].killed) && x.began.Before(lives[i].began) && x.ended.Add(time.Second).After(lives[i-1].ended) {
			return true
		}
	}
	return false
}

// unclaimed finds a refusal of the time of a transfer of which nobody knows the port,
// that is of no transfer of which somebody does: a new daemon has refused it before
// it had a name.
func (s *soak) unclaimed(x *transfer) (list []refusalTold) {
	for from, refusals := range s.account.byFrom {
		if from.Port() < firstSoakPort+soakPorts || from.Addr().Is6() != x.to.Addr().Is6() {
			continue
		}
		for _, r := range refusals {
			if r.id == "" && s.explains(x, r) && r.at.After(x.began) && r.at.Before(x.ended) && !s.account.claimed[from] {
				return []refusalTold{r}
			}
		}
	}
	return nil
}

// judge compares what became of every transfer with what is told of it.
func (s *soak) judge() {
	s.account.claimed = map[netip.AddrPort]bool{}
	for _, x := range s.transfers {
		for _, from := range s.ends(x) {
			s.account.claimed[from] = true
		}
	}
	outcomes := map[string]int{}
	faults := 0
	for _, x := range s.transfers {
		outcome, fault := s.outcome(x)
		if fault == "" {
			outcomes[outcome]++
			continue
		}
		if faults++; faults <= 20 {
			s.t.Errorf("%s: %s: %+v", fault, x, s.refusals(x))
		}
	}
	var lines []string
	for o, n := range outcomes {
		lines = append(lines, fmt.Sprintf("%6d %s", n, o))
	}
	slices.Sort(lines)
	s.t.Logf("%d transfers, %d faults, events %v, %d daemons\n%s", len(s.transfers), faults, s.account.told, len(s.account.lives), strings.Join(lines, "\n"))
}

// outcome names what became of a transfer, or what is wrong with that.
func (s *soak) outcome(x *transfer) (outcome, fault string) {
	refusals := s.refusals(x)
	name := x.class.name + ", " + x.client
	if len(refusals) == 0 && x.err != nil && !x.from.IsValid() {
		refusals = s.unclaimed(x)
	}
	for _, r := range refusals {
		if !s.explains(x, r) {
			return "", "refused for another reason than expected"
		}
	}
	if x.class.permitted {
		switch {
		case len(refusals) > 0:
			return x.class.name + ": ended, " + refusals[0].reason, ""
		case x.err != nil && s.restarted(x, true) && s.mayBeRefused(x):
			return x.class.name + ": ended, and the daemon that would have told was killed", ""
		case x.err != nil:
			return "", "permitted, and failed"
		}
		return name + ": whole", ""
	}
	for _, a := range s.server.accounts(x.id) {
		if n := a.read.Load(); n > 0 {
			return "", fmt.Sprintf("to be refused, and the server's application read %d bytes", n)
		}
	}
	switch {
	case x.err == nil, x.heard > 0:
		return "", "to be refused, and passed"
	case len(refusals) > 0:
		return x.class.name + ": refused, " + refusals[len(refusals)-1].reason, ""
	case s.restarted(x, true):
		return x.class.name + ": refused, and the daemon that would have told was killed", ""
	}
	return "", "refused, and nobody says why"
}

// mayBeRefused reports whether something may have been in the way of what is permitted,
// and a daemon that was killed at once have told nobody.
func (s *soak) mayBeRefused(x *transfer) bool {
	return len(x.class.reasons) > 0 || x.class.name == "ok" && slices.ContainsFunc(s.account.forbade, func(w window) bool { return w.around(x.ended, time.Second) })
}

// compare judges what the daemon takes of its host when nothing is asked of it.
// Memory that it keeps to use it again grows at first, and then no more.
func (s *soak) compare(before, between, after process) {
	s.t.Logf("before:  %s", before)
	s.t.Logf("between: %s", between)
	s.t.Logf("after:   %s", after)
	if after.Goroutines != before.Goroutines || after.FDs != before.FDs {
		s.t.Errorf("goroutines or file descriptors are left")
	}
	const slack = 4 << 20
	if after.LiveBytes > between.LiveBytes*5/4+slack || after.RSSBytes > between.RSSBytes*5/4+2*slack {
		s.t.Errorf("memory grows")
	}
}
