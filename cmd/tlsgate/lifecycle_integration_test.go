package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// inspected is a policy under which every record of every connection is read.
const inspected = `
[[rule]]
name      = "every-record"
match     = { port = 443 }
require   = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data"] }
otherwise = "reset"
`

// tlsClient returns a client of the lab's server, over the given address.
func tlsClient(t testing.TB, l *lab.Lab, address string, version uint16) *tls.Conn {
	t.Helper()
	raw, err := l.Client.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: version, ServerName: "server.lab.example"})
}

// TestIntegrationGigabyte downloads 1 GiB while every record is inspected: it
// arrives bit by bit, and nothing was lost on the way.
func TestIntegrationGigabyte(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 32 << 20
	}
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{}); err != nil {
		t.Fatal(err)
	}
	f := startFirewall(t, l, inspected)
	c := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS13)
	fmt.Fprintf(c, "download %d\n", size)
	got, want := sha256.New(), sha256.New()
	n, err := io.CopyBuffer(got, struct{ io.Reader }{c}, make([]byte, 1<<18))
	if n != size || err != nil {
		t.Fatalf("%d of %d bytes: %v; %s", n, size, err, f.said())
	}
	io.Copy(want, lab.Pattern(size))
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Error("the bytes that arrived are others than those sent")
	}
	if d := f.drops(); len(d) > 0 {
		t.Errorf("refused: %+v", d)
	}
}

// TestIntegrationMidstream: a connection that lives when the daemon starts keeps
// working under accept, with data in flight and idle; not under reset and drop.
func TestIntegrationMidstream(t *testing.T) {
	for _, tt := range []struct {
		policy string
		lives  bool
		reason string
	}{
		{`accept`, true, ""},
		{`inspect`, true, ""},
		{`reset`, false, "midstream"},
		{`drop`, false, "midstream"},
	} {
		t.Run(tt.policy, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{}); err != nil {
				t.Fatal(err)
			}
			idle := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS13)
			busy := tlsClient(t, l, "[2001:db8:2::2]:443", tls.VersionTLS12)
			fmt.Fprint(idle, "echo\n")
			const size = 256 << 20
			fmt.Fprintf(busy, "download %d\n", size)
			if _, err := io.CopyN(io.Discard, busy, 1<<20); err != nil {
				t.Fatal(err)
			}
			f := startFirewall(t, l, "[default]\nmidstream = \""+tt.policy+"\"\n")

			deadline := time.Now().Add(3 * time.Second)
			if tt.lives {
				deadline = time.Now().Add(30 * time.Second)
			}
			idle.SetDeadline(deadline)
			busy.SetDeadline(deadline)
			n, err := io.Copy(io.Discard, busy)
			if got := n == size-1<<20 && err == nil; got != tt.lives {
				t.Errorf("busy: %d more bytes, %v; lives %v, want %v", n, err, got, tt.lives)
			}
			fmt.Fprint(idle, "hello")
			b := make([]byte, 5)
			_, err = io.ReadFull(idle, b)
			if got := err == nil && string(b) == "hello"; got != tt.lives {
				t.Errorf("idle: %q, %v; lives %v, want %v", b, err, got, tt.lives)
			}
			if !tt.lives {
				f.wait("refusal", func(e event) bool { return e.Type == "drop" && e.Ours.Reason == tt.reason })
			}
			// What begins now is judged as ever.
			fresh := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS13)
			fresh.SetDeadline(time.Now().Add(5 * time.Second))
			if err := fresh.Handshake(); err != nil {
				t.Errorf("a new connection: %v", err)
			}
		})
	}
}

// TestIntegrationMidstreamHello: a ClientHello in a connection whose beginning
// was not seen is judged as any other.
func TestIntegrationMidstreamHello(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	raw, err := l.Client.Dial("tcp", "198.18.2.2:443")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	f := startFirewall(t, l, partnerPolicy)
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	raw.SetDeadline(time.Now().Add(5 * time.Second))
	if err := c.Handshake(); err == nil {
		t.Error("a TLS 1.3 handshake passed a policy of six TLS 1.2 suites")
	}
	e := f.wait("refusal", func(e event) bool { return e.Type == "drop" })
	if e.Ours.Reason != "require.cipher" || !e.Ours.Midstream {
		t.Errorf("refusal: %+v", e.Ours)
	}
}

// TestIntegrationRestart: what was decided is in the kernel. An accepted
// connection goes on after a new daemon has started, and without one where it is left
// to the kernel; a refused one stays refused.
func TestIntegrationRestart(t *testing.T) {
	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for _, offload := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/offload=%v", how, offload), func(t *testing.T) { testRestart(t, how, offload) })
		}
	}
}

func testRestart(t *testing.T, how syscall.Signal, offload bool) {
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf("%s\n[default]\nmidstream = \"reset\"\n[intercept]\noffload = %v\n", partnerPolicy, offload)
	f := startFirewall(t, l, policy)
	accepted := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS12)
	accepted.SetDeadline(time.Now().Add(20 * time.Second))
	echo(t, accepted, "echo\nbefore", "before")
	echo(t, accepted, "more", "more") // the connection mark is saved by now

	f.cmd.Process.Signal(how)
	<-f.ended
	if how == syscall.SIGTERM {
		if out := iptablesSave(t, l); strings.Contains(out, "TLSGATE") {
			t.Errorf("rules left after SIGTERM:\n%s", out)
		}
	} else {
		if out := iptablesSave(t, l); !strings.Contains(out, "TLSGATE") {
			t.Errorf("rules gone after SIGKILL, who removed them?\n%s", out)
		}
		if offload {
			echo(t, accepted, "alone", "alone") // rules without a daemon
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Client.DialContext(ctx, "tcp", "198.18.2.2:443"); err == nil {
			t.Error("a new connection passed without a daemon, though fail_open is false")
		}
	}
	startFirewall(t, l, policy)
	echo(t, accepted, "after", "after")
	if out := iptablesSave(t, l); strings.Count(out, "-A FORWARD -p tcp -j TLSGATE") != 1 {
		t.Errorf("jumps after a new start:\n%s", out)
	}
}

// echo sends a text to the lab's echo service and wants an answer.
func echo(t *testing.T, c net.Conn, send, want string) {
	t.Helper()
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatalf("%q: %v", send, err)
	}
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("%q: got %q, %v", send, b, err)
	}
}

func iptablesSave(t *testing.T, l *lab.Lab) string {
	t.Helper()
	out, err := l.Gateway.Command(context.Background(), "iptables-save", "-t", "mangle").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestIntegrationFailOpen: with fail_open packets pass while nobody listens, but
// those of a refused connection.
func TestIntegrationFailOpen(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	f := startFirewall(t, l, "[queue]\nfail_open = true\n"+partnerPolicy)
	f.cmd.Process.Kill()
	<-f.ended
	c := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS13)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if err := c.Handshake(); err != nil {
		t.Errorf("with fail_open and no daemon: %v", err)
	}
	// The next start heals, and judges again.
	startFirewall(t, l, "[queue]\nfail_open = true\n"+partnerPolicy)
	c = tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS13)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if err := c.Handshake(); err == nil {
		t.Error("a refused handshake passed after the new start")
	}
}

// TestIntegrationHost: the firewall on the host that the connections begin or
// end at, with either hook alone: the answers are seen all the same.
func TestIntegrationHost(t *testing.T) {
	for _, tt := range []struct {
		hook string
		on   func(*lab.Lab) *lab.Host
	}{
		{"output", func(l *lab.Lab) *lab.Host { return l.Client }},
		{"input", func(l *lab.Lab) *lab.Host { return l.Server }},
	} {
		t.Run(tt.hook, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
				t.Fatal(err)
			}
			f := startFirewallOn(t, tt.on(l), "[intercept]\nhooks = [\""+tt.hook+"\"]\n"+partnerPolicy)
			for _, address := range []string{"198.18.2.2:443", "[2001:db8:2::2]:443"} {
				c := tlsClient(t, l, address, tls.VersionTLS12)
				c.SetDeadline(time.Now().Add(5 * time.Second))
				echo(t, c, "echo\nhello", "hello")
				c = tlsClient(t, l, address, tls.VersionTLS13)
				start := time.Now()
				c.SetDeadline(start.Add(5 * time.Second))
				if err := c.Handshake(); !errors.Is(err, syscall.ECONNRESET) || time.Since(start) > time.Second {
					t.Errorf("%s: refused with %v after %v", address, err, time.Since(start))
				}
			}
			f.wait("two refusals", func(event) bool { return len(f.drops()) == 2 })
		})
	}
}

// TestIntegrationRules: twice up is once, down leaves nothing, foreign rules stay.
func TestIntegrationRules(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	for _, args := range [][]string{
		{"iptables", "-t", "mangle", "-N", "FOREIGN"},
		{"iptables", "-t", "mangle", "-A", "FOREIGN", "-j", "RETURN"},
		{"iptables", "-t", "mangle", "-A", "FORWARD", "-p", "udp", "-j", "FOREIGN"},
	} {
		if out, err := l.Gateway.Command(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	before := withoutCounters(iptablesSave(t, l))
	command := func(args ...string) {
		t.Helper()
		if out, err := program(t, l.Gateway, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	command("rules", "up")
	once := withoutCounters(iptablesSave(t, l))
	command("rules", "up")
	if twice := withoutCounters(iptablesSave(t, l)); twice != once {
		t.Errorf("after the second up:\n%s\nafter the first:\n%s", twice, once)
	}
	if !strings.Contains(once, "NFQUEUE") || !strings.Contains(once, "-A FORWARD -p udp -j FOREIGN") {
		t.Errorf("after up:\n%s", once)
	}
	command("rules", "down")
	if after := withoutCounters(iptablesSave(t, l)); after != before {
		t.Errorf("after down:\n%s\nbefore:\n%s", after, before)
	}
	command("rules", "down")
}

// withoutCounters strips comments and packet counters, which change by themselves.
func withoutCounters(save string) string {
	var b strings.Builder
	for line := range strings.Lines(save) {
		if line, _, _ = strings.Cut(line, " ["); !strings.HasPrefix(line, "#") {
			b.WriteString(strings.TrimSpace(line) + "\n")
		}
	}
	return b.String()
}

// TestIntegrationErrors: what is wrong is said, with the exit code that scripts
// rely on.
func TestIntegrationErrors(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	running := startFirewall(t, l, "")
	for _, tt := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"broken policy", []string{"run", "-c", "../../testdata/policies/broken.toml"}, 2, []string{"broken.toml:18", "did you mean"}},
		{"no policy file", []string{"run", "-c", "/nowhere/policy.toml"}, 2, []string{"/nowhere/policy.toml"}},
		{"unknown flag", []string{"run", "--colour"}, 2, []string{"--colour"}},
		{"no config", []string{"run"}, 2, []string{"config"}},
		{"queue taken", []string{"run", "-c", running.policy}, 3, []string{"taken", "process", "hint:"}},
		{"not a capture", []string{"replay", running.policy}, 2, []string{"policy.toml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkFailure(t, program(t, l.Gateway, tt.args...), tt.code, tt.says)
		})
	}
	t.Run("no permission", func(t *testing.T) {
		labtest.Program(t, "setpriv")
		cmd := wrapped(t, l, []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"}, "run", "-c", running.policy)
		checkFailure(t, cmd, 3, []string{"permission", "CAP_NET_ADMIN", "hint:"})
	})
	t.Run("no iptables", func(t *testing.T) {
		hide := `mount -t tmpfs none /usr/sbin && exec "$0" "$@"`
		cmd := wrapped(t, l, []string{"unshare", "--mount", "sh", "-c", hide}, "rules", "up")
		checkFailure(t, cmd, 3, []string{"iptables", "hint:"})
	})
}

// wrapped is tlsgate with arguments, started in the gateway by another program.
func wrapped(t *testing.T, l *lab.Lab, by []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := l.Gateway.Command(context.Background(), by[0], append(append(by[1:], self), args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

func checkFailure(t *testing.T, cmd *exec.Cmd, code int, says []string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("got %v, want exit code %d: %s", err, code, out)
	}
	for _, s := range append(says, "tlsgate: error: ") {
		if !strings.Contains(string(out), s) {
			t.Errorf("does not say %q: %s", s, out)
		}
	}
}
