// Package events writes what the engine tells as EVENTS.md's lines: one JSON
// object each, in the shape of Suricata's EVE log wherever EVE has the field.
// It knows reports and counters, and nothing of how they came about.
package events

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"tlsgate/internal/engine"
)

// queued is how many lines a live log holds for a slow reader.
const queued = 8192

// Log writes events. It implements engine.Sink and is safe for concurrent use.
type Log struct {
	lost  atomic.Uint64
	lines chan []byte // nil: every event is written by the one who tells it
	done  chan struct{}

	mu     sync.Mutex
	out    *bufio.Writer
	err    error
	closed bool
}

// New returns a log that writes each event before it returns: for a replay,
// whose events must all arrive, in order.
func New(w io.Writer) *Log { return &Log{out: bufio.NewWriter(w)} }

// NewLive returns a log that never makes its caller wait: events go through a
// bounded queue, and what does not fit is counted as lost.
func NewLive(w io.Writer) *Log {
	l := New(w)
	l.lines = make(chan []byte, queued)
	l.done = make(chan struct{})
	go l.drain()
	return l
}

// Lost returns how many events found no room in the queue or could not be written.
func (l *Log) Lost() uint64 { return l.lost.Load() }

// TLS writes a tls event.
func (l *Log) TLS(r *engine.Report) { l.write(tlsEvent(r)) }

// Drop writes a drop event.
func (l *Log) Drop(r *engine.Report) { l.write(dropEvent(r)) }

// Flow writes a flow event.
func (l *Log) Flow(r *engine.Report) { l.write(flowEvent(r)) }

// Stats writes a stats event.
func (l *Log) Stats(s *Stats) { l.write(statsEvent(s)) }

// closeWait bounds how long Close waits for a reader that does not read.
const closeWait = 3 * time.Second

// ErrStuck: the reader of a live log did not take what was queued.
var ErrStuck = errors.New("events: the reader does not read, what was queued is lost")

// Close writes what is queued and returns the first error there was.
func (l *Log) Close() error {
	l.mu.Lock()
	already := l.closed
	l.closed = true
	l.mu.Unlock()
	if l.lines != nil && !already {
		close(l.lines)
		select {
		case <-l.done:
		case <-time.After(closeWait):
			return ErrStuck // the drain still holds the writer
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(l.out.Flush())
	return l.err
}

func (l *Log) write(event any) {
	line, err := json.Marshal(event)
	if err != nil {
		l.lost.Add(1)
		return
	}
	line = append(line, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		l.lost.Add(1)
	case l.lines == nil:
		l.put(line)
	default:
		select {
		case l.lines <- line:
		default:
			l.lost.Add(1)
		}
	}
}

// drain writes the queue; it flushes whenever the queue runs empty.
func (l *Log) drain() {
	defer close(l.done)
	for line := range l.lines {
		l.put(line)
		if len(l.lines) == 0 {
			l.keep(l.out.Flush())
		}
	}
}

func (l *Log) put(line []byte) {
	if _, err := l.out.Write(line); err != nil {
		l.lost.Add(1)
		l.keep(err)
	}
}

func (l *Log) keep(err error) {
	if l.err == nil {
		l.err = err
	}
}
