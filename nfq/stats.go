package nfq

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Stats counts what happened to a queue since it was opened.
type Stats struct {
	Received uint64 // packets Recv returned
	Verdicts uint64 // verdicts sent

	// Losses before Recv. Missed packets were numbered by the kernel and never
	// came: they are among UserDropped, or passed unread if the queue fails open.
	// The kernel does not count what passes because its own queue is full.
	KernelDropped uint64 // the kernel's queue was full
	UserDropped   uint64 // the socket's buffer was full
	Missed        uint64
	Overruns      uint64 // times the socket said that its buffer was full (ENOBUFS)
	Waiting       uint64 // packets that wait for a verdict now
	Unreadable    bool   // KernelDropped, UserDropped and Waiting could not be read

	Truncated     uint64                // packets the kernel did not hand over whole
	Malformed     uint64                // messages we could not read
	VerdictErrors map[unix.Errno]uint64 // verdicts the kernel refused: ENOENT is a packet it no longer has

	Injected     uint64
	InjectErrors uint64
}

// counters is what backends and Queue count. Safe for concurrent use.
type counters struct {
	received, verdicts, missed, overruns, truncated, malformed atomic.Uint64
	injected, injectErrors                                     atomic.Uint64
	verdictErrors                                              [unix.EHWPOISON + 1]atomic.Uint64 // by errno, unknown ones at 0

	number uint16
	lastID uint32 // of the goroutine in recv

	mu   sync.Mutex
	file *os.File // nil: cannot be read
	buf  []byte
}

// procNet is the path of a file of the calling thread's network namespace.
func procNet(name string) string { return filepath.Join("/proc/thread-self/net", name) }

const queueTable = "netfilter/nfnetlink_queue"

// openCounters opens the kernel's table of queues here and now, as the thread
// that asks for Stats may be in another network namespace. The file is the
// root user's; without it there are no kernel counters, which Stats says.
func openCounters(number uint16) *counters {
	c := &counters{number: number}
	c.file, _ = os.Open(procNet(queueTable))
	return c
}

func (c *counters) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}

// sequence counts the packet numbers left out before id. The kernel numbers
// from 1, under the lock it sends under (nfnetlink_queue.c:__nfqnl_enqueue_packet).
func (c *counters) sequence(id uint32) {
	c.missed.Add(uint64(id - c.lastID - 1))
	c.lastID = id
}

// refused counts verdicts the kernel answered with an error.
func (c *counters) refused(errno unix.Errno, packets int) {
	if errno >= unix.Errno(len(c.verdictErrors)) {
		errno = 0
	}
	c.verdictErrors[errno].Add(uint64(packets))
}

// Stats reads the counters, the kernel's included. The kernel's are not there
// any more once the queue is closed.
func (q *Queue) Stats() Stats {
	c := q.counters
	s := Stats{
		Received:     c.received.Load(),
		Verdicts:     c.verdicts.Load(),
		Missed:       c.missed.Load(),
		Overruns:     c.overruns.Load(),
		Truncated:    c.truncated.Load(),
		Malformed:    c.malformed.Load(),
		Injected:     c.injected.Load(),
		InjectErrors: c.injectErrors.Load(),
	}
	for errno := range c.verdictErrors {
		if n := c.verdictErrors[errno].Load(); n > 0 {
			if s.VerdictErrors == nil {
				s.VerdictErrors = make(map[unix.Errno]uint64)
			}
			s.VerdictErrors[unix.Errno(errno)] = n
		}
	}
	row, err := c.kernel()
	s.Unreadable = err != nil
	s.KernelDropped, s.UserDropped, s.Waiting = uint64(row.dropped), uint64(row.userDropped), uint64(row.waiting)
	return s
}

// kernel reads this queue's row of the table.
func (c *counters) kernel() (queueRow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return queueRow{}, os.ErrClosed
	}
	if c.buf == nil {
		c.buf = make([]byte, 64<<10)
	}
	n, err := readTable(c.file, c.buf)
	if err != nil {
		return queueRow{}, err
	}
	return findRow(c.buf[:n], c.number)
}

// readTable reads a seq_file from its beginning: at most a page comes at once.
func readTable(f *os.File, buf []byte) (n int, err error) {
	for n < len(buf) {
		m, err := f.ReadAt(buf[n:], int64(n))
		n += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// queueRow is a line of /proc/net/netfilter/nfnetlink_queue
// (nfnetlink_queue.c:seq_show).
type queueRow struct {
	portID, waiting, dropped, userDropped uint32
}

func findRow(table []byte, number uint16) (queueRow, error) {
	for line := range bytes.Lines(table) {
		var queue uint16
		var mode, copied uint32
		var row queueRow
		_, err := fmt.Sscan(string(line), &queue, &row.portID, &row.waiting, &mode, &copied, &row.dropped, &row.userDropped)
		if err == nil && queue == number {
			return row, nil
		}
	}
	return queueRow{}, os.ErrNotExist
}

// kernelCounters reads a queue's row in the calling thread's network namespace.
func kernelCounters(number uint16) (queueRow, error) {
	table, err := os.ReadFile(procNet(queueTable))
	if err != nil {
		return queueRow{}, err
	}
	return findRow(table, number)
}

// packet counts a packet handed over.
func (c *counters) packet(p *Packet) {
	c.sequence(p.ID)
	if p.CapLen != 0 {
		c.truncated.Add(1)
	}
}

// Add adds the counters of another queue.
func (s *Stats) Add(o *Stats) {
	s.Received += o.Received
	s.Verdicts += o.Verdicts
	s.KernelDropped += o.KernelDropped
	s.UserDropped += o.UserDropped
	s.Missed += o.Missed
	s.Overruns += o.Overruns
	s.Waiting += o.Waiting
	s.Unreadable = s.Unreadable || o.Unreadable
	s.Truncated += o.Truncated
	s.Malformed += o.Malformed
	s.Injected += o.Injected
	s.InjectErrors += o.InjectErrors
	for errno, n := range o.VerdictErrors {
		if s.VerdictErrors == nil {
			s.VerdictErrors = make(map[unix.Errno]uint64)
		}
		s.VerdictErrors[errno] += n
	}
}
