package main

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/nfq/nfqtest"
)

// waits is a queue whose worker can be made to wait.
type waits struct {
	*nfqtest.Queue
	mu      sync.Mutex
	held    chan struct{} // nil: it does not wait
	waiting chan struct{}
}

func (q *waits) Recv(batch []nfq.Packet, timeout time.Duration) (int, error) {
	n, err := q.Queue.Recv(batch, timeout)
	q.mu.Lock()
	held := q.held
	q.mu.Unlock()
	if held != nil {
		select {
		case q.waiting <- struct{}{}:
		default:
		}
		<-held
	}
	return n, err
}

// hold returns when the worker waits.
func (q *waits) hold() (release func()) {
	held := make(chan struct{})
	q.mu.Lock()
	q.held = held
	q.mu.Unlock()
	<-q.waiting
	return func() {
		q.mu.Lock()
		q.held = nil
		q.mu.Unlock()
		close(held)
	}
}

// patience is a context whose time is over when a worker is asked for the last time:
// whoever asks derives one of his own from it.
type patience struct {
	context.Context
	left int
	then func()
}

func (p *patience) Deadline() (time.Time, bool) {
	if p.left--; p.left == 0 {
		p.then()
	}
	return p.Context.Deadline()
}

// TestReloadTakenBack: the time of who asks is over when one worker has taken the policy
// and the other has not. All judge by the one that was in force then, and the next reload
// works.
func TestReloadTakenBack(t *testing.T) {
	r, path, _ := reloading(t, 2, 0, 1)
	queues := [2]*waits{}
	for i, w := range r.workers {
		queues[i] = &waits{Queue: &nfqtest.Queue{}, waiting: make(chan struct{}, 1)}
		var running sync.WaitGroup
		running.Go(func() { w.engine.Run(queues[i], r.wall.Now) })
		t.Cleanup(func() { queues[i].Close(); running.Wait() })
	}
	port := uint16(2000)
	passes := func(i int) bool {
		port++
		syn := packet.Segment{
			Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("203.0.113.1"),
			SrcPort: port, DstPort: 443, Seq: 1000, Flags: packet.SYN,
		}
		q := queues[i].Queue
		id := q.Push(nfq.Packet{Payload: syn.Append(nil), Hook: nfq.Forward})
		verdict := nfq.Drop
		if !within(5*time.Second, func() bool {
			for _, v := range q.Verdicts() {
				if v.ID == id {
					verdict = v.Verdict
					return true
				}
			}
			return false
		}) {
			t.Fatalf("worker %d does not answer", i)
		}
		return verdict != nfq.Drop
	}
	before := r.config()
	write(t, path, "[queue]\nworkers = 2\n[[rule]]\nname = \"no\"\nmatch = { port = 443 }\naction = \"drop\"\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// Both answer that they are there, the first takes the policy, the second is busy.
	short := &patience{Context: ctx, left: 4, then: func() {
		release := queues[1].hold()
		cancel()
		time.AfterFunc(100*time.Millisecond, release)
	}}
	if _, err := r.reload(short); err == nil {
		t.Fatal("no error")
	}
	if short.left > 0 {
		t.Fatalf("the policy was not offered to the second: %d", short.left)
	}
	if r.config() != before || r.told().Reloads != 0 {
		t.Errorf("in force %s after %d reloads", r.policy().SHA256, r.told().Reloads)
	}
	for i := range queues {
		if !passes(i) {
			t.Errorf("worker %d judges by the policy that was taken back", i)
		}
	}
	if _, err := r.reload(t.Context()); err != nil {
		t.Error(err)
	}
	for i := range queues {
		if passes(i) {
			t.Errorf("worker %d does not judge by the policy in force", i)
		}
	}
}
