package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/config"
	"tlsgate/internal/control"
	"tlsgate/internal/engine"
	"tlsgate/nfq/nfqtest"
)

// reloading is a reloader over engines that run on queues in memory, but for those in
// dead, which answer nobody.
func reloading(t *testing.T, workers int, dead ...int) (r *reloader, path string, said *strings.Builder) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "policy.toml")
	if err := os.WriteFile(path, []byte("[queue]\nworkers = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	gates := engine.NewGates(c.Policy)
	clock := engine.Clock()
	var all []*worker
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	for i := range workers {
		cfg := engineConfig(c, workers)
		cfg.Gates = gates
		e, q := engine.New(cfg, c.Policy), &nfqtest.Queue{}
		all = append(all, &worker{engine: e})
		if i < workers-len(dead) {
			running.Go(func() { e.Run(q, clock) })
			t.Cleanup(func() { q.Close() })
		}
	}
	said = &strings.Builder{}
	return newReloader(c, all, engine.NewPins(0, [16]byte{}), false, func(*config.Config) {}, engine.NewWall(clock), said), path, said
}

func write(t *testing.T, path, policy string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReloadDeadWorker: a policy that one worker does not take is none for the others.
func TestReloadDeadWorker(t *testing.T) {
	r, path, said := reloading(t, 2, 1)
	before := r.config()
	write(t, path, "[queue]\nworkers = 2\n[default]\naction = \"reset\"\n")
	_, err := r.reload(t.Context())
	var f *control.Failure
	if !errors.As(err, &f) || f.Status != http.StatusServiceUnavailable || !strings.Contains(f.Text, "worker 1 (queue 1)") || f.Help == "" {
		t.Errorf("got %v", err)
	}
	if r.config() != before || r.told().Reloads != 0 || !strings.Contains(said.String(), "tlsgate: reload: error: worker 1") {
		t.Errorf("in force %s, said %q", r.policy().SHA256, said)
	}
	if a, err := r.workers[0].engine.Adopted(t.Context()); err != nil || !a.Done || a.Judged != 0 {
		t.Errorf("the other worker: %+v, %v", a, err)
	}
}

// TestReloadsAtOnce: reloads follow one another, whoever gives up waiting, and none
// begins when the daemon ends.
func TestReloadsAtOnce(t *testing.T) {
	r, path, _ := reloading(t, 2)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if i%4 == 3 {
				ctx, cancel = context.WithCancel(ctx)
				cancel() // he may have gone before it is his turn
			}
			next := path + fmt.Sprint(i)
			write(t, next, fmt.Sprintf("# %d\n[queue]\nworkers = 2\n", i))
			os.Rename(next, path)
			if done, err := r.reload(ctx); err == nil && done.Policy.File != path {
				t.Errorf("%+v", done)
			} else if err != nil && i%4 != 3 {
				t.Error(err)
			}
		})
	}
	all.Wait()
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.reload(t.Context()); err != nil || r.config().Hash != c.Hash || r.told().Reloads == 0 {
		t.Errorf("in the end %s is in force, want %x: %v", r.policy().SHA256, c.Hash, err)
	}
	r.close()
	if _, err := r.reload(t.Context()); err == nil || !strings.Contains(err.Error(), "the daemon is ending") {
		t.Errorf("at the end: %v", err)
	}
}
