package replay_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/capture"
	"tlsgate/internal/engine"
	"tlsgate/internal/events"
	"tlsgate/internal/replay"
	"tlsgate/internal/replay/replaytest"
	"tlsgate/tlsrules"
)

func acceptAll(t testing.TB) *tlsrules.Policy {
	t.Helper()
	p, err := tlsrules.New(nil, tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// inspectAll keeps reading to the end of each connection.
func inspectAll(t testing.TB) *tlsrules.Policy {
	t.Helper()
	k, _ := tlsrules.ParseKey("content_type")
	c, err := tlsrules.ParseCondition(k, []string{"handshake", "change_cipher_spec", "alert", "application_data"})
	if err != nil {
		t.Fatal(err)
	}
	rules := []tlsrules.Rule{{Name: "all", Require: []tlsrules.Condition{c}, Otherwise: tlsrules.Reset}}
	p, err := tlsrules.New(rules, tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func config() replay.Config {
	return replay.Config{Engine: engine.Config{
		Default: engine.Defaults{Midstream: engine.MidstreamAccept, Undecided: tlsrules.Accept, Malformed: tlsrules.Reset, Ambiguous: tlsrules.Reset},
	}}
}

func save(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run replays files and returns the events, or the table.
func run(t testing.TB, cfg replay.Config, p *tlsrules.Policy, table bool, files ...string) (string, replay.Summary, error) {
	t.Helper()
	var out bytes.Buffer
	log := events.New(&out)
	cfg.Engine.Sink = log
	if table {
		cfg.Engine.Sink = replay.NewTable(&out)
	}
	sum, err := replay.Run(t.Context(), cfg, p, files)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), sum, err
}

// damaged makes packets of a capture missing, cut short, or late.
func damaged(b []byte, every int) []byte {
	out, b := bytes.Clone(b[:24]), b[24:]
	var late []byte
	for n := 0; len(b) > 0; n++ {
		size := 16 + int(binary.LittleEndian.Uint32(b[8:]))
		p := bytes.Clone(b[:size])
		b = b[size:]
		switch n % every {
		case 1:
			continue
		case 2:
			held := min(size-16, 200)
			binary.LittleEndian.PutUint32(p[8:], uint32(held))
			p = p[:16+held]
		case 3:
			late = p
			continue
		}
		out = append(append(out, p...), late...)
		late = nil
	}
	return out
}

// TestWorkers: the bytes do not depend on how many processors there are.
func TestWorkers(t *testing.T) {
	whole := replaytest.Files(replaytest.Options{Packets: 20000, Open: 150, Data: 6000}, 5)
	var files, broken []string
	for i, b := range whole {
		files = append(files, save(t, fmt.Sprintf("whole%d.pcap", i), b))
	}
	for i, b := range replaytest.Files(replaytest.Options{Packets: 4000, Open: 40, Data: 6000}, 3) {
		b = damaged(b, 23)
		broken = append(broken, save(t, fmt.Sprintf("broken%d.pcap", i), b[:len(b)-7]))
	}
	for _, tt := range []struct {
		name  string
		files []string
		table bool
		p     *tlsrules.Policy
	}{
		{"events", files, false, acceptAll(t)},
		{"table", files, true, acceptAll(t)},
		{"inspected", files, false, inspectAll(t)},
		{"with holes", broken, false, inspectAll(t)},
		{"one after the other", append(files[:1:1], broken...), false, inspectAll(t)},
	} {
		want := ""
		for _, workers := range []int{1, 2, 3, 8, 0} {
			cfg := config()
			cfg.Workers = workers
			got, sum, err := run(t, cfg, tt.p, tt.table, tt.files...)
			if err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprintf("%+v", sum)
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("%s: %d workers tell something else than 1", tt.name, workers)
			}
		}
		if lines := strings.Count(want, "\n"); lines < 100 {
			t.Errorf("%s: %d lines", tt.name, lines)
		}
	}
}

// TestRotated: connections go on from one file to the next.
func TestRotated(t *testing.T) {
	o := replaytest.Options{Packets: 5000, Open: 100}
	parts := replaytest.Files(o, 7)
	var files []string
	one := bytes.Clone(parts[0])
	for i, b := range parts {
		files = append(files, save(t, fmt.Sprint(i), b))
		if i > 0 {
			one = append(one, b[24:]...)
		}
	}
	want, whole, err := run(t, config(), inspectAll(t), false, save(t, "one", one))
	if err != nil {
		t.Fatal(err)
	}
	got, sum, err := run(t, config(), inspectAll(t), false, files...)
	if err != nil || got != want {
		t.Errorf("seven files say something else than one, %v", err)
	}
	if sum.Stats.TLSConnections != whole.Stats.TLSConnections || sum.Stats.Partial != 0 || sum.Stats.Midstream != 0 {
		t.Errorf("%+v", sum.Stats)
	}
}

// TestHoles: with every so many packets missing, cut or late, no connection is
// lost, refused, or made of two.
func TestHoles(t *testing.T) {
	o := replaytest.Options{Packets: 6000, Open: 30}
	file := replaytest.Files(o, 1)[0]
	_, whole, err := run(t, config(), inspectAll(t), false, save(t, "whole", file))
	if err != nil {
		t.Fatal(err)
	}
	for _, every := range []int{4, 7, 40, 301} {
		out, sum, err := run(t, config(), inspectAll(t), false, save(t, "holes", damaged(bytes.Clone(file), every)))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sum.Stats.ConnectionsSeen, whole.Stats.ConnectionsSeen; got != want {
			t.Errorf("of every %d: %d connections of %d", every, got, want)
		}
		if sum.Stats.Refused > 0 || strings.Contains(out, `"event_type":"drop"`) || sum.Cut == 0 || sum.Stats.Partial == 0 {
			t.Errorf("of every %d: %d refused, %d cut, %d partial: %s", every, sum.Stats.Refused, sum.Cut, sum.Stats.Partial, refusal(out))
		}
		if n := strings.Count(out, `"code":"capture_partial"`); uint64(n) > sum.Stats.Partial || n == 0 {
			t.Errorf("of every %d: %d times capture_partial, %d partial", every, n, sum.Stats.Partial)
		}
	}
}

// refusal is the first drop event.
func refusal(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, `"event_type":"drop"`) {
			return line
		}
	}
	return ""
}

// shifted moves the time of all packets by seconds.
func shifted(b []byte, seconds int) []byte {
	b = bytes.Clone(b)
	for at := 24; at < len(b); at += 16 + int(binary.LittleEndian.Uint32(b[at+8:])) {
		binary.LittleEndian.PutUint32(b[at:], binary.LittleEndian.Uint32(b[at:])+uint32(seconds))
	}
	return b
}

// TestClockGoesBack: a little, and it stands still; more, and what follows is of
// another time, with its own timestamps, and expires as it should.
func TestClockGoesBack(t *testing.T) {
	file := replaytest.Files(replaytest.Options{Packets: 2000}, 1)[0]
	later := shifted(file, 3600)
	got, sum, err := run(t, config(), acceptAll(t), false, save(t, "later", later), save(t, "earlier", file))
	if err != nil || sum.Jumps != 1 || sum.Stats.Refused != 0 || sum.Stats.Connections != 0 {
		t.Errorf("%v, %+v", err, sum)
	}
	first := time.Unix(int64(binary.LittleEndian.Uint32(file[24:])), 0).UTC().Format("2006-01-02T15:04")
	if n := strings.Count(got, `{"timestamp":"`+first); n < strings.Count(got, "\n")/3 {
		t.Errorf("%d events of %d have the earlier time", n, strings.Count(got, "\n"))
	}
	a, b := save(t, "a", shifted(file, 30)), save(t, "b", file)
	if _, sum, err = run(t, config(), acceptAll(t), false, a, b); err != nil || sum.Jumps != 0 {
		t.Errorf("half a minute: %v, %d jumps", err, sum.Jumps)
	}
	// Beyond what time can be, in both directions.
	for _, seconds := range []int{1 << 30, -1 << 31} {
		if _, _, err := run(t, config(), acceptAll(t), false, b, save(t, "c", shifted(file, seconds)), b); err != nil {
			t.Error(err)
		}
	}
}

// TestProblems: what is wrong with one file is said, and the others are read.
func TestProblems(t *testing.T) {
	file := replaytest.Files(replaytest.Options{Packets: 1000, Open: 5}, 1)[0]
	lies := bytes.Clone(file)
	binary.LittleEndian.PutUint32(lies[24+8:], 1<<31)
	good, cut := save(t, "good", file), save(t, "cut", file[:len(file)-3])
	_, one, err := run(t, config(), acceptAll(t), false, good)
	if err != nil {
		t.Fatal(err)
	}
	text, missing := save(t, "text", []byte("this is no capture")), filepath.Join(t.TempDir(), "missing")
	_, sum, err := run(t, config(), acceptAll(t), false, cut, save(t, "lies", lies), text, missing, good)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"cut: packet", "lies: packet 1, offset 24: 2147483648 bytes", "text: neither pcap", "missing: no such file"}
	if len(sum.Problems) != len(want) {
		t.Fatalf("%v", sum.Problems)
	}
	for i, err := range sum.Problems {
		if !strings.Contains(err.Error(), want[i]) || replay.Harmless(err) != (i == 0) {
			t.Errorf("%d: %v, want %s", i, err, want[i])
		}
	}
	if sum.Packets != 2*one.Packets-1 {
		t.Errorf("%d packets, want %d", sum.Packets, 2*one.Packets-1)
	}
	var e *capture.Error
	if _, _, err := run(t, config(), acceptAll(t), false, missing, good); !errors.As(err, &e) || e.Op != "open" {
		t.Errorf("the first is missing: %v", err)
	}
}

// TestStopped: a replay that is stopped tells what was seen.
func TestStopped(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	file := replaytest.Files(replaytest.Options{Packets: 3000, Open: 5}, 1)[0]
	writing, stopped := make(chan error, 1), make(chan struct{})
	go func() {
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err == nil {
			_, err = w.Write(file[:len(file)/2])
			time.AfterFunc(2*time.Second, stop) // what was written is read by then
		}
		writing <- err
		<-stopped // not before: the end of the pipe is an end of its own
		w.Close()
	}()
	var out bytes.Buffer
	cfg := config()
	log := events.New(&out)
	cfg.Engine.Sink = log
	sum, err := replay.Run(ctx, cfg, acceptAll(t), []string{pipe})
	close(stopped)
	log.Close()
	if werr := <-writing; werr != nil {
		t.Fatal(werr)
	}
	if !errors.Is(err, context.Canceled) || sum.Packets < 500 || !strings.Contains(out.String(), `"event_type":"flow"`) || sum.Stats.Connections != 0 {
		t.Errorf("%v, %d packets, %+v", err, sum.Packets, sum.Stats)
	}
}

// TestMemoryDoesNotGrow: what a replay holds depends on the connections that are
// open, not on how long the capture is.
func TestMemoryDoesNotGrow(t *testing.T) {
	o := replaytest.Options{Packets: 400_000, Open: 50, Data: 64 << 10, Pace: time.Millisecond}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	var most, begun, bytes uint64
	written := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err == nil {
			c := replaytest.New(o)
			buf := make([]byte, 1<<20)
			for i := 0; err == nil; i++ {
				var n int
				if n, err = io.ReadFull(c, buf); n > 0 {
					if _, werr := w.Write(buf[:n]); werr != nil {
						err = werr
					}
				}
				bytes += uint64(n)
				if i%5 == 4 {
					var m runtime.MemStats
					runtime.GC()
					runtime.ReadMemStats(&m)
					if begun++; bytes < 130<<20 { // to come: 120 s of connections that are over
						most = max(most, m.HeapAlloc)
					} else if m.HeapAlloc > most+most/2+4<<20 {
						err = fmt.Errorf("%d bytes after %d of the capture, %d before", m.HeapAlloc, bytes, most)
					}
				}
			}
			w.Close()
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = nil
		}
		written <- err
	}()
	for _, sink := range []engine.Sink{replay.NewTable(io.Discard)} {
		cfg := config()
		cfg.Engine.Sink = sink
		sum, err := replay.Run(t.Context(), cfg, inspectAll(t), []string{pipe})
		if err := errors.Join(err, <-written); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d packets, %d MB, %d connections, %d MB of heap at most", sum.Packets, bytes>>20, sum.Stats.ConnectionsSeen, most>>20)
		if sum.Stats.Partial > 0 || sum.Stats.Evicted > 0 {
			t.Errorf("%+v", sum.Stats)
		}
	}
}
