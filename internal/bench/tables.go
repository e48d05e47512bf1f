package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// target is what is to be reached, and what was.
type target struct {
	What    string  `json:"what"`
	Want    string  `json:"want"`
	Median  float64 `json:"median"`
	Least   float64 `json:"least"`
	Most    float64 `json:"most"`
	Verdict string  `json:"verdict"`
}

const notMeasured = "not measured"

// targets compares what was measured with what is to be reached. Those of one process's
// time and memory are the Go benchmarks'.
func (r *results) targets() (all []target) {
	add := func(what string, got spread, least bool, want float64, note string) {
		t := target{What: what, Median: got.median, Least: got.least, Most: got.most, Verdict: "missed"}
		word := "at most"
		if least {
			word = "at least"
		}
		t.Want = fmt.Sprintf("%s %.2f", word, want)
		switch {
		case got == spread{}:
			t.Verdict = notMeasured
		case least && got.median >= want, !least && got.median <= want:
			t.Verdict = "met"
		}
		if note != "" && t.Verdict == "missed" {
			t.Verdict += " (" + note + ")"
		}
		all = append(all, t)
	}
	add("bulk, offloaded, of none", spreadOf(r.columns[pairRatio][offloaded]), true, 0.97, "")
	add("bulk, offloaded, of none with connections tracked", r.ratio(pairSpeed, offloaded, tracked), true, 0.97, "")
	add("bulk, every record inspected, of accept-all", r.ratio(bulkColumn(1), reading, accepting), true, 0.90, "")
	add("packets judged per second, one worker, of accept-all", r.ratio(drainRate, deciding, accepting), true, 0.80, "")
	add("the same in a stream, the generator beside it", r.ratio(streamRate, deciding, accepting), true, 0.80, "")
	note := ""
	if r.machine.CPUs < 3 {
		note = "2 CPUs carry two workers and nothing else"
	}
	add("the same on two workers, of one", r.ratio(drainRate, deciding2, deciding), true, 1.7, note)
	add("accept-all on two workers, of one", r.ratio(drainRate, accepting2, accepting), true, 1.7, note)
	add("new connections per second, of none, half of what it carries offered", r.ratio(offeredRate, offloaded, none), true, 0.95, "")
	note = ""
	if r.machine.CPUs < 4 {
		note = fmt.Sprintf("clients, nginx and firewall share %d CPUs that are never idle", r.machine.CPUs)
	}
	add("the same, as many as 16 clients can make", r.ratio(allVisits, offloaded, none), true, 0.95, note)
	add("CPU per connection, of accept-all with the same packets", r.ratio(streamCPU, deciding, accepting), false, 1.3, "")
	for _, p := range []struct {
		name           string
		visit, request string
		want           float64
	}{{"p50", offered50, latency50, 1.1}, {"p99", offered99, latency99, 1.3}} {
		add("added latency "+p.name+", a connection with its request, half of what nginx carries, of accept-all", r.ratio(p.visit, offloaded, accepting), false, p.want, "")
		add("the same, every record inspected", r.ratio(p.visit, reading, accepting), false, p.want, "")
		add("added latency "+p.name+", a request on an open connection, half of what accept-all judges, of accept-all", r.ratio(p.request, offloaded, accepting), false, p.want, "")
		add("the same, every record inspected", r.ratio(p.request, reading, accepting), false, p.want, "")
	}
	return all
}

// print writes all tables as Markdown.
func (r *results) print(w io.Writer) {
	fmt.Fprintf(w, "%s; medians, with the least and the most, of %d rounds (bulk), %d (connections), %d (recorded handshakes), %d (latency).\n\n",
		r.machine, r.rounds(bulkCPU), r.rounds(allVisits), r.rounds(streamRate), r.rounds(latency50))
	fmt.Fprintf(w, "| to reach | want | reached | least to most | |\n|---|---|---|---|---|\n")
	for _, t := range r.targets() {
		if t.Verdict == notMeasured {
			fmt.Fprintf(w, "| %s | %s | | | %s |\n", t.What, t.Want, t.Verdict)
			continue
		}
		fmt.Fprintf(w, "| %s | %s | %.2f | %.2f to %.2f | %s |\n", t.What, t.Want, t.Median, t.Least, t.Most, t.Verdict)
	}
	r.printBulk(w)
	r.printVisits(w)
	r.printPlayed(w)
	r.printLatency(w)
	for row, why := range r.missing {
		fmt.Fprintf(w, "\n%s: %s.\n", row, why)
	}
}

// table prints the rows that have the first column.
func (r *results) table(w io.Writer, title string, rows []firewall, columns []column) {
	fmt.Fprintf(w, "\n| %s |", title)
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c.title)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", len(columns)))
	for _, f := range rows {
		measured := func(c column) bool { return r.has(c.needs, f.name) }
		if f.missing == "" && !slices.ContainsFunc(columns, measured) {
			continue
		}
		fmt.Fprintf(w, "| %s |", f.name)
		for i, c := range columns {
			switch {
			case f.missing != "" && i == 0:
				fmt.Fprintf(w, " %s |", f.missing)
			case f.missing != "" || !r.has(c.needs, f.name):
				fmt.Fprint(w, " |")
			default:
				fmt.Fprintf(w, " %s |", c.cell(f.name))
			}
		}
		fmt.Fprintln(w)
	}
}

// column is one of a printed table.
type column struct {
	title string
	needs string // the column of the results
	cell  func(row string) string
}

// value is a column of medians.
func (r *results) value(title, name, format string, scale float64) column {
	return column{title, name, func(row string) string { return fmt.Sprintf(format, r.spread(name, row).median*scale) }}
}

// against is a column of medians with their ratio to a row's, round by round, and its
// least and most.
func (r *results) against(title, name, base, format string, scale float64) column {
	return column{title, name, func(row string) string {
		cell, ratio := fmt.Sprintf(format, r.spread(name, row).median*scale), r.ratio(name, row, base)
		if row == base || ratio == (spread{}) {
			return cell
		}
		return fmt.Sprintf("%s (%.2f: %.2f to %.2f)", cell, ratio.median, ratio.least, ratio.most)
	}}
}

func (r *results) printBulk(w io.Writer) {
	if r.columns[bulkColumn(1)] != nil {
		r.table(w, "bulk, Gbit/s (of accept-all)", append([]firewall{row(tracked)}, rows()...), []column{
			r.against("1 stream", bulkColumn(1), accepting, "%.1f", 1),
			r.against("8 streams", bulkColumn(8), accepting, "%.1f", 1),
			r.against("64 streams", bulkColumn(64), accepting, "%.1f", 1),
			r.against("CPU s per GB", bulkCPU, accepting, "%.2f", 1),
			r.value("packets queued per MB", bulkQueued, "%.1f", 1),
			r.value("peak memory, MB", bulkMemory, "%.0f", 1e-6),
		})
	}
	if r.columns[pairRatio] != nil {
		fmt.Fprintf(w, "\n| one stream, %d turns of %d MiB each | Gbit/s, quartiles | of none, turn by turn, quartiles |\n|---|---|---|\n", len(r.columns[pairRatio][offloaded]), r.settings.pairBytes>>20)
		for _, name := range []string{none, tracked, offloaded} {
			fmt.Fprintf(w, "| %s | %s | %s |\n", name, quartiles(r.columns[pairSpeed][name]), quartiles(r.columns[pairRatio][name]))
		}
	}
}

func (r *results) printVisits(w io.Writer) {
	if r.columns[allVisits] == nil {
		return
	}
	var rates, costs []column
	for _, k := range visitKinds {
		rates = append(rates, r.against(k.name, visitRate(k), none, "%.0f", 1))
		costs = append(costs, column{k.name, visitCPU(k), func(row string) string {
			return fmt.Sprintf("%.0f; %.1f", r.spread(visitCPU(k), row).median, r.spread(visitQueued(k), row).median)
		}})
	}
	rates = append(rates, r.against("all four", allVisits, none, "%.0f", 1), r.value("peak memory, MB", visitMemory, "%.0f", 1e-6))
	r.table(w, "connections/s to nginx (of none)", rows(), rates)
	costs = append(costs, column{"TLS 1.3 at half load", offeredCPU, func(row string) string {
		return fmt.Sprintf("%.0f", r.spread(offeredCPU, row).median)
	}})
	r.table(w, "CPU µs of the firewall per connection; packets queued", rows(), costs)
	title := fmt.Sprintf("added µs until a connection's answer is there, TLS 1.3 at half load (of accept-all); plain forwarding takes %.0f", r.spread(bareVisit, none).median)
	r.table(w, title, rows()[1:], []column{
		r.against("p50", offered50, accepting, "%.0f", 1),
		r.against("p99", offered99, accepting, "%.0f", 1),
	})
}

func (r *results) printPlayed(w io.Writer) {
	if r.columns[streamRate] == nil {
		return
	}
	r.table(w, "recorded handshakes, thousands of packets judged per second (of accept-all)", playedRows(), []column{
		r.against("full queue emptied", drainRate, accepting, "%.0f", 1e-3),
		r.value("lost", drainLost, "%.0f", 1),
		r.against("CPU µs per packet", drainCPU, accepting, "%.2f", 1),
		r.against("stream", streamRate, accepting, "%.0f", 1e-3),
		r.value("lost", streamLost, "%.0f", 1),
		r.value("CPUs busy", streamBusy, "%.2f", 1),
		r.against("CPU µs per connection", streamCPU, accepting, "%.1f", 1),
		r.value("packets queued", playedQueued, "%.1f", 1),
		r.value("peak memory, MB", playedMemory, "%.0f", 1e-6),
	})
}

func (r *results) printLatency(w io.Writer) {
	if r.columns[latency50] == nil {
		return
	}
	title := fmt.Sprintf("added latency, µs (of accept-all); plain forwarding takes %.0f", r.spread(bare50, none).median)
	r.table(w, title, latencyRows()[1:], []column{
		r.against("p50", latency50, accepting, "%.0f", 1),
		r.against("p99", latency99, accepting, "%.0f", 1),
		r.value("packets/s beside it", load, "%.0f", 1),
		r.value("of them lost", loadLost, "%.0f", 1),
		r.value("CPUs busy", loadBusy, "%.2f", 1),
	})
}

func quartiles(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return fmt.Sprintf("%.2f, %.2f to %.2f", s[n/2], s[n/4], s[n*3/4])
}
