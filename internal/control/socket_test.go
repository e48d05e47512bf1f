package control

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "tlsgate")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")

	old := syscall.Umask(0)
	l, err := Listen(path, "")
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	var wrong *SocketError
	if _, err := Listen(path, ""); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "another daemon") || wrong.Hint() == "" {
		t.Errorf("of a live daemon: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the live daemon's is gone: %v", err)
	} else {
		c.Close()
	}

	// A daemon that was killed leaves its socket; the next one takes its place, and
	// the first one, should it end after all, leaves that alone.
	dead, err := net.Listen("unix", filepath.Join(dir, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	next, err := Listen(filepath.Join(dir, "dead"), "")
	if err != nil {
		t.Fatalf("over a dead daemon's: %v", err)
	}
	os.Remove(path)
	other, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("another's socket was taken away: %v", err)
	}
	other.Close()
	next.Close()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ path, group, says string }{
		"a file is there":   {file, "", "no socket"},
		"no such directory": {filepath.Join(dir, "a", "b"), "", "no such file"},
		"too long":          {"/tmp/" + strings.Repeat("x", 200), "", "control socket /tmp/xxx"},
		"a directory":       {dir, "", "no socket"},
		"no such group":     {filepath.Join(dir, "s"), "nobody-has-this-group", "no group"},
	} {
		l, err := Listen(tt.path, tt.group)
		var wrong *SocketError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.says) || wrong.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			l.Close()
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file that was there is not any more: %v", err)
	}
}

// TestNobodyThere: the client says what is wrong, and what helps.
func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), file} {
		_, err := Dial(path).Health(t.Context())
		var wrong *SocketError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "no daemon listens there") || wrong.Hint() == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
}
