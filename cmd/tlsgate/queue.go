package main

import (
	"context"
	"errors"
	"fmt"
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

// noRivals is an error where another daemon's rules are in place: those of a second one
// would take all packets away from it.
func noRivals(ctx context.Context, rules nfq.Rules) error {
	queues, err := rules.Rivals(ctx)
	if err != nil || len(queues) == 0 {
		return err
	}
	return &nfq.Error{
		Op:   "install rules",
		Err:  fmt.Errorf("rules of tlsgate are in place for queue %d, which another process serves: these would take its packets away", queues[0]),
		Hint: "one daemon alone has rules in a network namespace: end the other one, or give both policies to one; rules that nobody needs go by \"tlsgate rules down\"",
	}
}
