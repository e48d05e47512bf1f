package engine

import (
	"sync/atomic"
	"time"
)

// Clock returns a clock for Run: the wall's time now, carried on by CLOCK_MONOTONIC.
// Setting the wall's clock moves nothing that has begun. While the machine sleeps it
// stands still, as the kernel's own timers of connections do (jiffies): who wakes up
// finds them as they were, and not timed out.
func Clock() func() int64 {
	start := time.Now()
	base := start.UnixNano()
	return func() int64 { return base + int64(time.Since(start)) }
}

// Wall says what the wall's clock shows, which may be set while a daemon runs, and goes
// on while its machine sleeps. People's times go by it: those of rules, gates,
// certificates, events. It is safe for concurrent use; nil shows the engine's own time.
type Wall struct {
	clock func() int64 // the engines'
	real  func() int64
	ahead atomic.Int64 // of clock
}

// NewWall returns the wall's clock beside the engines'.
func NewWall(clock func() int64) *Wall {
	return &Wall{clock: clock, real: func() int64 { return time.Now().UnixNano() }}
}

// Now returns the engines' time.
func (w *Wall) Now() int64 { return w.clock() }

// Time returns what the wall's clock shows at a time of the engines.
func (w *Wall) Time(at int64) int64 {
	if w == nil {
		return at
	}
	return at + w.ahead.Load()
}

// Look looks at the wall's clock, and returns by how much it was set since the last look.
func (w *Wall) Look() time.Duration {
	ahead := w.real() - w.clock()
	return time.Duration(ahead - w.ahead.Swap(ahead))
}
