package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"tlsgate/config"
	"tlsgate/internal/policytest"
)

// testReport is what became of a policy's tests.
type testReport struct {
	results   []policytest.Result
	unreached []string // rules
	failed    int
}

// runTests runs the tests of a policy; nil if it has none.
func runTests(c *config.Config) *testReport {
	if len(c.Tests) == 0 {
		return nil
	}
	r := &testReport{}
	r.results, r.unreached = policytest.Run(engineConfig(c, 1), c)
	for i := range r.results {
		if !r.results[i].OK() {
			r.failed++
		}
	}
	return r
}

// err says that tests failed.
func (r *testReport) err() error {
	if r == nil || r.failed == 0 {
		return nil
	}
	return errNotFine{fmt.Errorf("%d of %s failed", r.failed, count(len(r.results), "test"))}
}

// text writes a line for each test, and under a failed one what differs; each
// line begins with margin.
func (r *testReport) text(path, margin string) string {
	if r == nil {
		return ""
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, margin+format+"\n", args...) }
	for i := range r.results {
		t := &r.results[i]
		if t.OK() {
			line("ok    %s", t.Test.Name)
			continue
		}
		line("FAIL  %s (%s:%d)", t.Test.Name, path, t.Test.Line)
		for _, d := range t.Wrong {
			line("        %s: got %s, want %s", d.What, quote(d.Got), quote(d.Want))
		}
		if said := t.Got.Sentence(); said != "" && t.Wrong[len(t.Wrong)-1].What != "detail" {
			line("        %s", oneLine(said))
		}
	}
	for _, rule := range r.unreached {
		line("no test reaches rule %s", quote(rule))
	}
	if r.failed > 0 {
		line("FAIL  %s: %d of %s failed", path, r.failed, count(len(r.results), "test"))
	} else {
		line("ok    %s: %s passed", path, count(len(r.results), "test"))
	}
	return b.String()
}

// oneLine keeps what a sentence quotes from a hello from breaking the line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '\uFFFD'
		}
		return r
	}, s)
}

type testJSON struct {
	Name  string           `json:"name"`
	Line  int              `json:"line"`
	OK    bool             `json:"ok"`
	Got   outcomeJSON      `json:"got"`
	Wrong []differenceJSON `json:"wrong,omitempty"`
}

type outcomeJSON struct {
	Verdict  string `json:"verdict"`
	Rule     string `json:"rule,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Stage    string `json:"stage,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Packet   uint64 `json:"packet,omitempty"`
	Observed bool   `json:"observed,omitempty"`
}

type differenceJSON struct {
	What string `json:"key"`
	Got  string `json:"got"`
	Want string `json:"want"`
}

// describe puts the tests into the JSON of check.
func (r *testReport) describe(out map[string]any) {
	if r == nil {
		return
	}
	list := []testJSON{}
	for i := range r.results {
		t := &r.results[i]
		j := testJSON{Name: t.Test.Name, Line: t.Test.Line, OK: t.OK(), Got: outcomeJSON(t.Got)}
		for _, d := range t.Wrong {
			j.Wrong = append(j.Wrong, differenceJSON(d))
		}
		list = append(list, j)
	}
	out["ok"] = r.failed == 0
	out["tests"] = map[string]any{
		"passed": len(r.results) - r.failed, "failed": r.failed,
		"unreached": append([]string{}, r.unreached...), "results": list,
	}
}

// writeJSON writes a document; more, if not nil, writes another key into it,
// which may be long.
func writeJSON(w io.Writer, out map[string]any, more func(io.Writer) error) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	text := b.String()
	if more == nil {
		_, err := io.WriteString(w, text)
		return err
	}
	if _, err := io.WriteString(w, strings.TrimSuffix(text, "\n}\n")); err != nil {
		return err
	}
	wrong := more(w)
	_, err := io.WriteString(w, "\n}\n")
	return errors.Join(wrong, err)
}
