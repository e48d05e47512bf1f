package nfq

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inUserNamespace tells the second run of this binary that it is one.
const inUserNamespace = "TLSGATE_TEST_USER_NAMESPACE"

// TestMain runs the tests in a user namespace when it is not root who runs them.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 || os.Getenv(inUserNamespace) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inUserNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig is the thread's
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		os.Setenv(inUserNamespace, err.Error())
		os.Exit(m.Run())
	}
}

// missing skips the test, or fails it where it has to run.
func missing(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing: %s: %v", what, err)
	}
	t.Skipf("missing: %s: %v", what, err)
}

// namespace is a network namespace with its loopback interface up.
type namespace struct {
	handle netns.NsHandle
}

// newNamespace makes one that lasts as long as the test.
func newNamespace(t testing.TB) namespace {
	t.Helper()
	if why := os.Getenv(inUserNamespace); os.Geteuid() != 0 {
		missing(t, "user namespaces, or root", errors.New(why))
	}
	var n namespace
	err := onThread(func() (err error) {
		n.handle, err = netns.New()
		return err
	})
	if err != nil {
		missing(t, "network namespaces", err)
	}
	t.Cleanup(func() { n.handle.Close() })
	n.sysctl(t, "ipv6/conf/default/accept_dad", "0") // or the first seconds are lost to it
	n.do(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return n
}

// onThread runs f on a thread of its own, which ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

func (n namespace) try(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return err
		}
		return f()
	})
}

func (n namespace) do(t testing.TB, f func() error) {
	t.Helper()
	if err := n.try(f); err != nil {
		t.Fatal(err)
	}
}

// run runs a program in the namespace and returns what it printed.
func (n namespace) run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	lock := t.TempDir() + "/lock"
	n.do(t, func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+lock)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, errs.String())
		}
		return nil
	})
	return out.String()
}

// open opens a queue in the namespace, closed at the end of the test.
func (n namespace) open(t testing.TB, cfg Config) *Queue {
	t.Helper()
	var q *Queue
	err := n.try(func() (err error) {
		q, err = Open(cfg)
		return err
	})
	if errors.Is(err, ErrUnsupported) {
		missing(t, "nfnetlink_queue", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func (n namespace) listen(t testing.TB, address string) net.Listener {
	t.Helper()
	var l net.Listener
	n.do(t, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { l.Close() })
	return l
}

func (n namespace) dial(address string, timeout time.Duration) (c net.Conn, err error) {
	err = n.try(func() error {
		c, err = net.DialTimeout("tcp", address, timeout)
		return err
	})
	return c, err
}

func (n namespace) sysctl(t testing.TB, name, value string) {
	t.Helper()
	err := n.try(func() error {
		return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	})
	if err != nil {
		missing(t, "writable /proc/sys/net", err)
	}
}

// network is client, gateway and server in a row.
type network struct {
	client, gateway, server namespace
}

// The addresses of the server and the gateway's own on the client's side.
var (
	serverAddress  = map[Family]string{IPv4: "198.18.1.2", IPv6: "2001:db8:1::2"}
	gatewayAddress = map[Family]string{IPv4: "198.18.0.1", IPv6: "2001:db8::1"}
)

func newNetwork(t testing.TB) network {
	t.Helper()
	n := network{newNamespace(t), newNamespace(t), newNamespace(t)}
	n.connect(t, n.client, "client", 10, "198.18.0", "2001:db8:0")
	n.connect(t, n.server, "server", 11, "198.18.1", "2001:db8:1")
	n.gateway.sysctl(t, "ipv4/ip_forward", "1")
	n.gateway.sysctl(t, "ipv6/conf/all/forwarding", "1")
	for _, end := range []namespace{n.client, n.gateway, n.server} {
		end.do(t, carriers)
	}
	return n
}

// carriers waits until every link takes packets: the kernel's linkwatch gets to
// it after a while, and until then the first packets would be lost.
func carriers() error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		down := slices.DeleteFunc(links, func(l netlink.Link) bool {
			return l.Type() != "veth" || l.Attrs().OperState == netlink.OperUp
		})
		if len(down) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("link %s has no carrier", down[0].Attrs().Name)
		}
	}
}

// connect joins a host (.2) to the gateway (.1), over which it sends all. The
// ends of the link have different indices: the kernel takes its time with a link
// that seems to be its own peer (link_watch.c:linkwatch_urgent_event).
func (n network) connect(t testing.TB, host namespace, name string, index int, net4, net6 string) {
	t.Helper()
	n.gateway.do(t, func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}, PeerName: "eth0",
			PeerNamespace: netlink.NsFd(int(host.handle))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("veth: %w", err)
		}
		return address(name, net4+".1/24", net6+"::1/64")
	})
	host.do(t, func() error {
		if err := address("eth0", net4+".2/24", net6+"::2/64"); err != nil {
			return err
		}
		for _, gateway := range []string{net4 + ".1", net6 + "::1"} {
			if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}); err != nil {
				return fmt.Errorf("route: %w", err)
			}
		}
		return nil
	})
}

// address brings a link up with these addresses.
func address(name string, addresses ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return nil
}

// answers answers every packet of a queue until the queue is closed.
func answers(q *Queue, answer func(p *Packet) (Verdict, uint32, []byte)) {
	go func() {
		batch := make([]Packet, 64)
		for {
			n, err := q.Recv(batch, time.Second)
			if err != nil {
				return
			}
			for i := range batch[:n] {
				v, mark, payload := answer(&batch[i])
				q.Verdict(batch[i].ID, v, mark, payload)
			}
			if q.Flush() != nil {
				return
			}
		}
	}()
}

// dropCapabilities takes all from this thread, and from programs it starts.
func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, 1, 0, 0, 0); err != nil { // SECBIT_NOROOT
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}
