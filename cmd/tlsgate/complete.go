package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tlsgate/config"
	"tlsgate/internal/control"
	"tlsgate/tlsrules/suites"
)

// A shell asks for what may come next while somebody waits at the keyboard: a
// daemon that does not answer at once has nothing to offer, and nothing is said.
const (
	completeWait = 400 * time.Millisecond
	mostOffered  = 200
)

var errEnough = errors.New("enough")

// completing gives the client of the daemon that a command line names.
func completing(cmd *cobra.Command) (*control.Client, context.Context, context.CancelFunc) {
	socket, err := cmd.Flags().GetString("socket")
	if err != nil || socket == "" {
		socket = config.DefaultSocket
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeWait)
	return control.Dial(socket), ctx, cancel
}

// completeConnections offers the numbers of connections, for a first argument.
func completeConnections(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return connections(cmd, begun)
}

func completeID(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return connections(cmd, begun)
}

func connections(cmd *cobra.Command, begun string) (list []cobra.Completion, _ cobra.ShellCompDirective) {
	client, ctx, cancel := completing(cmd)
	defer cancel()
	client.Conns(ctx, url.Values{}, func(line []byte) error {
		var c control.Conn
		if json.Unmarshal(line, &c) != nil {
			return errEnough
		}
		if id := fmt.Sprint(c.FlowID); strings.HasPrefix(id, begun) {
			about := fmt.Sprintf("%s to %s, %s", net.JoinHostPort(c.Source, strconv.Itoa(int(c.SourcePort))),
				net.JoinHostPort(c.Destination, strconv.Itoa(int(c.Port))), c.Verdict)
			if c.SNI != "" {
				about += ", " + printable(c.SNI)
			}
			list = append(list, cobra.CompletionWithDesc(id, about))
		}
		if len(list) == mostOffered {
			return errEnough
		}
		return nil
	})
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeRules offers the names of the rules in force.
func completeRules(cmd *cobra.Command, _ []string, begun string) (list []cobra.Completion, _ cobra.ShellCompDirective) {
	client, ctx, cancel := completing(cmd)
	defer cancel()
	r, _ := client.Rules(ctx)
	for _, name := range r.Rules {
		if strings.HasPrefix(name, begun) && len(list) < mostOffered {
			list = append(list, name)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeSuites offers suites by the names that OpenSSL and IANA give them.
func completeSuites(_ *cobra.Command, _ []string, begun string) (list []cobra.Completion, _ cobra.ShellCompDirective) {
	begins := func(name string) bool {
		return name != "" && len(name) >= len(begun) && strings.EqualFold(name[:len(begun)], begun)
	}
	for s := range suites.All() {
		if begins(s.OpenSSL) {
			list = append(list, cobra.CompletionWithDesc(s.OpenSSL, s.IANA))
		}
		if begun != "" && s.IANA != s.OpenSSL && begins(s.IANA) {
			list = append(list, s.IANA)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeExpression offers what `suites` takes: suites, and prefixes with names.
func completeExpression(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list, directive := completeSuites(cmd, args, begun)
	for _, class := range suites.Classes() {
		if name := "class:" + class; strings.HasPrefix(name, begun) {
			list = append(list, name)
		}
	}
	for _, level := range []string{"modern", "intermediate", "old"} {
		if name := "mozilla:" + level; strings.HasPrefix(name, begun) {
			list = append(list, name)
		}
	}
	return list, directive
}

// completeFlags registers what flags may have.
func completeFlags(cmd *cobra.Command, flags map[string]cobra.CompletionFunc) {
	for name, f := range flags {
		if cmd.Flags().Lookup(name) != nil {
			cmd.RegisterFlagCompletionFunc(name, f)
		}
	}
}

func oneOfThese(values ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
}
