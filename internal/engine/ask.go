package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// ErrStopped: the engine runs no more.
var ErrStopped = errors.New("engine: stopped")

// mailbox is how other goroutines reach an engine that runs. It looks into the
// mailbox between two batches and answers one question, which costs it no lock;
// a question is small, and whoever asks a large one asks it in pieces.
type mailbox struct {
	questions chan *question
	stopped   chan struct{} // closed when Run has returned
	stirred   int64         // when the last question was answered
	opens     int64         // when the next one may be
}

// question is something to be done between two batches. Whoever sets state
// first has it: the engine takes it, or the one who asked gives it up.
type question struct {
	do    func()
	state atomic.Uint32
	done  chan struct{}
	err   error
}

const (
	waits uint32 = iota
	answering
	givenUp
)

const (
	// waitingQuestions bounds those that wait, of all who ask.
	waitingQuestions = 64

	// share bounds what answering takes of an engine's time, to one part in so many:
	// fewer packets than one in a hundred meet an answer, so that their 99th
	// percentile stays where it is. maxPause bounds the pause after a long answer.
	share    = 128
	maxPause = 10 * time.Millisecond

	// attentive is for how long the engine sleeps at least when no packet comes.
	attentive = 100 * time.Microsecond
)

func newMailbox() mailbox {
	return mailbox{questions: make(chan *question, waitingQuestions), stopped: make(chan struct{})}
}

// ask has f called between two batches, and returns when it was. What f writes
// may be read when there is no error, and is not written later when there is one.
func (e *Engine) ask(ctx context.Context, f func()) error {
	q := &question{do: f, done: make(chan struct{})}
	select {
	case e.mail.questions <- q:
	case <-e.mail.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-q.done:
		return q.err
	case <-e.mail.stopped:
	case <-ctx.Done():
	}
	if q.state.CompareAndSwap(waits, givenUp) {
		select {
		case <-e.mail.stopped:
			return ErrStopped
		default:
			return ctx.Err()
		}
	}
	<-q.done // it is being answered
	return q.err
}

// answerOne answers a question, if there is one and it is time.
func (e *Engine) answerOne(clock func() int64) {
	m := &e.mail
	if len(m.questions) == 0 {
		return
	}
	now := clock()
	if now < m.opens {
		return
	}
	if q := <-m.questions; q.state.CompareAndSwap(waits, answering) {
		e.now = now
		e.guardedAnswer(q)
		m.stirred = clock()
		m.opens = m.stirred + min((share-1)*(m.stirred-now), int64(maxPause))
	}
}

// patience is for how long the engine may sleep when no packet comes: until it may
// answer who waits, or for as long as nobody has asked, up to a tick. So the pieces of
// what is asked in pieces follow each other soon, and to be asked nothing costs nothing.
func (m *mailbox) patience(now int64) time.Duration {
	if now < m.opens && len(m.questions) > 0 {
		return time.Duration(m.opens - now)
	}
	return min(max(time.Duration(now-m.stirred), attentive), tickEvery)
}

// guardedAnswer answers even when that uncovers a bug of ours, as guarded does.
func (e *Engine) guardedAnswer(q *question) {
	defer close(q.done)
	defer func() {
		if v := recover(); v != nil {
			e.counts.Bugs++
			e.shared.fault(fmt.Sprintf("%v\n%s", v, debug.Stack()))
			q.err = errors.New("engine: answering panicked")
		}
	}()
	q.do()
}

// Ping returns once the engine has answered. Safe for concurrent use, as is
// everything that asks.
func (e *Engine) Ping(ctx context.Context) error { return e.ask(ctx, func() {}) }
