package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// asProgram in the environment makes the test binary be tlsgate itself, so that
// the tests run what they were compiled with.
const asProgram = "TLSGATE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // as main does
	if os.Getenv(asProgram) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(labtest.Main(m))
}

// program is tlsgate with arguments, on a host of the lab.
func program(t testing.TB, h *lab.Host, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.Command(context.Background(), self, args...)
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, asProgram+"=1")
	return cmd
}

// event is what tests read of an event.
type event struct {
	Time     string     `json:"timestamp"`
	Type     string     `json:"event_type"`
	FlowID   uint64     `json:"flow_id"`
	SrcIP    netip.Addr `json:"src_ip"`
	SrcPort  uint16     `json:"src_port"`
	Dest     netip.Addr `json:"dest_ip"`
	DestPort uint16     `json:"dest_port"`
	TLS      struct {
		Version     string
		SNI         string
		Fingerprint string
		Resumed     bool `json:"session_resumed"`
	}
	Ours struct {
		Verdict, Rule, Reason, Detail, Cipher, Group, Stage, Protocol, Via string

		Resumption string
		Inferred   bool `json:"resumption_inferred"`
		Resumes    []string
		Session    struct {
			FlowID uint64 `json:"flow_id"`
		}

		AlertSent string `json:"alert_sent"`
		Packet    uint64
		Observed  bool
		Grace     bool
		Midstream bool
		Offloaded bool
	} `json:"tlsgate"`
	Stats json.RawMessage
}

// firewall is a running daemon in the lab's gateway.
type firewall struct {
	t      testing.TB
	cmd    *exec.Cmd
	policy string // file
	socket string

	mu     sync.Mutex
	events []event
	lines  []string
	stderr bytes.Buffer
	ended  chan struct{}
}

// startFirewall runs the daemon with a policy, rules installed, and waits until
// it is ready. It is stopped when the test ends. It has no state file unless args
// say so: all gateways share one file system.
func startFirewall(t testing.TB, l *lab.Lab, policy string, args ...string) *firewall {
	t.Helper()
	return startFirewallOn(t, l.Gateway, policy, args...)
}

// startFirewallOn is startFirewall on any host.
func startFirewallOn(t testing.TB, h *lab.Host, policy string, args ...string) *firewall {
	t.Helper()
	f := &firewall{t: t, policy: filepath.Join(t.TempDir(), "policy.toml"), ended: make(chan struct{})}
	if err := os.WriteFile(f.policy, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tlsgate") // t.TempDir is too long for some sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f.socket = filepath.Join(dir, "s")
	f.cmd = program(t, h, append([]string{"run", "-c", f.policy, "--install-rules", "--socket", f.socket, "--state", "none"}, args...)...)
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := f.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	ready := make(chan struct{})
	reading.Go(func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			f.mu.Lock()
			f.stderr.WriteString(lines.Text() + "\n")
			f.mu.Unlock()
			if strings.Contains(lines.Text(), "tlsgate: running") {
				close(ready)
			}
		}
	})
	var half string // of a line, at the end
	reading.Go(func() {
		lines := bufio.NewReader(stdout)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				half = line
				return
			}
			line = strings.TrimSuffix(line, "\n")
			var e event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Errorf("event %s: %v", line, err)
			}
			f.mu.Lock()
			f.events, f.lines = append(f.events, e), append(f.lines, line)
			f.mu.Unlock()
		}
	})
	go func() {
		reading.Wait()
		f.cmd.Wait()
		if how := f.cmd.ProcessState.Sys().(syscall.WaitStatus); half != "" && how.Signal() != syscall.SIGKILL {
			t.Errorf("half an event, and nobody killed the firewall: %s", half)
		}
		close(f.ended)
	}()
	t.Cleanup(f.stop)
	select {
	case <-ready:
	case <-f.ended:
		t.Fatalf("the firewall did not start: %s", f.said())
	case <-time.After(10 * time.Second):
		t.Fatalf("the firewall is not ready after 10 s: %s", f.said())
	}
	return f
}

// said is what the daemon printed to standard error.
func (f *firewall) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stderr.String()
}

// stop ends the daemon as an administrator does, and waits for it.
func (f *firewall) stop() {
	f.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-f.ended:
	case <-time.After(10 * time.Second):
		f.cmd.Process.Kill()
		f.t.Errorf("the firewall did not stop on SIGTERM")
		<-f.ended
	}
}

// wait returns the first event that fits, waiting for it for a moment.
func (f *firewall) wait(what string, fits func(event) bool) event {
	f.t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		for _, e := range f.all() {
			if fits(e) {
				return e
			}
		}
		if time.Now().After(end) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.t.Fatalf("no event: %s; there are:\n%s", what, strings.Join(f.lines, "\n"))
		}
	}
}

// all returns the events so far.
func (f *firewall) all() []event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]event(nil), f.events...)
}

// drops returns the drop events so far.
func (f *firewall) drops() []event {
	var drops []event
	for _, e := range f.all() {
		if e.Type == "drop" {
			drops = append(drops, e)
		}
	}
	return drops
}

// take returns the events so far, and drops them.
func (f *firewall) take() []event {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.events
	f.events, f.lines = nil, nil
	return taken
}

// forget drops the events so far.
func (f *firewall) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events, f.lines = nil, nil
}
