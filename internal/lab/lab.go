// Package lab builds three hosts in network namespaces, in the networks that RFC
// 2544, Appendix C.2.2, and RFC 3849 set aside for tests and documentation:
//
//	client                   gateway                     server
//	198.18.1.2   eth0 ---- client   server ---- eth0   198.18.2.2
//	2001:db8:1::2            .1 and ::1                 2001:db8:2::2
//
// The gateway forwards. It alone knows this topology; it does not know what the
// gateway is to do with the packets. Besides the hosts it has a TLS server, and
// relays that send a client's bytes in segments or records of a chosen shape.
//
// The namespaces and links have no names outside the lab: they live as long as
// this process and what it started in them, so nothing is left of a run that
// was killed.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Names of the links inside the hosts.
const (
	HostLink          = "eth0"   // client and server: the only one
	GatewayClientLink = "client" // gateway: towards the client
	GatewayServerLink = "server" // gateway: towards the server
)

// Options say what the network is like. The zero value is a network without
// flaws, with an MTU of 1500 and all offloads of a virtual link.
type Options struct {
	// MTU of all links; 0 means 1500.
	MTU int
	// NoOffload turns segmentation, receive and checksum offload off on all
	// links, so that every packet is as it would be on a wire.
	NoOffload bool
	// ReceiveOffload turns receive offload on (GRO), which virtual links have
	// off. With NoOffload too, each host puts together what came cut up.
	ReceiveOffload bool
	// Loss is the share of TCP packets, 0 to less than 1, lost on each of the
	// two links, in both directions. Needs iptables and ip6tables.
	Loss float64
	// Sysctls are set in all hosts: "net.ipv4.tcp_sack": "0".
	Sysctls map[string]string
}

// Lab is three hosts. It is safe for concurrent use.
type Lab struct {
	Client, Gateway, Server *Host

	options Options
	ctx     context.Context // done: the lab is closed
	cancel  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	closers []func() // in the order they were added

	identity func() (*identity, error)
}

// Error says what the lab could not do.
type Error struct {
	Op   string
	Err  error
	hint string
}

func (e *Error) Error() string { return "lab: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what an administrator can do about it, if anything.
func (e *Error) Hint() string { return e.hint }

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Err: err}
}

// New builds the hosts. They are taken away by Close, when ctx ends, or with the
// process. Where the process may not make namespaces, see Elevate.
func New(ctx context.Context, o Options) (*Lab, error) {
	if o.Loss < 0 || o.Loss >= 1 {
		return nil, &Error{Op: "options", Err: fmt.Errorf("loss %v is not in [0, 1)", o.Loss)}
	}
	l := &Lab{options: o, identity: sync.OnceValues(newIdentity)}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, h := range []struct {
		host **Host
		name string
	}{{&l.Client, "client"}, {&l.Gateway, "gateway"}, {&l.Server, "server"}} {
		ns, err := newNamespace()
		if err != nil {
			l.Close()
			return nil, permissionError("make a network namespace", err)
		}
		*h.host = &Host{Name: h.name, lab: l, ns: ns}
	}
	if err := l.connect(ctx); err != nil {
		l.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	if err := l.atClose(func() { stop() }); err != nil {
		return nil, wrap("start", context.Cause(ctx))
	}
	return l, nil
}

// Close stops servers and relays, kills what Host.Command started, and gives the
// namespaces up. A namespace that somebody else entered lives until they leave.
// It always returns nil, and may be called more than once.
func (l *Lab) Close() error {
	l.mu.Lock()
	closers, closed := l.closers, l.closed
	l.closers, l.closed = nil, true
	l.mu.Unlock()
	if closed {
		return nil
	}
	l.cancel()
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
	for _, h := range []*Host{l.Client, l.Gateway, l.Server} {
		if h != nil {
			h.close()
		}
	}
	return nil
}

// atClose has Close call f. If the lab is closed already, f is called at once
// and the error is os.ErrClosed.
func (l *Lab) atClose(f func()) error {
	l.mu.Lock()
	if !l.closed {
		l.closers = append(l.closers, f)
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	f()
	return &Error{Op: "start", Err: os.ErrClosed}
}

// newNamespace makes a network namespace and returns to the one the thread is in.
func newNamespace() (netns.NsHandle, error) {
	ns := netns.None()
	err := onThread(func() error {
		var err error
		ns, err = netns.New()
		return err
	})
	return ns, err
}

// onThread runs f on this goroutine, locked to its thread, and puts the thread
// back into its network namespace afterwards. A thread that cannot go back stays
// locked and ends with the goroutine.
func onThread(f func() error) error {
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return wrap("find the thread's network namespace", err)
	}
	defer func() {
		if netns.Set(before) == nil {
			runtime.UnlockOSThread()
		}
		before.Close()
	}()
	return f()
}

// writeSysctl sets a kernel parameter of the thread's network namespace.
func writeSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", filepath.Join(splitSysctl(name)...))
	return wrap("set "+name, os.WriteFile(path, []byte(value), 0))
}

// splitSysctl splits net.ipv4.ip_forward, or net/ipv4/conf/eth0.1/forwarding.
func splitSysctl(name string) []string {
	if strings.Contains(name, "/") {
		return strings.Split(name, "/")
	}
	return strings.Split(name, ".")
}

// permissionError explains EPERM.
func permissionError(op string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return &Error{op, err, "needs root, or a kernel that lets users make user namespaces: " + namespaceLimits()}
	}
	return wrap(op, err)
}

// addr is a short way to write addresses that are known to be right.
func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
