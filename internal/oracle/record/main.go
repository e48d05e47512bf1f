// Record makes the captures in testdata/captures: real programs speak TLS to
// each other in the lab, and what passes the client's link is written down. In
// the root of the repository, as root:
//
//	scripts/captures [NAME...]
//
// It also writes captures.txt, which says of each file what was run, what is to
// be seen in it, and the versions of the programs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"tlsgate/internal/lab"
)

// allTime bounds the whole run.
const allTime = 15 * time.Minute

func main() {
	out := flag.String("o", "testdata/captures", "folder for the captures")
	flag.Parse()
	code, ran, err := lab.Elevate()
	if err == nil && !ran {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		ctx, cancel := context.WithTimeout(ctx, allTime)
		err = record(ctx, *out, flag.Args())
		cancel()
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "record: error:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// record runs the scenarios of these names, or all of them.
func record(ctx context.Context, out string, names []string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	// Packets as they would be on a wire.
	l, err := lab.New(ctx, lab.Options{NoOffload: true})
	if err != nil {
		return err
	}
	defer l.Close()
	dir, err := os.MkdirTemp("", "tlsgate-record-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &stage{lab: l, dir: dir, out: out}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	var failed []error
	for i := range scenarios {
		sc := &scenarios[i]
		if len(names) > 0 && !slices.Contains(names, sc.name) {
			continue
		}
		if err := s.play(ctx, sc); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", sc.name, err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if len(names) == 0 {
		failed = append(failed, s.writeManifest(ctx))
	}
	return errors.Join(failed...)
}
