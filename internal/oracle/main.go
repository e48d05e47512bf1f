// Oracle replays captures and compares what we tell of each TLS connection with
// what tshark, and Suricata where it is installed, tell of it.
//
//	go run ./internal/oracle [-tlsgate PROGRAM] CAPTURE...
//
// It prints a table of agreement per field and every difference that is not in
// explained.toml. It knows events by their JSON, nothing of how they came about,
// and the oracles by what they print: all three are programs of their own, so a
// crash or a hang over one file is that file's error and the run goes on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.tlsgate, "tlsgate", "bin/tlsgate", "the program to judge")
	flag.StringVar(&o.explained, "explained", "internal/oracle/explained.toml", "the differences that are explained")
	flag.BoolVar(&o.suricata, "suricata", installed("suricata"), "ask Suricata too")
	flag.IntVar(&o.workers, "j", runtime.NumCPU(), "files at a time")
	flag.BoolVar(&o.all, "v", false, "a line for each file")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "oracle: error: no captures given")
		os.Exit(2)
	}
	bad, err := run(ctx, o, flag.Args(), os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "oracle: error:", err)
		os.Exit(2)
	case bad > 0:
		os.Exit(1)
	}
}

type options struct {
	tlsgate, explained string
	suricata           bool
	workers            int
	all                bool // a line for each file
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// result is what all programs made of one file.
type result struct {
	file                   string
	ours, tshark, suricata *told
}

// run compares all files, in their order, and returns how much is not explained.
func run(ctx context.Context, o options, files []string, w io.Writer) (bad int, err error) {
	if !installed("tshark") {
		return 0, errors.New("tshark is not installed: scripts/deps installs it")
	}
	explained, err := readExplanations(o.explained)
	if err != nil {
		return 0, err
	}
	comparisons := []*comparison{{oracle: "tshark"}}
	if o.suricata {
		comparisons = append(comparisons, &comparison{oracle: "suricata"})
	}
	for _, c := range comparisons {
		c.scores, c.told, c.list0 = map[string]*score{}, map[string]bool{}, explained
	}
	for r := range results(ctx, o, files) {
		bad += fileErrors(w, o, r)
		comparisons[0].compare(r.file, r.ours, r.tshark)
		if r.suricata != nil {
			comparisons[1].compare(r.file, r.ours, r.suricata)
		}
	}
	if ctx.Err() != nil {
		return bad, context.Cause(ctx)
	}
	for _, c := range comparisons {
		bad += c.report(w)
	}
	if !o.suricata {
		fmt.Fprintln(w, "\nSuricata was not asked")
	}
	stale(w, o, explained, files)
	return bad, nil
}

// ahead is how many files per worker may wait for one that takes long.
const ahead = 8

// results works on several files at once and yields them in order.
func results(ctx context.Context, o options, files []string) func(yield func(*result) bool) {
	return func(yield func(*result) bool) {
		workers := max(o.workers, 1)
		slots, room := make(chan struct{}, workers), make(chan struct{}, ahead*workers)
		waiting := make([]chan *result, len(files))
		for i := range waiting {
			waiting[i] = make(chan *result, 1)
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		wg.Go(func() {
			for i, file := range files {
				select {
				case room <- struct{}{}:
				case <-ctx.Done():
					return
				}
				slots <- struct{}{} // given back within programTime
				wg.Go(func() {
					waiting[i] <- ask(ctx, o, file)
					<-slots
				})
			}
		})
		for _, c := range waiting {
			select {
			case r := <-c:
				<-room
				if !yield(r) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func ask(ctx context.Context, o options, file string) *result {
	r := &result{file: file, ours: ours(ctx, o.tlsgate, file)}
	r.tshark = tshark(ctx, file, tlsPorts(r.ours))
	// A file that nobody else can read costs Suricata a minute.
	if o.suricata && (r.ours.err == nil || r.tshark.err == nil) {
		r.suricata = suricata(ctx, file)
	}
	return r
}

// tlsPorts are the called ports of connections that begin with TLS.
func tlsPorts(t *told) []uint16 {
	var ports []uint16
	for _, c := range t.conns {
		if c.tls && (c.via == "" || c.via == "direct") {
			ports = append(ports, c.dst.Port())
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// fileErrors prints what went wrong with a file. It is bad if tlsgate broke, or
// could not read a file in which tshark finds something.
func fileErrors(w io.Writer, o options, r *result) (bad int) {
	if r.ours.err != nil {
		fmt.Fprintf(w, "%s: %v\n", r.file, r.ours.err)
		if r.ours.broken() || len(r.tshark.conns) > 0 {
			bad++
		}
	}
	if r.tshark.err != nil {
		fmt.Fprintf(w, "%s: %v\n", r.file, r.tshark.err)
	}
	if r.suricata != nil && r.suricata.err != nil {
		fmt.Fprintf(w, "%s: %v\n", r.file, r.suricata.err)
	}
	if o.all {
		fmt.Fprintf(w, "%s: %d connections, %v, %d MB; tshark %v\n", r.file, len(r.ours.conns),
			r.ours.took.Round(time.Millisecond), r.ours.peak>>20, r.tshark.took.Round(time.Millisecond))
	}
	return bad
}

// stalePrefix begins what is said of an explanation that nobody needs.
const stalePrefix = "explained, but it does not differ any more: "

// stale tells of explanations that explain nothing in these files any more.
func stale(w io.Writer, o options, explained []explanation, files []string) {
	for _, e := range explained {
		asked := o.suricata || e.Oracle != "suricata"
		if asked && e.used == 0 && slices.ContainsFunc(files, e.names) {
			fmt.Fprintf(w, "\n%s%s in %q\n", stalePrefix, e.Field, e.File)
		}
	}
}
