package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func newReloadCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a running daemon read its policy file again",
		Long: `Have a running daemon read its policy file again, as SIGHUP does. The new policy
takes the place of the one in force whole, or not at all: then the exit code is 2 if
the file is no policy, and 1 if it changes what stands until the daemon is started
anew. Connections are judged again by what is known of them; what the new policy
forbids is refused.`,
		Args: cobra.NoArgs,
	}
	client := asking(cmd, &asJSON, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := client().Reload(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetEscapeHTML(false)
			return enc.Encode(&r)
		}
		for _, w := range r.Warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "tlsgate: warning: %s\n", w)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), r.Text)
		return err
	}
	return cmd
}
