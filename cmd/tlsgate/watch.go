package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"tlsgate/internal/engine"
)

// How soon it is noticed that a worker does not answer: within the sum of both.
const (
	watchEvery  = 500 * time.Millisecond
	watchAnswer = 1500 * time.Millisecond
)

// watchman says on standard error what goes wrong beside the packets, while it does.
// The zero watchman is not usable.
type watchman struct {
	workers  []*worker
	first    uint16 // queue
	failOpen bool
	wall     *engine.Wall
	devices  *links
	mu       sync.Mutex // of stderr
	stderr   io.Writer
	oversize oversize
	sessions *engine.Sessions
	buffered func() int // of [limits]
}

func (w *watchman) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.stderr, "tlsgate: warning: "+format+"\n", args...)
}

// run watches until ctx ends.
func (w *watchman) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { w.devices.listen(ctx) })
	all.Go(func() { w.watchLinks(ctx) })
	for i := range w.workers {
		all.Go(func() { w.watch(ctx, i) })
	}
}

// watch asks one worker for a sign of life, and the kernel whether it still has the
// queue; that answer comes to the worker, whose end the daemon is.
func (w *watchman) watch(ctx context.Context, i int) {
	var silent time.Time // since then
	every := time.NewTicker(watchEvery)
	defer every.Stop()
	for n := 0; ; n++ {
		began := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		if n%2 == 0 {
			w.workers[i].queue.Probe()
		}
		asked := time.Now()
		asking, cancel := context.WithTimeout(ctx, watchAnswer)
		err := w.workers[i].engine.Ping(asking)
		cancel()
		late := time.Since(began) > watchEvery+watchAnswer+time.Second
		switch {
		case ctx.Err() != nil, errors.Is(err, engine.ErrStopped):
			return
		case late && i == 0: // it is not the worker that had no time
			w.say("the whole daemon stood still for %s: it was stopped, or the machine had no time for it", tenths(time.Since(began)))
		case late:
		case err == nil && !silent.IsZero():
			w.say("worker %d (queue %d) answers again, after %s", i, int(w.first)+i, tenths(time.Since(silent)))
			silent = time.Time{}
		case err != nil && silent.IsZero():
			silent = asked
			w.say("worker %d (queue %d) has not answered for %s: its packets wait, and what finds no room in its queue %s",
				i, int(w.first)+i, watchAnswer, passes(w.failOpen))
		}
	}
}

func tenths(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// passes says what the fail policy makes of a packet.
func passes(failOpen bool) string {
	if failOpen {
		return "passes unread (queue.fail_open = true)"
	}
	return "is dropped (queue.fail_open = false)"
}

// lookAtCertificates keeps those that sessions hold to a quarter of what certificates may
// take, and has the collector find those that nobody holds any more before the engines
// have no room for new ones.
func (w *watchman) lookAtCertificates() {
	held := uint64(0)
	for _, x := range w.workers {
		s := x.engine.Stats()
		held += s.Certificates
	}
	if most := w.buffered() / 4; held > uint64(most) {
		w.sessions.Shed(most)
		runtime.GC()
	}
}

// lookAtWall notices that the machine's clock was set, or went on in its sleep.
func (w *watchman) lookAtWall() {
	if by := w.wall.Look(); by.Abs() >= time.Second {
		w.say("the clock was set by %+.0f s: events, and what rules say of the time, go by it from now on; what waits, or is to end after a while, is not moved", by.Seconds())
	}
}
