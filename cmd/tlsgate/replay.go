package main

import (
	"errors"
	"fmt"
	"io"
	"os"

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
}

func newReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay [-c FILE] CAPTURE...",
		Short: "Judge the packets of captures: a table of connections and verdicts, or events",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
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
	return cmd
}

func runReplay(cmd *cobra.Command, c *config.Config, o replayOptions, files []string) (err error) {
	cfg := replay.Config{Engine: engineConfig(c, 1), VerifyChecksums: o.checksums}
	cfg.Engine.Sessions = engine.NewSessions(c.Limits.Sessions)
	var finish func() error
	if o.json {
		log := events.New(cmd.OutOrStdout())
		cfg.Engine.Sink, finish = log, log.Close
	} else {
		out := &keepsError{Writer: cmd.OutOrStdout()}
		cfg.Engine.Sink = replay.NewTable(out)
		finish = func() error { return out.err }
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
	if err = errors.Join(err, finish()); err != nil {
		return err
	}
	if !o.json {
		summarize(cmd.ErrOrStderr(), sum)
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

// keepsError remembers the first error of a writer whose user does not look.
type keepsError struct {
	io.Writer
	err error
}

func (w *keepsError) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

func summarize(w io.Writer, sum replay.Summary) {
	s := &sum.Stats
	fmt.Fprintf(w, "tlsgate: %d packets, %d connections, %d TLS, %d refused\n",
		sum.Packets, s.ConnectionsSeen, s.TLSConnections, s.Refused+s.Observed)
	if sum.Truncated != nil {
		fmt.Fprintf(w, "tlsgate: warning: %v\n", sum.Truncated)
	}
	if sum.Cut > 0 {
		fmt.Fprintf(w, "tlsgate: %d packets are cut short in the capture and were not read\n", sum.Cut)
	}
}

var _ engine.Sink = (*replay.Table)(nil)
