package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tlsgate/config"
)

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestOutputNotWritten(t *testing.T) {
	for _, args := range [][]string{
		{"check", "../../testdata/policies/minimal.toml"},
		{"replay", "../../testdata/captures/partner-bank.pcapng"},
		{"replay", "--json", "../../testdata/captures/partner-bank.pcapng"},
		{"rules", "show"},
		{"suites"},
		{"version"},
	} {
		if got := run(context.Background(), args, fullDisk{}, io.Discard); got != exitUsage {
			t.Errorf("%v: got exit code %d, want %d", args, got, exitUsage)
		}
	}
}

func TestEventsToFIFOWithoutReader(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openEvents(fifo, io.Discard); err == nil || !strings.Contains(err.Error(), "nobody reads") {
		t.Errorf("got %v", err)
	}
}

// The number of workers may be that of CPUs, which no policy check can know.
func TestQueueNumbersEnd(t *testing.T) {
	c, err := config.Parse("policy.toml", []byte("[queue]\nnumber = 65535\n"), ".")
	if err != nil {
		t.Fatal(err)
	}
	c.Queue.Workers = 2
	var file *config.Error
	if _, err := openWorkers(t.Context(), c, newRemembered(c, nil), &links{}, nil); !errors.As(err, &file) || file.Hint == "" {
		t.Errorf("got %v", err)
	}
}
