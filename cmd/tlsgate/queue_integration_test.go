package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"tlsgate/config"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
	"tlsgate/nfq"
)

// TestIntegrationQueueHeld: a queue that is still held when the daemon starts, as by the
// child of one that was killed, is waited for. That it is not waited for without end,
// TestIntegrationErrors shows.
func TestIntegrationQueueHeld(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	q := holdQueue(t, l)
	released := make(chan error, 1)
	time.AfterFunc(queuePatience/3, func() { released <- q.Close() })
	startFirewall(t, l, "[queue]\nworkers = 1\n")
	if err := <-released; err != nil {
		t.Error(err)
	}
}

func holdQueue(t *testing.T, l *lab.Lab) (q *nfq.Queue) {
	t.Helper()
	if err := l.Gateway.Run(func() (err error) { q, err = nfq.Open(nfq.Config{}); return err }); err != nil {
		t.Fatal(err)
	}
	return q
}

// TestIntegrationQueueHeldEnd: a daemon that waits for its queue ends when it is told
// to, as one that has not begun.
func TestIntegrationQueueHeldEnd(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	defer holdQueue(t, l).Close()
	c, err := config.Parse("policy.toml", []byte("[queue]\nworkers = 1\n[control]\nsocket = \"none\"\n[state]\nfile = \"none\"\n"), ".")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	told := time.AfterFunc(queuePatience/10, end)
	defer told.Stop()
	var out, errs bytes.Buffer
	began := time.Now()
	err = l.Gateway.Run(func() error { return runDaemon(ctx, c, true, func(*config.Config) {}, &out, &errs) })
	if took := time.Since(began); err != nil || took > queuePatience*2/3 || errs.Len() > 0 {
		t.Errorf("after %s of %s: %v, %s", took, queuePatience, err, &errs)
	}
}
