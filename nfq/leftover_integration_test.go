package nfq

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// systemIs has the programs without a variant in their names be those of one.
func systemIs(t *testing.T, variant string) {
	t.Helper()
	dir := t.TempDir()
	for _, f := range families {
		for _, action := range []string{"save", "restore"} {
			path, err := exec.LookPath(tables{f, variant}.program(action))
			if err != nil {
				missing(t, "iptables in both variants", err)
			}
			if path, err = filepath.EvalSymlinks(path); err != nil { // as the alternatives of a system lead there
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(dir, tables{family: f}.program(action))); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestIntegrationElsewhere: a system that changes from one variant of iptables to the
// other keeps what was in place in both: rules of ours are in one of them in the end, or
// in none, and those of others stay.
func TestIntegrationElsewhere(t *testing.T) {
	for _, now := range variants {
		before := variants[1-slices.Index(variants, now)]
		t.Run(before+" to "+now, func(t *testing.T) {
			systemIs(t, now)
			r := Rules{Hooks: []Hook{Forward}, Mark: ourBits, Offload: true, Queue: 7, Workers: 2}
			old := r
			old.Variant = before
			for _, remove := range []bool{false, true} {
				n := newNamespace(t)
				for _, f := range families {
					for _, v := range variants {
						n.iptables(t, f, v, strings.Fields("-A FORWARD -p udp -m comment --comment a#-j#TLSGATE -j ACCEPT")...)
					}
				}
				n.install(t, old)
				ours := func(v string) (count int) {
					for _, f := range families {
						count += strings.Count(n.save(t, f, v), "TLSGATE-")
					}
					return count
				}
				if ours(before) == 0 || ours(now) != 0 {
					t.Fatalf("%d lines in %s, %d in %s", ours(before), before, ours(now), now)
				}
				if remove {
					n.do(t, func() error { return r.Remove(context.Background()) })
				} else {
					n.install(t, r)
				}
				if ours(before) != 0 || (ours(now) == 0) != remove {
					t.Errorf("remove %v: %d lines in %s, %d in %s", remove, ours(before), before, ours(now), now)
				}
				for _, f := range families {
					for _, v := range variants {
						if !strings.Contains(n.save(t, f, v), "a#-j#TLSGATE") {
							t.Errorf("remove %v: a rule of somebody else is gone from %s", remove, v)
						}
					}
				}
			}
			// What cannot be taken away there leaves nothing of ours here.
			broken := newNamespace(t)
			broken.install(t, old)
			path := os.Getenv("PATH")
			dir := t.TempDir()
			for _, f := range families {
				if err := os.WriteFile(filepath.Join(dir, tables{f, before}.program("restore")), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir+":"+path)
			broken.do(t, func() error {
				if err := r.Install(context.Background()); err == nil {
					t.Error("rules that could not be taken away are no error")
				}
				return nil
			})
			t.Setenv("PATH", path)
			for _, f := range families {
				if strings.Contains(broken.save(t, f, now), "TLSGATE-") {
					t.Error("rules are in place, and nobody was to serve them")
				}
			}
			// What is left may be of one IP version alone.
			for _, f := range families {
				n := newNamespace(t)
				n.iptables(t, f, before, "-N", chainQueue)
				n.install(t, r)
				if strings.Contains(n.save(t, f, before), chainQueue) {
					t.Errorf("what was left of IPv%d alone stays", f)
				}
			}
			// Where nobody has made tables of the legacy variant, nobody does.
			n := newNamespace(t)
			n.install(t, r)
			n.do(t, func() error { return r.Remove(context.Background()) })
			if made := n.run(t, "cat", "/proc/net/ip_tables_names"); now == "nft" && strings.Contains(made, "mangle") {
				t.Errorf("tables of the legacy variant: %q", made)
			}
		})
	}
}

// TestIntegrationRivals: rules for the queues of somebody who serves them are told of,
// those that a killed daemon has left behind are not, nor those of the same queues.
func TestIntegrationRivals(t *testing.T) {
	ctx := context.Background()
	n := newNamespace(t)
	theirs := Rules{Hooks: []Hook{Forward}, Mark: ourBits, Queue: 7, Workers: 3}
	rivals := func(r Rules) (queues []uint16) {
		t.Helper()
		n.do(t, func() (err error) {
			queues, err = r.Rivals(ctx)
			return err
		})
		return queues
	}
	ours := theirs
	ours.Queue, ours.Workers = 0, 1
	if got := rivals(ours); got != nil {
		t.Errorf("without rules: %v", got)
	}
	n.install(t, theirs)
	if got := rivals(ours); got != nil {
		t.Errorf("nobody serves them: %v", got)
	}
	var q *Queue
	n.do(t, func() (err error) {
		q, err = Open(Config{Number: 8})
		return err
	})
	for _, tt := range []struct {
		name    string
		queue   uint16
		workers int
		want    []uint16
	}{{"others", 0, 1, []uint16{8}}, {"the same", 7, 3, nil}, {"more", 0, 20, nil}, {"the first of them", 7, 1, []uint16{8}}, {"that one", 8, 0, nil}} {
		r := ours
		r.Queue, r.Workers = tt.queue, tt.workers
		if got := rivals(r); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	q.Close()
	if got := rivals(ours); got != nil {
		t.Errorf("nobody serves them any more: %v", got)
	}
}
