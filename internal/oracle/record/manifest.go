package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// versions are the commands that say which version of a program made the
// captures.
var versions = []string{
	"openssl version", "gnutls-cli --version", "dpkg-query -W -f ${Version} libnss3-tools", "curl --version",
	"nginx -v", "haproxy -v", "squid -v", "dpkg-query -W -f ${Version} microsocks", "go version",
}

// writeManifest writes captures.txt.
func (s *stage) writeManifest(ctx context.Context) error {
	var b strings.Builder
	b.WriteString("Made by scripts/captures. Do not edit.\n\nPrograms\n")
	for _, line := range versions {
		args := strings.Fields(line)
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		fmt.Fprintf(&b, "  %-16s %s\n", args[len(args)-1], first)
	}
	b.WriteString("\nSERVER is 198.18.2.2, SERVER6 2001:db8:2::2, PORT 4433, DIR the folder of keys and\nconfigurations that the generator makes.\n")
	for i := range scenarios {
		sc := &scenarios[i]
		fmt.Fprintf(&b, "\n%s\n  shows   %s\n", sc.name, sc.shows)
		for _, line := range sc.servers {
			fmt.Fprintf(&b, "  server  %s\n", line)
		}
		for _, line := range sc.clientSide {
			fmt.Fprintf(&b, "  proxy   %s\n", line)
		}
		if sc.serve != nil {
			fmt.Fprintf(&b, "  server  one of the generator's own\n")
		}
		for _, c := range sc.clients {
			if c.call != nil {
				fmt.Fprintf(&b, "  client  crypto/tls\n")
				continue
			}
			fmt.Fprintf(&b, "  client  %s\n", c.run)
		}
		if len(sc.typed) > 0 {
			fmt.Fprintf(&b, "  typed   %s\n", strings.Join(sc.typed, ", "))
		}
	}
	return os.WriteFile(filepath.Join(s.out, "captures.txt"), []byte(b.String()), 0o644)
}
