package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"tlsgate/config"
	"tlsgate/internal/capture"
	"tlsgate/internal/engine"
	"tlsgate/internal/events"
	"tlsgate/internal/replay"
)

type replayOptions struct {
	config    string
	blocked   string
	json      bool
	checksums bool
	workers   int
}

func newReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay [-c FILE] CAPTURE...",
		Short: "Judge the packets of captures: a table of connections and verdicts, or events",
		Long: "Judge the packets of captures (pcap or pcapng, plain or compressed; - is standard input), one file after\n" +
			"the other, and print a table of connections and verdicts, or events.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if o.workers < 1 {
				return fmt.Errorf("--workers %d: at least 1", o.workers)
			}
			c, err := loadConfig(o.config)
			if err != nil {
				return err
			}
			return runReplay(cmd, c, o, files)
		},
	}
	cmd.Flags().StringVarP(&o.config, "config", "c", "", "policy file (none: all defaults)")
	cmd.Flags().BoolVar(&o.json, "json", false, "print events instead of a table")
	cmd.Flags().StringVar(&o.blocked, "blocked", "", "write the packets that would not have passed to this pcapng file")
	cmd.Flags().BoolVar(&o.checksums, "verify-checksums", false, "drop packets with a wrong checksum, as receivers do (captures taken at a sender have many)")
	cmd.Flags().IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "processors to make use of; what is printed does not depend on it")
	return cmd
}

func runReplay(cmd *cobra.Command, c *config.Config, o replayOptions, files []string) (err error) {
	if err := present(files); err != nil {
		return err
	}
	bar := newProgress(cmd.ErrOrStderr())
	cfg := replay.Config{
		Engine: engineConfig(c, 1), VerifyChecksums: o.checksums, Workers: o.workers, Position: bar.start,
	}
	cfg.Engine.Sessions = engine.NewSessions(c.Limits.Sessions, [16]byte{})
	cfg.Engine.Pins = engine.NewPins(c.Limits.Pins, [16]byte{})
	var finish func() error
	if o.json {
		log := events.New(bar.beside(cmd.OutOrStdout()))
		cfg.Engine.Sink, cfg.Idle, finish = log, log.Flush, log.Close
	} else {
		out := bufio.NewWriterSize(bar.beside(cmd.OutOrStdout()), 64<<10)
		cfg.Engine.Sink, finish = replay.NewTable(out), out.Flush
		cfg.Idle = func() { out.Flush() } // the writer remembers its error
	}
	if o.blocked != "" {
		if err := notAmong(o.blocked, files); err != nil {
			return err
		}
		out, err := capture.Create(o.blocked)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, out.Close()) }()
		cfg.Blocked = out.Write
	}
	sum, err := replay.Run(cmd.Context(), cfg, c.Policy, files)
	bar.stop()
	interrupted := errors.Is(err, context.Canceled)
	if interrupted {
		err = nil
	}
	if err = errors.Join(err, finish()); err != nil {
		return err
	}
	if !o.json {
		summarize(cmd.ErrOrStderr(), &sum)
	}
	caveats(cmd.ErrOrStderr(), &sum)
	if err := damage(&sum); err != nil {
		return err
	}
	if interrupted {
		return errNotFine{errors.New("interrupted: the rest of the captures was not read")}
	}
	return nil
}

// present reports a file that is not there before hours are spent on the others.
func present(files []string) error {
	for _, file := range files {
		if _, err := os.Stat(file); err != nil && file != capture.StandardInput {
			return err
		}
	}
	return nil
}

// notAmong refuses to write over a capture that is to be read.
func notAmong(out string, files []string) error {
	written, err := os.Stat(out)
	if err != nil {
		return nil // it is not there yet
	}
	for _, file := range files {
		if read, err := os.Stat(file); err == nil && os.SameFile(read, written) {
			return fmt.Errorf("--blocked would overwrite the capture %s", file)
		}
	}
	return nil
}

func summarize(w io.Writer, sum *replay.Summary) {
	s := &sum.Stats
	fmt.Fprintf(w, "tlsgate: %d packets, %d connections, %d TLS, %d refused\n",
		sum.Packets, s.ConnectionsSeen, s.TLSConnections, s.Refused+s.Observed)
}

// caveats says what the captures do not hold, or what was not read of them.
func caveats(w io.Writer, sum *replay.Summary) {
	say := func(n uint64, format string, args ...any) {
		if n > 0 {
			fmt.Fprintf(w, "tlsgate: warning: "+format+"\n", append([]any{n}, args...)...)
		}
	}
	for _, err := range sum.Problems {
		if replay.Harmless(err) {
			fmt.Fprintf(w, "tlsgate: warning: %v\n", err)
		}
	}
	c, s := &sum.Capture, &sum.Stats
	say(sum.Cut, "%d packets are cut short in the capture: what is there of them was read")
	say(s.Partial, "%d connections are not all there: packets of them are cut short or missing from the capture")
	say(c.Dropped, "%d packets were dropped while the capture was recorded, it says")
	say(c.Lost, "%d datagrams in fragments could not be put together")
	say(s.Evicted+s.TableFull, "%d times there was no room for a connection: raise limits.connections")
	say(sum.Jumps, "%d times the clock of the captures went back by more than a minute: connections were taken to end there")
	say(sum.More, "%d more problems of files are not shown")
}

// damage is what makes a replay of files incomplete that were whole once.
func damage(sum *replay.Summary) error {
	var all []error
	for _, err := range sum.Problems {
		if !replay.Harmless(err) || sum.Packets == 0 && errors.Is(err, capture.ErrLinkType) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

var _ engine.Sink = (*replay.Table)(nil)
