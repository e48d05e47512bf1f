package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// judges fails unless what the policy forbids is refused, and the rest not.
func judges(t *testing.T, l *lab.Lab, w *witness, to netip.AddrPort) {
	t.Helper()
	if _, err := exchange(dial(t, l, to), goodSuite, 10_000); err != nil {
		t.Errorf("permitted: %v", err)
	}
	w.next(t)
	_, err := exchange(dial(t, l, to), badSuite, 10_000)
	wasReset(t, "the client", err)
	w.next(t)
}

// TestIntegrationSecondDaemon: a second daemon on the first one's queue, or with rules
// in the place of the first one's, ends and leaves the first one as it was. What a killed
// one has left is no hindrance, whatever its queues were.
func TestIntegrationSecondDaemon(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, workersPolicy)
	before := iptablesRules(t, l)
	to := netip.AddrPortFrom(l.Server.IPv4, 443)
	for _, tt := range []struct {
		name, policy string
		says         []string
	}{
		{"the same queue", partnerPolicy, []string{"taken", "process", "hint:"}},
		{"its second queue", "[queue]\nnumber = 1\nworkers = 1\n", []string{"taken", "process", "hint:"}},
		{"other queues", "[queue]\nnumber = 7\nworkers = 2\n", []string{"rules of tlsgate are in place for queue 0, which another process serves", "hint:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			policy := filepath.Join(t.TempDir(), "policy.toml")
			write(t, policy, tt.policy)
			checkFailure(t, program(t, l.Gateway, "run", "-c", policy, "--install-rules", "--socket", "none", "--state", "none"), 3, tt.says)
			if after := iptablesRules(t, l); after != before {
				t.Errorf("iptables rules:\n%s\nbefore:\n%s", after, before)
			}
			judges(t, l, w, to)
		})
	}
	f.cmd.Process.Signal(syscall.SIGKILL)
	<-f.ended
	if left := iptablesRules(t, l); left != before {
		t.Fatalf("a killed daemon has left\n%s", left)
	}
	next := startFirewall(t, l, "[queue]\nnumber = 7\nworkers = 2\n"+partnerPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) { judges(t, l, w, netip.AddrPortFrom(server, 443)) })
	next.stop()
	if left := iptablesRules(t, l); strings.Contains(left, "TLSGATE") {
		t.Errorf("at its end:\n%s", left)
	}
}

// TestIntegrationWithoutIPv6: on a gateway where IPv6 is switched off the daemon runs; where
// its half of the rules cannot be put in place it does not, says so, and leaves no other half.
func TestIntegrationWithoutIPv6(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	to := netip.AddrPortFrom(l.Server.IPv4, 443)
	policy := filepath.Join(t.TempDir(), "policy.toml")
	write(t, policy, partnerPolicy)
	args := []string{"run", "-c", policy, "--install-rules", "--socket", "none", "--state", "none"}
	for _, tt := range []struct{ name, save, restore, says string }{
		// As with ipv6.disable=1 (legacy), in a container without the module, and when
		// the second step alone fails.
		{"no address family", "echo \"ip6tables-save v1.8.9 (legacy): Cannot initialize: Address family not supported by protocol\" >&2; exit 1", "", "Address family not supported by protocol"},
		{"no table", "echo \"ip6tables-save v1.8.9 (legacy): can't initialize ip6tables table \\`mangle': Table does not exist (do you need to insmod?)\" >&2; exit 3", "", "hint: the kernel needs the mangle table"},
		{"no restore", "", "echo 'ip6tables-restore: line 1 failed' >&2; exit 1", "line 1 failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, script := range map[string]string{"ip6tables-save": tt.save, "ip6tables-restore": tt.restore} {
				if script == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			checkFailure(t, program(t, l.Gateway, args...), 3, []string{"ip6tables", tt.says})
			if left := output(t, l.Gateway, "iptables-save", "-t", "mangle"); strings.Contains(left, "TLSGATE") {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
	t.Run("no ip6tables", func(t *testing.T) {
		dir := t.TempDir()
		hide := fmt.Sprintf(`cp -a /usr/sbin/iptables* /usr/sbin/xtables* %s && mount --bind %s /usr/sbin && exec "$0" "$@"`, dir, dir)
		cmd := wrapped(t, l, []string{"unshare", "--mount", "sh", "-c", hide}, args...)
		checkFailure(t, cmd, 3, []string{"ip6tables-save", "hint: install iptables"})
	})
	t.Run("switched off", func(t *testing.T) {
		for _, scope := range []string{"all", "default"} {
			if err := l.Gateway.Sysctl(fmt.Sprintf("net.ipv6.conf.%s.disable_ipv6", scope), "1"); err != nil {
				t.Fatal(err)
			}
		}
		f := startFirewall(t, l, partnerPolicy)
		judges(t, l, w, to)
		judges(t, l, w, to)
		if s := f.said(); strings.Contains(s, "error") || strings.Contains(s, "warning") {
			t.Error(s)
		}
		f.stop()
		if left := iptablesRules(t, l); strings.Contains(left, "TLSGATE") {
			t.Errorf("at its end:\n%s", left)
		}
	})
}
