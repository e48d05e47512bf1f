package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReplaces: each setting that stands while the daemon runs is named with the line,
// what it is and what is wanted; any other may change.
func TestReplaces(t *testing.T) {
	running := mustParse(t, "")
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"[queue]\nnumber = 5\n", `2: queue.number: cannot change while the daemon runs: it runs with 0, and the file wants 5`},
		{"[queue]\n\nworkers = 3\n", `3: queue.workers: cannot change while the daemon runs: it runs with 0 (one per CPU), and the file wants 3`},
		{"[queue]\nfail_open = true\n", `runs with false, and the file wants true`},
		{"[queue]\nbackend = \"go-nfqueue\"\n", `runs with "batch", and the file wants "go-nfqueue"`},
		{"[queue]\nbusy_poll = \"20us\"\n", `2: queue.busy_poll: cannot change while the daemon runs: it runs with 0s, and the file wants 20µs`},
		{"[intercept]\nmark = \"0xff000000\"\n", `2: intercept.mark: cannot change`},
		{"[limits]\nsessions = 99\n", `2: limits.sessions: cannot change`},
		{"[limits]\npins = 99\n", `2: limits.pins: cannot change`},
		{"[log]\nevents = \"/tmp/x\"\n", `2: log.events: cannot change`},
		{"[control]\nsocket = \"/tmp/x\"\n", `2: control.socket: cannot change`},
		{"[control]\ngroup = \"users\"\n", `2: control.group: cannot change`},
		{"[state]\nfile = \"/tmp/x\"\n", `2: state.file: cannot change`},
		{"[state]\nevery = \"7s\"\n", `2: state.every: cannot change`},
		{"[queue]\nnumber = 5\n[log]\nevents = \"none\"\n", "2 errors:"},
		{"[default]\naction = \"reset\"\nmode = \"observe\"\ngrace = \"1h\"\n[limits]\nconnections = 9\ndecide = \"1s\"\n[log]\nstats = \"1s\"\n" +
			"[intercept]\nports = [\"1-9\"]\noffload = false\nhooks = [\"input\"]\n[[rule]]\naction = \"drop\"\n", ""},
	} {
		c := mustParse(t, tt.text)
		err := c.Replaces(running)
		if got := ""; err != nil {
			got = err.Error()
			if tt.want == "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q: got %s, want %s", tt.text, got, tt.want)
			}
		} else if tt.want != "" {
			t.Errorf("%q: no error, want %s", tt.text, tt.want)
		}
	}
	var e *Error
	if err := mustParse(t, "[queue]\nnumber = 5\n").Replaces(running); !errors.As(err, &e) || e.Hint == "" || e.Line != 2 {
		t.Errorf("%+v", e)
	}
}

// TestHalfWritten: a file that grows while it is read is not taken for a policy.
func TestHalfWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.toml")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				f.WriteString("# more\n")
			}
		}
	}()
	seen := false
	for until := time.Now().Add(10 * time.Second); !seen && time.Now().Before(until); {
		_, err := Load(path)
		seen = err != nil && strings.Contains(err.Error(), "somebody is writing it")
	}
	close(stop)
	<-done
	if !seen {
		t.Error("never noticed")
	}
	time.Sleep(10 * time.Millisecond)
	if _, err := Load(path); err != nil {
		t.Errorf("once it is written: %v", err)
	}
}
