package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/internal/control"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// rewrite puts another policy in the place of the firewall's file, at once.
func (f *firewall) rewrite(policy string) {
	f.t.Helper()
	next := f.policy + ".new"
	if err := os.WriteFile(next, []byte(policy), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(next, f.policy); err != nil {
		f.t.Fatal(err)
	}
}

// reload has the firewall take another policy, and returns what it says of it.
func (f *firewall) reload(l *lab.Lab, policy string) (r control.Reloaded) {
	f.t.Helper()
	f.rewrite(policy)
	out, errs, code := f.ask(l, "reload", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		f.t.Fatalf("reload: %d, %v: %s%s", code, err, out, errs)
	}
	return r
}

// iptablesRules are the rules of the gateway, without the hour at which they are printed.
func iptablesRules(t *testing.T, l *lab.Lab) (rules string) {
	t.Helper()
	for line := range strings.Lines(iptablesSave(t, l)) {
		if line[0] == '-' {
			rules += line
		}
	}
	return rules
}

// forbidding is a policy that forbids a server name.
func forbidding(name string) string {
	return "[[rule]]\nname = \"no\"\nmatch = { sni = \"" + name + "\" }\naction = \"reset\"\n"
}

// TestIntegrationReload: connections that the new policy forbids are reset wherever they
// are, at once; the others notice nothing, and the next ones are judged by it.
func TestIntegrationReload(t *testing.T) {
	for _, offload := range []bool{true, false} {
		t.Run(fmt.Sprintf("offload=%v", offload), func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			w := watchTLS(t, l, &tls.Config{})
			first := fmt.Sprintf("[intercept]\noffload = %v\n", offload)
			f := startFirewall(t, l, first)
			families(t, l, func(t *testing.T, server netip.Addr) {
				to := netip.AddrPortFrom(server, 443)
				for _, quiet := range []bool{true, false} {
					reloadOne(t, l, f, w, to, quiet, first)
				}
			})
		})
	}
}

func reloadOne(t *testing.T, l *lab.Lab, f *firewall, w *witness, to netip.AddrPort, quiet bool, first string) {
	t.Helper()
	if r := f.reload(l, first); len(r.Warnings) != 0 {
		t.Errorf("back to the first policy: %+v", r)
	}
	before := iptablesRules(t, l)
	type party struct {
		conn  *tls.Conn
		ended chan error
	}
	open := func(name string) party {
		c := dial(t, l, to)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(visitTime))
		p := party{tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: name}), make(chan error, 1)}
		const n = 4 << 20 // more than any window, in the kernel
		say := fmt.Sprintf("exchange %d %d\n", n, int64(1)<<40)
		if quiet { // the server waits for the other half
			say = fmt.Sprintf("exchange %d 1\n", 2*n)
		}
		go io.WriteString(p.conn, say+pattern(n))
		if quiet {
			time.Sleep(300 * time.Millisecond)
		} else if _, err := io.CopyN(io.Discard, p.conn, n); err != nil {
			t.Fatal(err)
		}
		go func() { _, err := io.Copy(io.Discard, p.conn); p.ended <- err }()
		return p
	}
	good, bad := open("good.lab.example"), open("bad.lab.example")
	if list := f.conns(l, "--sni", "bad.lab.example", "--verdict", "accept"); len(list) != 1 || list[0].Offloaded == strings.Contains(first, "false") {
		t.Fatalf("before: %+v", list)
	}
	r := f.reload(l, first+forbidding("bad.lab.example"))
	at := time.Now()
	if a := r.Connections; !r.Changed || !a.Done || a.Refused != 1 || a.Judged < 2 || a.Beyond != 0 || len(r.Warnings) != 0 {
		t.Errorf("reload: %+v", r)
	}
	select {
	case err := <-bad.ended:
		wasReset(t, "the client", err)
	case <-time.After(5 * time.Second):
		t.Error("the client has not noticed after 5 s")
	}
	v := w.next(t)
	if v.name != "bad.lab.example" || v.err == nil || time.Since(at) > 5*time.Second {
		t.Errorf("the server of %s saw %v, %s later", v.name, v.err, time.Since(at))
	}
	if e := eventOf(t, f, "drop", v); e.Ours.Rule != "no" || e.Ours.Reason != "rule" || !strings.Contains(e.Ours.Detail, "bad.lab.example") || e.TLS.SNI != "bad.lab.example" || e.TLS.Version != "TLS 1.3" {
		t.Errorf("event: %+v", e)
	}
	if list := f.conns(l, "--rule", "no"); len(list) == 0 || list[0].Verdict != "reset" {
		t.Errorf("listed: %+v", list)
	}
	select {
	case err := <-good.ended:
		t.Errorf("a permitted connection ends: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	for name, wrong := range map[string]bool{"bad.lab.example": true, "other.lab.example": false} {
		_, err := exchange(dial(t, l, to), &tls.Config{ServerName: name}, 1000)
		w.next(t)
		if (err != nil) != wrong {
			t.Errorf("a new connection to %s: %v", name, err)
		}
	}
	rules := control.RulesExchanged
	if strings.Contains(first, "false") { // they know nothing of policies
		rules = control.RulesFit
	}
	if after := iptablesRules(t, l); r.Rules != rules || (after == before) != (rules == control.RulesFit) || strings.Count(after, "-A TLSGATE") != strings.Count(before, "-A TLSGATE") {
		t.Errorf("%s, iptables rules:\n%s\nbefore:\n%s", r.Rules, after, before)
	}
	if out, _, code := f.ask(l, "health"); code != 0 || !strings.Contains(out, "1 rule,") || !strings.Contains(out, r.Policy.SHA256) || !strings.Contains(out, r.Policy.Loaded) {
		t.Errorf("health: %d: %s", code, out)
	}
	good.conn.Close()
	<-good.ended
	w.next(t)
	f.forget()
}

// unreadable are files in a policy's place that nobody, root neither, can read to the end.
var unreadable = []struct {
	name string
	make func(path string) error
	says string
}{
	{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
	{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file"},
	{"without end", func(path string) error { return os.Symlink("/dev/zero", path) }, "not a regular file"},
	{"a link to itself", func(path string) error { return os.Symlink(path, path) }, "too many levels of symbolic links"},
	{"a bad sector", func(path string) error { return os.Symlink("/proc/self/mem", path) }, "input/output error"},
	{"17 MiB", func(path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 17<<20))
	}, "larger than 16 MiB"},
}

// TestIntegrationReloadBroken: a file that is no policy, or none for this daemon, is
// told of where it is wrong, and changes nothing, whoever asks.
func TestIntegrationReloadBroken(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	f := startFirewall(t, l, forbidding("bad.lab.example"))
	rules := iptablesRules(t, l)
	to := netip.AddrPortFrom(l.Server.IPv4, 443)
	stands := func(what string) {
		t.Helper()
		for name, wrong := range map[string]bool{"bad.lab.example": true, "good.lab.example": false} {
			_, err := exchange(dial(t, l, to), &tls.Config{ServerName: name}, 1000)
			w.next(t)
			if (err != nil) != wrong {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
		if iptablesRules(t, l) != rules {
			t.Errorf("%s: the iptables rules have changed", what)
		}
	}
	for _, tt := range []struct {
		name, policy string
		code         int
		says         []string
	}{
		{"a value", "\n[[rule]]\nmatch = { sni = [\"a..b\"] }\naction = \"drop\"\n", 2, []string{"policy.toml:3: rule[1].match.sni: ", "hint: "}},
		{"half written", forbidding("bad.lab.example") + "[[rule]]\nmatch = { sni = [\"x", 2, []string{"policy.toml:6"}},
		{"two errors", "[queue]\nnumber = \"x\"\n[log]\nstats = 5\n", 2, []string{"2 errors:", "policy.toml:2: queue.number", "policy.toml:4: log.stats"}},
		{"another queue", forbidding("bad.lab.example") + "[queue]\nnumber = 7\n", 1, []string{"policy.toml:6: queue.number: cannot change", "runs with 0, and the file wants 7", "restart"}},
		{"another socket", "[control]\nsocket = \"/run/elsewhere\"\n[intercept]\nmark = \"0xff000000\"\n", 1, []string{"policy.toml:4: intercept.mark"}},
	} {
		f.rewrite(tt.policy)
		out, errs, code := f.ask(l, "reload")
		if code != tt.code || out != "" {
			t.Errorf("%s: exit code %d, want %d: %s%s", tt.name, code, tt.code, out, errs)
		}
		for _, s := range append(tt.says, "tlsgate: error: ") {
			if !strings.Contains(errs, s) {
				t.Errorf("%s: does not say %q: %s", tt.name, s, errs)
			}
		}
		if says := tt.says[0]; !within(3*time.Second, func() bool { return strings.Contains(f.said(), says) }) {
			t.Errorf("%s: the daemon says nothing of it: %s", tt.name, f.said())
		}
	}
	stands("after broken policies")
	os.Remove(f.policy)
	if _, errs, code := f.ask(l, "reload"); code != 2 || !strings.Contains(errs, "policy.toml: no such file") {
		t.Errorf("no file: %d: %s", code, errs)
	}
	f.cmd.Process.Signal(syscall.SIGHUP)
	if !within(3*time.Second, func() bool { return strings.Count(f.said(), "policy.toml: no such file") == 2 }) {
		t.Errorf("SIGHUP without a file: %s", f.said())
	}
	stands("without a file")
	for _, tt := range unreadable {
		if err := tt.make(f.policy); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if out, errs, code := f.ask(l, "reload"); code != 2 || out != "" || !strings.Contains(errs, "policy.toml: "+tt.says) {
			t.Errorf("%s: %d: %s%s", tt.name, code, out, errs)
		}
		os.Remove(f.policy)
	}
	stands("with a file that cannot be read")
	f.rewrite(forbidding("bad.lab.example"))
	if out, errs, code := f.ask(l, "reload"); code != 0 || !strings.Contains(out, "has not changed") {
		t.Errorf("the same again: %d: %s%s", code, out, errs)
	}
	f.rewrite(forbidding("good.lab.example"))
	f.cmd.Process.Signal(syscall.SIGHUP)
	if !within(5*time.Second, func() bool { return strings.Contains(f.said(), "is in force, 1 rule") }) {
		t.Fatalf("SIGHUP: %s", f.said())
	}
	if _, err := exchange(dial(t, l, to), &tls.Config{ServerName: "good.lab.example"}, 1000); err == nil {
		t.Error("SIGHUP: the new policy does not judge")
	}
}

// TestIntegrationReloadRules: a daemon whose rules are the administrator's says when they
// are not those of the policy, and only then.
func TestIntegrationReloadRules(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	dir := t.TempDir()
	socket, err := os.MkdirTemp("", "tlsgate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(socket) })
	f := &firewall{t: t, policy: filepath.Join(dir, "policy.toml"), socket: filepath.Join(socket, "s")}
	one, two := forbidding("one.lab.example"), forbidding("two.lab.example")
	f.rewrite(one)
	up := func() {
		t.Helper()
		if out, err := program(t, l.Gateway, "rules", "up", "-c", f.policy).CombinedOutput(); err != nil {
			t.Fatalf("rules up: %v: %s", err, out)
		}
	}
	up()
	f.cmd = program(t, l.Gateway, "run", "-c", f.policy, "--socket", f.socket, "--state", "none", "--events", "none")
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.cmd.Process.Signal(syscall.SIGTERM); f.cmd.Wait() })
	if !within(10*time.Second, func() bool { _, _, code := f.ask(l, "health"); return code == 0 }) {
		t.Fatal("the daemon does not start")
	}
	differs := func(what string, r control.Reloaded, want bool) {
		t.Helper()
		if is := r.Rules == control.RulesDiffer; is != want || !is && r.Rules != control.RulesFit || (len(r.Warnings) == 1 && strings.Contains(r.Warnings[0], "tlsgate rules up -c "+f.policy)) != want {
			t.Errorf("%s: %+v", what, r)
		}
	}
	differs("the same", f.reload(l, one), false)
	differs("another", f.reload(l, two), true)
	refused := func(name string) {
		t.Helper()
		if _, err := exchange(dial(t, l, netip.AddrPortFrom(l.Server.IPv4, 443)), &tls.Config{ServerName: name}, 1000); err == nil {
			t.Errorf("%s passes", name)
		}
		w.next(t)
	}
	refused("two.lab.example") // whatever rules there are
	differs("back, and they are its own", f.reload(l, one), false)
	differs("another again", f.reload(l, two), true)
	up()
	differs("once they are in place", f.reload(l, two), false)
	refused("two.lab.example")
	differs("the first has others by now", f.reload(l, one), true)
}

// TestIntegrationReloadRulesFail: where the rules of one IP version cannot be exchanged,
// those of the other are put back, and the policy that was in force is.
func TestIntegrationReloadRulesFail(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	real, err := exec.LookPath("ip6tables-restore")
	if err != nil {
		labtest.Missing(t, err)
	}
	script := fmt.Sprintf("#!/bin/sh\nif [ -e %s ]; then echo 'ip6tables-restore: line 1 failed' >&2; exit 1; fi\nexec %s \"$@\"\n", broken, real)
	if err := os.WriteFile(filepath.Join(dir, "ip6tables-restore"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{})
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	f := startFirewall(t, l, forbidding("one.lab.example"))
	before := iptablesRules(t, l)
	policy := func(passes, refused string) {
		t.Helper()
		for name, wrong := range map[string]bool{passes: false, refused: true} {
			_, err := exchange(dial(t, l, netip.AddrPortFrom(l.Server.IPv4, 443)), &tls.Config{ServerName: name}, 1000)
			w.next(t)
			if (err != nil) != wrong {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.rewrite(forbidding("two.lab.example"))
	out, errs, code := f.ask(l, "reload")
	if code != 3 || !strings.Contains(errs, "the iptables rules could not be exchanged") || !strings.Contains(errs, "line 1 failed") {
		t.Errorf("reload: %d: %s%s", code, out, errs)
	}
	if after := iptablesRules(t, l); after != before {
		t.Errorf("iptables rules:\n%s\nbefore:\n%s", after, before)
	}
	policy("two.lab.example", "one.lab.example")
	os.Remove(broken)
	if out, errs, code := f.ask(l, "reload"); code != 0 || !strings.Contains(out, "exchanged") {
		t.Errorf("once it can be done: %d: %s%s", code, out, errs)
	}
	policy("one.lab.example", "two.lab.example")
}

// TestIntegrationHangup: SIGHUP ends a daemon whose terminal is gone, and its rules with
// it; under nohup, too, it asks for a reload.
func TestIntegrationHangup(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	policy := filepath.Join(t.TempDir(), "policy.toml")
	if err := os.WriteFile(policy, []byte(forbidding("one.lab.example")), 0o600); err != nil {
		t.Fatal(err)
	}
	screen, user := terminal(t)
	cmd := program(t, l.Gateway, "run", "-c", policy, "--install-rules", "--socket", "none", "--state", "none", "--events", "none")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = user, user, user
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	user.Close()
	var mu sync.Mutex
	var said []byte
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // a read that waits would keep the terminal
		defer close(stopped)
		b := make([]byte, 4096)
		for fd := int(screen.Fd()); ; {
			select {
			case <-stop:
				return
			default:
			}
			if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20); n > 0 {
				n, _ := unix.Read(fd, b)
				mu.Lock()
				said = append(said, b[:max(n, 0)]...)
				mu.Unlock()
			}
		}
	}()
	hears := func(text string) {
		t.Helper()
		if !within(10*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return bytes.Contains(said, []byte(text)) }) {
			t.Fatalf("the daemon never says %q: %s", text, said)
		}
	}
	hears("tlsgate: running")
	cmd.Process.Signal(syscall.SIGHUP)
	hears("has not changed")
	close(stop)
	<-stopped
	screen.Close()
	cmd.Process.Signal(syscall.SIGHUP)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		cmd.Process.Kill()
		t.Fatal("the daemon goes on without its terminal")
	}
	if rules := iptablesRules(t, l); strings.Contains(rules, "TLSGATE") {
		t.Errorf("rules are left behind:\n%s", rules)
	}
}
