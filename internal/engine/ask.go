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

	// After a question the next piece is likely to be asked for soon: for that many
	// rounds the engine does not sleep for longer than attentive.
	attentiveRounds = 32
	attentive       = time.Millisecond
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

// answerOne answers a question, if there is one, and reports whether.
func (e *Engine) answerOne(now int64) bool {
	select {
	case q := <-e.mail.questions:
		if q.state.CompareAndSwap(waits, answering) {
			e.now = now
			e.guardedAnswer(q)
		}
		return true
	default:
		return false
	}
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
