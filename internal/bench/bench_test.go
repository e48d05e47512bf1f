package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	if len(os.Args) > 1 && os.Args[1] == acceptAllName { // as main does
		exit(acceptAll(os.Args[2:]))
	}
	os.Exit(labtest.Main(m))
}

// TestIntegrationBench measures a little of every phase, and finds a value for every
// target.
func TestIntegrationBench(t *testing.T) {
	for _, program := range []string{"nginx", "iptables"} {
		labtest.Program(t, program)
	}
	labtest.New(t, lab.Options{}) // or says what is missing
	program := filepath.Join(t.TempDir(), "tlsgate")
	if out, err := exec.Command("go", "build", "-o", program, "tlsgate/cmd/tlsgate").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := settings{
		tlsgate: program, dir: t.TempDir(), rows: regexp.MustCompile("offload|tracked|record inspected$|two workers"),
		rounds: 1, bulk: 1 << 20, pairs: 1, pairBytes: 1 << 20, visits: 30 * time.Millisecond, played: 300, bursts: 1, requests: 50 * time.Millisecond,
	}
	r := &results{settings: s}
	if err := measure(t.Context(), s, r); err != nil {
		t.Fatal(err)
	}
	for _, target := range r.targets() {
		// What is added to none is a difference: in so short a run it has any sign.
		if target.Verdict == notMeasured || target.Median == 0 {
			t.Errorf("%+v", target)
		}
	}
	for _, row := range []string{accepting, deciding, reading} {
		if lost := r.spread(streamLost, row).most + r.spread(drainLost, row).most; lost != 0 {
			t.Errorf("%s: %v packets lost", row, lost)
		}
		if n := r.spread(playedQueued, row).median; n < 15 || n > 25 {
			t.Errorf("%s: %v packets of a connection reach the queue", row, n)
		}
	}
	var text strings.Builder
	r.print(&text)
	if n := strings.Count(text.String(), "\n|---"); n != 8 {
		t.Errorf("%d tables:\n%s", n, text.String())
	}
}

func TestRatio(t *testing.T) {
	var r results
	for _, v := range [][3]float64{{10, 20, 1}, {30, 20, 1}, {20, 40, 0}} {
		r.add("c", "a", v[0])
		r.add("c", "b", v[1])
		r.add("c", "zero", v[2])
	}
	for _, tt := range []struct {
		name      string
		row, base string
		want      spread
	}{
		{"round by round", "a", "b", spread{0.5, 0.5, 1.5}},
		{"a round of nothing is left out", "a", "zero", spread{20, 10, 30}},
		{"not measured", "a", "nobody", spread{}},
	} {
		if got := r.ratio("c", tt.row, tt.base); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestTargets(t *testing.T) {
	var r results
	r.add(drainRate, deciding, 79)
	r.add(drainRate, accepting, 100)
	r.add(streamRate, deciding, 80)
	r.add(streamRate, accepting, 100)
	verdicts := map[string]string{}
	for _, target := range r.targets() {
		verdicts[target.What] = target.Verdict
	}
	for what, want := range map[string]string{
		"packets judged per second, one worker, of accept-all": "missed",
		"the same in a stream, the generator beside it":        "met",
		"bulk, every record inspected, of accept-all":          notMeasured,
	} {
		if verdicts[what] != want {
			t.Errorf("%s: %s, want %s", what, verdicts[what], want)
		}
	}
}

// TestQueueTable reads what the kernel writes of two queues.
func TestQueueTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	text := "    0   4242     3 2 65531     7    11    1000  1\n    1   4243     0 2 65531     0     0     500  1\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{file: file, buf: make([]byte, 4096)}
	defer w.close()
	got, err := w.read()
	if want := (queued{bound: 2, waiting: 3, full: 7, overrun: 11, given: 1500}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got.judged() != 1486 || got.lost() != 18 {
		t.Errorf("judged %d, lost %d", got.judged(), got.lost())
	}
}

// TestRecordings: every kind of handshake begins with a SYN, ends, and has as many
// packets as such a connection has.
func TestRecordings(t *testing.T) {
	all, err := recordings()
	if err != nil || len(all) != 8 {
		t.Fatalf("%d kinds, %v", len(all), err)
	}
	for i, r := range all {
		if len(r) < 14 || len(r) > 30 || r[0].FromServer || !r[1].FromServer || r[len(r)-4].TCP[13]&1 == 0 {
			t.Errorf("kind %d: %d packets", i, len(r))
		}
		for _, p := range r {
			if len(p.TCP) > 1460 {
				t.Errorf("kind %d: %d bytes do not fit an IPv6 packet", i, len(p.TCP))
			}
		}
	}
}
