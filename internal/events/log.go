// Package events writes what the engine tells as EVENTS.md's lines: one JSON
// object each, in the shape of Suricata's EVE log wherever EVE has the field.
// It knows reports and counters, and nothing of how they came about.
package events

import (
	"bytes"
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

	silent bool        // only tails are written to
	wanted atomic.Bool // by somebody: else no event is made

	mu     sync.Mutex
	room   room // of lines
	tails  []*Tail
	out    lines
	err    error
	closed bool
}

// New returns a log that writes each event before it returns: for a replay,
// whose events must all arrive, in order.
func New(w io.Writer) *Log {
	l := &Log{out: lines{w: w}}
	l.wanted.Store(true)
	return l
}

// NewSilent returns a log that writes to its tails alone.
func NewSilent() *Log { return &Log{out: lines{w: io.Discard}, silent: true} }

// NewLive returns a log that never makes its caller wait: events go through a
// bounded queue, in lines and in bytes, and what does not fit is counted as lost.
func NewLive(w io.Writer) *Log {
	l := New(w)
	l.lines, l.room = make(chan []byte, queued), newRoom(queued, queuedBytes)
	l.done = make(chan struct{})
	go l.drain()
	return l
}

// Lost returns how many events found no room in the queue or could not be written.
func (l *Log) Lost() uint64 { return l.lost.Load() }

// TLS writes a tls event.
func (l *Log) TLS(r *engine.Report) { l.tell(tlsEvent, r) }

// Drop writes a drop event.
func (l *Log) Drop(r *engine.Report) { l.tell(dropEvent, r) }

// Flow writes a flow event.
func (l *Log) Flow(r *engine.Report) { l.tell(flowEvent, r) }

// Stats writes a stats event.
func (l *Log) Stats(s *Stats) {
	if l.wanted.Load() {
		l.write(statsEvent(s))
	}
}

func (l *Log) tell(event func(*engine.Report) *event, r *engine.Report) {
	if l.wanted.Load() {
		l.write(event(r))
	}
}

// closeWait bounds how long Close waits for a reader that does not read.
const closeWait = 3 * time.Second

// ErrStuck: the reader of a live log did not take what was queued.
var ErrStuck = errors.New("events: the reader does not read, what was queued is lost")

// Close writes what is queued and returns the first error there was.
func (l *Log) Close() error {
	l.mu.Lock()
	already := l.closed
	l.closed = true
	for _, t := range l.tails {
		close(t.lines)
	}
	l.tails = nil
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
	l.keep(l.out.flush())
	return l.err
}

// Flush writes what is buffered.
func (l *Log) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(l.out.flush())
}

func (l *Log) write(event *event) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	line, err := e.line(event)
	if err != nil {
		l.lost.Add(1)
		return
	}
	if l.lines != nil { // it is written when this call is over
		line = bytes.Clone(line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tails) > 0 && l.lines == nil {
		line = bytes.Clone(line)
	}
	for _, t := range l.tails {
		t.put(event.Type, line)
	}
	switch {
	case l.silent:
	case l.closed:
		l.lost.Add(1)
	case l.lines == nil:
		l.put(line)
	default:
		if !l.room.fits(len(l.lines), len(line)) {
			l.lost.Add(1)
			return
		}
		select {
		case l.lines <- line:
			l.room.add(len(line))
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
			l.keep(l.out.flush())
		}
	}
}

// encoder makes lines in memory that serves again: it saves an allocation and a
// copy of every event.
type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.enc = json.NewEncoder(&e.buf)
	return e
}}

// line returns an event as a line, valid until the next call.
func (e *encoder) line(event any) ([]byte, error) {
	e.buf.Reset()
	err := e.enc.Encode(event)
	return e.buf.Bytes(), err
}

// timestamp writes EVE's form, in UTC. time.Format takes five times as long, and
// a flow event has four of them.
// Timestamp writes a time, in nanoseconds since the Unix epoch, as events have it.
func Timestamp(ns int64) string { return timestamp(ns) }

func timestamp(ns int64) string {
	const layout = "2006-01-02T15:04:05.000000+0000"
	t := time.Unix(0, ns).UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.Format("2006-01-02T15:04:05.000000-0700")
	}
	hour, minute, second := t.Clock()
	b := []byte(layout)
	digits(b[0:4], year)
	digits(b[5:7], int(month))
	digits(b[8:10], day)
	digits(b[11:13], hour)
	digits(b[14:16], minute)
	digits(b[17:19], second)
	digits(b[20:26], t.Nanosecond()/1000)
	return string(b)
}

// digits fills b with the last digits of n.
func digits(b []byte, n int) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

func (l *Log) put(line []byte) {
	l.keep(l.out.put(line))
}

// keep notes how many lines were lost, and the first error of all.
func (l *Log) keep(lost int, err error) {
	l.lost.Add(uint64(lost))
	if l.err == nil {
		l.err = err
	}
}
