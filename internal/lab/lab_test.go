package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	if os.Getenv("LAB_TEST_CHILD") != "" {
		os.Exit(child())
	}
	os.Exit(labtest.Main(m))
}

// families runs a test for each address family of the lab.
func families(t *testing.T, l *lab.Lab, f func(t *testing.T, client, server netip.Addr)) {
	t.Run("IPv4", func(t *testing.T) { f(t, l.Client.IPv4, l.Server.IPv4) })
	t.Run("IPv6", func(t *testing.T) {
		if !l.Client.IPv6.IsValid() {
			labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
		}
		f(t, l.Client.IPv6, l.Server.IPv6)
	})
}

func TestIntegrationHosts(t *testing.T) {
	l := labtest.New(t, lab.Options{Sysctls: map[string]string{"net.ipv4.tcp_sack": "0"}})
	families(t, l, func(t *testing.T, client, server netip.Addr) {
		listener, err := l.Server.Listen("tcp", netip.AddrPortFrom(server, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			c, err := listener.Accept()
			if err == nil {
				fmt.Fprint(c, c.RemoteAddr().String())
				c.Close()
			}
		}()
		c, err := l.Client.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := io.ReadAll(c)
		if err != nil || string(got) != c.LocalAddr().String() {
			t.Errorf("server saw %q, %v, want %s", got, err, c.LocalAddr())
		}
		if from := netip.MustParseAddrPort(string(got)).Addr(); from != client {
			t.Errorf("client is %s, want %s", from, client)
		}
	})
	if got := output(t, l.Client.Command(t.Context(), "cat", "/proc/sys/net/ipv4/tcp_sack")); got != "0\n" {
		t.Errorf("tcp_sack is %q, want 0", got)
	}
	if err := l.Client.Sysctl("net.ipv4.tcp_sack", "1"); err != nil {
		t.Error(err)
	}
	if got := output(t, l.Client.Command(t.Context(), "cat", "/proc/sys/net/ipv4/tcp_sack")); got != "1\n" {
		t.Errorf("tcp_sack is %q, want 1", got)
	}
	if err := l.Client.Command(t.Context(), "no-such-program").Run(); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a missing program: %v, want %v", err, exec.ErrNotFound)
	}
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return string(out)
}

func namespace() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

func TestIntegrationRun(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	here, err := namespace()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{here: true}
	err = l.Client.Run(func() error {
		return l.Server.Run(func() error {
			return l.Gateway.Run(func() error {
				n, err := namespace()
				seen[n] = true
				return err
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*lab.Host{l.Client, l.Gateway, l.Server} {
		if err := h.Run(func() error {
			n, err := namespace()
			seen[n] = true
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d namespaces, want 4", len(seen))
	}
	if got, _ := namespace(); got != here {
		t.Errorf("back in %s, want %s", got, here)
	}
	l.Close()
	if err := l.Client.Run(func() error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Run after Close: %v, want %v", err, os.ErrClosed)
	}
	if err := l.Client.Command(t.Context(), "true").Run(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Command after Close: %v, want %v", err, os.ErrClosed)
	}
}

func TestIntegrationEnterLine(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	labtest.Program(t, "nsenter")
	want := ""
	if err := l.Gateway.Run(func() (err error) { want, err = namespace(); return err }); err != nil {
		t.Fatal(err)
	}
	line := strings.Fields(l.Gateway.EnterLine())
	if os.Getenv("TLSGATE_LAB_USER_NAMESPACE") != "" { // from inside it cannot be entered
		if !slices.Contains(line, "--user") {
			t.Errorf("%q does not enter the user namespace", line)
		}
		return
	}
	got := output(t, exec.Command(line[0], append(line[1:], "readlink", "/proc/self/ns/net")...))
	if strings.TrimSpace(got) != want {
		t.Errorf("entered %s, want %s", got, want)
	}
}

func TestIntegrationCloseKillsCommands(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	cmd := l.Server.Command(context.Background(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.Close()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		cmd.Process.Kill()
		t.Error("the command is still there")
	}
}

func TestOptions(t *testing.T) {
	for _, loss := range []float64{-0.1, 1, 2} {
		if _, err := lab.New(t.Context(), lab.Options{Loss: loss}); err == nil {
			t.Errorf("a loss of %v was accepted", loss)
		}
	}
}

// child builds a lab, starts a process in it, tells the parent which namespaces
// and which process, and waits for a signal.
func child() int {
	code, ran, err := lab.Elevate()
	if ran {
		return code
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	l, err := lab.New(ctx, lab.Options{})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	cmd := l.Gateway.Command(context.Background(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		fmt.Println("error", err)
		return 1
	}
	for _, h := range []*lab.Host{l.Client, l.Gateway, l.Server} {
		h.Run(func() error {
			n, err := namespace()
			fmt.Println("namespace", n)
			return err
		})
	}
	fmt.Println("uid", os.Getuid(), os.Getenv("TLSGATE_LAB_USER_NAMESPACE"))
	fmt.Println("ready")
	<-ctx.Done()
	cmd.Wait()
	l.Close()
	return 0
}

// startChild returns the namespaces of a child's lab and the rest of what it said.
func startChild(t *testing.T, cmd *exec.Cmd) (namespaces map[string]bool, said string) {
	t.Helper()
	cmd.Env = append(os.Environ(), "LAB_TEST_CHILD=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	namespaces = map[string]bool{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch word, rest, _ := strings.Cut(lines.Text(), " "); word {
		case "namespace":
			namespaces[rest] = true
		case "error":
			labtest.Missing(t, errors.New(rest))
		case "ready":
			return namespaces, said
		default:
			said += lines.Text()
		}
	}
	t.Fatal("the child said nothing")
	return nil, ""
}

// inhabitants returns the processes that are in one of the namespaces or hold
// one of them open.
func inhabitants(namespaces map[string]bool) (found []string) {
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, _ := filepath.Glob(pattern)
		for _, link := range links {
			if n, err := os.Readlink(link); err == nil && namespaces[n] {
				found = append(found, link)
			}
		}
	}
	return found
}

func TestIntegrationNothingIsLeft(t *testing.T) {
	for _, tt := range []struct {
		name   string
		signal os.Signal
	}{
		{"killed", unix.SIGKILL},
		{"terminated", unix.SIGTERM},
		{"interrupted", unix.SIGINT},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			namespaces, _ := startChild(t, cmd)
			if len(namespaces) != 3 || len(inhabitants(namespaces)) == 0 {
				t.Fatalf("namespaces %v", namespaces)
			}
			cmd.Process.Signal(tt.signal)
			cmd.Wait()
			var left []string
			for range 50 {
				if left = inhabitants(namespaces); len(left) == 0 {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			t.Errorf("left: %v", left)
		})
	}
}

func TestIntegrationWithoutRoot(t *testing.T) {
	if os.Getuid() != 0 || os.Getenv("TLSGATE_LAB_USER_NAMESPACE") != "" {
		return // all tests of this run are this test
	}
	// A binary where everybody may read it.
	dir, err := os.MkdirTemp("", "tlsgate-lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "child")
	binary, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.WriteFile(path, binary, 0o755), os.Chmod(dir, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	namespaces, said := startChild(t, cmd)
	if said != "uid 0 1" {
		t.Errorf("the child is %q, want root in a user namespace", said)
	}
	cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the child ended with %v", err)
	}
	if left := inhabitants(namespaces); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
