package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/replay/replaytest"
)

// reader is a program that reads a capture and writes what it makes of its TLS
// connections. Each is given what it needs to tell about as much.
type reader struct {
	name string
	args func(capture, dir string) []string // nil: it is not installed
}

// replayReaders are the rows, ours first. tshark does what its users do who want
// the same facts; Suricata runs without rules, with its TLS and flow events only.
func replayReaders(b *testing.B) []reader {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ours := func(args ...string) func(capture, dir string) []string {
		return func(capture, _ string) []string { return append(append([]string{self, "replay"}, args...), capture) }
	}
	rows := []reader{
		{"tlsgate replay --json", ours("--json")},
		{"tlsgate replay --json --workers 1", ours("--json", "--workers", "1")},
		{"tlsgate replay", ours()},
	}
	for _, other := range []reader{
		{"suricata", func(capture, dir string) []string {
			return []string{"suricata", "-r", capture, "-l", dir, "-c", suricataConfig(b, dir), "-S", "/dev/null", "-k", "none"}
		}},
		{"tshark", func(capture, _ string) []string {
			return []string{"tshark", "-n", "-r", capture, "-Y", "tls.handshake.type == 1 or tls.handshake.type == 2", "-T", "fields",
				"-e", "tcp.stream", "-e", "ip.src", "-e", "tcp.srcport", "-e", "ip.dst", "-e", "tcp.dstport",
				"-e", "tls.handshake.extensions_server_name", "-e", "tls.handshake.version", "-e", "tls.handshake.ciphersuite", "-e", "tls.handshake.ja3"}
		}},
	} {
		if _, err := exec.LookPath(other.name); err != nil {
			fmt.Fprintf(os.Stderr, "%s is not installed: no row\n", other.name)
			continue
		}
		rows = append(rows, other)
	}
	return rows
}

// suricataConfig asks for TLS and flow events, and for nothing else that takes time.
func suricataConfig(b *testing.B, dir string) string {
	path := filepath.Join(dir, "suricata.yaml")
	const text = `%YAML 1.1
---
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types:
        - tls: {extended: yes}
        - flow
app-layer:
  protocols:
    tls: {enabled: yes, detection-ports: {dp: 443}, ja3-fingerprints: yes}
stream: {memcap: 1gb, checksum-validation: no, reassembly: {memcap: 2gb}}
flow: {memcap: 1gb, hash-size: 65536, prealloc: 10000}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkReplay reads one capture full of TLS handshakes with each program,
// round after round, and reports medians of time and memory, whole processes.
func BenchmarkReplay(b *testing.B) {
	// Few bytes behind each handshake: a connection of the web carries some hundred
	// kilobytes.
	rounds, o := 3, replaytest.Options{Packets: 1_500_000, Open: 200, Data: 64 << 10, Pace: 20 * time.Microsecond}
	if testing.Short() {
		rounds, o.Packets = 1, 200_000
	}
	dir := b.TempDir()
	file := filepath.Join(dir, "handshakes.pcap")
	frames, size := generate(b, file, o)
	rows := replayReaders(b)
	wall, cpu, memory := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for range b.N {
		for range rounds {
			for _, row := range rows {
				u := runReader(b, row, file)
				wall[row.name] = append(wall[row.name], u.wall)
				cpu[row.name] = append(cpu[row.name], u.cpu)
				memory[row.name] = append(memory[row.name], u.memory)
			}
		}
	}
	median := func(s []float64) float64 { return slices.Sorted(slices.Values(s))[len(s)/2] }
	first := rows[0].name
	fmt.Fprintf(os.Stderr, "\n| %d packets, %d MB, one file | seconds, median | CPU s | packets per CPU s | MiB at most | times our time | times our CPU |\n|---|---|---|---|---|---|---|\n",
		frames, size/1e6)
	for _, row := range rows {
		w, c := median(wall[row.name]), median(cpu[row.name])
		fmt.Fprintf(os.Stderr, "| %s | %.2f | %.2f | %.0f | %.0f | %.1f | %.1f |\n", row.name, w, c, float64(frames)/c,
			median(memory[row.name]), w/median(wall[first]), c/median(cpu[first]))
		b.ReportMetric(w/median(wall[first]), strings.ReplaceAll(row.name, " ", "_")+"/ours")
	}
}

func generate(b *testing.B, path string, o replaytest.Options) (frames int, size int64) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	c := replaytest.New(o)
	if size, err = io.Copy(f, c); err != nil {
		b.Fatal(err)
	}
	return c.Frames, size
}

type usage struct{ wall, cpu, memory float64 }

// runReader runs a program, its output into the void.
func runReader(b *testing.B, row reader, file string) usage {
	dir := b.TempDir()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	args := row.args(file, dir)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var said strings.Builder
	cmd.Stderr = &said
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start).Seconds()
	if err != nil {
		b.Fatalf("%s: %v\n%s", row.name, err, said.String())
	}
	u := usage{wall: wall, cpu: cmd.ProcessState.UserTime().Seconds() + cmd.ProcessState.SystemTime().Seconds()}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.memory = float64(ru.Maxrss) / 1024
	}
	return u
}
