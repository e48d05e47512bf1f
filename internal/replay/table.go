package replay

import (
	"fmt"
	"io"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules/suites"
)

// Table prints a row for each connection as it ends. It implements engine.Sink.
type Table struct {
	w       io.Writer
	open    map[uint64]*row // connections of which something was told
	refused uint64
	rows    uint64
}

// row is what is told of a connection before it ends.
type row struct {
	name, version, cipher string
	reason, detail        string
	held                  bool // its data would have waited for a gate
}

// NewTable returns a table that prints to w.
func NewTable(w io.Writer) *Table { return &Table{w: w, open: map[uint64]*row{}} }

// Refused returns how many connections were refused, or would have been.
func (t *Table) Refused() uint64 { return t.refused }

func (t *Table) row(id uint64) *row {
	r := t.open[id]
	if r == nil {
		r = &row{}
		t.open[id] = r
	}
	return r
}

// TLS keeps what the handshake said.
func (t *Table) TLS(r *engine.Report) {
	x := t.row(r.ID)
	x.name = string(r.TLS.ClientHello.ServerName)
	if r.TLS.HasServerHello {
		x.version = suites.VersionName(r.TLS.Version)
		x.cipher = suites.OpenSSLName(r.TLS.ServerHello.CipherSuite)
	}
}

// Drop keeps why the connection was refused, or what its data would have waited for.
func (t *Table) Drop(r *engine.Report) {
	x := t.row(r.ID)
	if x.held = r.Held; !x.held {
		t.refused++
	}
	x.reason = r.Decision.Reason.String()
	x.detail = fmt.Sprintf("packet %d: %s", r.Packet, r.Detail)
	if r.Decision.Observed {
		x.reason += " (observed)"
	}
}

// Flow prints the row.
func (t *Table) Flow(r *engine.Report) {
	const format = "%-8s %-48s %-28s %-8s %-30s %-16s %s\n"
	if t.rows == 0 {
		fmt.Fprintf(t.w, format, "ID", "CONNECTION", "SERVER NAME", "VERSION", "CIPHER", "VERDICT", "REASON")
	}
	t.rows++
	x := t.row(r.ID)
	delete(t.open, r.ID)
	verdict := r.Decision.Action.Name()
	if !r.Decision.Decided {
		verdict = "undecided"
	}
	if x.held {
		verdict = "hold"
	}
	if r.Decision.Rule != "" {
		verdict += " " + r.Decision.Rule
	}
	reason := x.reason
	if reason == "" {
		reason = r.Diagnosis.Text
	}
	fmt.Fprintf(t.w, format, fmt.Sprint(r.ID), r.Original.String()+" > "+r.Reply.String(),
		dash(x.name), dash(x.version), dash(x.cipher), verdict, reason)
	if x.detail != "" {
		fmt.Fprintf(t.w, "%-8s %s\n", "", x.detail)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
