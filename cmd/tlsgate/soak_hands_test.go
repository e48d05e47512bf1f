package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"tlsgate/internal/control"
)

// crowded finds more connections of a pinned group that the server's program read
// from at one time than may be: for longer than what was on its way takes to be read.
func (s *soak) crowded() {
	const most, late = 2, int64(time.Second)
	type edge struct {
		at   int64
		step int
	}
	edges := map[netip.Addr][]edge{}
	for _, x := range s.transfers {
		if x.class.name != "pinned" {
			continue
		}
		for _, a := range s.server.accounts(x.id) {
			if first, last := a.first.Load(), a.last.Load()-late; first != 0 && first < last {
				edges[x.to.Addr()] = append(edges[x.to.Addr()], edge{first, 1}, edge{last, -1})
			}
		}
	}
	for to, list := range edges {
		slices.SortFunc(list, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.step, b.step)) })
		n, peak := 0, 0
		for _, e := range list {
			n += e.step
			peak = max(peak, n)
		}
		if peak > most {
			s.t.Errorf("%d pinned connections to %s at one time, want %d at most", peak, to, most)
		}
	}
}

// window is a time, of which the end may be to come.
type window struct{ from, to time.Time }

// String returns when it began and ended.
func (w window) String() string {
	return w.from.Format("04:05.000") + " to " + w.to.Format("04:05.000")
}

// around reports whether a moment is in the window, or just behind it.
func (w window) around(at time.Time, late time.Duration) bool {
	return at.After(w.from) && (w.to.IsZero() || at.Before(w.to.Add(late)))
}

// turnGate opens the gate of a rule if it is closed, and closes it if it is open.
func (s *soak) turnGate() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), askTime)
	defer cancel()
	o := control.Opening{Rule: "held", Close: s.rng.IntN(2) == 0}
	if !o.Close {
		s.gateOpens(time.Now())
	}
	_, err := control.Dial(s.f.socket).Open(ctx, o)
	if o.Close && err == nil {
		s.gateCloses()
	}
	return err
}

func (s *soak) gateOpens(at time.Time) {
	if n := len(s.account.gate); n == 0 || !s.account.gate[n-1].to.IsZero() {
		s.account.gate = append(s.account.gate, window{from: at})
	}
}

func (s *soak) gateCloses() {
	if n := len(s.account.gate); n > 0 && s.account.gate[n-1].to.IsZero() {
		s.account.gate[n-1].to = time.Now()
	}
}

// lookAtGate learns how a new daemon has the gate.
func (s *soak) lookAtGate() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), askTime)
	defer cancel()
	gates, err := control.Dial(s.f.socket).Gates(ctx)
	for _, g := range gates.Gates {
		if g.Open {
			s.gateOpens(s.account.lives[len(s.account.lives)-1].began.Add(-time.Second))
		} else {
			s.gateCloses()
		}
	}
	return err
}

// openOne lets one connection through whose data waits, or may.
func (s *soak) openOne() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), askTime)
	defer cancel()
	list, err := s.conns(ctx, url.Values{"state": {"ESTABLISHED"}, "sni": {"*.held.lab.example"}})
	if err != nil || len(list) == 0 {
		return err
	}
	c := list[s.rng.IntN(len(list))]
	from := netip.AddrPortFrom(netip.MustParseAddr(c.Source), c.SourcePort)
	s.account.opened = append(s.account.opened, moment{from, time.Now()})
	_, err = control.Dial(s.f.socket).Open(ctx, control.Opening{FlowID: c.FlowID})
	if gone(err) {
		return nil
	}
	return err
}

// forbidden is a rule that comes and goes.
const forbidden = "forbidden"

const forbiddingRule = `
[[rule]]
name   = "forbidden"
match  = { sni = "*.ok.lab.example" }
action = "reset"
`

// policy is the one in force, in a file of another hash each time.
func (s *soak) policy() string { return fmt.Sprintf("%s# %d\n", soakPolicy, s.version) }

// replace has the daemon take another policy, and the rules follow.
func (s *soak) replace(policy string) error {
	r := s.f.reload(s.l, policy)
	if !r.Changed || r.Connections.Beyond != 0 && len(s.account.lives) == 1 {
		return fmt.Errorf("reload: %+v", r)
	}
	return s.rulesUp()
}

func (s *soak) rulesUp() error {
	if out, err := program(s.t, s.l.Gateway, "rules", "up", "-c", s.f.policy).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// reload has the daemon take a policy that says the same: nobody notices.
func (s *soak) reload() error {
	s.version++
	return s.replace(s.policy())
}

// forbid has it take one that forbids what is permitted, for a moment.
func (s *soak) forbid() error {
	began := time.Now()
	head, rules, _ := strings.Cut(soakPolicy, "[[rule]]")
	if err := s.replace(head + forbiddingRule + "[[rule]]" + rules); err != nil {
		return err
	}
	time.Sleep(time.Duration(s.rng.IntN(300)) * time.Millisecond)
	err := s.reload()
	s.account.forbade = append(s.account.forbade, window{began, time.Now()})
	return err
}

// reloadBroken has it read what is no policy: it says so, and nothing changes.
func (s *soak) reloadBroken() error {
	s.f.rewrite(soakPolicy + "[[rule]]\ncolour = \"red\"\n")
	_, said, code := s.f.ask(s.l, "reload")
	s.f.rewrite(s.policy())
	if code != exitUsage || !strings.Contains(said, "colour") {
		return fmt.Errorf("reload of what is broken: %d: %s", code, said)
	}
	return nil
}

// gated finds data that did not wait: before the server's program reads any the gate
// must have been open in the connection's life, or it was let through by itself. It may
// read late: what was let go and got lost comes again when its client's patience ends.
func (s *soak) gated() {
	through := 0
	for _, x := range s.transfers {
		if x.class.name != "held" {
			continue
		}
		for _, a := range s.server.accounts(x.id) {
			if a.first.Load() == 0 {
				continue
			}
			through++
			first := time.Unix(0, a.first.Load())
			ok := slices.ContainsFunc(s.account.gate, func(w window) bool { return w.from.Before(first) && (w.to.IsZero() || w.to.After(x.began)) }) ||
				slices.ContainsFunc(s.account.opened, func(m moment) bool { return m.from == a.from && m.at.Before(first) })
			if !ok {
				s.t.Errorf("data has passed a closed gate at %s: %s; it was open %v", first.Format("05.000"), x, s.account.gate)
			}
		}
	}
	s.t.Logf("%d connections came through the gate, which opened %d times", through, len(s.account.gate))
}
