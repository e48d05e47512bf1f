package engine

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/nfq"
	"tlsgate/nfq/nfqtest"
)

// queue gives batches of packets, then says that it is closed.
type queue struct {
	batches  [][]nfq.Packet
	verdicts map[uint32]nfq.Verdict
	pending  int
}

func (q *queue) Recv(batch []nfq.Packet, _ time.Duration) (int, error) {
	if len(q.batches) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(batch, q.batches[0])
	q.batches = q.batches[1:]
	return n, nil
}

func (q *queue) Verdict(id uint32, v nfq.Verdict, _ uint32, _ []byte) {
	q.verdicts[id] = v
	q.pending++
}

func (q *queue) Flush() error {
	q.pending = 0
	return nil
}

// faulty is a sink with a bug.
type faulty struct{ sink }

func (*faulty) TLS(*Report) { panic("a bug") }

// TestRun: every packet is answered once, whatever happens with it, and every
// connection is told as ended.
func TestRun(t *testing.T) {
	packets := script(t, partner(), recording(t, "tls13"), strategies["mss"])
	cfg := config()
	events := &faulty{}
	cfg.Sink = events
	e := New(cfg, partner())
	q := &queue{verdicts: map[uint32]nfq.Verdict{}}
	for i, b := range packets {
		q.batches = append(q.batches, []nfq.Packet{{ID: uint32(i), Payload: b}, {ID: uint32(1000 + i)}})
	}
	now := second
	if err := e.Run(q, func() int64 { now += second / 10; return now }); err != nil {
		t.Fatal(err)
	}
	if len(q.verdicts) != 2*len(packets) || q.pending != 0 {
		t.Errorf("%d verdicts for %d packets, %d not sent", len(q.verdicts), 2*len(packets), q.pending)
	}
	for i := range packets {
		if v := q.verdicts[uint32(1000+i)]; v != nfq.Drop {
			t.Errorf("an empty packet got %v", v)
		}
	}
	if s := e.Stats(); s.Bugs != 1 || !strings.Contains(e.Bug(), "a bug") || s.Connections != 0 || s.Buffered != 0 {
		t.Errorf("%+v, bug %q", s, e.Bug())
	}
	if len(events.flow) != 1 {
		t.Errorf("%d flow events", len(events.flow))
	}
}

// TestUnsentVerdicts: verdicts that could not be sent for once are sent though no other
// packet comes; verdicts that never can be end the engine, and say why.
func TestUnsentVerdicts(t *testing.T) {
	for _, lasting := range []bool{false, true} {
		q := &nfqtest.Queue{}
		q.FailFlush(unix.ENOBUFS)
		l := newLab(t, config(), named("api.bank.example"))
		ended := make(chan error, 1)
		go func() { ended <- l.e.Run(q, Clock()) }()
		q.Push(nfq.Packet{Payload: []byte{0x45}})
		for until := time.Now().Add(10 * time.Second); len(q.Unanswered()) == 0 && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
		if lasting {
			select {
			case err := <-ended:
				if !errors.Is(err, unix.ENOBUFS) {
					t.Errorf("ended with %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("verdicts cannot be sent, and it goes on")
			}
			continue
		}
		time.Sleep(20 * time.Millisecond)
		q.FailFlush(nil)
		for until := time.Now().Add(10 * time.Second); len(q.Unanswered()) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("a verdict waits for another packet")
			}
		}
		q.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
