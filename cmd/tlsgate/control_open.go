package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tlsgate/internal/control"
)

func newOpenCommand() *cobra.Command {
	var asJSON bool
	var o control.Opening
	cmd := &cobra.Command{
		Use:   "open | open --rule RULE [--close] | open ID | open ADDRESS:PORT ADDRESS:PORT",
		Short: "What waits for a gate of a running daemon, and to open one",
		Long: `What waits for a gate of a running daemon, and to open one.

Alone it lists the gates, one a rule with a hold, and the connections whose data
waits. With --rule it opens the gate of a rule, with --close it closes it again, for
connections to come. With a connection, named by its ID (conns, or flow_id in events)
or by both its ends in either order, it lets that one through.`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeConnections,
	}
	client := asking(cmd, &asJSON, "print JSON")
	cmd.Flags().StringVar(&o.Rule, "rule", "", "open the gate of this rule")
	cmd.Flags().BoolVar(&o.Close, "close", false, "close the gate of the rule instead")
	cmd.RegisterFlagCompletionFunc("rule", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return gateNames(cmd.Context(), client()), cobra.ShellCompDirectiveNoFileComp
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		out := cmd.OutOrStdout()
		switch {
		case o.Close && o.Rule == "":
			return errors.New("--close is for the gate of a rule: give --rule")
		case o.Rule != "" && len(args) > 0:
			return errors.New("give a connection or --rule, not both")
		case o.Rule == "" && len(args) == 0:
			return printGates(cmd.Context(), out, client(), asJSON)
		case len(args) > 0:
			which, err := whichConnection(args)
			if err != nil {
				return err
			}
			o.FlowID, o.A, o.B = which.FlowID, which.A, which.B
		}
		done, err := client().Open(cmd.Context(), o)
		if err != nil {
			return err
		}
		return printOpened(out, &done, asJSON)
	}
	return cmd
}

// gateNames are the rules that have a gate, none if nobody answers.
func gateNames(ctx context.Context, client *control.Client) (names []string) {
	all, err := client.Gates(ctx)
	if err != nil {
		return nil
	}
	for _, g := range all.Gates {
		names = append(names, g.Rule)
	}
	return names
}

func printOpened(out io.Writer, done *control.Opened, asJSON bool) error {
	if asJSON {
		return answerJSON(out, done)
	}
	name := ""
	switch {
	case done.Gate != nil:
		name = fmt.Sprintf("gate of rule %q", done.Gate.Rule)
	case done.Connection != nil:
		c := done.Connection
		name = fmt.Sprintf("connection %d, %s to %s", c.FlowID,
			net.JoinHostPort(c.Source, strconv.Itoa(int(c.SourcePort))), net.JoinHostPort(c.Destination, strconv.Itoa(int(c.Port))))
	}
	_, err := fmt.Fprintf(out, "%s: %s\n", name, done.Text)
	return err
}

func answerJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printGates prints the gates, and what waits for them.
func printGates(ctx context.Context, out io.Writer, client *control.Client, asJSON bool) error {
	all, err := client.Gates(ctx)
	if err != nil {
		return err
	}
	waits := url.Values{"verdict": {"hold"}}
	if asJSON { // a line for the gates, and one for each connection
		if err := answerJSON(out, &all); err != nil {
			return err
		}
		return client.Conns(ctx, waits, func(line []byte) error { return printLine(out, line) })
	}
	if len(all.Gates) == 0 {
		_, err := io.WriteString(out, "no rule of the policy has a gate\n")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RULE\tGATE\tOPENS\tWAITING\tPASSED\t")
	waiting := int64(0)
	for i := range all.Gates {
		g := &all.Gates[i]
		state, opens := "closed", g.Planned
		if g.Open {
			state, opens = "open", "since "+g.Since
		} else if g.ByHand || opens == "" {
			opens = "by hand"
		}
		waiting += g.Waiting
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t\n", printable(g.Rule), state, opens, g.Waiting, g.Passed)
	}
	if err := w.Flush(); err != nil || waiting == 0 {
		return err
	}
	fmt.Fprintln(w, "\nID\tSOURCE\tDESTINATION\tRULE\tNAME\tWAITS\t")
	err = client.Conns(ctx, waits, func(line []byte) error {
		var c control.Conn
		if err := json.Unmarshal(line, &c); err != nil {
			return fmt.Errorf("the daemon's answer %q: %w", line, err)
		}
		_, err := fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t\n", c.FlowID,
			net.JoinHostPort(c.Source, strconv.Itoa(int(c.SourcePort))), net.JoinHostPort(c.Destination, strconv.Itoa(int(c.Port))),
			printable(c.Rule), dash(printable(c.SNI)), short(c.Waited))
		return err
	})
	return errors.Join(w.Flush(), err)
}
