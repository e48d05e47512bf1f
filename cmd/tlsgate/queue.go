package main

import (
	"errors"
	"time"

	"tlsgate/nfq"
)

// queuePatience is how long a queue may be taken before that is an error. Who killed a
// daemon and has waited for its end may be early: the child in which it was about to run
// iptables has what the daemon had open, the queue too, until it calls execve.
const queuePatience = 3 * time.Second

// openQueue is nfq.Open, with patience.
func openQueue(cfg nfq.Config) (*nfq.Queue, error) {
	for end := time.Now().Add(queuePatience); ; time.Sleep(50 * time.Millisecond) {
		q, err := nfq.Open(cfg)
		if !errors.Is(err, nfq.ErrTaken) || time.Now().After(end) {
			return q, err
		}
	}
}
