package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace runs the calling test again in user and network namespaces of its
// own, and reports whether this is that second run. It takes no root.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("CAPTURE_NAMESPACE") == t.Name() {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "CAPTURE_NAMESPACE="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		t.Errorf("in namespaces:\n%s", out)
	default:
		missing(t, fmt.Errorf("no namespaces: %w", err))
	}
	return false
}

func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		t.Fatal(err)
	}
}

func TestIntegrationLive(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	loopbackUp(t)
	for _, ifaces := range [][]string{nil, {"lo"}} {
		path := t.TempDir() + "/live.pcapng"
		before := time.Now().UnixNano()
		r, err := Live(ifaces, path)
		if err != nil {
			t.Fatal(err)
		}
		const n = 50
		for _, addr := range []string{"127.0.0.1:9", "[::1]:9"} {
			c, err := net.ListenPacket("udp", strings.Replace(addr, ":9", ":0", 1))
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if _, err := c.WriteTo(fmt.Appendf(nil, "packet %d", i), c.LocalAddr()); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
		}
		sum, err := r.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := r.Stop(); again != sum || err != nil {
			t.Errorf("Stop again = %+v, %v", again, err)
		}
		got, _, err := readAll(path)
		if err != nil {
			t.Fatal(err)
		}
		if uint64(len(got)) != sum.Packets || sum.Lost != 0 {
			t.Errorf("%d packets in the file, %+v", len(got), sum)
		}
		texts := map[string]int{}
		last := before
		for _, p := range got {
			if p.Interface != "lo" || p.Cut || p.Time < last || p.Time > time.Now().UnixNano() {
				t.Errorf("packet %+v", p)
			}
			last = p.Time
			if _, text, ok := strings.Cut(string(p.Data), "packet "); ok {
				texts[fmt.Sprint(p.Data[0]>>4, " ", text)]++
			}
		}
		for i := range n {
			for _, text := range []string{fmt.Sprint("4 ", i), fmt.Sprint("6 ", i)} {
				if texts[text] != 1 {
					t.Errorf("interfaces %v: packet %q recorded %d times", ifaces, text, texts[text])
				}
			}
		}
	}
}

func TestIntegrationLiveErrors(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if _, err := Live([]string{"lo", "none0"}, t.TempDir()+"/x"); err == nil || err.Error() != "capture: record none0: no such device" {
		t.Errorf("no such interface: %v", err)
	}
	if _, err := Live([]string{"a-name-that-is-too-long"}, t.TempDir()+"/x"); err == nil || !strings.HasPrefix(err.Error(), "capture: record a-name-that-is-too-long: ") {
		t.Errorf("a name too long: %v", err)
	}
	if _, err := Live(nil, t.TempDir()); err == nil || !strings.Contains(err.Error(), "capture: create") {
		t.Errorf("no file: %v", err)
	}
}

// Stop returns while packets keep coming.
func TestIntegrationLiveUnderLoad(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	loopbackUp(t)
	r, err := Live(nil, t.TempDir()+"/live.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		for text := make([]byte, 1000); ; {
			select {
			case <-quit:
				return
			default:
				c.WriteTo(text, c.LocalAddr())
			}
		}
	}()
	time.Sleep(50 * time.Millisecond)
	done := make(chan error)
	go func() {
		sum, err := r.Stop()
		if err == nil && sum.Packets == 0 {
			err = errors.New("nothing recorded")
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Stop does not return")
	}
}
