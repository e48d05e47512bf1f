// Package policytest runs the tests of a policy: it makes the packets that a
// [[test]] of POLICY.md describes, gives them to the engine on a clock of their
// own, and compares what became of the connection with what the test expects.
//
// The packets are those of two honest ends, in order and whole; what others do
// with segments is for the engine's own tests. It knows no captures and no
// kernel.
package policytest

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tlsgate/config"
	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// Result is what became of a test. It failed if there is something in Wrong.
type Result struct {
	Test  *config.Test
	Got   Outcome
	Wrong []Difference
}

// OK reports whether the test passed.
func (r *Result) OK() bool { return len(r.Wrong) == 0 }

// Difference is one thing that is not as it was expected, as the policy spells
// it.
type Difference struct{ What, Got, Want string }

// Outcome is what became of a connection.
type Outcome struct {
	Verdict string
	Rule    string // "" is none
	Reason  string
	Stage   string
	Detail  string // why, a sentence
	Packet  uint64 // at which it was refused, 0 if it was not
	// Observed: nothing was refused, Verdict is only what would have been.
	Observed bool
}

// Sentence says why it became of it.
func (o *Outcome) Sentence() string {
	if o.Packet > 0 && o.Detail != "" {
		return fmt.Sprintf("packet %d: %s", o.Packet, o.Detail)
	}
	return o.Detail
}

// Run runs the tests of a policy, and tells which rules none of them reaches:
// that decided none, and had no requirement violated. cfg is how packets of the
// policy's are judged elsewhere; the time of grace, the queue and the memory of
// sessions are left out.
func Run(cfg engine.Config, c *config.Config) (results []Result, unreached []string) {
	reached := map[string]bool{}
	for i := range c.Tests {
		r := newRunner(cfg, c.Policy, &c.Tests[i])
		results = append(results, r.run())
		for _, rule := range r.reached {
			reached[rule] = true
		}
	}
	for _, rule := range c.Policy.Rules() {
		if !reached[rule.Name] {
			unreached = append(unreached, rule.Name)
		}
	}
	return results, unreached
}

// runner runs one test. It is the engine's sink.
type runner struct {
	test    *config.Test
	policy  *tlsrules.Policy
	cfg     engine.Config
	seen    map[netip.AddrPort]*told // by the client's address
	reached []string
}

// told is what the engine tells of a connection.
type told struct {
	final    tlsrules.Decision
	refusal  *Outcome // enforced, or in a policy that only observes
	would    *Outcome // of a rule that only observes
	accepted string   // why, if it is what the decision says in the end
	why      tlsrules.Decision
}

func newRunner(cfg engine.Config, p *tlsrules.Policy, t *config.Test) *runner {
	r := &runner{test: t, policy: p, seen: map[netip.AddrPort]*told{}}
	cfg.Grace, cfg.Lossy, cfg.Recorded, cfg.Offload = 0, false, false, false
	cfg.Sessions = engine.NewSessions(16, [16]byte{})
	cfg.Pins = engine.NewPins(0, [16]byte{})
	cfg.Gates = gates(p, t)
	cfg.Inject = nil
	cfg.Sink = r
	cfg.Interface = func(i uint32) string {
		switch i {
		case 1:
			return t.Client.InInterface
		case 2:
			return t.Client.OutInterface
		}
		return ""
	}
	if cfg.Limits.Decide <= 0 {
		cfg.Limits.Decide = 30 * time.Second
	}
	r.cfg = cfg
	return r
}

// gates are those of a policy as a test has them.
func gates(p *tlsrules.Policy, t *config.Test) *engine.Gates {
	g := engine.NewGates(p)
	if t.Given.Gate != config.GivenGateUnsaid {
		for _, s := range g.List() {
			g.Set(s.Rule, t.Given.Gate == config.GivenGateOpen, t.Time.UnixNano())
		}
	}
	return g
}

func (r *runner) run() Result {
	t := r.test
	e := engine.New(r.cfg, r.policy)
	h := &host{e: e, now: t.Time.UnixNano(), ends: [2]netip.AddrPort{t.Client.From, t.Client.To}}
	result := Result{Test: t}
	if t.Server.Resumed == tlsrules.ResumedKnown {
		if !r.begin(h, &result) {
			return result
		}
	}
	if err := r.give(h.now); err != nil {
		result.Wrong = []Difference{{"given.pin", err.Error(), "a pin of the policy's"}}
		return result
	}
	h.next = [2]uint32{1000, 5000}
	through := h.connect(talk(t, false), t.Server.Silent)
	if t.Server.Silent && through {
		h.now += int64(r.cfg.Limits.Decide + time.Second)
		e.Tick(h.now)
	}
	e.Close(h.now)
	result.Got = r.told(t.Client.From).outcome(t.Expect.Observed)
	result.Wrong = compare(&t.Expect, &result.Got)
	return result
}

// begin makes the connection in which the session begins that the test resumes.
func (r *runner) begin(h *host, result *Result) bool {
	port := r.test.Client.From.Port() ^ 1
	if port == 0 {
		port = 2
	}
	h.ends[original] = netip.AddrPortFrom(r.test.Client.From.Addr(), port)
	if h.ends[original] == h.ends[reply] {
		h.ends[original] = netip.AddrPortFrom(r.test.Client.From.Addr(), port^2)
	}
	h.next = [2]uint32{100000, 500000}
	first := *r.test
	first.Client.Alert, first.Server.Alert = tlswire.AlertMessage{}, tlswire.AlertMessage{}
	first.Client.Sends, first.Server.Sends = nil, nil
	h.connect(talk(&first, true), r.test.Given.Pin == config.GivenPinSameSession)
	told := r.told(h.ends[original])
	h.ends[original] = r.test.Client.From
	if told.refusal != nil && !told.refusal.Observed {
		result.Got = *told.refusal
		result.Wrong = []Difference{{"resumed", "the connection in which the session begins is refused", "a session that is known"}}
		return false
	}
	return true
}

// give has others hold the pins, or nobody, as the test says.
func (r *runner) give(now int64) error {
	pin := r.test.Given.Pin
	if pin != config.GivenPinFree && pin != config.GivenPinTaken {
		return nil
	}
	for _, info := range r.policy.Rules() {
		_, rule := r.policy.Named(info.Name)
		if rule.Pin == nil {
			continue
		}
		r.cfg.Pins.Release(0, rule.Name, nil)
		group, err := engine.GroupNamed(rule, r.group(rule))
		if err != nil {
			return err
		}
		for i := 0; pin == config.GivenPinTaken && i < max(1, rule.Pin.Connections); i++ {
			stranger := [32]byte{0: 0xff, 30: byte(i >> 8), 31: byte(i)}
			if _, _, err := r.cfg.Pins.Reserve(rule, group, &stranger, nil, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// group is that of the test's connection.
func (r *runner) group(rule *tlsrules.Rule) map[string]string {
	c := &r.test.Client
	of := map[tlsrules.Key]string{
		tlsrules.KeySource: c.From.Addr().String(), tlsrules.KeyDestination: c.To.Addr().String(),
		tlsrules.KeyPort: strconv.Itoa(int(c.To.Port())), tlsrules.KeyInInterface: c.InInterface,
		tlsrules.KeyServerName: cmp.Or(c.ServerName, "none"),
	}
	group := map[string]string{}
	for _, k := range rule.Pin.Per {
		group[k.String()] = of[k]
	}
	return group
}

func (r *runner) told(from netip.AddrPort) *told {
	t := r.seen[from]
	if t == nil {
		t = &told{}
		r.seen[from] = t
	}
	return t
}

func (r *runner) reach(rule string) {
	if rule != "" {
		r.reached = append(r.reached, rule)
	}
}

// TLS keeps why a connection is accepted.
func (r *runner) TLS(rep *engine.Report) {
	if t := r.told(rep.Original); rep.Facts != nil && rep.Decision.Decided {
		t.why, t.accepted = rep.Decision, r.policy.Explain(rep.Decision, rep.Facts)
	}
}

// Drop keeps why a connection is refused, or would be.
func (r *runner) Drop(rep *engine.Report) {
	t := r.told(rep.Original)
	r.reach(rep.Decision.Rule)
	o := outcomeOf(&rep.Decision)
	if rep.Held {
		o.Verdict = config.Held
	}
	o.Detail, o.Packet = rep.Detail, rep.Packet
	switch {
	case !rep.Decision.Observed || r.policy.Defaults().Observe:
		if t.refusal == nil {
			t.refusal = &o
		}
	case t.would == nil:
		t.would = &o
	}
}

// Flow keeps how it ended.
func (r *runner) Flow(rep *engine.Report) {
	t := r.told(rep.Original)
	t.final = rep.Decision
	if rep.Decision.Decided {
		r.reach(rep.Decision.Rule)
	}
}

func outcomeOf(d *tlsrules.Decision) Outcome {
	return Outcome{Verdict: d.Action.Name(), Rule: d.Rule, Reason: d.Reason.String(), Stage: d.Stage.String(), Observed: d.Observed}
}

// outcome is what a test is compared with: what would be, if it asks for that,
// else what was.
func (t *told) outcome(observed *bool) Outcome {
	switch {
	case observed != nil && *observed && t.would != nil:
		return *t.would
	case t.refusal != nil:
		return *t.refusal
	}
	o := outcomeOf(&t.final)
	if !t.final.Decided {
		o.Verdict, o.Reason = config.Undecided, ""
		o.Detail = fmt.Sprintf("waits for %s", t.final.Stage)
		return o
	}
	if t.why.Rule == t.final.Rule && t.why.Reason == t.final.Reason && t.why.Action == t.final.Action {
		o.Detail = t.accepted
	}
	return o
}

// compare tells what is not as it was expected.
func compare(want *config.Expectation, got *Outcome) (wrong []Difference) {
	differs := func(what, got, want string) {
		if got != want {
			wrong = append(wrong, Difference{what, got, want})
		}
	}
	if want.Verdict != "" {
		differs("verdict", got.Verdict, want.Verdict)
	}
	if want.Rule != nil {
		differs("rule", got.Rule, *want.Rule)
	}
	if want.Reason != "" {
		differs("reason", got.Reason, want.Reason)
	}
	if want.Stage != "" {
		differs("stage", got.Stage, want.Stage)
	}
	if want.Observed != nil {
		differs("observed", strconv.FormatBool(got.Observed), strconv.FormatBool(*want.Observed))
	}
	if !strings.Contains(got.Detail, want.Detail) {
		differs("detail", got.Detail, want.Detail)
	}
	return wrong
}
