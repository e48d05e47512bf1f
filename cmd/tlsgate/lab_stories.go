package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"tlsgate/internal/lab"
)

// story is a policy and what clients try under it.
type story struct {
	title  string
	policy string // its text, or
	file   string // where it is
	tries  []try
}

const partnerPolicy = `# The partner bank: its firewall allows six cipher suites.
[sets]
partner = [
  "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES128-SHA256",     "ECDHE-RSA-AES256-SHA384",
  "ECDHE-RSA-AES128-SHA",        "ECDHE-RSA-AES256-SHA",
]

[[rule]]
name      = "partner"
match     = { destination = ["198.18.2.0/24", "2001:db8:2::/64"], port = 443 }
require   = { cipher = "@partner" }
action    = "accept"
otherwise = "reset"
`

const singlePolicy = `# The single connection: the handshake may pass, application data may not.
[[rule]]
name      = "handshake-only"
match     = { port = 443 }
require   = { content_type = ["handshake", "change_cipher_spec", "alert"] }
otherwise = "reset"
`

var stories = []story{
	{title: "The partner bank: six cipher suites are allowed", policy: partnerPolicy, tries: partnerTries},
	{title: "The single connection: the handshake passes, application data does not", policy: singlePolicy, tries: singleTries},
}

// stage is where stories are told.
type stage struct {
	lab      *lab.Lab
	dir      string
	out, err io.Writer
	tap      *tap // of the firewall running now
}

// tell runs one story.
func (s *stage) tell(ctx context.Context, st story, keep bool) error {
	file := st.file
	if file == "" {
		file = filepath.Join(s.dir, "policy.toml")
		if err := os.WriteFile(file, []byte(st.policy), 0o600); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "\n%s\n%s\n", st.title, strings.Repeat("=", len(st.title)))
	stop, err := s.firewall(ctx, file)
	if err != nil {
		return err
	}
	defer stop()
	for _, t := range st.tries {
		if t.program != "" {
			if _, err := exec.LookPath(t.program); err != nil {
				fmt.Fprintf(s.out, "\n  %s\n    not tried: there is no %s here\n", t.title, t.program)
				continue
			}
		}
		s.report(t, t.run(ctx, s))
		if ctx.Err() != nil {
			return nil
		}
	}
	if keep {
		s.keep(ctx)
	}
	return nil
}

// keep leaves everything up until Ctrl-C.
func (s *stage) keep(ctx context.Context) {
	fmt.Fprintf(s.out, "\nHosts, server (port 443) and firewall stay up until Ctrl-C. To enter them:\n")
	for _, h := range []*lab.Host{s.lab.Client, s.lab.Gateway, s.lab.Server} {
		fmt.Fprintf(s.out, "  %-8s %s\n", h.Name, h.EnterLine())
	}
	<-ctx.Done()
}

// firewall starts this very program on the gateway's queue and waits until it
// has its rules in place.
func (s *stage) firewall(ctx context.Context, policy string) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := s.lab.Gateway.Command(context.WithoutCancel(ctx), self, "run", "-c", policy, "--install-rules", "--events", "-", "--socket", "none")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the firewall: %w", err)
	}
	s.tap = newTap(stdout)
	lines := bufio.NewScanner(stderr)
	running := false
	var said []string
	for !running && lines.Scan() {
		running = strings.Contains(lines.Text(), "tlsgate: running")
		said = append(said, lines.Text())
	}
	if !running {
		cmd.Wait()
		return nil, fmt.Errorf("the firewall did not start: %s", strings.Join(said, "; "))
	}
	go io.Copy(s.err, stderr)
	return func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		s.tap.wait()
		cmd.Wait()
	}, nil
}

// seen is what the lab reads of an event.
type seen struct {
	Type string `json:"event_type"`
	Port uint16 `json:"src_port"`
	Ours struct {
		Verdict, Rule, Reason, Detail, Cipher string
	} `json:"tlsgate"`
	TLS struct{ Version string } `json:"tls"`
}

// tap reads the firewall's events.
type tap struct {
	mu     sync.Mutex
	events []seen
	done   chan struct{}
}

func newTap(r io.Reader) *tap {
	t := &tap{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var e seen
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				t.mu.Lock()
				t.events = append(t.events, e)
				t.mu.Unlock()
			}
		}
	}()
	return t
}

func (t *tap) wait() { <-t.done }

// take returns the events since the last take: a refusal if there is one, else
// what the handshake said. It waits a moment for the first.
func (t *tap) take() (e seen, found bool) {
	for range 20 {
		t.mu.Lock()
		for _, x := range t.events {
			if x.Type == "drop" || x.Type == "tls" && !found {
				e, found = x, true
			}
		}
		t.mu.Unlock()
		if found && e.Type == "drop" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.mu.Lock()
	t.events = nil
	t.mu.Unlock()
	return e, found
}

// report prints a try: what came of it at the client, and what the firewall says.
func (s *stage) report(t try, client string) {
	fmt.Fprintf(s.out, "\n  %s\n    client    %s\n", t.title, client)
	e, found := s.tap.take()
	switch {
	case !found:
		fmt.Fprintf(s.out, "    firewall  not TLS: passed\n")
	case e.Type == "drop":
		fmt.Fprintf(s.out, "    firewall  %s, %s: %s\n", e.Ours.Verdict, e.Ours.Reason, e.Ours.Detail)
	default:
		fmt.Fprintf(s.out, "    firewall  %s %s: %s %s\n", e.Ours.Verdict, e.Ours.Rule, e.TLS.Version, e.Ours.Cipher)
	}
}

// server is the server's address, of the IP version asked for.
func (s *stage) server(ipv6 bool) netip.AddrPort {
	a := s.lab.Server.IPv4
	if ipv6 && s.lab.Server.IPv6.IsValid() {
		a = s.lab.Server.IPv6
	}
	return netip.AddrPortFrom(a, 443)
}
