package main

import (
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
	"tlsgate/nfq"
)

// TestIntegrationQueueHeld: a queue that is still held when the daemon starts, as by the
// child of one that was killed, is waited for. That it is not waited for without end,
// TestIntegrationErrors shows.
func TestIntegrationQueueHeld(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	var q *nfq.Queue
	if err := l.Gateway.Run(func() (err error) { q, err = nfq.Open(nfq.Config{}); return err }); err != nil {
		t.Fatal(err)
	}
	released := make(chan error, 1)
	time.AfterFunc(queuePatience/3, func() { released <- q.Close() })
	startFirewall(t, l, "[queue]\nworkers = 1\n")
	if err := <-released; err != nil {
		t.Error(err)
	}
}
