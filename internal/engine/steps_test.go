package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAskInSteps: what is answered in steps keeps nobody else from being answered,
// nor another that is answered in steps.
func TestAskInSteps(t *testing.T) {
	r := run(t, config(), partner())
	var order []int // written by the engine alone
	var asking sync.WaitGroup
	for i := range 3 {
		asking.Go(func() {
			n := 0
			if err := r.askInSteps(t.Context(), func() bool {
				order = append(order, i)
				time.Sleep(10 * time.Microsecond)
				n++
				return n == 100
			}); err != nil || n != 100 {
				t.Errorf("%d steps, %v", n, err)
			}
		})
	}
	start := time.Now()
	for range 5 {
		if err := r.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("five others took %s", took)
	}
	asking.Wait()
	turns := 0
	for i := range order[1:] {
		if order[i] != order[i+1] {
			turns++
		}
	}
	if len(order) != 300 || turns < 100 {
		t.Errorf("%d steps, in %d turns", len(order), turns)
	}
	if len(r.mail.begun) != 0 {
		t.Errorf("%d are left", len(r.mail.begun))
	}
}

// TestAskInStepsLeft: who asks and leaves has no step taken any more.
func TestAskInStepsLeft(t *testing.T) {
	r := run(t, config(), partner())
	ctx, leave := context.WithCancel(t.Context())
	var steps atomic.Int64
	left := false
	err := r.askInSteps(ctx, func() bool {
		if steps.Add(1) == 3 {
			leave()
		}
		if left { // a race if it were not true that nobody writes any more
			t.Error("a step after the end")
		}
		return false
	})
	left = true
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	n := steps.Load()
	r.Ping(t.Context())
	r.Ping(t.Context())
	if n < 3 || steps.Load() != n {
		t.Errorf("%d steps, then %d", n, steps.Load())
	}
}

// TestAskInStepsStopped: an engine that ends in the middle tells who waits.
func TestAskInStepsStopped(t *testing.T) {
	r := run(t, config(), partner())
	var once sync.Once
	begun, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- r.askInSteps(context.Background(), func() bool { once.Do(func() { close(begun) }); return false })
	}()
	<-begun
	r.end()
	if err := <-ended; !errors.Is(err, ErrStopped) {
		t.Errorf("got %v", err)
	}
}

// TestAskInStepsPanic: a step that uncovers a bug is the last one.
func TestAskInStepsPanic(t *testing.T) {
	r := run(t, config(), partner())
	n := 0
	err := r.askInSteps(t.Context(), func() bool {
		if n++; n == 5 {
			panic("a bug")
		}
		return false
	})
	if err == nil || n != 5 || r.Ping(t.Context()) != nil || r.Bug() == "" {
		t.Errorf("%d steps, %v, bug %q", n, err, r.Bug())
	}
}

// TestPatience: the engine sleeps until it is of use, and no packet pays for that.
func TestPatience(t *testing.T) {
	const ms = int64(time.Millisecond)
	waits := &question{}
	for _, tt := range []struct {
		name           string
		stirred, opens int64
		begun          bool
		packets        bool
		want           time.Duration
	}{
		{name: "nobody has ever asked", want: tickEvery},
		{name: "just now", stirred: 1000 * ms, opens: 1000 * ms, want: attentive},
		{name: "a while ago", stirred: 995 * ms, opens: 996 * ms, want: 5 * time.Millisecond},
		{name: "long ago", stirred: 100 * ms, opens: 101 * ms, want: tickEvery},
		{name: "there is more to do", stirred: 1000 * ms, opens: 1000*ms + 300_000, begun: true, want: 300 * time.Microsecond},
		{name: "there is more to do, and it is time", stirred: 999 * ms, opens: 1000 * ms, begun: true, want: time.Millisecond},
		{name: "packets come", stirred: 1000 * ms, opens: 1000*ms + 300_000, begun: true, packets: true, want: unhurried},
		{name: "packets come, and nobody asks", packets: true, want: tickEvery},
	} {
		m := newMailbox()
		m.stirred, m.opens = tt.stirred, tt.opens
		if tt.begun {
			m.begun = append(m.begun, waits)
		}
		if got := m.patience(1000*ms, tt.packets); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
