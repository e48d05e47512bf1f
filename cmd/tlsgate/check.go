package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tlsgate/config"
	"tlsgate/internal/replay"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/suites"
)

type checkOptions struct {
	json    bool
	tests   bool
	against []string
	old     string
}

func newCheckCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check FILE [--against CAPTURE... [--old FILE]]",
		Short: "Validate a policy, print what it came to mean, and run its tests",
		Long: `Validate a policy and print what it came to mean: every set expanded, every
default shown, for each rule when it is decided for good, and warnings. What is
printed is itself a policy that means the same.

The tests of the policy are run, and reported with the rules that none of them
reaches. With --against the connections of captures are judged by the policy and
by the one before it (--old; without it, everything was accepted), and those that
would change their verdict are printed instead.

The exit code is 1 if a test fails or a connection would change, 2 if a file
cannot be taken.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(o.against) > 0:
				o.against = append(o.against, args[1:]...)
			case len(args) > 1:
				return fmt.Errorf("one policy at a time: %q is one too many (captures come after --against)", args[1])
			case o.old != "":
				return errors.New("--old is for --against")
			}
			return runCheck(cmd, o, args[0])
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, errors included")
	cmd.Flags().BoolVar(&o.tests, "tests", false, "print what became of the tests only")
	cmd.Flags().StringArrayVar(&o.against, "against", nil, "captures whose connections are judged: which would change?")
	cmd.Flags().StringVar(&o.old, "old", "", "the policy before this one")
	return cmd
}

func runCheck(cmd *cobra.Command, o checkOptions, file string) error {
	c, err := config.Load(file)
	if err != nil {
		if o.json {
			return errors.Join(err, printJSON(cmd.OutOrStdout(), file, nil, err))
		}
		return err
	}
	tests := runTests(c)
	var n replay.Comparison
	switch out := cmd.OutOrStdout(); {
	case o.json:
		doc := policyJSON(file, c, nil)
		tests.describe(doc)
		var more func(io.Writer) error
		if len(o.against) > 0 {
			more = againstJSON(cmd, c, o, &n)
		}
		err = writeJSON(out, doc, more)
	case len(o.against) > 0:
		if _, err = io.WriteString(out, tests.text(file, "")); err == nil {
			n, err = against(cmd, c, o, out, new(againstTable).row)
		}
	case o.tests:
		_, err = io.WriteString(out, tests.text(file, ""))
	default:
		text := policyText(c)
		if tests != nil {
			text += "#\n" + tests.text(file, "# ")
		}
		_, err = io.WriteString(out, text)
	}
	if err != nil {
		return err
	}
	return errors.Join(tests.err(), changed(&n))
}

// policyText writes a policy out as TOML.
func policyText(c *config.Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s, %s\n", c.Path, count(c.Policy.Len(), "rule"), count(len(c.Warnings), "warning"))
	for _, w := range c.Warnings {
		fmt.Fprintf(&b, "# warning: %s\n", w)
	}
	for _, s := range sections(c) {
		fmt.Fprintf(&b, "\n[%s]\n", s.name)
		for _, k := range s.keys {
			switch v := k.value.(type) {
			case []string:
				writeList(&b, k.name, v, "")
			case string:
				writeList(&b, k.name, []string{v}, "")
			default:
				fmt.Fprintf(&b, "%-14s = %v\n", k.name, v)
			}
		}
	}
	if len(c.Sets) > 0 {
		b.WriteString("\n[sets]\n")
	}
	for _, s := range c.Sets {
		writeList(&b, bareOrQuoted(s.Name), s.Values, "")
	}
	for _, r := range c.Policy.Rules() {
		writeRule(&b, r)
	}
	at, always := c.Policy.Final()
	fmt.Fprintf(&b, "\n# What no rule decides: default.action = %q, or default.not_tls = %q: %s.\n",
		c.Default.Action, c.Default.NotTLS, finality(at, always))
	return b.String()
}

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// bareOrQuoted writes a TOML key.
func bareOrQuoted(key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}) {
		return quote(key)
	}
	return key
}

func writeRule(b *strings.Builder, r tlsrules.RuleInfo) {
	stays := ""
	if r.Pin != nil {
		stays = "; its connections are never left to the kernel: each packet says that the pin is in use"
	}
	if r.Hold != nil {
		stays += "; no connection is left to the kernel before its gate has opened"
	}
	fmt.Fprintf(b, "\n[[rule]] # %d: judged until %s, %s%s\n", r.Index+1, r.Stage, finality(r.Final, r.Always), stays)
	for _, w := range r.Warn {
		fmt.Fprintf(b, "# warning: %s\n", w)
	}
	writeList(b, "name", []string{r.Name}, "")
	for _, part := range parts(r.Rule) {
		for i := range part.conditions {
			c := &part.conditions[i]
			writeList(b, part.name+"."+c.Key().String(), c.Values(), comment(c.Key()))
		}
	}
	writeList(b, "action", []string{r.Action.String()}, "")
	if p := r.Pin; p != nil {
		fmt.Fprintf(b, "%-14s = { %s }\n", "pin", strings.Join(pinFields(p), ", "))
	}
	if h := r.Hold; h != nil {
		fmt.Fprintf(b, "%-14s = { %s }\n", "hold", strings.Join(holdFields(h), ", "))
	}
	if len(r.Require) > 0 || r.Pin != nil || r.Hold != nil {
		writeList(b, "otherwise", []string{r.Otherwise.String()}, "")
		if r.UnseenAllow {
			writeList(b, "unseen", []string{"allow"}, "")
		}
	}
	if r.RefuseFor > 0 {
		writeList(b, "refuse_for", []string{r.RefuseFor.String()}, "")
	}
	fmt.Fprintf(b, "observe        = %t\n", r.Observe)
}

func pinFields(p *tlsrules.Pin) []string {
	fields := []string{"to = " + quote(p.To.String()), fmt.Sprintf("connections = %d", max(p.Connections, 1))}
	var per []string
	for _, k := range p.Per {
		per = append(per, quote(k.String()))
	}
	fields = append(fields, "per = ["+strings.Join(per, ", ")+"]")
	if idle := p.Silence(); idle > 0 {
		fields = append(fields, "idle = "+quote(idle.String()))
	}
	if p.To == tlsrules.PinSession {
		fields = append(fields, "tls13 = "+quote(p.TLS13.String()))
	}
	return fields
}

func holdFields(h *tlsrules.Hold) []string {
	fields := []string{`what = "application_data"`}
	if !h.Open.IsZero() {
		fields = append(fields, "open = "+quote(h.Open.Format(time.RFC3339)))
	}
	if h.Patience > 0 {
		fields = append(fields, "patience = "+quote(h.Patience.String()))
	}
	return fields
}

// finality says from when a decision stands.
func finality(at tlsrules.Stage, always bool) string {
	if always {
		return "never final: every record is judged"
	}
	return "final at " + at.String()
}

type part struct {
	name       string
	conditions []tlsrules.Condition
}

func parts(r tlsrules.Rule) []part {
	return []part{{"match", r.Match}, {"unless", r.Unless}, {"require", r.Require}}
}

// comment names the values of a key that have a second name.
func comment(k tlsrules.Key) string {
	switch k {
	case tlsrules.KeyCipher, tlsrules.KeyOffersCipher, tlsrules.KeyOffersOnlyCipher:
		return "suites"
	}
	return ""
}

// writeList writes a key: a single value as such, suites one a line with
// number and IANA name.
func writeList(b *strings.Builder, key string, values []string, kind string) {
	switch {
	case kind == "suites":
		fmt.Fprintf(b, "%-14s = [\n", key)
		for _, v := range values {
			fmt.Fprintf(b, "    %s,", quote(v))
			if s, ok := suites.Lookup(v); ok {
				fmt.Fprintf(b, " # 0x%04X %s, %s", s.Code, s.IANA, s.Class)
			}
			b.WriteString("\n")
		}
		b.WriteString("]\n")
	case len(values) == 1:
		fmt.Fprintf(b, "%-14s = %s\n", key, quote(values[0]))
	default:
		var quoted []string
		for _, v := range values {
			quoted = append(quoted, quote(v))
		}
		fmt.Fprintf(b, "%-14s = [%s]\n", key, strings.Join(quoted, ", "))
	}
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
