// Command bench measures firewalls in the lab's gateway, row after row, several
// rounds, and prints ratios as Markdown: scripts/bench runs it. The firewalls are
// processes of their own. What is measured, and against what, is in
// docs/PERFORMANCE.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"tlsgate/internal/lab"
)

// settings say how much is measured. Every phase begins each row anew in each round.
type settings struct {
	tlsgate string         // the program
	dir     string         // for files of this run
	only    string         // the one phase to be measured; "" is all
	rows    *regexp.Regexp // of the rows to be measured, beside none and accept-all; nil is all

	budget    time.Duration // in which rounds begin, each phase its share
	until     time.Time     // in which rounds of this phase begin
	rounds    int
	bulk      int64         // bytes of a download
	pairs     int           // of downloads, offloaded and plain
	pairBytes int64         // of such a download
	visits    time.Duration // for which connections are made, one kind after the other
	played    int           // recorded connections in one stream
	bursts    int           // filled queues that are emptied
	requests  time.Duration // for which requests are made under half load
}

func full() settings {
	return settings{budget: 330 * time.Second, rounds: 5, bulk: 256 << 20, pairs: 25, pairBytes: 256 << 20, visits: 400 * time.Millisecond, played: 12000, bursts: 8, requests: 700 * time.Millisecond}
}

func short() settings {
	return settings{budget: time.Minute, rounds: 1, bulk: 32 << 20, pairs: 3, pairBytes: 64 << 20, visits: 200 * time.Millisecond, played: 2000, bursts: 2, requests: 300 * time.Millisecond}
}

func main() {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	if len(os.Args) > 1 && os.Args[1] == acceptAllName {
		exit(acceptAll(os.Args[2:]))
	}
	code, ran, err := lab.Elevate()
	if ran {
		os.Exit(code)
	}
	if err == nil {
		err = bench()
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func bench() error {
	program := flag.String("tlsgate", "bin/tlsgate", "the program to measure")
	json := flag.String("json", "", "a file for every value measured")
	quick := flag.Bool("short", false, "take a minute, and say little")
	only := flag.String("only", "", "one phase: bulk, pairs, visits, played or latency")
	some := flag.String("rows", "", "a regular expression: only rows whose names match, and none and accept-all")
	played := flag.Int("played", 0, "connections in a stream, if not as many as usual")
	rounds := flag.Int("rounds", 0, "rounds, if not as many as usual")
	flag.Parse()
	s, err := full(), error(nil)
	if *quick {
		s = short()
	}
	if *rounds > 0 {
		s.rounds = *rounds
	}
	if *played > 0 {
		s.played = *played
	}
	s.tlsgate, s.only = *program, *only
	if s.rows, err = regexp.Compile(*some); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if s.dir, err = os.MkdirTemp("", "tlsgate-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	r := &results{machine: thisMachine(), settings: s}
	err = measure(ctx, s, r)
	r.print(os.Stdout) // what there is, when it was told to end
	if *json != "" {
		err = errors.Join(err, r.write(*json))
	}
	return err
}

// over reports whether round n is not to begin, for there is no time: a busy machine
// has fewer of them.
func (s settings) over(ctx context.Context, n int) bool {
	return ctx.Err() != nil || n > 0 && time.Now().After(s.until)
}

// measure measures all phases, or the one that is wanted.
func measure(ctx context.Context, s settings, r *results) error {
	for _, phase := range []struct {
		name    string
		percent time.Duration // of the budget
		measure func(context.Context, settings, *results) error
	}{
		{"bulk", 25, measureBulk}, {"pairs", 10, measurePairs}, {"visits", 30, measureVisits},
		{"played", 20, measurePlayed}, {"latency", 15, measureLatency},
	} {
		if s.only != "" && s.only != phase.name {
			continue
		}
		start := time.Now()
		s.until = start.Add(s.budget * phase.percent / 100)
		if err := phase.measure(ctx, s, r); err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s: %s\n", phase.name, time.Since(start).Round(time.Second))
	}
	return nil
}
