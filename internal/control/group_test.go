package control

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestGroup: the socket is its group's too, and nobody else's. Who is not root can
// give it to a group of his own only.
func TestGroup(t *testing.T) {
	gid := os.Getgid()
	if os.Getuid() == 0 {
		gid = 1
	}
	group, err := user.LookupGroupId(strconv.Itoa(gid))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tlsgate")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := Listen(path, group.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); int(stat.Gid) != gid || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("group %d, mode %v", stat.Gid, info.Mode())
	}
	if says := owners(path); gid != 0 && says != "root and the group "+group.Name {
		t.Errorf("the hint says the socket is for %s", says)
	}
	if os.Getuid() != 0 {
		if _, err := Listen(filepath.Join(dir, "other"), "root"); err == nil || !strings.Contains(err.Error(), "not permitted") {
			t.Errorf("given to root's group: %v", err)
		}
		return
	}
	dial := func(gid int) error {
		var err error
		as(t, 65534, gid, func() {
			var c net.Conn
			if c, err = net.Dial("unix", path); err == nil {
				c.Close()
			}
		})
		return err
	}
	if err := dial(gid); err != nil {
		t.Errorf("one of the group: %v", err)
	}
	if err := dial(65534); !errors.Is(err, syscall.EACCES) {
		t.Errorf("one who is not: %v", err)
	}
}

// as calls f on a thread that is somebody else's to the file system, and ends it.
func as(t *testing.T, uid, gid int, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and is not unlocked: the thread goes
		if err := errors.Join(setgroups(), syscall.Setfsgid(gid), syscall.Setfsuid(uid)); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// setgroups leaves this thread without supplementary groups.
func setgroups() error {
	if _, _, no := syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0); no != 0 {
		return no
	}
	return nil
}
