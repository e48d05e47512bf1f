package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"

	"tlsgate/config"
	"tlsgate/nfq"
)

func newRulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "The iptables rules for a policy: print, install, remove",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var file string
	var ipv4, ipv6 bool
	cmd.PersistentFlags().StringVarP(&file, "config", "c", "", "policy file (none: all defaults)")

	show := &cobra.Command{
		Use:   "show",
		Short: "Print the documents that up gives to iptables-restore and ip6tables-restore",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := loadRules(file)
			if err != nil {
				return err
			}
			for _, f := range []struct {
				family  nfq.Family
				program string
				wanted  bool
			}{{nfq.IPv4, "iptables-restore", ipv4 || !ipv6}, {nfq.IPv6, "ip6tables-restore", ipv6 || !ipv4}} {
				if !f.wanted {
					continue
				}
				document, err := r.Render(f.family)
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "# %s --noflush\n%s", f.program, document); err != nil {
					return err
				}
			}
			return nil
		},
	}
	show.Flags().BoolVarP(&ipv4, "ipv4", "4", false, "only the IPv4 document")
	show.Flags().BoolVarP(&ipv6, "ipv6", "6", false, "only the IPv6 document")

	up := &cobra.Command{
		Use:   "up",
		Short: "Install the rules, in place of any earlier ones of ours",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := loadRules(file)
			if err != nil {
				return err
			}
			if err := r.Install(cmd.Context()); err != nil {
				return err
			}
			if all, err := netlink.LinkList(); err == nil && bigLinks(all) != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "tlsgate: warning: "+linksText+"; "+linksHint+"\n", bigLinks(all))
			}
			return nil
		},
	}
	down := &cobra.Command{
		Use:   "down",
		Short: "Remove every rule and chain of ours",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return nfq.Rules{}.Remove(cmd.Context())
		},
	}
	cmd.AddCommand(show, up, down)
	return cmd
}

func loadRules(file string) (nfq.Rules, error) {
	c, err := loadConfig(file)
	if err != nil {
		return nfq.Rules{}, err
	}
	return rulesOf(c)
}

// loadConfig reads a policy file; no file is the policy of all defaults.
func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return config.Parse("(defaults)", nil, ".")
	}
	return config.Load(file)
}
