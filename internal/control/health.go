package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// answered is how a worker answered.
type answered struct {
	took time.Duration
	err  error
}

// answers asks all workers at once whether they are there.
func (s *Server) answers(ctx context.Context) []answered {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	all := make([]answered, len(s.d.Workers))
	var asking sync.WaitGroup
	for i, w := range s.d.Workers {
		asking.Go(func() {
			start := time.Now()
			all[i].err = w.Engine.Ping(ctx)
			all[i].took = time.Since(start)
		})
	}
	asking.Wait()
	return all
}

func (s *Server) health(w http.ResponseWriter, q *http.Request) error {
	h := Health{
		Problems: []Problem{}, Policy: s.d.Policy(), Workers: []Answer{},
		Uptime: (s.d.Clock() - s.d.Started) / int64(time.Second),
	}
	problem := func(code, format string, args ...any) {
		h.Problems = append(h.Problems, Problem{code, fmt.Sprintf(format, args...)})
	}
	for i, a := range s.answers(q.Context()) {
		queue := s.d.Workers[i].Queue
		h.Workers = append(h.Workers, Answer{queue, a.err == nil, float64(a.took.Microseconds()) / 1000})
		if a.err != nil {
			problem("worker", "%s: its packets are not answered", s.unanswered(i, a.err).Text)
		}
		if s.d.Workers[i].Engine.Bug() != "" {
			problem("bug", "worker %d (queue %d): judging a packet panicked, and the packet was dropped", i, queue)
		}
	}
	if errors.Is(q.Context().Err(), context.Canceled) {
		return q.Context().Err()
	}
	h.Packets, h.Events = s.losses.lately(s.d)
	if n := h.Packets.Lately; n > 0 {
		problem("packets_lost", "%d packets found no room in a queue in the last minute: more workers, or fewer ports to intercept", n)
	}
	if n := h.Events.Lately; n > 0 {
		problem("events_lost", "%d events were lost in the last minute: their reader is too slow, or the disk is full", n)
	}
	if s.d.State != nil {
		if text := s.d.State(); text != "" {
			problem("state", "%s", text)
		}
	}
	if s.d.Trouble != nil {
		h.Problems = append(h.Problems, s.d.Trouble()...)
	}
	h.Healthy = len(h.Problems) == 0
	status := http.StatusOK
	if !h.Healthy {
		status = http.StatusServiceUnavailable
	}
	return reply(w, status, &h)
}

// losses remembers counters of the last minute.
type losses struct {
	mu      sync.Mutex
	samples [6][2]uint64 // packets, events: the oldest first
	n       int
}

// watch takes samples until stop is closed.
func (l *losses) watch(d *Daemon, stop <-chan struct{}) {
	every := time.NewTicker(time.Minute / time.Duration(len(l.samples)))
	defer every.Stop()
	for {
		select {
		case <-stop:
			return
		case <-every.C:
			l.sample(d)
		}
	}
}

func (l *losses) sample(d *Daemon) {
	now := lost(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == len(l.samples) {
		copy(l.samples[:], l.samples[1:])
		l.n--
	}
	l.samples[l.n] = now
	l.n++
}

// lately compares with the oldest sample.
func (l *losses) lately(d *Daemon) (packets, events Losses) {
	now := lost(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.samples[0]
	return Losses{now[0], now[0] - min(first[0], now[0])}, Losses{now[1], now[1] - min(first[1], now[1])}
}

// lost counts the packets that found no room in a queue, or in its socket, those
// that passed unread for it among them, and the events that nobody took.
func lost(d *Daemon) [2]uint64 {
	s := d.Stats()
	return [2]uint64{s.Queue.KernelDropped + max(s.Queue.UserDropped, s.Queue.Missed), s.Lost}
}
