package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"tlsgate/config"
	"tlsgate/internal/engine"
	"tlsgate/internal/replay"
)

// against replays captures under a policy and the one before it, and tells which
// connections would change their verdict.
func against(cmd *cobra.Command, c *config.Config, o checkOptions, out io.Writer, tell func(io.Writer, *replay.Change) error) (replay.Comparison, error) {
	var none replay.Comparison
	if err := present(o.against); err != nil {
		return none, err
	}
	var old replay.Side
	if o.old != "" {
		before, err := config.Load(o.old)
		if err != nil {
			return none, err
		}
		old.Policy, old.Engine = before.Policy, engineConfig(before, 1)
		old.Engine.Sessions = engine.NewSessions(before.Limits.Sessions, [16]byte{})
		old.Engine.Pins = engine.NewPins(before.Limits.Pins, [16]byte{})
	}
	bar := newProgress(cmd.ErrOrStderr())
	cfg := replay.Config{Engine: engineConfig(c, 1), Position: bar.start}
	cfg.Engine.Sessions = engine.NewSessions(c.Limits.Sessions, [16]byte{})
	cfg.Engine.Pins = engine.NewPins(c.Limits.Pins, [16]byte{})
	w := bufio.NewWriterSize(bar.beside(out), 64<<10)
	n, sum, err := replay.Compare(cmd.Context(), cfg, old, c.Policy, o.against, func(x *replay.Change) error { return tell(w, x) })
	bar.stop()
	interrupted := errors.Is(err, context.Canceled)
	if interrupted {
		err = nil
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		return n, err
	}
	if n.Changed() == 0 && !o.json {
		fmt.Fprintf(cmd.ErrOrStderr(), "tlsgate: %s, none would change\n", count(int(n.Connections), "connection"))
	}
	caveats(cmd.ErrOrStderr(), &sum)
	if err := damage(&sum); err != nil {
		return n, err
	}
	if interrupted {
		return n, errNotFine{errors.New("interrupted: the rest of the captures was not read")}
	}
	return n, nil
}

// changed says that connections would change their verdict.
func changed(n *replay.Comparison) error {
	if n.Changed() == 0 {
		return nil
	}
	return errNotFine{fmt.Errorf("%d of %s would change: %d refused, %d accepted, %d refused in another way",
		n.Changed(), count(int(n.Connections), "connection"), n.Refused, n.Accepted, n.Otherwise)}
}

// againstTable prints a row for each connection that changes.
type againstTable struct{ rows int }

func (t *againstTable) row(w io.Writer, x *replay.Change) error {
	const format = "%-48s %-28s %-24s %-24s %s\n"
	if t.rows == 0 {
		fmt.Fprintf(w, format, "CONNECTION", "SERVER NAME", "OLD", "NEW", "REASON")
	}
	t.rows++
	name := x.ServerName
	if name == "" {
		name = "-"
	}
	said := &x.New
	if !said.Refuses() {
		said = &x.Old
	}
	fmt.Fprintf(w, format, x.Original.String()+" > "+x.Reply.String(), oneLine(name), verdictText(&x.Old), verdictText(&x.New), said.Decision.Reason)
	var err error
	if said.Detail != "" {
		_, err = fmt.Fprintf(w, "%-8s packet %d: %s\n", "", said.Packet, oneLine(said.Detail))
	}
	return err
}

func verdictText(v *replay.Verdict) string {
	if v.Decision.Rule == "" {
		return v.String()
	}
	return v.String() + " " + v.Decision.Rule
}

type changeJSON struct {
	FlowID     uint64      `json:"flow_id"`
	Start      string      `json:"start"`
	Source     string      `json:"src_ip"`
	SourcePort uint16      `json:"src_port"`
	Dest       string      `json:"dest_ip"`
	DestPort   uint16      `json:"dest_port"`
	ServerName string      `json:"sni,omitempty"`
	Old        outcomeJSON `json:"old"`
	New        outcomeJSON `json:"new"`
}

func verdictJSON(v *replay.Verdict) outcomeJSON {
	j := outcomeJSON{
		Verdict: v.String(), Rule: v.Decision.Rule, Reason: v.Decision.Reason.String(),
		Detail: v.Detail, Packet: v.Packet, Observed: v.Decision.Observed,
	}
	if j.Reason != "" {
		j.Stage = v.Decision.Stage.String()
	}
	return j
}

// againstJSON writes the key "against": its list of changes as they come, for it
// may be long.
func againstJSON(cmd *cobra.Command, c *config.Config, o checkOptions, n *replay.Comparison) func(io.Writer) error {
	return func(w io.Writer) error {
		if _, err := io.WriteString(w, ",\n  \"against\": {\n    \"changes\": ["); err != nil {
			return err
		}
		separator := "\n      "
		var wrong error
		*n, wrong = against(cmd, c, o, w, func(w io.Writer, x *replay.Change) error {
			line, err := json.Marshal(changeJSON{
				FlowID: x.ID, Start: time.Unix(0, x.Start).UTC().Format(time.RFC3339Nano),
				Source: x.Original.Addr().String(), SourcePort: x.Original.Port(),
				Dest: x.Reply.Addr().String(), DestPort: x.Reply.Port(),
				ServerName: x.ServerName, Old: verdictJSON(&x.Old), New: verdictJSON(&x.New),
			})
			if err == nil {
				_, err = fmt.Fprintf(w, "%s%s", separator, line)
			}
			separator = ",\n      "
			return err
		})
		_, err := fmt.Fprintf(w, "\n    ],\n    \"connections\": %d,\n    \"refused\": %d,\n    \"accepted\": %d,\n    \"otherwise\": %d\n  }",
			n.Connections, n.Refused, n.Accepted, n.Otherwise)
		return errors.Join(wrong, err)
	}
}
