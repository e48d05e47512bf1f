package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// questions are all that a client can ask.
var questions = map[string]func(ctx context.Context, c *Client) error{
	"conns":  func(ctx context.Context, c *Client) error { return c.Conns(ctx, nil, unheard) },
	"events": func(ctx context.Context, c *Client) error { return c.Events(ctx, nil, nil, unheard) },
	"stats":  func(ctx context.Context, c *Client) error { _, err := c.Stats(ctx); return err },
	"health": func(ctx context.Context, c *Client) error { _, err := c.Health(ctx); return err },
	"kill":   func(ctx context.Context, c *Client) error { _, err := c.Kill(ctx, Which{FlowID: 1}); return err },
	"why":    func(ctx context.Context, c *Client) error { _, err := c.Why(ctx, Which{FlowID: 1}); return err },
	"rules":  func(ctx context.Context, c *Client) error { _, err := c.Rules(ctx); return err },
	"pins":   func(ctx context.Context, c *Client) error { return c.Pins(ctx, "", unheard) },
	"gates":  func(ctx context.Context, c *Client) error { _, err := c.Gates(ctx); return err },
	"open":   func(ctx context.Context, c *Client) error { _, err := c.Open(ctx, Opening{}); return err },
	"reload": func(ctx context.Context, c *Client) error { _, err := c.Reload(ctx); return err },
}

func unheard([]byte) error { return nil }

// TestStoppedDaemon: who asks a daemon that takes everybody in and says nothing, or
// stops in the middle of an answer, is told so in time, and which process it is.
func TestStoppedDaemon(t *testing.T) {
	for begun, streams := range map[string]bool{
		"": false,
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{": true,
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					c.Read(make([]byte, 1))
					io.WriteString(c, begun)
					io.Copy(io.Discard, c) // until the client leaves
				}()
			}
		}()
		for name, ask := range questions {
			if streams && (name == "conns" || name == "events" || name == "pins") {
				continue
			}
			c := Dial(path)
			c.wait = 100 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			began := time.Now()
			err := ask(ctx, c)
			var wrong *SocketError
			if !errors.As(err, &wrong) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(wrong.Hint(), fmt.Sprintf("process %d", os.Getpid())) {
				t.Errorf("%q, %s: %v", begun, name, err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%q, %s: told after %s", begun, name, took)
			}
			cancel()
		}
	}
}

// TestNobodyTakenIn: the queue before the socket of a stopped daemon is full.
func TestNobodyTakenIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = Dial(path).Stats(t.Context())
	var wrong *SocketError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "takes nobody in") || wrong.Hint() == "" {
		t.Errorf("%v", err)
	}
}

// TestPeerStopped: a process that is stopped is said to be.
func TestPeerStopped(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a) T (") // /proc/PID/stat has it as it is
	err := os.Symlink("/bin/sleep", name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(name, []string{"sleep", "60"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Kill(); p.Wait() }()
	var who peer
	who.pid.Store(int32(p.Pid))
	if s := who.String(); !strings.Contains(s, "is there") {
		t.Errorf("running: %s", s)
	}
	p.Signal(unix.SIGSTOP)
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if s := who.String(); strings.Contains(s, "is stopped") {
			break
		} else if time.Now().After(until) {
			t.Fatalf("stopped: %s", s)
		}
	}
}
