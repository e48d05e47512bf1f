package nfq

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// openAttempts is how often the binding is tried: go-nfqueue looks for the
// answers to its requests among the packets of a queue that already runs.
const openAttempts = 8

// goQueue is the backend on florianl/go-nfqueue, one packet and one verdict at a
// time: slow, and written by others.
type goQueue struct {
	nf       *nfqueue.Nfqueue
	cancel   context.CancelFunc
	counters *counters
	number   uint16

	packets chan Packet // from go-nfqueue's goroutine, which allocates every payload
	done    chan struct{}
	closing sync.Once
	gone    chan struct{} // closed when lost says why
	losing  sync.Once
	lost    error
	timer   *time.Timer

	// Verdicts not yet sent. Their payloads lie one after another in memory.
	out    []goVerdict
	memory []byte
}

type goVerdict struct {
	id, mark uint32
	verdict  Verdict
	payload  int // its length
}

func openGoNFQueue(cfg Config, c *counters) (backend, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	conn.Close()
	for range openAttempts {
		var q *goQueue
		if q, err = tryGoNFQueue(cfg, c); err == nil {
			return q, nil
		}
		if errors.Is(err, unix.EPERM) {
			break
		}
	}
	return nil, bindError(cfg.Number, err)
}

func tryGoNFQueue(cfg Config, c *counters) (*goQueue, error) {
	nf, err := nfqueue.Open(&nfqueue.Config{
		NfQueue:      cfg.Number,
		MaxQueueLen:  cfg.MaxLen,
		MaxPacketLen: copyRange,
		Copymode:     nfqueue.NfQnlCopyPacket,
		Flags:        cfg.flags(),
		AfFamily:     unix.AF_UNSPEC,
	})
	if err != nil {
		return nil, err
	}
	if err := nf.Con.SetReadBuffer(cfg.ReceiveBuffer); err != nil {
		nf.Con.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	q := &goQueue{
		nf: nf, cancel: cancel, counters: c, number: cfg.Number,
		packets: make(chan Packet, datagrams),
		done:    make(chan struct{}),
		gone:    make(chan struct{}),
		timer:   time.NewTimer(0),
	}
	if err := nf.RegisterWithErrorFunc(ctx, q.packet, q.failed); err != nil {
		cancel()
		nf.Con.Close()
		return nil, err
	}
	return q, nil
}

// packet is called for every packet, and waits until recv takes it.
func (q *goQueue) packet(a nfqueue.Attribute) int {
	if a.PacketID == nil {
		q.counters.malformed.Add(1)
		return 0
	}
	p := Packet{ID: *a.PacketID}
	if a.Payload != nil {
		p.Payload = *a.Payload
	}
	if a.Hook != nil {
		p.Hook = Hook(*a.Hook)
	}
	for kind, v := range map[uint16]*uint32{attrMark: a.Mark, attrInDev: a.InDev, attrOutDev: a.OutDev, attrCapLen: a.CapLen} {
		if v != nil {
			p.number(kind, *v)
		}
	}
	if a.SkbInfo != nil && len(*a.SkbInfo) == 4 {
		p.skbInfo(binary.BigEndian.Uint32(*a.SkbInfo))
	}
	q.counters.packet(&p)
	select {
	case q.packets <- p:
		return 0
	case <-q.done:
		return 1
	}
}

// failed is called for every error of the socket, refused verdicts included.
func (q *goQueue) failed(err error) int {
	select {
	case <-q.done:
		return 1
	default:
	}
	var errno unix.Errno
	switch {
	case socketGone(err):
		q.lose(wrap("receive", err))
		return 1 // go-nfqueue reads no more
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EPERM):
		errors.As(err, &errno)
		q.lose(goneError(q.number, errno))
		return 1
	case !errors.As(err, &errno):
		q.counters.malformed.Add(1)
	case errno == unix.ENOBUFS:
		q.counters.overruns.Add(1)
	default:
		q.counters.refused(errno, 1)
	}
	return 0
}

func (q *goQueue) recv(batch []Packet, timeout time.Duration) (n int, err error) {
	for n < len(batch) {
		select {
		case <-q.done:
			return 0, closedError("receive")
		case batch[n] = <-q.packets:
			n++
			continue
		default:
		}
		if n > 0 || timeout <= 0 {
			return n, nil
		}
		q.timer.Reset(timeout)
		select {
		case <-q.done:
			return 0, closedError("receive")
		case batch[n] = <-q.packets:
			n++
		case <-q.gone:
			return 0, q.lost
		case <-q.timer.C:
			return 0, nil
		}
	}
	return n, nil
}

func (q *goQueue) verdict(id uint32, v Verdict, mark uint32, payload []byte) {
	if v != Accept && v != Repeat {
		v = Drop
	}
	q.out = append(q.out, goVerdict{id, mark, v, len(payload)})
	q.memory = append(q.memory, payload...)
}

func (q *goQueue) flush() error {
	sent, used := 0, 0
	var err error
	for _, v := range q.out {
		var options []nfqueue.VerdictOption
		if v.mark != 0 {
			options = append(options, nfqueue.WithMark(v.mark))
		}
		if v.payload > 0 {
			options = append(options, nfqueue.WithAlteredPacket(q.memory[used:used+v.payload]))
		}
		if err = q.nf.SetVerdictWithOption(v.id, int(v.verdict), options...); err != nil {
			break
		}
		sent++
		used += v.payload
	}
	q.counters.verdicts.Add(uint64(sent))
	q.out = q.out[:copy(q.out, q.out[sent:])]
	q.memory = q.memory[:copy(q.memory, q.memory[used:])]
	if err == nil {
		return nil
	}
	select {
	case <-q.done:
		return closedError("send verdicts")
	default:
		return wrap("send verdicts", fmt.Errorf("go-nfqueue: %w", err))
	}
}

func (q *goQueue) request(op string, m []byte) error {
	_, err := q.nf.Con.Send(netlink.Message{Header: netlink.Header{Type: msgConfig, Flags: netlink.Request}, Data: m[sizeNetlink:]})
	err = wrap(op, err)
	if socketGone(err) { // who waits for packets of it is not woken
		q.lose(err)
	}
	return err
}

// lose ends recv with an error.
func (q *goQueue) lose(err error) {
	q.losing.Do(func() {
		q.lost = err
		close(q.gone)
	})
}

func (q *goQueue) close() error {
	q.closing.Do(func() { close(q.done) })
	q.cancel()
	return wrap("close queue", q.nf.Close())
}
