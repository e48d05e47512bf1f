package main

import (
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"

	"tlsgate/internal/events"
)

// processOf tells what this process takes of its host. It stops nothing to find
// out, and what cannot be found out is 0.
func processOf() events.Process {
	samples := []metrics.Sample{
		{Name: "/sched/goroutines:goroutines"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	return events.Process{
		Goroutines: counter(&samples[0]), HeapBytes: counter(&samples[1]), LiveBytes: counter(&samples[2]),
		RSSBytes: residentBytes(), FDs: openFiles(),
	}
}

func counter(s *metrics.Sample) uint64 {
	if s.Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s.Value.Uint64()
}

// residentBytes is the second number of statm, in pages.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// openFiles counts file descriptors, without the one it takes to count them.
func openFiles() uint64 {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0
	}
	return uint64(len(names) - 1)
}
