package engine

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"time"

	"tlsgate/nfq"
)

// Queue is what the engine needs of a packet queue. Packets received stay
// valid until the next Recv.
type Queue interface {
	Recv(batch []nfq.Packet, timeout time.Duration) (int, error)
	Verdict(id uint32, v nfq.Verdict, mark uint32, payload []byte)
	Flush() error
}

const (
	batchSize = 64
	tickEvery = 100 * time.Millisecond

	// maxFailures is how often in a row verdicts may fail to be sent, as they do
	// when the kernel has no memory for a moment. They are kept and sent again.
	maxFailures = 100
)

// Run answers the packets of q, in their order, until it is closed, on an OS thread of
// its own.
// clock gives the time, in nanoseconds since the Unix epoch, never going back.
// When q is closed every connection is told as ended, and Run returns nil.
func (e *Engine) Run(q Queue, clock func() int64) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(e.mail.stopped)
	batch := make([]nfq.Packet, batchSize)
	var nextTick int64
	failures, now, packets := 0, clock(), false
	for {
		n, err := q.Recv(batch, e.patience(now, packets))
		now, packets = clock(), n > 0
		e.batch(q, batch[:n], now)
		if n > 0 || failures > 0 { // verdicts that could not be sent wait for no other packet
			if ferr := q.Flush(); ferr == nil {
				failures = 0
			} else if failures++; failures > maxFailures && !errors.Is(ferr, net.ErrClosed) {
				return fmt.Errorf("engine: sending verdicts: %w", ferr)
			}
		}
		e.answerOne(clock)
		e.walkOn(clock)
		if now >= nextTick {
			nextTick = now + int64(tickEvery)
			e.Tick(now)
		}
		if errors.Is(err, net.ErrClosed) {
			e.Close(now)
			return nil
		}
		if err != nil {
			return fmt.Errorf("engine: receiving packets: %w", err)
		}
	}
}

// guarded answers a packet even when judging it uncovers a bug of ours: the
// packet is dropped, the bug is counted and kept for whoever reads the stats.
func (e *Engine) guarded(p *nfq.Packet, i int, now int64) (r Result) {
	defer func() {
		if v := recover(); v != nil {
			e.bug(v)
			r = Result{Verdict: nfq.Drop}
		}
	}()
	return e.packet(p, i, now)
}

// foundBug is deferred by what may uncover a bug of ours, too, before a packet's turn.
func (e *Engine) foundBug() {
	if v := recover(); v != nil {
		e.bug(v)
	}
}

func (e *Engine) bug(v any) {
	e.counts.Bugs++
	e.shared.fault(fmt.Sprintf("%v\n%s", v, debug.Stack()))
}
