package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tlsgate/internal/capture"
	"tlsgate/internal/lab"
)

type labOptions struct {
	config  string
	keep    bool
	capture string
}

func newLabCommand() *cobra.Command {
	var o labOptions
	cmd := &cobra.Command{
		Use:   "lab [-c FILE]",
		Short: "Three hosts in namespaces, a TLS server, clients, the gateway: a policy at work on real packets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			code, ran, err := lab.Elevate()
			if err != nil {
				return err
			}
			if ran {
				if code != exitFine {
					return exitCode(code)
				}
				return nil
			}
			return runLab(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVarP(&o.config, "config", "c", "", "policy file instead of the two stories")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "leave hosts, server and firewall up until Ctrl-C, and say how to enter them")
	cmd.Flags().StringVar(&o.capture, "capture", "", "record what passes the gateway to this pcapng file")
	return cmd
}

// plainPort is where the lab's server speaks HTTP without TLS; the default
// policy sends it to the queue all the same.
const plainPort = 8443

// labTime bounds the lab unless it is kept.
const labTime = 60 * time.Second

// runLab tells each story: a policy, the firewall on the gateway's real queue,
// and clients one after the other.
func runLab(ctx context.Context, o labOptions, stdout, stderr io.Writer) (err error) {
	if !o.keep {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, labTime)
		defer cancel()
	}
	l, err := lab.New(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA, ALPN: []string{"http/1.1"}}); err != nil {
		return err
	}
	plain, err := l.Server.Listen("tcp", fmt.Sprintf(":%d", plainPort))
	if err != nil {
		return err
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "plain HTTP")
	}), ReadHeaderTimeout: tryTime}
	go web.Serve(plain)
	defer web.Close()
	removeLeftovers()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", labDir, os.Getpid()))
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := l.WritePEM(dir); err != nil {
		return err
	}
	if o.capture != "" {
		var recorder *capture.Recorder
		err := l.Gateway.Run(func() (err error) {
			recorder, err = capture.Live([]string{lab.GatewayClientLink, lab.GatewayServerLink}, o.capture)
			return err
		})
		if err != nil {
			return err
		}
		defer func() {
			_, stopErr := recorder.Stop()
			err = errors.Join(err, stopErr)
		}()
	}
	s := &stage{lab: l, dir: dir, out: stdout, err: stderr}
	told := stories
	if o.config != "" {
		told = []story{{title: "Policy " + o.config, file: o.config, tries: partnerTries}}
	}
	for i, st := range told {
		err := s.tell(ctx, st, o.keep && i == len(told)-1)
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil // Ctrl-C: whatever else went wrong is its doing
		}
		if err != nil {
			return err
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the lab did not end in %s", labTime)
	}
	return nil
}

// labDir begins the name of the lab's directory; the process id follows.
const labDir = "tlsgate-lab-"

// removeLeftovers removes the directories of labs that were killed.
func removeLeftovers() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), labDir+"*"))
	for _, dir := range dirs {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), labDir), "-")
		if pid, err := strconv.Atoi(id); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}

// exitCode is the exit code of a command that has printed its own error.
type exitCode int

func (c exitCode) Error() string     { return fmt.Sprintf("exit code %d", int(c)) }
func (c exitCode) Is(err error) bool { return err == errSaid }
