package main

import (
	"context"
	"errors"
	"time"

	"tlsgate/nfq"
)

// queuePatience is how long a queue may be taken before that is an error. Who killed a
// daemon and has waited for its end may be early: the child in which it was about to run
// iptables has what the daemon had open, the queue too, until it calls execve.
const queuePatience = 3 * time.Second

// openQueue is nfq.Open, with patience, which ends with ctx.
func openQueue(ctx context.Context, cfg nfq.Config) (*nfq.Queue, error) {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(queuePatience); ; {
		q, err := nfq.Open(cfg)
		if !errors.Is(err, nfq.ErrTaken) || time.Now().After(end) {
			return q, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
