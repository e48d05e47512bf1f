package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tlsgate/internal/control"
)

func newWhyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why ID | why ADDRESS:PORT ADDRESS:PORT | why ADDRESS:PORT-ADDRESS:PORT",
		Short: "Why a connection of a running daemon passes, or does not: its whole story",
		Long: `Why a connection of a running daemon passes, or does not: what its packets said, what
is known of it, what each rule has said and the value that made it so, the verdict,
and what would change it. The connection is named by its ID (conns, or flow_id in
events), or by both its ends, in either order.

The latest connections have a story, refused ones for longer, also after they have
ended (limits.stories in the policy). Of others it is told what the table knows.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeConnections,
	}
	client := asking(cmd, &asJSON, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		which, err := whichConnection(args)
		if err != nil {
			return err
		}
		y, err := client().Why(cmd.Context(), which)
		if err != nil || asJSON {
			if err == nil {
				err = printAnswer(cmd.OutOrStdout(), true, &y)
			}
			return err
		}
		return printWhy(cmd.OutOrStdout(), &y)
	}
	return cmd
}

// printWhy tells the story as a colleague would.
func printWhy(out io.Writer, y *control.Why) error {
	var b strings.Builder
	c := &y.Connection
	fmt.Fprintf(&b, "Connection %d, %s to %s", c.FlowID,
		net.JoinHostPort(c.Source, strconv.Itoa(int(c.SourcePort))), net.JoinHostPort(c.Destination, strconv.Itoa(int(c.Port))))
	if c.SNI != "" {
		fmt.Fprintf(&b, " (%s)", printable(c.SNI))
	}
	if y.Live {
		fmt.Fprintf(&b, ": %s, began %s ago, last packet %s ago\n", c.State, short(c.Age), short(c.Idle))
	} else {
		fmt.Fprintf(&b, ": has ended (%s), began %s ago\n", y.Ended, short(c.Age))
	}
	for _, what := range y.Missing {
		fmt.Fprintf(&b, "Note: %s.\n", what)
	}
	if len(y.Others) > 0 {
		fmt.Fprintf(&b, "Note: earlier connections between the same ends: %s.\n", strings.Trim(fmt.Sprint(y.Others), "[]"))
	}
	whyTimeline(&b, y)
	if len(y.Facts) > 0 {
		fmt.Fprintf(&b, "\nWhat is known\n")
		stage := ""
		for _, f := range y.Facts {
			at := f.Stage
			if at == stage {
				at = ""
			}
			stage = f.Stage
			fmt.Fprintf(&b, "  %-13s %s\n", at, f.Text)
		}
	}
	whyRules(&b, y)
	whyTies(&b, y)
	fmt.Fprintf(&b, "\nThe verdict: %s\n  %s\n", y.Verdict.Verdict, y.Verdict.Text)
	if y.Verdict.Advice != "" {
		fmt.Fprintf(&b, "  %s\n", y.Verdict.Advice)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// whyTimeline tells what happened, packet by packet. Between those told were others
// that said nothing new.
func whyTimeline(b *strings.Builder, y *control.Why) {
	if len(y.Timeline) == 0 {
		return
	}
	fmt.Fprintf(b, "\nWhat happened\n")
	for i := range y.Timeline {
		m := &y.Timeline[i]
		if m.Omitted > 0 {
			fmt.Fprintf(b, "  ... %d more, not kept\n", m.Omitted)
		}
		number := fmt.Sprint(m.Packet)
		if m.What != "packet" {
			number = ""
		}
		fmt.Fprintf(b, "  %4s  +%-11s %s\n", number, strconv.FormatFloat(m.After, 'f', 6, 64)+"s", whyMoment(m))
	}
}

// whyMoment is a line of it.
func whyMoment(m *control.Moment) string {
	var text string
	switch m.What {
	case "time_up":
		text = "the time to decide is over"
	case "operator":
		text = "the operator ends it"
	case "injected":
		text = fmt.Sprintf("we send in the name of the %s: %s", m.From, m.Flags)
		switch {
		case m.Bytes > 0:
			text += ", an alert"
		case m.Flags == "ACK":
			text += ", to be told where the other side stands"
		}
	default:
		text = fmt.Sprintf("%s: %s", m.From, m.Flags)
		if m.Bytes > 0 {
			text += fmt.Sprintf(", %s from %d on", count(m.Bytes, "byte"), m.Seq)
		}
	}
	var said []string
	for _, n := range m.Noticed {
		said = append(said, noticedText[n])
	}
	if len(said) > 0 {
		text += " - " + strings.Join(said, ", ")
	}
	switch {
	case m.Invalid != "":
		text += fmt.Sprintf(" - its receiver would discard it (%s): %s", m.Invalid, m.Verdict)
	case m.Verdict == "drop":
		text += " - dropped"
	}
	return text
}

// noticedText says what the API names.
var noticedText = map[string]string{
	"tls": "TLS begins", "not_tls": "this is not TLS", "client_hello": "ClientHello", "hello_retry_request": "HelloRetryRequest",
	"server_hello": "ServerHello", "certificate": "Certificate", "server_key_exchange": "ServerKeyExchange",
	"server_hello_done": "ServerHelloDone", "client_key_exchange": "ClientKeyExchange", "change_cipher_spec": "ChangeCipherSpec",
	"alert": "alert", "application_data": "application data begins", "text": "a text of the policy was found",
	"accepted": "accepted so far", "would_refuse": "WOULD BE REFUSED", "verdict": "THE VERDICT",
}

// whyRules tells what each rule said; those that were not asked are only counted.
func whyRules(b *strings.Builder, y *control.Why) {
	if len(y.Rules) == 0 {
		return
	}
	fmt.Fprintf(b, "\nWhat the rules said\n")
	unasked := 0
	for i := range y.Rules {
		r := &y.Rules[i]
		if r.Says == "not asked" && !r.Bound {
			unasked++
			continue
		}
		fmt.Fprintf(b, "  rule %q %s%s\n", r.Rule, r.Says, whyRole(r))
		for _, part := range []struct {
			name string
			list []control.Condition
		}{{"match", r.Match}, {"unless", r.Unless}, {"require", r.Require}} {
			if part.name == "require" && !r.Bound {
				continue
			}
			for j := range part.list {
				fmt.Fprintf(b, "    %-7s %s\n", part.name, whyCondition(&part.list[j]))
			}
		}
	}
	if unasked > 0 {
		fmt.Fprintf(b, "  %s not asked\n", count(unasked, "more rule"))
	}
}

// whyTies tells of the pins and gates of rules that apply.
func whyTies(b *strings.Builder, y *control.Why) {
	if len(y.Pins)+len(y.Gates) > 0 {
		fmt.Fprintf(b, "\nPins and gates\n")
	}
	for i := range y.Pins {
		fmt.Fprintf(b, "  %s\n", y.Pins[i].Text)
	}
	for i := range y.Gates {
		fmt.Fprintf(b, "  %s\n", y.Gates[i].Text)
	}
}

func whyRole(r *control.Asked) string {
	switch {
	case r.Decides:
		return ", and decides"
	case r.Would:
		return ", and would have refused it; it only observes"
	case r.Bound && r.Says == "not asked":
		return " any more; what it requires still holds"
	}
	return ""
}

func whyCondition(c *control.Condition) string {
	text := fmt.Sprintf("%s is %s", c.Key, c.Answer)
	if c.Violated {
		text += ", VIOLATED"
	}
	if c.Seen != "" {
		text += ": " + c.Seen
	}
	return text + "; wanted " + c.Wanted
}
