package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tlsgate/internal/control"
)

func newPinCommand() *cobra.Command {
	var asJSON, release bool
	var rule, random, session string
	var groups []string
	cmd := &cobra.Command{
		Use: `pin [--rule RULE]
  tlsgate pin ID | ADDRESS:PORT ADDRESS:PORT [--rule RULE]
  tlsgate pin --rule RULE --client-random HEX | --session-id HEX [--group KEY=VALUE,...]
  tlsgate pin --release ID | --release --rule RULE [--group KEY=VALUE,...]`,
		Short: "Pins of a running daemon: who holds them, give one to another, release one",
		Long: `Pins of a running daemon. Without more it lists who holds them.

With a connection, named by its ID (conns, or flow_id in events) or by both its ends,
it gives that one the pin of its group, whoever has it now: who had it is reset at
once. With a client random or a session id a group is kept for the connection or the
session that has it, though it may not have come yet; others are refused until then.

--release takes a pin away: who had part in it is reset, and the next may take it.`,
		Args: cobra.MaximumNArgs(2),
	}
	client := asking(cmd, &asJSON, "print JSON, a pin each line")
	cmd.Flags().StringVar(&rule, "rule", "", "whose pin is meant")
	cmd.Flags().StringVar(&random, "client-random", "", "keep the group for the connection with this client random")
	cmd.Flags().StringVar(&session, "session-id", "", "keep the group for the session with this id")
	cmd.Flags().StringSliceVar(&groups, "group", nil, "which group of the rule is meant, as in source=192.0.2.1,port=443")
	cmd.Flags().BoolVar(&release, "release", false, "take the pin away")
	cmd.ValidArgsFunction = completeConnections
	completeFlags(cmd, map[string]cobra.CompletionFunc{"rule": completeRules})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		out := cmd.OutOrStdout()
		group, err := groupOf(groups)
		if err != nil {
			return err
		}
		which := control.WhichPin{Rule: rule, Group: group, ClientRandom: random, SessionID: session}
		if len(args) > 0 {
			c, err := whichConnection(args)
			if err != nil {
				return err
			}
			which.FlowID, which.A, which.B = c.FlowID, c.A, c.B
		}
		switch {
		case release:
			return unpin(cmd, client(), &which, args, asJSON)
		case len(args) == 0 && random == "" && session == "":
			if group != nil {
				return errors.New("--group says of which group a pin is given or released: --client-random, --session-id or --release is missing")
			}
			if asJSON {
				return client().Pins(cmd.Context(), rule, func(line []byte) error { return printLine(out, line) })
			}
			return printPins(cmd, client(), rule)
		}
		p, err := client().Pin(cmd.Context(), which)
		if err != nil || asJSON {
			return errors.Join(err, printAnswer(out, err == nil, &p))
		}
		_, err = fmt.Fprintf(out, "%s: %s\n", holder(&p.Pin), p.Text)
		return err
	}
	return cmd
}

// printAnswer prints an answer, if there is one.
func printAnswer(out io.Writer, is bool, v any) error {
	if !is {
		return nil
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func unpin(cmd *cobra.Command, client *control.Client, which *control.WhichPin, args []string, asJSON bool) error {
	switch {
	case len(args) > 1:
		return errors.New("--release takes the ID of a connection")
	case which.ClientRandom != "" || which.SessionID != "":
		return errors.New("--release takes the ID of a connection, or a rule and a group")
	case len(args) == 1 && which.Group != nil:
		return errors.New("--release takes the ID of a connection, or a group, not both")
	case len(args) == 0 && which.Rule == "":
		return errors.New("say whose pin is to be released: the ID of a connection, or --rule")
	}
	u, err := client.Unpin(cmd.Context(), which.FlowID, which.Rule, groupText(which.Group))
	if err != nil || asJSON {
		return errors.Join(err, printAnswer(cmd.OutOrStdout(), err == nil, &u))
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), u.Text)
	return err
}

// groupOf reads KEY=VALUE,...; nil for none.
func groupOf(pairs []string) (map[string]string, error) {
	var group map[string]string
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if k = strings.TrimSpace(k); !ok || k == "" || v == "" {
			return nil, fmt.Errorf("--group: %q is not KEY=VALUE", pair)
		}
		if group == nil {
			group = map[string]string{}
		}
		if _, twice := group[k]; twice {
			return nil, fmt.Errorf("--group: %s is there twice", k)
		}
		group[k] = v
	}
	return group, nil
}

func groupText(group map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(group)) {
		pairs = append(pairs, k+"="+group[k])
	}
	return strings.Join(pairs, ",")
}

func printPins(cmd *cobra.Command, client *control.Client, rule string) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RULE\tGROUP\tTO\tHOLDER\tCONNECTIONS\tAGE\tIDLE\t")
	err := client.Pins(cmd.Context(), rule, func(line []byte) error {
		var p control.Pin
		if err := json.Unmarshal(line, &p); err != nil {
			return fmt.Errorf("the daemon's answer %q: %w", line, err)
		}
		to, idle := p.To, "-"
		if p.ByHand {
			to += ", by hand"
		}
		if p.Idle != nil {
			idle = short(*p.Idle)
		}
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t\n", p.Rule, dash(printable(groupText(p.Group))), to, holder(&p), p.Connections, short(p.Age), idle)
		return err
	})
	return errors.Join(w.Flush(), err)
}

// holder says who holds a pin.
func holder(p *control.Pin) string {
	switch p.Awaits {
	case "client_random":
		return "awaited: client random " + p.ClientRandom
	case "session_id":
		return "awaited: a session by its id"
	}
	end := func(a string, port uint16) string { return net.JoinHostPort(a, strconv.Itoa(int(port))) }
	who := fmt.Sprintf("connection %d", p.FlowID)
	if p.FlowID == 0 {
		who = "of an earlier run"
	}
	if p.Source != "" {
		who += fmt.Sprintf(", %s to %s", end(p.Source, p.SourcePort), end(p.Destination, p.Port))
	}
	return who
}
