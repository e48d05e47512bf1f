package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// lostAtServer is how many packets have come to the server's port 446 so far.
func lostAtServer(t testing.TB, l *lab.Lab) uint64 {
	t.Helper()
	for line := range strings.Lines(output(t, l.Server, "iptables", "-w", "5", "-t", "raw", "-L", "PREROUTING", "-v", "-x", "-n")) {
		if strings.Contains(line, "dpt:446") {
			n, err := strconv.ParseUint(strings.Fields(line)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no counter")
	return 0
}

// TestIntegrationOverflow stops the daemon and sends more than its queue holds. With
// fail_open = false nothing passes that was not read, and what was lost is counted;
// with true what passed is counted, packet by packet. Then it goes on as before, and
// health says what was.
func TestIntegrationOverflow(t *testing.T) {
	for _, failOpen := range []bool{false, true} {
		for _, backend := range []string{"batch", "go-nfqueue"} {
			t.Run(fmt.Sprintf("fail_open=%v/%s", failOpen, backend), func(t *testing.T) {
				l := labtest.New(t, lab.Options{})
				serveFlooded(t, l)
				f := startFirewall(t, l, fmt.Sprintf("[queue]\nworkers = 1\nfail_open = %v\nbackend = %q\n[intercept]\nports = [\"443-446\"]\n", failOpen, backend), "--events", "none")
				f.cmd.Process.Signal(syscall.SIGSTOP)
				time.Sleep(200 * time.Millisecond) // until all its threads have noticed
				overflowing, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if err := floodSYNs(overflowing, l); err != nil {
					t.Fatal(err)
				}
				passed := lostAtServer(t, l)
				f.cmd.Process.Signal(syscall.SIGCONT)
				emptied := within(10*time.Second, func() bool { return f.statsNow().Queue["waiting"] == 0 })
				// The next packet's number tells how many are missing before it.
				if err := honestOnce(t.Context(), l); err != nil {
					t.Errorf("a new connection afterwards: %v", err)
				}
				if out, _, code := f.ask(l, "health"); code != 1 || !strings.Contains(out, "found no room in a queue") {
					t.Errorf("health: %d: %s", code, out)
				}
				s := f.statsNow()
				t.Logf("%d passed; %v", passed, nonzero(s.Queue))
				lost := s.Queue["kernel_dropped"] + s.Queue["user_dropped"]
				switch {
				case !emptied:
					t.Error("packets wait in the queue for ever")
				case s.Queue["overruns"] == 0:
					t.Error("no overrun of the socket is counted")
				case !failOpen && (passed != 0 || lost == 0):
					t.Errorf("%d packets passed unread, %d are told to be lost", passed, lost)
				case failOpen && (passed == 0 || s.Queue["missed"] != passed):
					t.Errorf("%d packets passed unread, and %d are told of", passed, s.Queue["missed"])
				}
			})
		}
	}
}
