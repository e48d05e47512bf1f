package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/config"
	"tlsgate/internal/control"
	"tlsgate/internal/engine"
	"tlsgate/internal/events"
	"tlsgate/nfq"
)

const (
	// adoptWait is how long a worker may take to answer.
	adoptWait = 2 * time.Second
	// againWait is how long a reload waits for connections to be judged again.
	againWait = 5 * time.Second
	lookEvery = 20 * time.Millisecond
	rulesWait = 25 * time.Second // for iptables of both families, and others of its kind
)

// reloader has a running daemon read its policy file again. A new policy takes the
// place of the one in force whole or not at all. It is made by newReloader, and safe
// for concurrent use: reloads follow one another.
type reloader struct {
	workers []*worker
	pins    *engine.Pins
	adjust  func(*config.Config) // what flags have said
	install bool                 // the iptables rules are the daemon's
	wall    *engine.Wall
	stderr  io.Writer
	turn    chan struct{} // holds one
	now     atomic.Pointer[inForce]
	changed chan struct{} // holds one, if the policy has changed
	ends    chan struct{} // closed when the daemon ends
	seen    rulesSeen
}

// inForce is a policy, and since when it is in force.
type inForce struct {
	config  *config.Config
	loaded  int64
	reloads uint64 // before it, and the one it came with
}

func newReloader(c *config.Config, workers []*worker, pins *engine.Pins, install bool, adjust func(*config.Config), wall *engine.Wall, stderr io.Writer) *reloader {
	r := &reloader{
		workers: workers, pins: pins, adjust: adjust, install: install, wall: wall, stderr: stderr,
		turn: make(chan struct{}, 1), changed: make(chan struct{}, 1), ends: make(chan struct{}),
	}
	r.now.Store(&inForce{c, wall.Time(wall.Now()), 0})
	return r
}

// config returns the policy in force.
func (r *reloader) config() *config.Config { return r.now.Load().config }

// policy tells which it is.
func (r *reloader) policy() control.Policy {
	now := r.now.Load()
	c := now.config
	return control.Policy{File: c.Path, SHA256: fmt.Sprintf("%x", c.Hash), Rules: c.Policy.Len(), Loaded: events.Timestamp(now.loaded)}
}

// told is the same for a stats event.
func (r *reloader) told() events.Policy {
	now := r.now.Load()
	return events.Policy{SHA256: fmt.Sprintf("%x", now.config.Hash), Loaded: now.loaded, Reloads: now.reloads}
}

// close waits for a reload that has begun, and lets none begin any more.
func (r *reloader) close() {
	close(r.ends)
	r.turn <- struct{}{}
}

// onHangup reloads at every SIGHUP until ctx ends. One that says that the terminal is
// gone ends the daemon: a closed terminal must not leave rules behind.
func (r *reloader) onHangup(ctx context.Context, hangup <-chan os.Signal, gone func() bool, end func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if gone() {
				end()
				return
			}
			r.reload(ctx)
		}
	}
}

// terminals returns what says whether one of the terminals that the daemon was
// started with is gone by now.
func terminals() (gone func() bool) {
	var had []int
	for fd := range 3 {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			had = append(had, fd)
		}
	}
	return func() bool {
		return slices.ContainsFunc(had, func(fd int) bool {
			_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
			return errors.Is(err, unix.EIO)
		})
	}
}

// reload reads the policy file again. What comes of it is told on standard error too,
// whoever has asked.
func (r *reloader) reload(ctx context.Context) (*control.Reloaded, error) {
	select {
	case r.turn <- struct{}{}:
	case <-r.ends:
		return nil, errors.New("the daemon is ending")
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for other reloads: %w", ctx.Err())
	}
	defer func() { <-r.turn }()
	done, err := r.replace(ctx)
	if err != nil {
		text, hint := err.Error(), ""
		var f *control.Failure
		if errors.As(err, &f) {
			hint = f.Help
		}
		fmt.Fprintf(r.stderr, "tlsgate: reload: error: %s\n", text)
		if hint != "" {
			fmt.Fprintf(r.stderr, "tlsgate: hint: %s\n", hint)
		}
		return nil, err
	}
	fmt.Fprintf(r.stderr, "tlsgate: reload: %s\n", done.Text)
	for _, w := range done.Warnings {
		fmt.Fprintf(r.stderr, "tlsgate: warning: %s\n", w)
	}
	return done, nil
}

// replace puts the file's policy in the place of the one in force. Rules come first:
// packets that they send by the new policy are judged by the old one for a moment,
// and none passes unjudged.
func (r *reloader) replace(ctx context.Context) (*control.Reloaded, error) {
	old := r.config()
	next, err := config.Load(old.Path)
	if err != nil {
		return nil, unfit(http.StatusUnprocessableEntity, err)
	}
	r.adjust(next)
	if next.Hash == old.Hash {
		done := &control.Reloaded{Policy: r.policy(), Connections: control.Again{Done: true}}
		done.Rules, done.Warnings = r.rulesNow(ctx, old)
		done.Text = fmt.Sprintf("%s has not changed: it is in force since %s", old.Path, done.Policy.Loaded)
		return done, nil
	}
	if err := next.Replaces(old); err != nil {
		return nil, unfit(http.StatusConflict, err)
	}
	if err := r.awake(ctx); err != nil {
		return nil, err
	}
	exchanged, err := r.exchange(ctx, old, next)
	if err != nil {
		return nil, err
	}
	if err := r.adopt(ctx, next); err != nil {
		// The time of who has asked may be over: that must not leave workers with two policies.
		return nil, errors.Join(err, r.adopt(context.WithoutCancel(ctx), old), r.takeBack(exchanged, old))
	}
	r.pins.Keep(func(rule string) bool {
		i, named := next.Policy.Named(rule)
		return i >= 0 && named.Pin != nil
	})
	r.now.Store(&inForce{next, r.wall.Time(r.wall.Now()), r.now.Load().reloads + 1})
	select {
	case r.changed <- struct{}{}:
	default:
	}
	done := &control.Reloaded{Changed: true, Policy: r.policy(), Connections: r.again(ctx), Rules: control.RulesExchanged, Warnings: []string{}}
	if !exchanged {
		done.Rules, done.Warnings = r.rulesNow(ctx, next)
	}
	if warning := limitMemory(next); warning != "" {
		done.Warnings = append(done.Warnings, warning)
	}
	done.Text = reloadText(done)
	return done, nil
}

// unfit is the failure of a policy that is none, or none for this daemon.
func unfit(status int, err error) *control.Failure {
	f := &control.Failure{Status: status, Text: err.Error()}
	var e *config.Error
	if errors.As(err, &e) {
		f.Help = e.Hint
	}
	return f
}

// awake makes sure that all workers answer, before anything is done.
func (r *reloader) awake(ctx context.Context) error {
	return r.each(ctx, func(ctx context.Context, e *engine.Engine) error { return e.Ping(ctx) })
}

// each asks one worker after the other.
func (r *reloader) each(ctx context.Context, ask func(context.Context, *engine.Engine) error) error {
	for i, w := range r.workers {
		ctx, cancel := context.WithTimeout(ctx, adoptWait)
		err := ask(ctx, w.engine)
		cancel()
		if err != nil {
			return &control.Failure{
				Status: http.StatusServiceUnavailable, Help: "the policy that was in force is; tlsgate health says more",
				Text: fmt.Sprintf("worker %d (queue %d) has not taken the policy: %v", i, r.config().Queue.Number+uint16(i), err),
			}
		}
	}
	return nil
}

func (r *reloader) adopt(ctx context.Context, c *config.Config) error {
	marks, err := nfq.NewMarks(c.Intercept.Mark)
	if err != nil {
		return err
	}
	settings := engineConfig(c, len(r.workers))
	settings.Generation = generation(c, marks)
	for _, w := range r.workers {
		w.engine.Gates().Adopt(c.Policy) // which they share
	}
	return r.each(ctx, func(ctx context.Context, e *engine.Engine) error { return e.Adopt(ctx, settings, c.Policy) })
}

// exchange puts the rules of the next policy in place, if they are the daemon's and
// differ, and reports whether.
func (r *reloader) exchange(ctx context.Context, old, next *config.Config) (bool, error) {
	if !r.install {
		return false, nil
	}
	rules, err := rulesOf(next)
	if err != nil {
		return false, err
	}
	if were, err := rulesOf(old); err == nil && sameRules(rules, were) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, rulesWait)
	defer cancel()
	if err := rules.Install(ctx); err != nil {
		f := &control.Failure{Status: http.StatusServiceUnavailable, Text: fmt.Sprintf("the iptables rules could not be exchanged: %v", err)}
		var kernel *nfq.Error
		if errors.As(err, &kernel) {
			f.Help = kernel.Hint
		}
		if err := r.takeBack(true, old); err != nil {
			f.Text += fmt.Sprintf("; nor could those that were there be put back: %v", err)
		}
		return false, f
	}
	return true, nil
}

// sameRules reports whether two make the same of the kernel's tables.
func sameRules(a, b nfq.Rules) bool {
	for _, f := range []nfq.Family{nfq.IPv4, nfq.IPv6} {
		one, err := a.Render(f)
		other, err2 := b.Render(f)
		if err != nil || err2 != nil || one != other {
			return false
		}
	}
	return true
}

// takeBack puts the rules of the policy in force back in place, even if whoever has
// asked for others waits no longer.
func (r *reloader) takeBack(exchanged bool, old *config.Config) error {
	if !exchanged {
		return nil
	}
	rules, err := rulesOf(old)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), rulesWait)
	defer cancel()
	return rules.Install(ctx)
}

// rulesNow tells whether the rules in place are those of a policy.
func (r *reloader) rulesNow(ctx context.Context, c *config.Config) (found string, warnings []string) {
	warnings = []string{}
	rules, err := rulesOf(c)
	in := false
	if err == nil {
		in, err = rules.InPlace(ctx)
	}
	switch {
	case err != nil:
		return control.RulesUnknown, append(warnings, fmt.Sprintf("whether the iptables rules are those of the policy is not known: %v", err))
	case !in:
		return control.RulesDiffer, append(warnings, "the iptables rules in place are not those of the policy: run tlsgate rules up -c "+c.Path)
	}
	return control.RulesFit, warnings
}

// again waits for the workers to have judged all connections again, for a while.
func (r *reloader) again(ctx context.Context) (sum control.Again) {
	for until := time.Now().Add(againWait); ; time.Sleep(lookEvery) {
		sum = control.Again{Done: true}
		err := r.each(ctx, func(ctx context.Context, e *engine.Engine) error {
			a, err := e.Adopted(ctx)
			sum.Judged += a.Judged
			sum.Refused += a.Refused
			sum.Stood += a.Stood
			sum.Beyond += a.Beyond
			sum.Done = sum.Done && a.Done
			return err
		})
		if err != nil {
			sum.Done = false
		}
		select {
		case <-r.ends:
			return sum
		default:
		}
		if sum.Done || err != nil || time.Now().After(until) {
			return sum
		}
	}
}

// reloadText says in a sentence what was done.
func reloadText(d *control.Reloaded) string {
	a := &d.Connections
	text := fmt.Sprintf("%s is in force, %s; %s judged again", d.Policy.File, count(d.Policy.Rules, "rule"), count(int(a.Judged), "connection"))
	if !a.Done {
		text += " so far, the others will be within the next seconds"
	}
	text += fmt.Sprintf(": %d refused", a.Refused)
	if a.Stood > 0 {
		text += fmt.Sprintf(", the decision on %d stands, for what the policy asks is not known of them any more", a.Stood)
	}
	if a.Beyond > 0 {
		text += fmt.Sprintf(", of which %d are forbidden and could not be brought back from the kernel (tlsgate rules up)", a.Beyond)
	}
	if d.Rules == control.RulesExchanged {
		text += "; the iptables rules were exchanged"
	}
	return text
}
