package main

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tlsgate/internal/lab"
)

// hammerTime is how long a client of a hammer waits for anything.
const hammerTime = 500 * time.Millisecond

// hammer is clients that try one handshake after the other, whatever becomes of them.
type hammer struct {
	tried, passed atomic.Int64 // handshakes
	cancel        context.CancelFunc
	all           sync.WaitGroup
}

// startHammer has so many clients go on until stop, or the test ends.
func startHammer(t *testing.T, l *lab.Lab, clients int, config *tls.Config) *hammer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &hammer{cancel: cancel}
	for range clients {
		h.all.Go(func() {
			for ctx.Err() == nil {
				h.once(ctx, l, config)
			}
		})
	}
	t.Cleanup(h.stop)
	return h
}

func (h *hammer) once(ctx context.Context, l *lab.Lab, config *tls.Config) {
	dialing, cancel := context.WithTimeout(ctx, hammerTime)
	raw, err := l.Client.DialContext(dialing, "tcp", "198.18.2.2:443")
	cancel()
	if err != nil {
		return
	}
	defer raw.Close()
	h.tried.Add(1)
	raw.SetDeadline(time.Now().Add(hammerTime))
	if tls.Client(raw, config).Handshake() == nil {
		h.passed.Add(1)
	}
}

// stop returns when the last client has ended.
func (h *hammer) stop() {
	h.cancel()
	h.all.Wait()
}

// stopRefused stops clients of which the policy refuses every one.
func (h *hammer) stopRefused(t *testing.T) {
	t.Helper()
	h.stop()
	tried, passed := h.tried.Load(), h.passed.Load()
	t.Logf("%d refused handshakes tried", tried)
	if passed > 0 || tried == 0 {
		t.Errorf("%d of %d refused handshakes passed", passed, tried)
	}
}
