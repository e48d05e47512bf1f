package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// Host is one of the three hosts. It is safe for concurrent use.
type Host struct {
	Name string
	// IPv4 and IPv6 are the host's addresses; the gateway's are those on the
	// client's side. IPv6 is the zero Addr where the kernel has no IPv6.
	IPv4, IPv6 netip.Addr

	lab  *Lab
	link link

	mu sync.RWMutex // held for reading while ns is used
	ns netns.NsHandle

	rawMu sync.Mutex
	raw   *stack // made by the first DialRaw
}

// link is what a raw sender has to know of a host's way out.
type link struct {
	index   int
	gateway net.HardwareAddr
	mtu     int
}

func (h *Host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ns.IsOpen() {
		h.ns.Close()
	}
}

// Run calls f on the calling goroutine, locked to a thread that is inside the
// host. What f starts on other goroutines is not inside. Calls may be nested.
// What reads /proc/net in f has to read /proc/thread-self/net.
func (h *Host) Run(f func() error) error {
	return onThread(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return f()
	})
}

func (h *Host) enter() error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if !h.ns.IsOpen() {
		return &Error{Op: "enter " + h.Name, Err: os.ErrClosed}
	}
	return wrap("enter "+h.Name, netns.Set(h.ns))
}

// Listen is net.Listen inside the host. Closing the listener is the caller's.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	var l net.Listener
	err := h.Run(func() error {
		var err error
		l, err = c.Listen(h.lab.ctx, network, address)
		return err
	})
	return l, err
}

// Dial is net.Dial inside the host. The address has to be numeric.
func (h *Host) Dial(network, address string) (net.Conn, error) {
	return h.DialContext(h.lab.ctx, network, address)
}

// DialContext is Dial with a context, as http.Transport wants it. Without a
// deadline in ctx it gives up after 30 seconds.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second}
	d.SetMultipathTCP(false)
	var c net.Conn
	err := h.Run(func() error {
		var err error
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Command is exec.CommandContext inside the host. The process is killed when ctx
// ends, when the lab is closed, and when this process dies; start it from a
// goroutine that does not end its thread. A program that is not to be found is
// reported by Start. Needs nsenter.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(h.lab.ctx, cancel)
	nsenter := h.nsenter()
	path, err := exec.LookPath(name)
	if err != nil && errors.Is(err, exec.ErrDot) {
		err = nil
	}
	cmd := exec.CommandContext(ctx, nsenter[0], append(append(nsenter[1:], "--", path), args...)...)
	if err != nil {
		cmd.Err = err
	}
	if cmd.Err == nil && len(nsenter) == 1 {
		cmd.Err = &Error{Op: "enter " + h.Name, Err: os.ErrClosed}
	}
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// nsenter is the command that enters the host, or its name alone if the lab is
// closed.
func (h *Host) nsenter() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if !h.ns.IsOpen() {
		return []string{"nsenter"}
	}
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), int(h.ns))}
}

// EnterLine returns a shell command that opens a shell in the host from another
// terminal of the same user, while this process runs.
func (h *Host) EnterLine() string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	net := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), int(h.ns))
	if os.Getenv(elevated) != "" {
		return fmt.Sprintf("nsenter --target %d --user --preserve-credentials %s", os.Getpid(), net)
	}
	return "nsenter " + net
}

// Sysctl sets a kernel parameter of the host: "net.ipv4.tcp_sack", "0".
func (h *Host) Sysctl(name, value string) error {
	return h.Run(func() error { return writeSysctl(name, value) })
}

// iptables runs iptables or ip6tables in the host.
func (h *Host) iptables(ctx context.Context, program string, args ...string) error {
	out, err := h.Command(ctx, program, append([]string{"-w", "10"}, args...)...).CombinedOutput()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return &Error{program, err, "apt-get install iptables"}
	}
	return &Error{Op: program, Err: fmt.Errorf("%w: %s", err, out)}
}
