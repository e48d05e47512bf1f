package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// ErrStopped: the engine runs no more.
var ErrStopped = errors.New("engine: stopped")

// mailbox is how other goroutines reach an engine that runs. It looks into the
// mailbox between two batches and answers one question, which costs it no lock;
// a question is small, and a large one is answered in small steps.
type mailbox struct {
	questions chan *question
	stopped   chan struct{} // closed when Run has returned
	begun     []*question   // those of which steps are left; the next one first
	turn      bool          // theirs
	stirred   int64         // when the last answer, or step, was given
	opens     int64         // when the next one may be
}

// question is something to be done between two batches: step is called until it
// returns true. Whoever sets state first has it: the engine takes it, or the one who
// asked gives it up; once it is begun, he leaves and waits for the next step, which
// is not taken any more.
type question struct {
	step  func() (done bool)
	state atomic.Uint32
	left  atomic.Bool
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
	// far fewer packets than one in a hundred meet an answer, so that their 99th
	// percentile stays where it is. maxPause bounds the pause after a long answer.
	share    = 256
	maxPause = 2 * time.Millisecond

	// attentive is for how long the engine sleeps at least when no packet comes, and
	// unhurried when one has come: longer than the kernel's own tick, so that there is
	// no timer to be set, which costs a virtual machine 10 us.
	attentive = 100 * time.Microsecond
	unhurried = 10 * time.Millisecond
)

func newMailbox() mailbox {
	return mailbox{questions: make(chan *question, waitingQuestions), stopped: make(chan struct{})}
}

// ask has f called between two batches, and returns when it was. What f writes
// may be read when there is no error, and is not written later when there is one.
func (e *Engine) ask(ctx context.Context, f func()) error {
	return e.askInSteps(ctx, func() bool { f(); return true })
}

// askInSteps is ask for what takes long: packets are answered between two steps. The
// one who asked is woken once, at the end, for to wake him costs more than a step.
func (e *Engine) askInSteps(ctx context.Context, step func() (done bool)) error {
	q := &question{step: step, done: make(chan struct{})}
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
	q.left.Store(true) // it is being answered
	select {
	case <-q.done:
		return q.err
	case <-e.mail.stopped:
		return ErrStopped
	}
}

// answerOne answers a question, or a step of one, if there is one and it is time.
func (e *Engine) answerOne(clock func() int64) {
	m := &e.mail
	if len(m.questions) == 0 && len(m.begun) == 0 {
		return
	}
	now := clock()
	if now < m.opens {
		return
	}
	e.now = now
	e.guardedAnswer(m.next())
	m.stirred = clock()
	m.opens = m.stirred + min((share-1)*(m.stirred-now), int64(maxPause))
}

// next takes one of those that wait and of those that are begun, by turns.
func (m *mailbox) next() (q *question) {
	m.turn = !m.turn
	if len(m.questions) > 0 && (m.turn || len(m.begun) == 0) {
		return <-m.questions
	}
	q = m.begun[0]
	m.begun = slices.Delete(m.begun, 0, 1)
	return q
}

// patience is for how long the engine may sleep: until it may answer who waits, or
// for as long as nobody has asked, up to a tick. So what is asked one after the other
// is answered soon, and to be asked nothing costs nothing. While packets come they
// wake it, and it sets no early alarm: that would cost each of them more than an answer.
func (m *mailbox) patience(now int64, packets bool) time.Duration {
	wait := max(time.Duration(now-m.stirred), attentive)
	if now < m.opens && len(m.questions)+len(m.begun) > 0 {
		wait = time.Duration(m.opens - now)
	}
	if packets {
		wait = max(wait, unhurried)
	}
	return min(wait, tickEvery)
}

// guardedAnswer takes a step of an answer. It answers even when that uncovers a bug
// of ours, as guarded does.
func (e *Engine) guardedAnswer(q *question) {
	if q.state.Load() != answering && !q.state.CompareAndSwap(waits, answering) {
		return // given up
	}
	done := true
	defer func() {
		if v := recover(); v != nil {
			e.counts.Bugs++
			e.shared.fault(fmt.Sprintf("%v\n%s", v, debug.Stack()))
			q.err = errors.New("engine: answering panicked")
		}
		if done {
			close(q.done)
		}
	}()
	if q.left.Load() {
		q.err = context.Canceled
		return
	}
	if done = q.step(); !done {
		e.mail.begun = append(e.mail.begun, q)
	}
}

// Ping returns once the engine has answered. Safe for concurrent use, as is
// everything that asks.
func (e *Engine) Ping(ctx context.Context) error { return e.ask(ctx, func() {}) }
