package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tlsgate/config"
	"tlsgate/internal/control"
	"tlsgate/internal/events"
	"tlsgate/tlsrules"
)

// newControlCommands are the commands that ask a running daemon.
func newControlCommands() []*cobra.Command {
	return []*cobra.Command{newConnsCommand(), newTailCommand(), newStatsCommand(), newHealthCommand(), newKillCommand(), newWhyCommand(), newPinCommand(), newOpenCommand(), newReloadCommand()}
}

// exitOf gives the exit code of what a daemon could not do.
func exitOf(f *control.Failure) int {
	switch f.Status {
	case http.StatusNotFound, http.StatusConflict:
		return exitNotFine
	case http.StatusServiceUnavailable:
		return exitSystem
	}
	return exitUsage
}

// asking is what those commands have in common.
func asking(cmd *cobra.Command, json *bool, what string) (client func() *control.Client) {
	var socket string
	cmd.Flags().StringVar(&socket, "socket", config.DefaultSocket, "where the daemon listens: control.socket in its policy")
	if json != nil {
		cmd.Flags().BoolVar(json, "json", false, what)
	}
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return func() *control.Client { return control.Dial(socket) }
}

func newConnsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "conns",
		Short: "The connections of a running daemon",
		Args:  cobra.NoArgs,
	}
	client := asking(cmd, &asJSON, "print JSON, a connection each line")
	filters := []struct{ name, usage string }{
		{"id", "the connection with this flow_id"},
		{"source", "address or network of the side that called"},
		{"destination", "address or network of the side that was called"},
		{"port", "of the side that was called"},
		{"sni", `server name; "*.example" for all below`},
		{"rule", "that decided"},
		{"verdict", "accept, drop, hold, reset or undecided"},
		{"phase", "of TLS: start, client_hello, server_hello, handshake_done, application_data"},
		{"state", "of TCP: SYN_SENT, ESTABLISHED, ..."},
		{"cipher", "the suite selected, by any name"},
		{"version", "of TLS, as 1.3"},
		{"min-age", "began at least so long ago, as 5m"},
		{"limit", "print no more than so many"},
	}
	for _, f := range filters {
		cmd.Flags().String(f.name, "", f.usage)
	}
	completeFlags(cmd, map[string]cobra.CompletionFunc{
		"id": completeID, "rule": completeRules, "cipher": completeSuites,
		"verdict": oneOfThese("accept", "drop", "reset", "undecided"), "version": oneOfThese("1.0", "1.1", "1.2", "1.3"),
		"phase": oneOfThese("start", "client_hello", "server_hello", "handshake_done", "application_data"),
		"state": oneOfThese("SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE"),
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		for _, f := range filters {
			if v, _ := cmd.Flags().GetString(f.name); v != "" {
				query.Set(strings.ReplaceAll(f.name, "-", "_"), v)
			}
		}
		out := cmd.OutOrStdout()
		if asJSON {
			lines := bufio.NewWriter(out)
			err := client().Conns(cmd.Context(), query, func(line []byte) error { return printLine(lines, line) })
			return errors.Join(lines.Flush(), err)
		}
		return printConns(cmd.Context(), out, client(), query)
	}
	return cmd
}

// printLine writes a line at once, whatever w does then.
func printLine(w io.Writer, line []byte) error {
	_, err := w.Write(append(line[:len(line):len(line)], '\n'))
	return err
}

// printConns prints a table. Its columns are as wide as the first rows ask for:
// a hundred thousand are not held back to be measured.
func printConns(ctx context.Context, out io.Writer, client *control.Client, query url.Values) error {
	const measured = 500
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSOURCE\tDESTINATION\tSTATE\tVERDICT\tRULE\tTLS\tSUITE\tNAME\tPACKETS\tBYTES\tAGE\t")
	n := 0
	err := client.Conns(ctx, query, func(line []byte) error {
		var c control.Conn
		if err := json.Unmarshal(line, &c); err != nil {
			return fmt.Errorf("the daemon's answer %q: %w", line, err)
		}
		verdict := c.Verdict
		if !c.Final && verdict != "undecided" && verdict != "hold" {
			verdict += "?" // may change
		}
		if c.Offloaded {
			verdict += "*" // left to the kernel
		}
		if c.Pin != "" {
			verdict += "!" // holds a pin
		}
		tls := c.Version
		if tls == "" {
			tls = c.Phase
		}
		_, err := fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t\n", c.FlowID,
			net.JoinHostPort(c.Source, strconv.Itoa(int(c.SourcePort))), net.JoinHostPort(c.Destination, strconv.Itoa(int(c.Port))),
			c.State, verdict, dash(c.Rule), dash(tls), dash(c.Cipher), dash(printable(c.SNI)),
			c.PktsToServer+c.PktsToClient, c.BytesToServer+c.BytesToClient, short(c.Age))
		if n++; n%measured == 0 {
			return errors.Join(err, w.Flush())
		}
		return err
	})
	return errors.Join(w.Flush(), err)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable keeps what a client wrote from telling the terminal what to do.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == ' ' }) {
		return strconv.Quote(s)
	}
	return s
}

// short writes a number of seconds as people say it.
func short(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", seconds)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

func newTailCommand() *cobra.Command {
	var types []string
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "The events of a running daemon, as they come",
		Long: `The events of a running daemon, as they come, one JSON object a line, as in its
event log. Who reads too slowly loses events, and a line with the event_type
"lost" tells how many.`,
		Args: cobra.NoArgs,
	}
	client := asking(cmd, nil, "")
	cmd.Flags().StringSliceVar(&types, "type", nil, "only events of these types: "+strings.Join(events.Types, ", "))
	cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(events.Types, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		out := cmd.OutOrStdout()
		err := client().Events(cmd.Context(), types, nil, func(line []byte) error { return printLine(out, line) })
		if cmd.Context().Err() != nil { // Ctrl-C
			return nil
		}
		return err
	}
	return cmd
}

func newStatsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "The counters of a running daemon",
		Args:  cobra.NoArgs,
	}
	client := asking(cmd, &asJSON, "print JSON: a stats event")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		line, err := client().Stats(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			_, err = cmd.OutOrStdout().Write(line)
			return err
		}
		return printStats(cmd.OutOrStdout(), line)
	}
	return cmd
}

// printStats prints the groups of counters in the order of the event.
func printStats(out io.Writer, line []byte) error {
	var e struct {
		Stats json.RawMessage `json:"stats"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("the daemon's answer %q: %w", line, err)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	dec := json.NewDecoder(strings.NewReader(string(e.Stats)))
	group, key := "", ""
	value := false // comes next
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return w.Flush()
		}
		if err != nil {
			return fmt.Errorf("the daemon's answer: %w", err)
		}
		was := value
		value = false
		switch v := token.(type) {
		case json.Delim:
			if v == '{' {
				group, key = key, ""
			} else {
				group = ""
			}
		case string:
			if was {
				fmt.Fprintf(w, "%s\t%s\n", key, v)
				continue
			}
			value = true
			key = strings.TrimPrefix(group+"."+v, ".")
			if group == "" {
				key = v
			}
		case float64:
			fmt.Fprintf(w, "%s\t%.0f\n", key, v)
		}
	}
}

// healthWait bounds how long health waits: a worker has 2 s to answer.
const healthWait = 3 * time.Second

func newHealthCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Whether a running daemon is well; exit code 1 if not",
		Args:  cobra.NoArgs,
	}
	client := asking(cmd, &asJSON, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), healthWait)
		defer cancel()
		h, err := client().Health(ctx)
		if err != nil {
			return err
		}
		if err := printHealth(cmd.OutOrStdout(), &h, asJSON); err != nil {
			return err
		}
		if !h.Healthy {
			return errNotFine{fmt.Errorf("the daemon is not well: %w", errSaid)}
		}
		return nil
	}
	return cmd
}

func printHealth(out io.Writer, h *control.Health, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return enc.Encode(h)
	}
	var b strings.Builder
	if h.Healthy {
		fmt.Fprintln(&b, "healthy")
	}
	for _, p := range h.Problems {
		fmt.Fprintf(&b, "%s: %s\n", p.Code, p.Text)
	}
	answer := 0
	for _, w := range h.Workers {
		if w.Answers {
			answer++
		}
	}
	fmt.Fprintf(&b, "%s up, %d of %d workers answer, %d packets and %d events lost since the start\n",
		short(float64(h.Uptime)), answer, len(h.Workers), h.Packets.Total, h.Events.Total)
	fmt.Fprintf(&b, "policy %s, %s, sha256 %s, in force since %s\n", h.Policy.File, count(h.Policy.Rules, "rule"), h.Policy.SHA256, h.Policy.Loaded)
	_, err := io.WriteString(out, b.String())
	return err
}

func newKillCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "kill ID | kill ADDRESS:PORT ADDRESS:PORT",
		ValidArgsFunction: completeConnections,
		Short:             "End a connection of a running daemon: reset both ends",
		Long: `End a connection of a running daemon, named by its ID (conns, or flow_id in
events), or by both its ends, in either order. It is refused from then on and both
ends are reset; one that was left to the kernel is brought back first.`,
		Args: cobra.RangeArgs(1, 2),
	}
	client := asking(cmd, &asJSON, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		which, err := whichConnection(args)
		if err != nil {
			return err
		}
		k, err := client().Kill(cmd.Context(), which)
		if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetEscapeHTML(false)
			return enc.Encode(k)
		}
		c := &k.Connection
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "connection %d, %s to %s: %s\n", c.FlowID,
			net.JoinHostPort(c.Source, strconv.Itoa(int(c.SourcePort))), net.JoinHostPort(c.Destination, strconv.Itoa(int(c.Port))), k.Text)
		return err
	}
	return cmd
}

func whichConnection(args []string) (which control.Which, err error) {
	if ends := strings.FieldsFunc(args[0], func(r rune) bool { return r == '-' || r == ' ' }); len(args) == 1 && len(ends) == 2 {
		args = ends
	}
	if len(args) == 1 {
		if which.FlowID, err = strconv.ParseUint(args[0], 10, 64); err != nil || which.FlowID == 0 {
			return which, fmt.Errorf("%q is not the ID of a connection: it is a number, as conns and flow_id in events have it", args[0])
		}
		return which, nil
	}
	for i, end := range []*netip.AddrPort{&which.A, &which.B} {
		if *end, err = netip.ParseAddrPort(args[i]); err != nil {
			return which, fmt.Errorf("%q is not an end of a connection: write 192.0.2.1:40000 or [2001:db8::1]:443", args[i])
		}
	}
	return which, nil
}

// openControl makes the control socket of a daemon; close is never nil.
func openControl(c *config.Config, workers []*worker, kept *remembered, reloads *reloader, watching *watchman, log *events.Log, clock func() int64, start int64) (close func() error, err error) {
	if c.Control.Socket == "none" {
		return func() error { return nil }, nil
	}
	l, err := control.Listen(c.Control.Socket, c.Control.Group)
	if err != nil {
		return func() error { return nil }, err
	}
	d := &control.Daemon{
		Events: log, Clock: clock, Wall: kept.wall, Started: start,
		Stats:   func() *events.Stats { return statsOf(workers, reloads, log, kept.wall, start) },
		State:   kept.keeper.Trouble,
		Trouble: func() []control.Problem { return append(watching.trouble(), reloads.trouble()...) },
		Pins:    kept.pins, Rules: func() *tlsrules.Policy { return reloads.config().Policy },
		Policy: reloads.policy, Reload: reloads.reload,
		Note: kept.changes.Note,
	}
	if len(workers) > 0 {
		d.Gates = workers[0].engine.Gates()
	}
	for i, w := range workers {
		d.Workers = append(d.Workers, control.Worker{Queue: c.Queue.Number + uint16(i), Engine: w.engine})
	}
	return control.Serve(l, d).Close, nil
}
