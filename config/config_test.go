package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

func parse(t testing.TB, text string) (*Config, error) {
	t.Helper()
	return Parse("policy.toml", []byte(text), t.TempDir())
}

func mustParse(t testing.TB, text string) *Config {
	t.Helper()
	c, err := parse(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settings are what a Config says besides rules.
type settings struct {
	Queue     Queue
	Intercept Intercept
	Default   Default
	Limits    Limits
	Log       Log
	Control   Control
	State     State
}

func settingsOf(c *Config) settings {
	control := c.Control
	control.Asked = false // TestAsked
	state := c.State
	state.Asked = false
	return settings{c.Queue, c.Intercept, c.Default, c.Limits, c.Log, control, state}
}

func defaults() settings {
	return settings{
		Queue: Queue{Backend: "batch"},
		Intercept: Intercept{
			Hooks: []nfq.Hook{nfq.Forward}, Mark: 0x00ff0000, Offload: true,
			Ports: []nfq.PortRange{{First: 443, Last: 443}, {First: 8443, Last: 8443}, {First: 9000, Last: 9099}},
		},
		Default: Default{
			Action: tlsrules.Accept, NotTLS: tlsrules.Accept, Malformed: tlsrules.Reset, Ambiguous: tlsrules.Reset,
			Undecided: tlsrules.Reset, Overload: tlsrules.Drop, MPTCP: MPTCPStrip, Midstream: MidstreamAccept,
			RefuseFor: time.Minute,
		},
		Limits: Limits{
			Connections: 262144, HalfOpen: 65536, Buffered: 256 << 20, PerConnection: 96 << 10, Sessions: 65536, Pins: 65536, Refused: 16384, Stories: 4096,
			Hello: 64 << 10, Decide: 30 * time.Second,
		},
		Log:     Log{Events: "-", Stats: time.Minute},
		Control: Control{Socket: "/run/tlsgate.sock"},
		State:   State{File: "/var/lib/tlsgate/queue-0.state", Every: time.Minute},
	}
}

// TestAsked: a socket, or a file, that somebody has asked for has to be there.
func TestAsked(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "[control]": false, `control.socket = "none"`: true, `control.socket = "/run/tlsgate.sock"`: true, `control.group = "x"`: true,
	} {
		if got := mustParse(t, text).Control.Asked; got != want {
			t.Errorf("%s: asked %v", text, got)
		}
	}
	for text, want := range map[string]bool{
		"": false, "[state]": false, `state.every = "5s"`: false, `state.file = "none"`: true, `state.file = "/var/lib/tlsgate/queue-0.state"`: true,
	} {
		if got := mustParse(t, text).State.Asked; got != want {
			t.Errorf("%s: asked %v", text, got)
		}
	}
}

func TestDefaults(t *testing.T) {
	for name, text := range map[string]string{
		"empty file": "",
		"zero is the default": `
[limits]
connections = 0
buffered = 0
per_connection = "0KiB"
hello = "0B"
decide = "0s"
half_open = 0
sessions = 0
refused = 0
[default]
refuse_for = "0s"
[log]
stats = 0`,
		"written out, as POLICY.md has them": `
[queue]
number    = 0
workers   = 0
fail_open = false
backend   = "batch"
busy_poll = "0s"
[intercept]
hooks     = ["forward"]
ports     = ["443", "8443", "9000-9099"]
in_interfaces = []
mark      = "0x00ff0000"
offload   = true
[default]
action     = "accept"
mode       = "enforce"
not_tls    = "accept"
malformed  = "reset"
ambiguous  = "reset"
mptcp      = "strip"
midstream  = "accept"
undecided  = "reset"
overload   = "drop"
refuse_for = "60s"
grace      = "0s"
[limits]
connections = 262144
buffered    = "256MiB"
per_connection = "96KiB"
hello       = "64KiB"
decide      = "30s"
half_open   = 65536
sessions    = 65536
refused     = 16384
[log]
events = "-"
stats  = "60s"
[control]
socket = "/run/tlsgate.sock"
group  = ""
[state]
file  = "/var/lib/tlsgate/queue-0.state"
every = "60s"`,
	} {
		got := settingsOf(mustParse(t, text))
		want := defaults()
		if got.Intercept.InInterfaces == nil {
			got.Intercept.InInterfaces = want.Intercept.InInterfaces
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		text string
		want func(s *settings)
	}{
		{"[queue]\nnumber = 65530\nworkers = 6\nfail_open = true\nbackend = \"Go-NFQueue\"", func(s *settings) {
			s.Queue = Queue{Number: 65530, Workers: 6, FailOpen: true, Backend: "go-nfqueue"}
			s.State.File = "/var/lib/tlsgate/queue-65530.state"
		}},
		{`queue.busy_poll = "50us"`, func(s *settings) { s.Queue.BusyPoll = 50 * time.Microsecond }},
		{`intercept = { hooks = ["input", "OUTPUT", "input"], ports = "all", in_interfaces = "eth*", mark = 0xf000, offload = false }`, func(s *settings) {
			s.Intercept = Intercept{Hooks: []nfq.Hook{nfq.Input, nfq.Output}, InInterfaces: []string{"eth*"}, Mark: 0xf000}
		}},
		{"[intercept]\nports = [443, \"8000-8100\"]", func(s *settings) {
			s.Intercept.Ports = []nfq.PortRange{{First: 443, Last: 443}, {First: 8000, Last: 8100}}
		}},
		{`default = { action = "drop", mode = "Observe", not_tls = "reset", malformed = "drop", ambiguous = "accept", mptcp = "refuse", midstream = "inspect", undecided = "accept", overload = "reset", grace = "36h" }`, func(s *settings) {
			s.Default = Default{
				Action: tlsrules.Drop, Observe: true, NotTLS: tlsrules.Reset, Malformed: tlsrules.Drop, Ambiguous: tlsrules.Accept,
				MPTCP: MPTCPRefuse, Midstream: MidstreamInspect, Undecided: tlsrules.Accept, Overload: tlsrules.Reset, Grace: 36 * time.Hour, RefuseFor: time.Minute,
			}
		}},
		{`default = { mptcp = "accept", midstream = "reset" }`, func(s *settings) {
			s.Default.MPTCP, s.Default.Midstream = MPTCPAccept, MidstreamReset
		}},
		{`default = { action = "alert:access_denied", not_tls = "refuse", malformed = "Alert:Decode_Error", ambiguous = "alert", undecided = "refuse", refuse_for = "5m" }`, func(s *settings) {
			d := &s.Default
			d.Action, d.NotTLS, d.Malformed = tlsrules.AlertOf(49), tlsrules.Refuse, tlsrules.AlertOf(50)
			d.Ambiguous, d.Undecided, d.RefuseFor = tlsrules.Alert, tlsrules.Refuse, 5*time.Minute
		}},
		{`default.midstream = "drop"`, func(s *settings) { s.Default.Midstream = MidstreamDrop }},
		{`limits = { connections = 1000, buffered = "1GiB", per_connection = "128 KiB", hello = 16384, decide = "1m30s", sessions = 10, pins = 30, refused = 20, stories = 40 }`, func(s *settings) {
			s.Limits = Limits{Connections: 1000, HalfOpen: 1000, Buffered: 1 << 30, PerConnection: 128 << 10, Hello: 16384, Decide: 90 * time.Second, Sessions: 10, Pins: 30, Refused: 20, Stories: 40}
		}},
		{`control = { socket = "/run/gate/s", group = "operators" }`, func(s *settings) { s.Control = Control{Socket: "/run/gate/s", Group: "operators"} }},
		{`state = { file = "/srv/gate", every = "1s" }`, func(s *settings) { s.State = State{File: "/srv/gate", Every: time.Second} }},
		{`state.file = "none"`, func(s *settings) { s.State.File = "none" }},
		{`control.socket = "none"`, func(s *settings) { s.Control.Socket = "none" }},
		{`log = { events = "/var/log/tlsgate.json", stats = "5s" }`, func(s *settings) { s.Log = Log{"/var/log/tlsgate.json", 5 * time.Second} }},
	} {
		want := defaults()
		tt.want(&want)
		if diff := cmp.Diff(want, settingsOf(mustParse(t, tt.text))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestSets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("names.txt", "# partners\napi.bank.example # the API\r\n\n*.pay.bank.example\n")
	text := []byte(`
[sets]
bank  = ["file:names.txt", "www.bank.example"]
all   = ["@bank", "other.example", "@bank"]
ports = 443
[[rule]]
match = { sni = ["@all", "none"], port = "@ports" }
action = "drop"
`)
	c, err := Parse("p.toml", text, dir)
	if err != nil {
		t.Fatal(err)
	}
	bank := []string{"api.bank.example", "*.pay.bank.example", "www.bank.example"}
	want := []Set{{"all", append(bank[:3:3], "other.example")}, {"bank", bank}, {"ports", []string{"443"}}}
	if diff := cmp.Diff(want, c.Sets); diff != "" {
		t.Errorf("sets (-want +got):\n%s", diff)
	}
	match := c.Policy.Rules()[0].Match
	if diff := cmp.Diff(append(bank[:3:3], "other.example", "none"), match[1].Values()); diff != "" {
		t.Errorf("rule (-want +got):\n%s", diff)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}

	same, _ := Parse("p.toml", text, dir)
	write("names.txt", "other.example\n")
	changed, _ := Parse("p.toml", text, dir)
	if c.Hash != same.Hash || c.Hash == changed.Hash {
		t.Error("the hash does not follow the files of sets")
	}
}

func TestRules(t *testing.T) {
	c := mustParse(t, `
[[rule]]
name = "partner"
match = { destination = "203.0.113.0/24", port = 443, sni = "*.bank.example" }
unless = { source = ["192.0.2.1", "192.0.2.2"] }
require = { version = ">=1.2", cipher = "0xC02F" }
action = "Accept"
otherwise = "drop"
unseen = "allow"
observe = true
[[rule]]
[rule.require]
version = "1.3"
`)
	rules := c.Policy.Rules()
	r := rules[0]
	if r.Name != "partner" || len(r.Match) != 3 || len(r.Unless) != 1 || len(r.Require) != 2 ||
		r.Action != tlsrules.Accept || r.Otherwise != tlsrules.Drop || !r.UnseenAllow || !r.Observe {
		t.Errorf("got %+v", r)
	}
	if r = rules[1]; r.Name != "rule 2" || r.Action != tlsrules.Continue || r.HasAction || r.Otherwise != tlsrules.Reset {
		t.Errorf("got %+v", r)
	}
}

func TestPolicies(t *testing.T) {
	files, err := filepath.Glob("../testdata/policies/*.toml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		c, err := Load(f)
		if broken := strings.Contains(f, "broken"); broken != (err != nil) || broken != (c == nil) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.toml")
	_, err := Load(missing)
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, os.ErrNotExist) || err.Error() != missing+": no such file or directory" {
		t.Errorf("got %v", err)
	}
	if _, err = Load(dir); err == nil || err.Error() != dir+": not a regular file" {
		t.Errorf("got %v", err)
	}
	big := filepath.Join(dir, "big.toml")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(big); err == nil || err.Error() != big+": larger than 16 MiB" {
		t.Errorf("got %v", err)
	}
}

func TestWarnings(t *testing.T) {
	got := mustParse(t, `
[default]
mode = "observe"
[sets]
nobody = "192.0.2.1"
[[rule]]
name = "all"
action = "accept"
[[rule]]
name = "late"
action = "drop"
`).Warnings
	want := []string{
		`rule "late" is never asked: rule "all" before it decides every connection`,
		`set @nobody is not used`,
		`default.mode is "observe": nothing is refused`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestWarnNotTLS: who refuses what no rule decides has to refuse what is not TLS too.
func TestWarnNotTLS(t *testing.T) {
	const warning = `default.action = "reset" is for TLS: what no rule decides and is not TLS passes, because default.not_tls is "accept"`
	for text, want := range map[string][]string{
		"[default]\naction = \"reset\"\n":                     {warning},
		"[default]\naction = \"reset\"\nnot_tls = \"drop\"\n": nil,
		"[default]\nnot_tls = \"reset\"\n":                    nil,
		"":                                                    nil,
	} {
		if diff := cmp.Diff(want, mustParse(t, text).Warnings); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
