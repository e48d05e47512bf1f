package events

import (
	"slices"
	"sync/atomic"
)

// Types are the types of events there are.
var Types = []string{"tls", "drop", "flow", "stats"}

// tailed is how many lines a tail holds for a slow reader.
const tailed = 1024

// Tail gets a copy of the events told from its beginning on. What its reader is
// too slow for is lost to it, and counted.
type Tail struct {
	log   *Log
	types []string // nil: all
	lines chan []byte
	room  room // of lines; under log.mu
	lost  atomic.Uint64
}

// Tail begins a copy of events of the given types; none are all. It is to be
// closed.
func (l *Log) Tail(types ...string) *Tail {
	t := &Tail{log: l, types: types, lines: make(chan []byte, tailed), room: newRoom(tailed, tailedBytes)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		close(t.lines)
		return t
	}
	l.tails = append(l.tails, t)
	l.wanted.Store(true)
	return t
}

// Lines gives the events, a line each, which are not to be written to. It is
// closed with the log or the tail, once what is held was read.
func (t *Tail) Lines() <-chan []byte { return t.lines }

// Lost returns how many events there was no room for.
func (t *Tail) Lost() uint64 { return t.lost.Load() }

// Close ends the copy.
func (t *Tail) Close() {
	l := t.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.tails, t); i >= 0 {
		l.tails = slices.Delete(l.tails, i, i+1)
		close(t.lines)
	}
	l.wanted.Store(!l.silent || len(l.tails) > 0)
}

// put gives a line to the reader, if there is room.
func (t *Tail) put(kind string, line []byte) {
	if t.types != nil && !slices.Contains(t.types, kind) {
		return
	}
	if !t.room.fits(len(t.lines), len(line)) {
		t.lost.Add(1)
		return
	}
	select {
	case t.lines <- line:
		t.room.add(len(line))
	default:
		t.lost.Add(1)
	}
}

// lostLine tells the reader of a tail what it has lost.
type lostLine struct {
	Timestamp string `json:"timestamp"`
	Type      string `json:"event_type"`
	Lost      uint64 `json:"lost"`
}

// LostLine is the line that tells of n lost events in a tail.
func LostLine(now int64, n uint64) []byte {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	line, _ := e.line(lostLine{timestamp(now), "lost", n})
	return slices.Clone(line)
}

// StatsLine is a stats event, as a line.
func StatsLine(s *Stats) ([]byte, error) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	line, err := e.line(statsEvent(s))
	return slices.Clone(line), err
}
