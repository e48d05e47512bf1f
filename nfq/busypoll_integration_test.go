package nfq

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestIntegrationBusyPoll: Recv asks for packets for as long as it is to and no longer,
// takes what comes meanwhile, and still ends with its time and with the queue.
func TestIntegrationBusyPoll(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const most = 50 * time.Millisecond
	m := newMail(t)
	batch := make([]Packet, 64)
	idle := func(q *Queue, timeout time.Duration) (cpu, took time.Duration) {
		t.Helper()
		was, start := threadTime(t), time.Now()
		if n, err := q.Recv(batch, timeout); n != 0 || err != nil {
			t.Fatalf("%d packets, %v", n, err)
		}
		return threadTime(t) - was, time.Since(start)
	}

	asleep := m.open(t, Config{Number: mailQueue})
	quiet, _ := idle(asleep, 300*time.Millisecond)
	asleep.Close()

	q := m.open(t, Config{Number: mailQueue, BusyPoll: most})
	if cpu, took := idle(q, 300*time.Millisecond); cpu < 2*quiet || cpu > 290*time.Millisecond || took < 300*time.Millisecond {
		t.Errorf("%s of CPU in %s; %s without", cpu, took, quiet)
	}
	if cpu, _ := idle(q, 0); cpu > most/2 {
		t.Errorf("%s of CPU where nothing is waited for", cpu)
	}
	if _, took := idle(q, most/10); took < most/10 {
		t.Errorf("back after %s, asked to wait for %s", took, most/10)
	}
	for _, after := range []time.Duration{0, most / 5, 3 * most} { // at once, while it asks, asleep
		time.AfterFunc(after, func() { m.send(1, 100) })
		n, err := q.Recv(batch, 10*time.Second)
		if n != 1 || err != nil {
			t.Fatalf("after %s: %d packets, %v", after, n, err)
		}
		q.Verdict(batch[0].ID, Accept, 0, nil)
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.received(); n != 3 {
		t.Errorf("%d datagrams arrived, want 3", n)
	}
	time.AfterFunc(most/5, func() { q.Close() })
	if _, err := q.Recv(batch, 10*time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// threadTime is the CPU time that this thread has had.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
