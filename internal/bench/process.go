package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/internal/lab"
)

const patience = 20 * time.Second // with a process that is to begin or to end

// process is a firewall that runs.
type process struct {
	firewall firewall
	lab      *lab.Lab
	cmd      *exec.Cmd // nil: nothing runs
	dir      string
	said     *syncBuffer
	ended    chan struct{}
	pid      int
}

// syncBuffer is a bytes.Buffer for two goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start puts the firewall into the gateway, and waits until its queues are bound and
// its rules are in place.
func (f firewall) start(s settings, l *lab.Lab) (*process, error) {
	dir, err := os.MkdirTemp(s.dir, "firewall")
	if err != nil {
		return nil, err
	}
	p := &process{firewall: f, lab: l, dir: dir, said: &syncBuffer{}, ended: make(chan struct{})}
	if f.command != nil {
		args, err := f.command(s, dir)
		if err != nil {
			return nil, err
		}
		p.cmd = l.Gateway.Command(context.Background(), args[0], args[1:]...)
		p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
		if err := p.cmd.Start(); err != nil {
			return nil, err
		}
		go func() { p.cmd.Wait(); close(p.ended) }()
		if err := p.ready(); err != nil {
			p.stop()
			return nil, err
		}
		p.pid = p.cmd.Process.Pid // nsenter has become it
	}
	for _, line := range f.before {
		if err := onIPTables(l, line); err != nil {
			p.stop()
			return nil, err
		}
	}
	return p, nil
}

func (p *process) ready() error {
	said := "running"
	if p.firewall.name == suricata {
		said = "Engine started"
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.ended:
			return fmt.Errorf("%s: ended at once: %s", p.firewall.name, p.said)
		default:
		}
		if strings.Contains(p.said.String(), said) {
			if q, err := p.queue(); err == nil && q.bound == p.firewall.queues {
				return nil
			}
		}
	}
	return fmt.Errorf("%s: not ready after %s: %s", p.firewall.name, patience, p.said)
}

// stop takes the firewall away. What it left of rules is its own to have removed.
func (p *process) stop() (err error) {
	for _, line := range p.firewall.before {
		err = errors.Join(err, onIPTables(p.lab, strings.Replace(line, "-A", "-D", 1)))
	}
	if p.cmd == nil {
		return err
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.ended
		err = errors.Join(err, fmt.Errorf("%s: did not end", p.firewall.name))
	}
	return err
}

// cpu is the time that all threads of the process have had, those that ended too. What
// the kernel does for its packets in an interrupt of another process is not in it, and
// what it does in one of this process for others is.
func (p *process) cpu() time.Duration {
	if p.cmd == nil {
		return 0
	}
	const schedClock = 2 // posix-timers.h: CPUCLOCK_SCHED
	var t unix.Timespec
	if unix.ClockGettime(int32(^p.pid<<3|schedClock), &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// peak is the most memory that the process has had, in bytes.
func (p *process) peak() float64 {
	if p.cmd == nil {
		return 0
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kB, _ := strconv.ParseFloat(f[1], 64)
			return kB * 1024
		}
	}
	return 0
}

// signal stops the process, or lets it go on.
func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%w: %s", err, p.said)
	}
	return nil
}

// queued are the sums over a network namespace's queues, of
// /proc/net/netfilter/nfnetlink_queue.
type queued struct {
	bound, waiting int
	full           int    // packets lost because the queue was full, which have no number
	overrun        int    // packets lost because the socket's buffer was full, which have one
	given          uint32 // packets numbered, since the queues were bound
}

func (q queued) lost() int   { return q.full + q.overrun }
func (q queued) judged() int { return int(q.given) - q.overrun - q.waiting }

func (p *process) queue() (q queued, err error) {
	w, err := watchQueues(p.lab)
	if err != nil {
		return q, err
	}
	defer w.close()
	return w.read()
}

// nap sleeps on the thread itself: the runtime's timers are a millisecond apart where it
// has nothing else to do.
func nap(d time.Duration) {
	if d > 0 {
		t := unix.NsecToTimespec(int64(d))
		unix.Nanosleep(&t, nil)
	}
}

// watch reads the table of queues again and again.
type watch struct {
	file *os.File
	buf  []byte
}

func watchQueues(l *lab.Lab) (w *watch, err error) {
	w = &watch{buf: make([]byte, 16<<10)}
	err = l.Gateway.Run(func() (err error) {
		w.file, err = os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
		return err
	})
	return w, err
}

func (w *watch) close() { w.file.Close() }

func (w *watch) read() (q queued, err error) {
	n, err := w.file.ReadAt(w.buf, 0)
	if err != nil && err != io.EOF {
		return q, err
	}
	// queue, port, waiting, mode, range, dropped, dropped by the socket, number
	for line := range bytes.Lines(w.buf[:n]) {
		var v [8]int
		for i, f := range bytes.Fields(line) {
			if i < len(v) {
				v[i], _ = strconv.Atoi(string(f))
			}
		}
		q.bound++
		q.waiting += v[2]
		q.full += v[5]
		q.overrun += v[6]
		q.given += uint32(v[7])
	}
	return q, nil
}
