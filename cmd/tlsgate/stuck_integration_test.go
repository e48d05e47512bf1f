package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/conntrack/packet"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
	"tlsgate/nfq"
)

// poller is the thread of the daemon that waits for a file, in ppoll(2) or recvmmsg(2):
// a worker without packets.
func (f *firewall) poller(file int) (tid int) {
	f.t.Helper()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", f.cmd.Process.Pid))
	if err != nil {
		labtest.Missing(f.t, fmt.Errorf("missing: another process's memory: %w", err))
	}
	defer memory.Close()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", f.cmd.Process.Pid))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, task := range tasks {
		call, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/syscall", f.cmd.Process.Pid, task.Name()))
		var at int64 // a descriptor, or where struct pollfd is
		if n, _ := fmt.Sscanf(string(call), strconv.Itoa(unix.SYS_RECVMMSG)+" 0x%x", &at); n == 1 && at == int64(file) {
			tid, _ = strconv.Atoi(task.Name())
			return tid
		}
		if n, _ := fmt.Sscanf(string(call), strconv.Itoa(unix.SYS_PPOLL)+" 0x%x", &at); err != nil || n != 1 {
			continue
		}
		fd := make([]byte, 4)
		if _, err := memory.ReadAt(fd, at); err == nil && int(binary.NativeEndian.Uint32(fd)) == file {
			tid, _ = strconv.Atoi(task.Name())
			return tid
		}
	}
	return 0
}

// holdThread stops one thread of another process, as a fault in the kernel would, until
// letGo. The others go on.
func holdThread(tid int) (letGo func(), err error) {
	held, done, gone := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		// A tracer is a thread. It must not end: it may be the one that has started the
		// daemon, which would end with it (PR_SET_PDEATHSIG).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(gone)
		err := unix.PtraceSeize(tid)
		if err == nil {
			err = unix.PtraceInterrupt(tid)
		}
		if err == nil {
			_, err = unix.Wait4(tid, nil, unix.WALL, nil)
		}
		held <- err
		<-done
		unix.PtraceDetach(tid)
	}()
	letGo = func() { close(done); <-gone }
	if err := <-held; err != nil {
		letGo()
		return nil, err
	}
	return letGo, nil
}

// holdPoller stops the worker that waits for a file while it does. One that is stopped in
// Go code stops all others, at the next garbage collection, which waits for it.
func (f *firewall) holdPoller(file int) (letGo func()) {
	f.t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		tid := f.poller(file)
		if tid == 0 {
			continue
		}
		letGo, err := holdThread(tid)
		if err != nil {
			labtest.Missing(f.t, fmt.Errorf("missing: ptrace: %w", err))
		}
		if f.poller(file) == tid {
			return letGo
		}
		letGo()
	}
	f.t.Fatal("no thread waits for the queue")
	return nil
}

// countQueues tells which of the queues something went through: the one with the most
// packets, for another connection's may come late.
func countQueues(t testing.TB, l *lab.Lab, do func()) (queue int) {
	t.Helper()
	before := queued(t, l)
	do()
	most := 0
	for i, n := range queued(t, l) {
		if n-before[i] > most {
			queue, most = i, n-before[i]
		}
	}
	if most == 0 {
		t.Fatal("no packet came to a queue")
	}
	return queue
}

// TestIntegrationStuckWorker stops one of two workers, and no other thread. That is
// noticed within two seconds, and said; its queue meets the fail policy when it is full,
// and nothing of it passes before; the other queue is served as ever. When the worker
// goes on, so do its connections.
func TestIntegrationStuckWorker(t *testing.T) {
	labtest.Program(t, "ip")
	for _, failOpen := range []bool{false, true} {
		t.Run(fmt.Sprintf("fail_open=%v", failOpen), func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{}); err != nil {
				t.Fatal(err)
			}
			output(t, l.Server, "iptables", "-w", "5", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", "446", "-j", "DROP")
			f := startFirewall(t, l, fmt.Sprintf("[queue]\nworkers = 2\nfail_open = %v\n[intercept]\nports = [\"443-446\"]\noffload = false\n", failOpen), "--events", "none")

			// A connection through each queue.
			to := netip.AddrPortFrom(l.Server.IPv4, 443)
			var through [2]*tls.Conn
			var from [2]netip.Addr
			for _, own := range addresses(t, l.Client, l.Client.IPv4, 8) {
				var c *tls.Conn
				queue := countQueues(t, l, func() {
					raw := dialFrom(t, l, own, to)
					t.Cleanup(func() { raw.Close() })
					c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
					c.SetDeadline(time.Now().Add(time.Minute))
					echo(t, c, "echo\nbefore", "before")
				})
				through[queue], from[queue] = c, own
			}
			if through[0] == nil || through[1] == nil {
				t.Fatal("all addresses share a queue")
			}

			const stuck = 1
			letGo := f.holdPoller(f.queueFile(l, stuck))
			freed := false
			defer func() {
				if !freed {
					letGo()
				}
			}()
			began := time.Now()
			if !within(10*time.Second, func() bool {
				return strings.Contains(f.said(), fmt.Sprintf("worker %d (queue %d) has not answered", stuck, stuck))
			}) {
				t.Fatalf("not noticed: %s", f.said())
			}
			if took := time.Since(began); took > 5*time.Second { // 2, and a busy machine
				t.Errorf("noticed after %s", took)
			}
			if !strings.Contains(f.said(), passes(failOpen)) {
				t.Errorf("does not say what becomes of packets: %s", f.said())
			}
			if out, _, code := f.ask(l, "health"); code != 1 || !strings.Contains(out, fmt.Sprintf("worker %d (queue %d)", stuck, stuck)) || !strings.Contains(out, "1 of 2 workers answer") {
				t.Errorf("health: %d: %s", code, out)
			}

			echo(t, through[1-stuck], "during", "during")
			waits := through[stuck]
			waits.SetDeadline(time.Now().Add(time.Second))
			if _, err := waits.Write([]byte("while")); err != nil {
				t.Fatal(err)
			}
			if n, err := waits.NetConn().Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d bytes, %v came through a queue that nobody answers", n, err)
			}
			passed := overflowFrom(t, l, from[stuck])
			echo(t, through[1-stuck], "after", "after")
			letGo()
			freed = true
			if !within(10*time.Second, func() bool {
				return strings.Contains(f.said(), fmt.Sprintf("worker %d (queue %d) answers again", stuck, stuck))
			}) {
				t.Errorf("does not say that it answers again: %s", f.said())
			}
			waits.SetDeadline(time.Now().Add(visitTime))
			b := make([]byte, 5)
			if _, err := waits.Read(b); err != nil || string(b) != "while" {
				t.Errorf("afterwards: %q, %v", b, err)
			}
			s := f.statsNow()
			t.Logf("%d passed; %v", passed, nonzero(s.Queue))
			if lost := s.Queue["kernel_dropped"] + s.Queue["user_dropped"]; !failOpen && (passed != 0 || lost == 0) {
				t.Errorf("%d passed unread, %d lost", passed, lost)
			}
			if failOpen && passed == 0 {
				t.Error("fail_open = true, and nothing passed a full queue")
			}
			if s.Packets["bugs"] > 0 {
				t.Error(f.said())
			}
		})
	}
}

// overflowFrom sends a queue more SYNs than it holds, all from one address, and returns
// how many have come to the server.
func overflowFrom(t *testing.T, l *lab.Lab, from netip.Addr) uint64 {
	t.Helper()
	before := lostAtServer(t, l)
	overflowing, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var n atomic.Int64
	err := spoof(overflowing, l, 50_000, func(g *packet.Segment) {
		g.Flags, g.Src = packet.SYN, from
		if n.Add(1) > nfq.DefaultMaxLen {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return lostAtServer(t, l) - before
}
