package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
	"tlsgate/nfq"
)

// queueFile is the daemon's descriptor of a queue.
func (f *firewall) queueFile(l *lab.Lab, queue int) int {
	f.t.Helper()
	port := ""
	for line := range strings.Lines(output(f.t, l.Gateway, "cat", "/proc/net/netfilter/nfnetlink_queue")) {
		if row := strings.Fields(line); row[0] == strconv.Itoa(queue) {
			port = row[1]
		}
	}
	inode := ""
	for line := range strings.Lines(output(f.t, l.Gateway, "cat", "/proc/net/netlink")) {
		if row := strings.Fields(line); len(row) == 10 && row[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && row[2] == port {
			inode = row[9]
		}
	}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", f.cmd.Process.Pid))
	for _, path := range fds {
		if target, _ := os.Readlink(path); inode == "" || target != "socket:["+inode+"]" {
			continue
		}
		theirs, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			f.t.Fatal(err)
		}
		return theirs
	}
	f.t.Fatalf("no socket of the daemon has queue %d", queue)
	return -1
}

// queueSocket is the same socket in our hands: what is done to it the kernel takes for
// the daemon's doing.
func (f *firewall) queueSocket(l *lab.Lab, queue int) int {
	f.t.Helper()
	process, err := unix.PidfdOpen(f.cmd.Process.Pid, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer unix.Close(process)
	fd, err := unix.PidfdGetfd(process, f.queueFile(l, queue), 0)
	if err != nil {
		labtest.Missing(f.t, fmt.Errorf("missing in the kernel: pidfd_getfd: %w", err))
	}
	f.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// unbindQueue is NFQNL_CFG_CMD_UNBIND (linux/netfilter/nfnetlink_queue.h).
func unbindQueue(t *testing.T, fd, queue int) {
	t.Helper()
	m := binary.NativeEndian.AppendUint32(nil, 28)
	m = binary.NativeEndian.AppendUint16(m, unix.NFNL_SUBSYS_QUEUE<<8|2)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST)
	m = append(m, 0, 0, 0, 0, 0, 0, 0, 0, unix.AF_UNSPEC, 0)
	m = binary.BigEndian.AppendUint16(m, uint16(queue))
	m = binary.NativeEndian.AppendUint16(m, 8)
	m = binary.NativeEndian.AppendUint16(m, 1)
	if _, err := unix.Write(fd, append(m, 2, 0, 0, 0)); err != nil {
		t.Fatal(err)
	}
}

// TestIntegrationQueueGone: a daemon whose queue is taken away from under it says so
// and ends, for who started it to start it again. Its rules stay, so that what is not
// decided does not pass meanwhile; what was decided goes on.
func TestIntegrationQueueGone(t *testing.T) {
	for _, backend := range []string{nfq.BackendBatch, nfq.BackendGoNFQueue} {
		for _, taken := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/taken=%v", backend, taken), func(t *testing.T) {
				l := labtest.New(t, lab.Options{})
				if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
					t.Fatal(err)
				}
				policy := fmt.Sprintf("[queue]\nworkers = 2\nbackend = %q\n[default]\nmidstream = \"inspect\"\n", backend) + partnerPolicy
				f := startFirewall(t, l, policy)
				accepted := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS12)
				accepted.SetDeadline(time.Now().Add(visitTime))
				echo(t, accepted, "echo\nbefore", "before")
				echo(t, accepted, "more", "more")
				undecided := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS13)

				queue := 0
				if packets := queued(t, l); packets[1] > 0 { // that of these addresses
					queue = 1
				}
				unbindQueue(t, f.queueSocket(l, queue), queue)
				says := []string{fmt.Sprintf("queue %d: the queue is gone", queue), "unbound", "hint: start tlsgate again", "the iptables rules stay", "is dropped (queue.fail_open = false)"}
				if taken {
					var other *nfq.Queue
					if err := l.Gateway.Run(func() (err error) {
						other, err = nfq.Open(nfq.Config{Number: uint16(queue)})
						return err
					}); err != nil {
						t.Fatal(err)
					}
					defer other.Close()
					says[1] = fmt.Sprintf("bound by process %d", os.Getpid())
				}
				select {
				case <-f.ended:
				case <-time.After(10 * time.Second):
					t.Fatalf("the daemon has not noticed: %s", f.said())
				}
				if code := f.cmd.ProcessState.ExitCode(); code != exitSystem {
					t.Errorf("exit code %d", code)
				}
				for _, s := range says {
					if !strings.Contains(f.said(), s) {
						t.Errorf("does not say %q: %s", s, f.said())
					}
				}
				if out := iptablesSave(t, l); !strings.Contains(out, "NFQUEUE") {
					t.Errorf("the rules are gone:\n%s", out)
				}
				if taken { // else who took it would have to answer
					return
				}
				echo(t, accepted, "alone", "alone")
				undecided.SetDeadline(time.Now().Add(time.Second))
				if err := undecided.Handshake(); err == nil {
					t.Error("a refused handshake passed without a daemon")
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := l.Client.DialContext(ctx, "tcp", "198.18.2.2:443"); err == nil {
					t.Error("a new connection passed without a daemon")
				}
				f = startFirewall(t, l, policy)
				echo(t, accepted, "after", "after")
				if err := honestOnce12(t, l); err != nil {
					t.Errorf("a new connection: %v", err)
				}
				f.stop()
				if out := iptablesSave(t, l); strings.Contains(out, "TLSGATE") {
					t.Errorf("rules are left:\n%s", out)
				}
			})
		}
	}
}

// honestOnce12 makes a connection that the partner's policy permits.
func honestOnce12(t *testing.T, l *lab.Lab) error {
	t.Helper()
	c := tlsClient(t, l, "198.18.2.2:443", tls.VersionTLS12)
	c.SetDeadline(time.Now().Add(visitTime))
	return c.Handshake()
}

// TestIntegrationNoBuffer: with no room in its socket, as when the kernel has no memory,
// the daemon hears of no packet, and ENOBUFS without end. Nothing passes unread, the
// loss is counted and named, and when there is room again all goes on.
func TestIntegrationNoBuffer(t *testing.T) {
	for _, backend := range []string{nfq.BackendBatch, nfq.BackendGoNFQueue} {
		t.Run(backend, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			serveFlooded(t, l)
			f := startFirewall(t, l, fmt.Sprintf("[queue]\nworkers = 1\nbackend = %q\n", backend)+fmt.Sprintf(floodPolicy[len("\n[queue]\nworkers = 1\n"):], 2000, 1000), "--events", "none")
			h := startBystander(t, l, floodedAt[false])
			fd := f.queueSocket(l, 0)
			room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
			if err == nil {
				err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			storm, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			before := lostAtServer(t, l)
			if err := floodSYNs(storm, l); err != nil {
				t.Fatal(err)
			}
			passed := lostAtServer(t, l) - before
			time.Sleep(300 * time.Millisecond) // until its counters are published
			during := f.statsNow()
			if out, _, code := f.ask(l, "health"); code != 1 || !strings.Contains(out, "found no room in a queue") {
				t.Errorf("health: %d: %s", code, out)
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room/2); err != nil {
				t.Fatal(err)
			}
			rounds := h.end()
			if err := honestOnce(t.Context(), l); err != nil {
				t.Errorf("a new connection afterwards: %v", err)
			}
			after := f.statsNow()
			t.Logf("%d passed in the storm, %d rounds of the old connection; %v", passed, rounds, nonzero(after.Queue))
			// One packet fits a socket without room (netlink_attachskb), so some were read.
			if read := during.Packets["seen"]; passed > read {
				t.Errorf("%d packets passed, and %d were read", passed, read)
			}
			if during.Queue["user_dropped"] == 0 || during.Queue["overruns"] == 0 {
				t.Errorf("not counted: %v", nonzero(during.Queue))
			}
			if after.Packets["bugs"] > 0 {
				t.Error(f.said())
			}
		})
	}
}
