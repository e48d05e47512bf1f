package main

import (
	"os"
	"runtime"
	"testing"
	"time"

	"tlsgate/internal/events"
)

// TestProcess: what is told of the process follows what it does. What other tests have
// left ends meanwhile, now and then: then it is asked again.
func TestProcess(t *testing.T) {
	var before, after events.Process
	if !within(5*time.Second, func() bool {
		runtime.GC()
		before = processOf()
		if before.Goroutines == 0 || before.HeapBytes == 0 || before.LiveBytes == 0 || before.RSSBytes < before.LiveBytes || before.FDs < 3 {
			t.Fatalf("before: %+v", before)
		}
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		stop := make(chan struct{})
		defer close(stop)
		go func() { <-stop }()
		held := make([]byte, 8<<20)
		runtime.GC()
		after = processOf()
		runtime.KeepAlive(held)
		return after.Goroutines == before.Goroutines+1 && after.FDs == before.FDs+1 && after.LiveBytes >= before.LiveBytes+7<<20
	}) {
		t.Errorf("before: %+v\nafter: %+v", before, after)
	}
}
