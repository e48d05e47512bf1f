// Package nfq hands packets from the kernel's NFQUEUE target to user space and
// verdicts back, installs the iptables rules that send packets there, and sends
// packets of our own. It follows linux/netfilter/nfnetlink_queue.h, the kernel's
// net/netfilter/nfnetlink_queue.c and iptables-extensions(8). It does not know
// what a payload means, nor why a verdict is what it is.
package nfq

import (
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Verdict is what becomes of a queued packet. The zero Verdict, and any value
// that is not named here, drops it.
type Verdict uint8

// The values are those of linux/netfilter.h.
const (
	Drop   Verdict = 0
	Accept Verdict = 1 // ends the table the rule is in: later rules of that table are not asked
	Repeat Verdict = 4 // back to the first rule of the hook's table; see Queue.Verdict
)

func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case Repeat:
		return "repeat"
	}
	return "drop"
}

// Hook is a place in the kernel's packet path, numbered as in linux/netfilter.h.
// The zero Hook is PREROUTING, which no rule of ours uses.
type Hook uint8

const (
	Input   Hook = 1
	Forward Hook = 2
	Output  Hook = 3
)

var hookNames = [...]string{Input: "input", Forward: "forward", Output: "output"}

func (h Hook) String() string {
	if int(h) < len(hookNames) && hookNames[h] != "" {
		return hookNames[h]
	}
	return "unknown"
}

// ParseHook is the inverse of Hook.String.
func ParseHook(name string) (Hook, bool) {
	for h, s := range hookNames {
		if s != "" && s == name {
			return Hook(h), true
		}
	}
	return 0, false
}

// Packet is one queued packet. The zero Packet is what Recv fills in.
type Packet struct {
	ID      uint32
	Payload []byte // from the network header on; valid until the next Recv, not to be written to
	Hook    Hook
	InDev   uint32 // interface index, 0 if there is none at this hook
	OutDev  uint32
	Mark    uint32 // the packet mark, foreign bits included
	CapLen  uint32 // the packet's own length when Payload holds less of it, otherwise 0

	// From the kernel's skb. A checksum that is not ready is filled in when the
	// packet leaves: it looks wrong and is not. A GSO packet is larger than the
	// MTU and is cut up when it leaves.
	ChecksumNotReady   bool
	ChecksumUnverified bool
	GSO                bool
}

// Backends of a Queue.
const (
	BackendBatch     = "batch"
	BackendGoNFQueue = "go-nfqueue"
)

// DefaultMaxLen and DefaultReceiveBuffer are used where Config has a zero.
// The socket buffer is meant to fill before the kernel's queue does: what it
// refuses leaves a gap in the packet numbers, and is counted even when
// FailOpen lets it pass.
const (
	DefaultMaxLen        = 65536
	DefaultReceiveBuffer = 16 << 20
)

// Config says which queue to open and how. The zero Config is queue 0 with the
// batch backend, fail closed.
type Config struct {
	Number        uint16
	Backend       string // BackendBatch ("" is the same) or BackendGoNFQueue
	FailOpen      bool   // packets the kernel cannot queue pass instead of being dropped
	MaxLen        uint32 // packets the kernel keeps waiting for a verdict; 0 = DefaultMaxLen
	ReceiveBuffer int    // bytes, capped by net.core.rmem_max unless privileged; 0 = DefaultReceiveBuffer
	InjectMark    uint32 // mark of packets sent by Inject; 0 = none
	RefuseMark    uint32 // mark of packets sent by Refuse
	ClearMark     uint32 // mark of packets sent by Clear
	// BusyPoll is for how long Recv asks the kernel again and again before it sleeps: a
	// packet that comes meanwhile does not wait for a thread to wake, and a CPU is busy
	// with it. 0 = not at all. Only the batch backend has it.
	BusyPoll time.Duration
	// InOrder: each packet gets its verdict before the one that came after it. Equal
	// verdicts of packets that follow one another take less time then, with the batch
	// backend.
	InOrder bool
}

// A backend talks to one kernel queue. recv is called by one goroutine, verdict
// and flush by one goroutine, close by any.
type backend interface {
	recv(batch []Packet, timeout time.Duration) (int, error)
	verdict(id uint32, v Verdict, mark uint32, payload []byte)
	flush() error
	request(op string, message []byte) error // safe from any goroutine
	close() error
}

// Queue is one open NFQUEUE. It is made by Open; the zero Queue is not usable.
//
// One goroutine at a time may call Recv, one (the same or another) Verdict and
// Flush. Inject, Stats and Close are safe from any goroutine.
type Queue struct {
	backend  backend
	injector *injector
	refused  uint32
	cleared  uint32
	counters *counters
	number   uint16
	maxLen   uint32

	closing sync.Once
	closed  error
}

// Open binds to the queue in the calling thread's network namespace; packets
// come from there on. Errors are *Error and wrap ErrPermission, ErrTaken or
// ErrUnsupported where that is what is wrong.
func Open(cfg Config) (*Queue, error) {
	if cfg.MaxLen == 0 {
		cfg.MaxLen = DefaultMaxLen
	}
	if cfg.ReceiveBuffer == 0 {
		cfg.ReceiveBuffer = DefaultReceiveBuffer
	}
	open, ok := map[string]func(Config, *counters) (backend, error){
		"":               openBatch,
		BackendBatch:     openBatch,
		BackendGoNFQueue: openGoNFQueue,
	}[cfg.Backend]
	if !ok {
		return nil, &Error{Op: "open queue", Err: errBackend, Hint: `backends are "batch" and "go-nfqueue"`}
	}
	// The injector comes first: once the queue is bound packets wait in it.
	in, err := openInjector(cfg.InjectMark)
	if err != nil {
		return nil, err
	}
	c := openCounters(cfg.Number)
	b, err := open(cfg, c)
	if err != nil {
		in.close()
		c.close()
		return nil, err
	}
	return &Queue{backend: b, injector: in, refused: cfg.RefuseMark, cleared: cfg.ClearMark, counters: c, number: cfg.Number, maxLen: cfg.MaxLen}, nil
}

// Recv waits until there is a packet, at most for timeout, and fills batch with
// the packets there are. It returns 0 and no error when the time is over, and
// net.ErrClosed once the queue is closed, which wakes it. With a timeout of 0
// it does not wait. The payloads are valid until the next Recv.
func (q *Queue) Recv(batch []Packet, timeout time.Duration) (int, error) {
	n, err := q.backend.recv(batch, timeout)
	q.counters.received.Add(uint64(n))
	return n, err
}

// Verdict answers the packet with this id, at the next Flush. A mark of 0 leaves
// the packet's mark alone, another replaces all 32 bits of it (Marks.Set keeps
// the foreign ones). A payload that is not empty replaces the packet, which must
// then have its checksums right; it is copied. A GSO packet must not be replaced
// by a short one: the kernel means to cut it up, cannot, and loses it.
//
// Our rules know a repeated packet by its mark, and would queue it for ever
// without: Repeat with a mark of 0 drops. So does a payload too long for a
// netlink attribute (65531 bytes).
func (q *Queue) Verdict(id uint32, v Verdict, mark uint32, payload []byte) {
	if v == Repeat && mark == 0 || len(payload) > maxAttribute {
		v, payload = Drop, nil
	}
	q.backend.verdict(id, v, mark, payload)
}

// Flush sends the verdicts given since the last one. It neither waits for Recv
// nor keeps it waiting. After an error the verdicts that were not sent are kept
// for the next Flush.
func (q *Queue) Flush() error { return q.backend.flush() }

// Refuse carries a refusal into the kernel's connection mark: it sends a packet
// of the connection under the refused mark, which our rules save and which they
// then drop. A packet that was not dropped has left, and is an error that wraps
// ErrPassed: no rule of ours has seen it. It must be one that no receiver takes.
func (q *Queue) Refuse(ip []byte, ifindex uint32) error {
	err := q.injector.sendMarked(ip, ifindex, q.refused)
	switch {
	case err == nil:
		return &Error{Op: "refuse", Err: ErrPassed, Hint: "put the iptables rules in place: tlsgate rules up"}
	case errors.Is(err, unix.EPERM): // what sending says of a packet that OUTPUT has dropped
		return nil
	}
	return err
}

// Clear has the kernel's connection mark say nothing: it sends a packet of the connection
// under a mark by which our rules clear that. It leaves, and must be one that no receiver
// takes.
func (q *Queue) Clear(ip []byte, ifindex uint32) error {
	return q.injector.sendMarked(ip, ifindex, q.cleared)
}

// Inject sends a whole IPv4 or IPv6 packet, routed by its destination, under the
// mark of Config.InjectMark. The interface index is needed for IPv6 link-local
// destinations, and otherwise 0. It never waits.
func (q *Queue) Inject(ip []byte, ifindex uint32) error {
	err := q.injector.send(ip, ifindex)
	if err != nil {
		q.counters.injectErrors.Add(1)
		return err
	}
	q.counters.injected.Add(1)
	return nil
}

// Close gives the queue back; the kernel drops what still waits for a verdict.
// Verdicts that were not flushed are lost. Later calls return what the first did.
func (q *Queue) Close() error {
	q.closing.Do(func() {
		q.closed = q.backend.close()
		q.injector.close()
		q.counters.close()
	})
	return q.closed
}

// closedError is what a closed queue answers.
func closedError(op string) error { return &Error{Op: op, Err: net.ErrClosed} }
