package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationEventsNobodyReads: a daemon whose output goes nowhere, into a pipe that
// nobody reads, or into one whose reader has gone, judges as ever, and ends when it is told
// to, with its rules.
func TestIntegrationEventsNobodyReads(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	to := netip.AddrPortFrom(l.Server.IPv4, 443)
	pipe := func(t *testing.T) (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	for _, tt := range []struct {
		name string
		by   []string // what starts it
		set  func(t *testing.T, cmd *exec.Cmd) (began func())
		lost bool
	}{
		{"both closed", []string{"sh", "-c", `exec "$0" "$@" >&- 2>&-`}, func(*testing.T, *exec.Cmd) func() { return func() {} }, false},
		{"nobody reads", []string{"env"}, func(t *testing.T, cmd *exec.Cmd) func() {
			_, out := pipe(t)
			fill := make([]byte, 4096)
			out.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			for {
				if _, err := out.Write(fill); err != nil {
					break
				}
			}
			cmd.Stdout = out
			return func() {}
		}, false},
		{"readers gone", []string{"env"}, func(t *testing.T, cmd *exec.Cmd) func() {
			out, outs := pipe(t)
			errs, errors := pipe(t)
			cmd.Stdout, cmd.Stderr = outs, errors
			return func() { out.Close(); errs.Close() }
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &firewall{t: t, policy: filepath.Join(t.TempDir(), "policy.toml"), ended: make(chan struct{})}
			write(t, f.policy, partnerPolicy)
			dir, err := os.MkdirTemp("", "tlsgate")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			f.socket = filepath.Join(dir, "s")
			cmd := wrapped(t, l, tt.by, "run", "-c", f.policy, "--install-rules", "--socket", f.socket, "--state", "none")
			began := tt.set(t, cmd)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { cmd.Wait(); close(f.ended) }()
			t.Cleanup(func() { cmd.Process.Kill(); <-f.ended })
			if !within(10*time.Second, func() bool {
				return strings.Contains(output(t, l.Gateway, "ip6tables-save", "-t", "mangle"), "NFQUEUE")
			}) {
				t.Fatal("it does not begin")
			}
			began()
			for range 20 {
				judges(t, l, w, to)
			}
			if lost := f.statsNow().Events["lost"]; (lost > 0) != tt.lost {
				t.Errorf("%d events lost", lost)
			}
			f.rewrite(forbidding("other.example"))
			if _, errs, code := f.ask(l, "reload"); code != 0 {
				t.Errorf("reload: %d: %s", code, errs)
			}
			cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-f.ended:
			case <-time.After(10 * time.Second):
				t.Error("it does not end")
			}
			if left := iptablesRules(t, l); strings.Contains(left, "TLSGATE") {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

// TestIntegrationEventsRotated moves and deletes the file of events under load: of each
// connection an event is in one of the files, but where one was deleted.
func TestIntegrationEventsRotated(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	path := filepath.Join(t.TempDir(), "events.json")
	f := startFirewall(t, l, partnerPolicy, "--events", path)
	to := netip.AddrPortFrom(l.Server.IPv4, 443)
	var from []uint16
	some := func() {
		for range 10 {
			c := dial(t, l, to)
			from = append(from, netip.MustParseAddrPort(c.LocalAddr().String()).Port())
			if _, err := exchange(c, goodSuite, 1000); err != nil {
				t.Error(err)
			}
			w.next(t)
			time.Sleep(20 * time.Millisecond)
		}
	}
	files := []string{path + ".1", path + ".2", path}
	for _, moved := range files[:2] {
		some()
		if err := os.Rename(path, moved); err != nil {
			t.Fatal(err)
		}
		within(5*time.Second, func() bool {
			some()
			_, err := os.Stat(path)
			return err == nil
		})
	}
	some()
	f.stop()
	told := map[uint16]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Errorf("%s: %s: %v", name, line, err)
			}
			if e.Type == "tls" {
				told[e.SrcPort] = true
			}
		}
	}
	for _, port := range from {
		if !told[port] {
			t.Errorf("nothing is told of the connection from port %d", port)
		}
	}
}
