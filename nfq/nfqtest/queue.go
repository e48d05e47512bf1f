// Package nfqtest is a queue in memory with the methods of nfq.Queue, for tests
// that want no kernel. It knows packets and verdicts as nfq does, and nothing of
// what they mean.
package nfqtest

import (
	"bytes"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/nfq"
)

// Verdict is a verdict as it was given, its payload a copy.
type Verdict struct {
	ID      uint32
	Verdict nfq.Verdict
	Mark    uint32
	Payload []byte
}

// Injected is a packet of our own, a copy.
type Injected struct {
	IP      []byte
	IfIndex uint32
}

// Queue is an NFQUEUE in memory. The zero Queue is open and empty. It is safe
// for concurrent use.
//
// Like the kernel it numbers packets from 1 and keeps each until it has its
// verdict. To catch who reads a payload for too long, Recv overwrites the
// payloads that the Recv before it returned.
type Queue struct {
	mu       sync.Mutex
	lastID   uint32
	waiting  []nfq.Packet
	lent     [][]byte
	open     map[uint32]bool // received and not answered
	pending  []Verdict       // given and not flushed
	verdicts []Verdict
	injected []Injected
	flushErr error
	closed   bool
	stats    nfq.Stats
	news     chan struct{} // has an element when Recv may have something to do
}

// signal returns the channel; the lock must be held.
func (q *Queue) signal() chan struct{} {
	if q.news == nil {
		q.news = make(chan struct{}, 1)
	}
	return q.news
}

func (q *Queue) notify() {
	select {
	case q.signal() <- struct{}{}:
	default:
	}
}

// Push queues packets, as they are but for the ID, which is chosen here, and
// returns the ID of the last. The payloads are copied.
func (q *Queue) Push(packets ...nfq.Packet) uint32 {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range packets {
		q.lastID++
		p.ID = q.lastID
		p.Payload = bytes.Clone(p.Payload)
		q.waiting = append(q.waiting, p)
	}
	q.notify()
	return q.lastID
}

// Recv is nfq.Queue.Recv.
func (q *Queue) Recv(batch []nfq.Packet, timeout time.Duration) (int, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		n, news, err := q.take(batch)
		if n > 0 || err != nil || timeout <= 0 {
			return n, err
		}
		select {
		case <-news:
		case <-timer.C:
			return 0, nil
		}
	}
}

func (q *Queue) take(batch []nfq.Packet) (int, <-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.lent {
		for i := range b {
			b[i] = 0xdb
		}
	}
	q.lent = q.lent[:0]
	if q.closed {
		q.notify() // whoever else waits
		return 0, nil, &nfq.Error{Op: "receive", Err: net.ErrClosed}
	}
	n := copy(batch, q.waiting)
	q.waiting = q.waiting[n:]
	if q.open == nil {
		q.open = make(map[uint32]bool)
	}
	for _, p := range batch[:n] {
		q.lent = append(q.lent, p.Payload)
		q.open[p.ID] = true
	}
	q.stats.Received += uint64(n)
	return n, q.signal(), nil
}

// Verdict is nfq.Queue.Verdict.
func (q *Queue) Verdict(id uint32, v nfq.Verdict, mark uint32, payload []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if v == nfq.Repeat && mark == 0 {
		v, payload = nfq.Drop, nil
	}
	q.pending = append(q.pending, Verdict{id, v, mark, bytes.Clone(payload)})
}

// Flush is nfq.Queue.Flush.
func (q *Queue) Flush() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return &nfq.Error{Op: "send verdicts", Err: net.ErrClosed}
	}
	if q.flushErr != nil {
		return &nfq.Error{Op: "send verdicts", Err: q.flushErr}
	}
	for _, v := range q.pending {
		q.stats.Verdicts++
		if !q.open[v.ID] {
			if q.stats.VerdictErrors == nil {
				q.stats.VerdictErrors = make(map[unix.Errno]uint64)
			}
			q.stats.VerdictErrors[unix.ENOENT]++
			continue
		}
		delete(q.open, v.ID)
		q.verdicts = append(q.verdicts, v)
	}
	q.pending = q.pending[:0]
	return nil
}

// Inject is nfq.Queue.Inject.
func (q *Queue) Inject(ip []byte, ifindex uint32) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.stats.InjectErrors++
		return &nfq.Error{Op: "inject", Err: net.ErrClosed}
	}
	q.stats.Injected++
	q.injected = append(q.injected, Injected{bytes.Clone(ip), ifindex})
	return nil
}

// Stats is nfq.Queue.Stats.
func (q *Queue) Stats() nfq.Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.VerdictErrors = maps.Clone(s.VerdictErrors)
	s.Waiting = uint64(len(q.waiting) + len(q.open))
	return s
}

// Close is nfq.Queue.Close.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.notify()
	return nil
}

// FailFlush makes Flush fail until it is called with nil.
func (q *Queue) FailFlush(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flushErr = err
}

// Verdicts returns the verdicts flushed since it was last called, in their
// order. Those the kernel would have refused, for packets that are not there or
// were answered before, are not among them but in Stats.
func (q *Queue) Verdicts() []Verdict {
	q.mu.Lock()
	defer q.mu.Unlock()
	v := q.verdicts
	q.verdicts = nil
	return v
}

// Injected returns the packets injected since it was last called.
func (q *Queue) Injected() []Injected {
	q.mu.Lock()
	defer q.mu.Unlock()
	v := q.injected
	q.injected = nil
	return v
}

// Unanswered returns the IDs of the packets received that have no verdict yet.
func (q *Queue) Unanswered() []uint32 {
	q.mu.Lock()
	defer q.mu.Unlock()
	var ids []uint32
	for id := range q.open {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
