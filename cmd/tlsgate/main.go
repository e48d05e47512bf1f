// Command tlsgate is a firewall that understands TLS without decrypting it.
// This file turns arguments into a command and its error into an exit code;
// one file per subcommand holds flags, wiring and printing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tlsgate/config"
	"tlsgate/internal/control"
	"tlsgate/nfq"
)

// Exit codes, part of what scripts outside rely on.
const (
	exitFine    = 0
	exitNotFine = 1 // the thing asked about is not fine
	exitUsage   = 2 // usage or file error
	exitSystem  = 3 // no permission, a missing kernel feature, a queue not to be had
)

func main() {
	ending := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		ending = append(ending, syscall.SIGHUP) // a closed terminal must not leave rules behind
	}
	ctx, stop := signal.NotifyContext(context.Background(), ending...)
	defer stop()
	// Where a distribution keeps iptables, which is not on everybody's PATH.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitFine
	}
	code, hint := classify(err)
	if !errors.Is(err, errSaid) {
		fmt.Fprintf(stderr, "tlsgate: error: %v\n", err)
	}
	if hint != "" {
		fmt.Fprintf(stderr, "tlsgate: hint: %s\n", hint)
	}
	return code
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "tlsgate",
		Short:         "A firewall that understands TLS without decrypting it",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(
		newRunCommand(),
		newCheckCommand(),
		newRulesCommand(),
		newReplayCommand(),
		newLabCommand(),
		newSuitesCommand(),
		newVersionCommand(),
	)
	root.AddCommand(newControlCommands()...)
	return root
}

// errSaid is wrapped by errors whose text has been printed already.
var errSaid = errors.New("said")

// errNotFine makes the exit code 1: the command worked, what it was asked
// about is not fine.
type errNotFine struct{ err error }

func (e errNotFine) Error() string { return e.err.Error() }
func (e errNotFine) Unwrap() error { return e.err }

// classify gives the exit code of an error and a hint where one helps.
func classify(err error) (code int, hint string) {
	var (
		kernel  *nfq.Error
		notFine errNotFine
		file    *config.Error
		path    *fs.PathError
		hinted  interface{ Hint() string }
		failure *control.Failure
	)
	switch {
	case errors.As(err, &notFine):
		return exitNotFine, ""
	case errors.As(err, &kernel):
		return exitSystem, kernel.Hint
	case errors.As(err, &file):
		return exitUsage, file.Hint
	case errors.As(err, &failure):
		return exitOf(failure), failure.Hint()
	case errors.As(err, &hinted):
		return exitSystem, hinted.Hint()
	case errors.As(err, &path):
		return exitUsage, ""
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EPERM):
		return exitSystem, "run as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW"
	}
	return exitUsage, ""
}
