package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/engine"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
	"tlsgate/internal/state"
)

// readState is what a state file holds that no daemon has.
func readState(t testing.TB, path string) *state.State {
	t.Helper()
	k, s, err := state.Open(state.Config{File: path, Warn: func(text string) { t.Error(text) }})
	if err != nil {
		t.Fatal(err)
	}
	k.Release()
	return s
}

// kill ends the daemon as nobody should.
func (f *firewall) kill() {
	f.cmd.Process.Kill()
	<-f.ended
}

// awaitState waits until a daemon has written a session that began after some time.
func awaitState(t testing.TB, path string, after time.Time) {
	t.Helper()
	ok := within(10*time.Second, func() bool {
		b, _ := os.ReadFile(path + ".sessions")
		for line := range strings.Lines(string(b)) {
			_, began, _ := strings.Cut(line, `"began":`)
			var at int64
			if fmt.Sscanf(began, "%d", &at); at > after.UnixNano() {
				return true
			}
		}
		return false
	})
	if !ok {
		t.Errorf("%s: no session that began after %s", path, after)
	}
}

// TestIntegrationSessionsKnown resumes sessions after a restart, and after one that
// nobody was prepared for: those that an earlier run has seen begin pass, with the
// certificate of their beginning, others do not. Without the file none is known.
func TestIntegrationSessionsKnown(t *testing.T) {
	labtest.Program(t, "openssl")
	l := labtest.New(t, lab.Options{})
	for _, tt := range resumptions {
		t.Run(tt.name, func(t *testing.T) {
			dir := files(t, l, 1)
			startServer(t, l, dir, "openssl", append([]string{"s_server", "-accept", "443", "-www",
				"-cert", "rsa.pem", "-key", "rsa.key", "-cipher", "ALL:@SECLEVEL=0"}, tt.server...)...)
			at := func(name string, server netip.Addr) string {
				return filepath.Join(dir, fmt.Sprintf("%s.%t", name, server.Is6()))
			}
			visit := func(t *testing.T, server netip.Addr, how, session string) *said {
				return runOn(t, l.Client, "GET / HTTP/1.0\r\n\r\n", "openssl", append([]string{"s_client", "-connect",
					netip.AddrPortFrom(server, 443).String(), "-servername", "server.lab.example", how, session}, tt.client...)...)
			}
			families(t, l, func(t *testing.T, server netip.Addr) {
				if s := visit(t, server, "-sess_out", at("old", server)); s.exit != nil {
					t.Fatalf("before the firewall: %s", s)
				}
			})
			path := filepath.Join(dir, "state")
			policy := fmt.Sprintf(sessionsPolicy, "0s", tt.unseen) + "[state]\nevery = \"1s\"\n"
			f := startFirewall(t, l, policy, "--state", path)
			print := map[netip.Addr]string{}
			families(t, l, func(t *testing.T, server netip.Addr) {
				began := time.Now()
				if s := visit(t, server, "-sess_out", at("new", server)); s.exit != nil || !strings.Contains(s.out, "New, ") {
					t.Errorf("a full handshake: %s", s)
				}
				e := f.wait("a full handshake", func(e event) bool { return e.Type == "tls" && e.Dest == server })
				if print[server] = e.TLS.Fingerprint; print[server] == "" && tt.unseen == "" {
					t.Errorf("no certificate: %+v", e)
				}
				awaitState(t, path, began)
			})
			again := func(t *testing.T) {
				f = startFirewall(t, l, policy, "--state", path)
				families(t, l, func(t *testing.T, server netip.Addr) {
					// In TLS 1.3 one session of a client cannot be told from another.
					if s := visit(t, server, "-sess_in", at("old", server)); tt.resumes != "psk" && (s.exit == nil || !strings.Contains(s.err, "errno=104")) {
						t.Errorf("a session that began before all of us passed: %s", s)
					}
					if s := visit(t, server, "-sess_in", at("new", server)); s.exit != nil || !strings.Contains(s.out, "Reused, ") {
						t.Errorf("a session that began before the eyes of an earlier run: %s", s)
					}
					e := f.wait("a session that is known", func(e event) bool {
						return e.Type == "tls" && e.Dest == server && e.Ours.Resumption == "known"
					})
					if e.TLS.Fingerprint != print[server] || e.Ours.Session.FlowID != 0 || e.Ours.Verdict != "accept" || e.Ours.Inferred != (tt.resumes == "psk") {
						t.Errorf("known: %+v", e)
					}
				})
				if strings.Contains(f.said(), "warning") {
					t.Errorf("said: %s", f.said())
				}
			}
			f.stop()
			t.Run("stop", again)
			f.kill()
			t.Run("kill", again)
			f.kill()
			if err := os.Truncate(path+".sessions", 300); err != nil {
				t.Fatal(err)
			}
			f = startFirewall(t, l, policy, "--state", path)
			if said := f.said(); !strings.Contains(said, "warning: state file "+path+".sessions is not used: ") || !strings.Contains(said, "set aside") {
				t.Errorf("said of a file that is cut: %s", said)
			}
			families(t, l, func(t *testing.T, server netip.Addr) {
				if s := visit(t, server, "-sess_in", at("new", server)); s.exit == nil {
					t.Errorf("a session passed that nobody knows: %s", s)
				}
			})
		})
	}
}

// paced reads what lab.Pattern gives, at leisure, until done.
func paced(c net.Conn, read *atomic.Int64, done <-chan struct{}) error {
	want := lab.Pattern(1 << 40)
	got, expect := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		select {
		case <-done:
			return nil
		case <-time.After(2 * time.Millisecond):
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		io.ReadFull(want, expect)
		if !bytes.Equal(got, expect) {
			return fmt.Errorf("other bytes than those sent, behind %d", read.Load())
		}
		read.Add(int64(len(got)))
	}
}

// TestIntegrationRestarts stops and kills the daemon under transfers, and starts it
// again, while the rules stay. What was accepted goes on, bit by bit, with a daemon
// and without; what was refused stays refused, although what began unseen is
// accepted.
func TestIntegrationRestarts(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	policy := strings.Replace(partnerPolicy, `"reset"`, `"drop"`, 1) + "\n[default]\nmidstream = \"accept\"\n"
	if !strings.Contains(policy, `"drop"`) {
		t.Fatal("the policy does not drop")
	}
	// Who is refused by an earlier run is reset by a later one; these never hear it.
	for _, h := range []*lab.Host{l.Client, l.Server} {
		for _, program := range []string{"iptables", "ip6tables"} {
			output(t, h, program, "-w", "5", "-A", "INPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP")
		}
	}
	path := filepath.Join(t.TempDir(), "state")
	f := startFirewall(t, l, policy, "--state", path)
	if out, err := program(t, l.Gateway, "rules", "up", "-c", f.policy).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.kill() // the rules stay
	args := []string{"--state", path, "--install-rules=false"}
	f = startFirewall(t, l, policy, args...)

	done := make(chan struct{})
	var all sync.WaitGroup
	read := map[string]*atomic.Int64{}
	var refusedDone []<-chan error
	for _, address := range []string{"198.18.2.2:443", "[2001:db8:2::2]:443"} {
		c := tlsClient(t, l, address, tls.VersionTLS12)
		c.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(c, "download %d\n", int64(1)<<40)
		n := new(atomic.Int64)
		read[address] = n
		all.Go(func() {
			if err := paced(c, n, done); err != nil {
				t.Errorf("%s: behind %d bytes: %v", address, n.Load(), err)
			}
			c.NetConn().Close()
		})
		if !within(10*time.Second, func() bool { return n.Load() > 1<<20 }) {
			t.Fatalf("%s: %d bytes", address, n.Load())
		}
		// It says its hello again and again, and nobody ever tells it why not.
		refused := tlsClient(t, l, address, tls.VersionTLS13)
		refused.SetDeadline(time.Now().Add(time.Minute))
		end := make(chan error, 1)
		go func() { end <- refused.Handshake() }()
		refusedDone = append(refusedDone, end)
		all.Go(func() {
			<-done
			refused.NetConn().Close()
		})
	}
	f.wait("two refusals", func(event) bool { return len(f.drops()) == 2 })
	moved := func(what string) {
		t.Helper()
		for address, n := range read {
			if before := n.Load(); !within(10*time.Second, func() bool { return n.Load() > before+1<<20 }) {
				t.Errorf("%s: %s stands at %d bytes", what, address, n.Load())
			}
		}
		for _, end := range refusedDone {
			select {
			case err := <-end:
				t.Fatalf("%s: what was refused has ended: %v", what, err)
			default:
			}
		}
	}
	for round, end := range []func(){f.stop, nil, nil, nil} {
		if end == nil {
			end = f.stop
		}
		if round == 2 {
			end = f.kill
		}
		end()
		moved("without a daemon")
		f = startFirewall(t, l, policy, args...)
		moved("with another one")
		c := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS12)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		echo(t, c, "echo\nnew", "new")
		time.Sleep(time.Second) // hellos come again
	}
	moved("at the end")
	close(done)
	all.Wait()
	for _, end := range refusedDone {
		if err := <-end; err == nil {
			t.Error("a refused handshake came through")
		}
	}
	for _, d := range f.drops() {
		t.Errorf("refused: %+v", d)
	}
	f.stop()
	program(t, l.Gateway, "rules", "down").Run()
}

// fill writes a state file of n sessions.
func fill(t testing.TB, path string, n int) {
	t.Helper()
	ticket, _ := engine.ParseSessionKind("ticket")
	s := &state.State{}
	now := time.Now().UnixNano()
	for range n {
		k := engine.KnownSession{Server: netip.MustParseAddrPort("198.18.2.2:443"), By: ticket, Used: now, Began: engine.Began{Time: now}}
		for j := range k.Key {
			k.Key[j] = byte(rand.Uint32())
		}
		s.Sessions = append(s.Sessions, k)
	}
	k, _, err := state.Open(state.Config{File: path, Collect: func(bool) *state.State { return s }})
	if err != nil {
		t.Fatal(err)
	}
	k.Start()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestIntegrationStateKill kills the daemon while it writes, under traffic: the file
// is one each time, and knows what it knew.
func TestIntegrationStateKill(t *testing.T) {
	kills := killsOr(t, 30)
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	const sessions = 30000
	path := filepath.Join(t.TempDir(), "state")
	fill(t, path, sessions)
	policy := partnerPolicy + "\n[state]\nevery = \"1s\"\n[limits]\nsessions = 1000000\n" // each has a place of its own
	traffic := startHammer(t, l, 4, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	cut := 0
	for kill := range kills {
		// Of what it tells, a kill may cut a line.
		f := startFirewall(t, l, policy, "--state", path, "--events", "none")
		time.Sleep(850*time.Millisecond + time.Duration(rand.IntN(350))*time.Millisecond)
		f.kill()
		if _, err := os.Stat(path + ".sessions.new"); err == nil {
			cut++
		}
		if s := readState(t, path); len(s.Sessions) < sessions {
			t.Errorf("kill %d: %d sessions of %d", kill, len(s.Sessions), sessions)
		}
		if strings.Contains(f.said(), "warning") {
			t.Errorf("kill %d: %s", kill, f.said())
		}
	}
	traffic.stop()
	t.Logf("%d of %d kills hit it while it wrote; %d handshakes", cut, kills, traffic.passed.Load())
	if traffic.passed.Load() == 0 {
		t.Error("there was no traffic")
	}
}

// startedIn starts the daemon in a mount namespace of its own, prepared by a
// script, and returns when it runs.
func startedIn(t *testing.T, l *lab.Lab, script string, args ...string) (said func() string) {
	t.Helper()
	cmd := wrapped(t, l, []string{"unshare", "--mount", "sh", "-c", script + ` && exec "$0" "$@"`}, args...)
	var mu sync.Mutex
	var out bytes.Buffer
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for b := make([]byte, 4096); ; {
			n, err := pipe.Read(b)
			mu.Lock()
			out.Write(b[:n])
			mu.Unlock()
			if err != nil {
				cmd.Wait()
				return
			}
		}
	}()
	said = func() string {
		mu.Lock()
		defer mu.Unlock()
		return out.String()
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			t.Error("it does not end")
		}
	})
	if !within(10*time.Second, func() bool { return strings.Contains(said(), "tlsgate: running") }) {
		t.Fatalf("it does not run: %s", said())
	}
	return said
}

// TestIntegrationStateTrouble: a file that cannot be had ends a daemon that was told
// to have it, and no other; one that cannot be written ends none, and health says so.
func TestIntegrationStateTrouble(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.toml")
	if err := os.WriteFile(policy, []byte("[state]\nevery = \"1s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	if len(socket) > 100 {
		t.Fatal("the path of the socket is too long")
	}
	run := []string{"run", "-c", policy, "--socket", socket}
	path := filepath.Join(dir, "state")
	taken, _, err := state.Open(state.Config{File: path})
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	os.Symlink(path, link)
	for _, tt := range []struct{ file, says string }{
		{path, "another daemon keeps its state there"},
		{link, "symbolic link"},
		{dir, "is there that is no file"},
		{filepath.Join(dir, "nowhere", "state"), "no such file or directory"},
	} {
		checkFailure(t, program(t, l.Gateway, append(run, "--state", tt.file)...), 3, []string{"state file " + tt.file, tt.says, "hint:"})
	}
	taken.Release()

	t.Run("default", func(t *testing.T) {
		said := startedIn(t, l, "mount -t tmpfs -o ro none /var/lib", run...)
		if s := said(); !strings.Contains(s, "tlsgate: warning: state file /var/lib/tlsgate/queue-0.state: ") || !strings.Contains(s, "read-only") {
			t.Errorf("said: %s", s)
		}
		if out, err := program(t, l.Gateway, "health", "--socket", socket).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("full", func(t *testing.T) {
		fill := "mount -t tmpfs -o size=4k none /var/lib && { dd if=/dev/zero of=/var/lib/full bs=4k count=1 2>/dev/null || true; }"
		said := startedIn(t, l, fill, run...)
		if !within(10*time.Second, func() bool { return strings.Contains(said(), "no space left on device") }) {
			t.Errorf("said: %s", said())
		}
		var exit interface{ ExitCode() int }
		out, err := program(t, l.Gateway, "health", "--socket", socket).CombinedOutput()
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "state: state file") {
			t.Errorf("health: %v, %s", err, out)
		}
		time.Sleep(1500 * time.Millisecond)
		for _, file := range []string{"queue-0.state", "queue-0.state.sessions"} {
			if n := strings.Count(said(), file+": no space left on device"); n != 1 {
				t.Errorf("said of %s %d times: %s", file, n, said())
			}
		}
	})
}

// TestIntegrationGatesKnown: a gate that was opened by hand is open after a kill, one
// that was closed again is closed after a stop.
func TestIntegrationGatesKnown(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w, shook := greeted(t, l)
	path := filepath.Join(t.TempDir(), "state")
	f := startFirewall(t, l, holdPolicy, "--state", path)
	to := netip.AddrPortFrom(l.Server.IPv4, 443)
	change := func(args ...string) {
		t.Helper()
		if out, errs, code := f.ask(l, append([]string{"open"}, args...)...); code != 0 {
			t.Fatalf("open %v: %d %s%s", args, code, out, errs)
		}
	}
	change("--rule", "quarantine")
	if !within(3*time.Second, func() bool {
		b, _ := os.ReadFile(path)
		return strings.Contains(string(b), `"quarantine"`)
	}) {
		t.Error("it is not written")
	}
	f.kill()
	f = startFirewall(t, l, holdPolicy, "--state", path)
	say, hear := request(1000, 1000)
	c := dial(t, l, to)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if _, err := io.WriteString(conn, say); err != nil {
		t.Error(err)
	}
	through(t, conn, w, hear)
	<-shook
	change("--rule", "quarantine", "--close")
	f.stop()
	f = startFirewall(t, l, holdPolicy, "--state", path)
	conn, _ = held(t, l, shook, to, tls.VersionTLS13, say)
	conn.NetConn().Close()
}
