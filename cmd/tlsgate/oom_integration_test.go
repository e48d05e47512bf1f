package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// confine puts a process into a control group of its own that has no more memory than
// that, from now on: what it takes beyond has the kernel kill it.
func confine(t *testing.T, pid int, bytes int64) {
	t.Helper()
	file, dir := "", ""
	for _, g := range controlGroups("/proc/self/cgroup", "/proc/self/mountinfo") {
		at := filepath.Join(g.at, fmt.Sprintf("tlsgate-test-%d", pid))
		if os.Mkdir(at, 0o700) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(at, g.file)); err == nil {
			file, dir = g.file, at
			break
		}
		os.Remove(at)
	}
	if dir == "" {
		labtest.Missing(t, errors.New("missing: a control group for memory that may be made here"))
	}
	t.Cleanup(func() {
		if !within(10*time.Second, func() bool { return os.Remove(dir) == nil }) {
			b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			t.Errorf("processes are left: %s", b)
		}
	})
	for _, f := range []struct{ name, value string }{{file, strconv.FormatInt(bytes, 10)}, {"cgroup.procs", strconv.Itoa(pid)}} {
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.value), 0o600); err != nil {
			labtest.Missing(t, fmt.Errorf("missing: a control group for memory: %w", err))
		}
	}
}

// TestIntegrationNoMemory: the kernel kills a daemon under load for want of memory, or
// gives it no more. Nothing that is refused passes before or after, what was accepted
// goes on, and the next daemon finds all as it should be.
func TestIntegrationNoMemory(t *testing.T) {
	for _, how := range []string{"killed", "refused"} {
		t.Run(how, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
				t.Fatal(err)
			}
			labtest.Program(t, "iptables")
			output(t, l.Server, "iptables", "-w", "5", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", "446", "-j", "DROP")
			policy := partnerPolicy + "\n[intercept]\nports = [\"443-446\"]\n[default]\nmidstream = \"inspect\"\n"
			f := startFirewall(t, l, policy)
			lasting := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS12)
			lasting.SetDeadline(time.Now().Add(time.Minute))
			echo(t, lasting, "echo\nbefore", "before")
			echo(t, lasting, "more", "more")

			refused := startHammer(t, l, 4, &tls.Config{InsecureSkipVerify: true})
			pid := f.cmd.Process.Pid
			if how == "killed" {
				confine(t, pid, 12<<20)
			} else {
				vm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
				if err != nil {
					t.Fatal(err)
				}
				pages, _ := strconv.ParseUint(strings.Fields(string(vm))[0], 10, 64)
				most := unix.Rlimit{Cur: pages * uint64(os.Getpagesize()), Max: pages * uint64(os.Getpagesize())}
				if err := unix.Prlimit(pid, unix.RLIMIT_AS, &most, nil); err != nil {
					t.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var flooding sync.WaitGroup
			flooding.Go(func() { floodSYNs(ctx, l) })
			select {
			case <-f.ended:
			case <-time.After(30 * time.Second):
				t.Fatalf("it lives without memory: %d kB resident", f.statsNow().Process.RSSBytes>>10)
			}
			status := f.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if killed := status.Signaled() && status.Signal() == syscall.SIGKILL; killed != (how == "killed") || !killed && status.ExitStatus() == 0 {
				t.Errorf("ended with %v: %s", f.cmd.ProcessState, clip(f.said()))
			}
			echo(t, lasting, "without", "without")
			if out := iptablesSave(t, l); !strings.Contains(out, "NFQUEUE") {
				t.Errorf("the rules are gone:\n%s", out)
			}
			f = startFirewall(t, l, policy)
			echo(t, lasting, "after", "after")
			stop()
			flooding.Wait()
			refused.stopRefused(t)
			if err := honestOnce12(t, l); err != nil {
				t.Errorf("a new connection: %v", err)
			}
			f.stop()
			if out := iptablesSave(t, l); strings.Contains(out, "TLSGATE") {
				t.Errorf("rules are left:\n%s", out)
			}
			if _, err := os.Lstat(f.socket); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
}
