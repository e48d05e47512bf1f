package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationBusy is engine's TestBusyGateway on the real queue and by a real clock:
// 13,000 connections that are open, and 2,000 new ones a second, which stay in TIME_WAIT
// for two minutes, 240,000 of them in the end. Nothing is lost, and once TIME_WAIT is full
// and the collector has come round memory does not grow. TLSGATE_BUSY says for how long.
func TestIntegrationBusy(t *testing.T) {
	const (
		established, perSecond, packets = 13000, 2000, 20
		settled                         = 4 * time.Minute
	)
	labtest.New(t, lab.Options{}) // or says what is missing
	lasts, err := time.ParseDuration(os.Getenv("TLSGATE_BUSY"))
	if err != nil {
		lasts = 2 * time.Second
	}
	program := filepath.Join(t.TempDir(), "tlsgate")
	if out, err := exec.Command("go", "build", "-o", program, "tlsgate/cmd/tlsgate").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, busy, err := newPlayer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	defer busy.Close()
	all, err := recordings()
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range all { // without their end
		all[i] = r[:len(r)-4]
	}
	open, err := l.Player(all)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	p, err := row(deciding).start(settings{tlsgate: program, dir: t.TempDir()}, l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()

	var over atomic.Bool
	sent, err := open.Play(established, 8, paced(100_000, &over))
	if err != nil {
		t.Fatal(err)
	}
	busy.Skip(established)
	full := 0.0 // resident bytes, after settled
	start, cpu := time.Now(), p.cpu()
	time.AfterFunc(lasts, func() { over.Store(true) })
	goes := paced(perSecond*packets, &over)
	n, err := busy.Play(1<<30, 8, func(packets int) error {
		if full == 0 && time.Since(start) > settled {
			full = p.resident(t)
		}
		return goes(packets)
	})
	if !errors.Is(err, errOver) {
		t.Fatal(err)
	}
	took := time.Since(start)
	sent += n
	var q queued
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if q, err = p.queue(); err != nil || q.waiting == 0 || time.Now().After(end) {
			break
		}
	}
	after := p.resident(t)
	t.Logf("%d packets in %s: %.0f connections a second, %d packets lost, %.2f CPUs, %.0f MB, %.0f MB after %s",
		n, took.Round(time.Second), float64(n)/packets/took.Seconds(), q.lost(), (p.cpu()-cpu).Seconds()/took.Seconds(), after/1e6, full/1e6, settled)
	if err != nil || q.lost() != 0 || q.judged() != sent {
		t.Errorf("%d packets judged of %d, %d lost, %v", q.judged(), sent, q.lost(), err)
	}
	if full != 0 && after > full*1.05+4e6 {
		t.Errorf("memory grows: %.0f MB, %.0f then", full/1e6, after/1e6)
	}
}

// resident is what the process has of the machine's memory, in bytes.
func (p *process) resident(t *testing.T) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	f := strings.Fields(string(b))
	if err != nil || len(f) < 2 {
		t.Errorf("%q, %v", b, err)
		return 0
	}
	pages, _ := strconv.Atoi(f[1])
	return float64(pages * os.Getpagesize())
}
