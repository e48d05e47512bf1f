package nfqtest_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tlsgate/nfq"
	"tlsgate/nfq/nfqtest"
)

// methods are what nfq.Queue and its double have in common.
type methods interface {
	Recv([]nfq.Packet, time.Duration) (int, error)
	Verdict(uint32, nfq.Verdict, uint32, []byte)
	Flush() error
	Inject([]byte, uint32) error
	Stats() nfq.Stats
	Close() error
}

var (
	_ methods = (*nfq.Queue)(nil)
	_ methods = (*nfqtest.Queue)(nil)
)

func TestQueue(t *testing.T) {
	var q nfqtest.Queue
	q.Push(nfq.Packet{Payload: []byte("one"), Mark: 5}, nfq.Packet{Payload: []byte("two")})
	batch := make([]nfq.Packet, 1)
	if n, err := q.Recv(batch, time.Second); n != 1 || err != nil || string(batch[0].Payload) != "one" || batch[0].ID != 1 || batch[0].Mark != 5 {
		t.Fatalf("%d, %v, %+v", n, err, batch[0])
	}
	first := batch[0].Payload
	if n, err := q.Recv(batch, time.Second); n != 1 || err != nil || string(batch[0].Payload) != "two" {
		t.Fatalf("%d, %v, %+v", n, err, batch[0])
	}
	if string(first) == "one" {
		t.Error("a payload outlived the next Recv")
	}
	q.Verdict(2, nfq.Repeat, 7, batch[0].Payload)
	if got := q.Verdicts(); got != nil {
		t.Errorf("verdicts before Flush: %v", got)
	}
	if diff := cmp.Diff(q.Unanswered(), []uint32{1, 2}); diff != "" {
		t.Error(diff)
	}
	q.Verdict(9, nfq.Accept, 0, nil)
	q.Verdict(1, nfq.Repeat, 0, []byte("x"))
	q.FailFlush(unix.ENOBUFS)
	if err := q.Flush(); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("Flush: %v", err)
	}
	q.FailFlush(nil)
	if err := q.Flush(); err != nil {
		t.Errorf("Flush: %v", err)
	}
	want := []nfqtest.Verdict{{ID: 2, Verdict: nfq.Repeat, Mark: 7, Payload: []byte("two")}, {ID: 1}}
	if diff := cmp.Diff(q.Verdicts(), want); diff != "" {
		t.Error(diff)
	}
	q.Inject([]byte{1}, 3)
	if diff := cmp.Diff(q.Injected(), []nfqtest.Injected{{IP: []byte{1}, IfIndex: 3}}); diff != "" {
		t.Error(diff)
	}
	stats := nfq.Stats{Received: 2, Verdicts: 3, Injected: 1, VerdictErrors: map[unix.Errno]uint64{unix.ENOENT: 1}}
	if diff := cmp.Diff(q.Stats(), stats); diff != "" {
		t.Error(diff)
	}
}

func TestRecvWaits(t *testing.T) {
	var q nfqtest.Queue
	if n, err := q.Recv(make([]nfq.Packet, 1), time.Millisecond); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	time.AfterFunc(10*time.Millisecond, func() { q.Push(nfq.Packet{}) })
	if n, err := q.Recv(make([]nfq.Packet, 1), time.Minute); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	time.AfterFunc(10*time.Millisecond, func() { q.Close() })
	if n, err := q.Recv(make([]nfq.Packet, 1), time.Minute); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d, %v", n, err)
	}
}
