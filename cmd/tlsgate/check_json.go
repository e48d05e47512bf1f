package main

import (
	"fmt"
	"io"
	"time"

	"tlsgate/config"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// section is one table of the settings, with every default filled in.
type section struct {
	name string
	keys []setting
}

type setting struct {
	name  string
	value any // a string, number, boolean, or list of strings
}

func sections(c *config.Config) []section {
	mode := "enforce"
	if c.Default.Observe {
		mode = "observe"
	}
	return []section{
		{"queue", []setting{
			{"number", c.Queue.Number}, {"workers", c.Queue.Workers},
			{"fail_open", c.Queue.FailOpen}, {"backend", c.Queue.Backend},
			{"busy_poll", c.Queue.BusyPoll.String()},
		}},
		{"intercept", []setting{
			{"hooks", hookNames(c.Intercept.Hooks)}, {"ports", portNames(c.Intercept.Ports)},
			{"in_interfaces", append([]string{}, c.Intercept.InInterfaces...)},
			{"mark", fmt.Sprintf("0x%08x", c.Intercept.Mark)}, {"offload", c.Intercept.Offload},
		}},
		{"default", []setting{
			{"action", c.Default.Action.String()}, {"mode", mode},
			{"not_tls", c.Default.NotTLS.String()}, {"malformed", c.Default.Malformed.String()},
			{"ambiguous", c.Default.Ambiguous.String()}, {"mptcp", c.Default.MPTCP.String()},
			{"midstream", c.Default.Midstream.String()}, {"undecided", c.Default.Undecided.String()},
			{"overload", c.Default.Overload.String()}, {"refuse_for", c.Default.RefuseFor.String()},
			{"grace", c.Default.Grace.String()},
		}},
		{"limits", []setting{
			{"connections", c.Limits.Connections}, {"buffered", c.Limits.Buffered},
			{"per_connection", c.Limits.PerConnection}, {"hello", c.Limits.Hello},
			{"decide", c.Limits.Decide.String()}, {"half_open", c.Limits.HalfOpen},
			{"sessions", c.Limits.Sessions}, {"pins", c.Limits.Pins}, {"refused", c.Limits.Refused}, {"stories", c.Limits.Stories},
		}},
		{"log", []setting{{"events", c.Log.Events}, {"stats", c.Log.Stats.String()}}},
		{"control", []setting{{"socket", c.Control.Socket}, {"group", c.Control.Group}}},
		{"state", []setting{{"file", c.State.File}, {"every", c.State.Every.String()}}},
	}
}

func hookNames(hooks []nfq.Hook) []string {
	names := []string{}
	for _, h := range hooks {
		names = append(names, h.String())
	}
	return names
}

func portNames(ports []nfq.PortRange) []string {
	if len(ports) == 0 {
		return []string{"all"}
	}
	names := []string{}
	for _, p := range ports {
		if p.First == p.Last {
			names = append(names, fmt.Sprint(p.First))
		} else {
			names = append(names, fmt.Sprintf("%d-%d", p.First, p.Last))
		}
	}
	return names
}

type checkedRule struct {
	Name      string              `json:"name"`
	Match     map[string][]string `json:"match,omitempty"`
	Unless    map[string][]string `json:"unless,omitempty"`
	Require   map[string][]string `json:"require,omitempty"`
	Pin       *checkedPin         `json:"pin,omitempty"`
	Hold      *checkedHold        `json:"hold,omitempty"`
	Action    string              `json:"action"`
	Otherwise string              `json:"otherwise,omitempty"`
	Unseen    string              `json:"unseen,omitempty"`
	RefuseFor string              `json:"refuse_for,omitempty"`
	Observe   bool                `json:"observe"`
	Stage     string              `json:"stage"`
	Final     string              `json:"final"` // or "never"
	Warnings  []string            `json:"warnings"`
}

type checkedPin struct {
	To          string   `json:"to"`
	Per         []string `json:"per"`
	Connections int      `json:"connections"`
	Idle        string   `json:"idle,omitempty"`
	TLS13       string   `json:"tls13,omitempty"`
}

type checkedHold struct {
	What     string `json:"what"`
	Open     string `json:"open,omitempty"`
	Patience string `json:"patience,omitempty"`
}

type checkError struct {
	Line    int    `json:"line,omitempty"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// printJSON writes a checked policy, or what is wrong with it.
func printJSON(w io.Writer, file string, c *config.Config, wrong error) error {
	return writeJSON(w, policyJSON(file, c, wrong), nil)
}

func policyJSON(file string, c *config.Config, wrong error) map[string]any {
	out := map[string]any{"file": file, "ok": wrong == nil}
	if wrong == nil {
		describePolicy(out, c)
		return out
	}
	list := []checkError{}
	for _, e := range config.All(wrong) {
		list = append(list, checkError{e.Line, e.Key, e.Msg, e.Hint})
	}
	out["errors"] = list
	return out
}

func describePolicy(out map[string]any, c *config.Config) {
	for _, s := range sections(c) {
		keys := map[string]any{}
		for _, k := range s.keys {
			keys[k.name] = k.value
		}
		out[s.name] = keys
	}
	sets := map[string][]string{}
	for _, s := range c.Sets {
		sets[s.Name] = s.Values
	}
	rules := []checkedRule{}
	for _, r := range c.Policy.Rules() {
		rules = append(rules, ruleJSON(r))
	}
	at, always := c.Policy.Final()
	out["sets"], out["rules"] = sets, rules
	out["final"] = finalName(at, always)
	out["warnings"] = append([]string{}, c.Warnings...)
}

func ruleJSON(r tlsrules.RuleInfo) checkedRule {
	j := checkedRule{
		Name: r.Name, Action: r.Action.String(), Observe: r.Observe,
		Match: values(r.Match), Unless: values(r.Unless), Require: values(r.Require),
		Stage: r.Stage.String(), Final: finalName(r.Final, r.Always),
		Warnings: append([]string{}, r.Warn...),
	}
	if p := r.Pin; p != nil {
		j.Pin = &checkedPin{To: p.To.String(), Per: []string{}, Connections: max(p.Connections, 1)}
		for _, k := range p.Per {
			j.Pin.Per = append(j.Pin.Per, k.String())
		}
		if idle := p.Silence(); idle > 0 {
			j.Pin.Idle = idle.String()
		}
		if p.To == tlsrules.PinSession {
			j.Pin.TLS13 = p.TLS13.String()
		}
	}
	if h := r.Hold; h != nil {
		j.Hold = &checkedHold{What: "application_data"}
		if !h.Open.IsZero() {
			j.Hold.Open = h.Open.Format(time.RFC3339)
		}
		if h.Patience > 0 {
			j.Hold.Patience = h.Patience.String()
		}
	}
	if len(r.Require) > 0 || r.Pin != nil || r.Hold != nil {
		j.Otherwise = r.Otherwise.String()
	}
	if r.RefuseFor > 0 {
		j.RefuseFor = r.RefuseFor.String()
	}
	if r.UnseenAllow {
		j.Unseen = "allow"
	}
	return j
}

func finalName(at tlsrules.Stage, always bool) string {
	if always {
		return "never"
	}
	return at.String()
}

func values(conditions []tlsrules.Condition) map[string][]string {
	m := map[string][]string{}
	for i := range conditions {
		m[conditions[i].Key().String()] = conditions[i].Values()
	}
	return m
}
