package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestEventsFileMoved: a log that was moved, deleted or replaced goes on in its place, and
// one whose place cannot be had where it is.
func TestEventsFileMoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "events")
	e, err := openEventsFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	say := func(what string) {
		t.Helper()
		e.next = time.Time{} // a second later
		if n, err := e.Write([]byte(what)); n != len(what) || err != nil {
			t.Fatalf("%s: %d, %v", what, n, err)
		}
	}
	holds := func(path, want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	say("one ")
	say("two ")
	os.Rename(path, path+".1")
	e.Write([]byte("three ")) // not looked at yet
	say("four ")
	holds(path+".1", "one two three ")
	holds(path, "four ")
	os.Rename(path, path+".2")
	write(t, path, "from elsewhere\nand half")
	say("five ")
	say("more ")
	holds(path, "from elsewhere\nand half\nfive more ")
	os.Truncate(path, 0) // copytruncate
	say("six ")
	holds(path, "six ")
	os.Remove(path)
	say("seven ")
	holds(path, "seven ")
	gone := dir + ".gone"
	os.Rename(dir, gone)
	say("eight ")
	holds(filepath.Join(gone, "events"), "seven eight ")
	os.Mkdir(dir, 0o700)
	say("nine ")
	holds(path, "nine ")
}

// TestEventsFileTorn: what is left of a line whose beginning went elsewhere does not begin
// the new file.
func TestEventsFileTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	e, err := openEventsFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	long := append(bytes.Repeat([]byte("x"), 1<<20), '\n')
	go func() {
		reader.Read(make([]byte, 10))
		reader.Close()
	}()
	n, err := e.Write(long)
	if n == 0 || n == len(long) || err == nil {
		t.Fatalf("%d of %d, %v", n, len(long), err)
	}
	os.Remove(path)
	for _, rest := range []string{string(long[n:]) + "one\n", "two\n"} {
		e.next = time.Time{} // a second later
		if n, err := e.Write([]byte(rest)); n != len(rest) || err != nil {
			t.Errorf("%d of %d, %v", n, len(rest), err)
		}
	}
	if got, err := os.ReadFile(path); string(got) != "one\ntwo\n" {
		t.Errorf("%d bytes, %.20q, %v", len(got), got, err)
	}
}

// TestEventsFileHalf: half a line that one who was killed has left does not take the first
// event of the next one with it.
func TestEventsFileHalf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	for _, tt := range []struct{ there, want string }{
		{"", "one\ntwo\n"},
		{"whole\n", "whole\none\ntwo\n"},
		{"whole\nhal", "whole\nhal\none\ntwo\n"},
	} {
		write(t, path, tt.there)
		e, err := openEventsFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"one\n", "two\n"} {
			if n, err := e.Write([]byte(line)); n != len(line) || err != nil {
				t.Errorf("%d of %d, %v", n, len(line), err)
			}
		}
		e.Close()
		if got, err := os.ReadFile(path); string(got) != tt.want || err != nil {
			t.Errorf("behind %q: %q, %v; want %q", tt.there, got, err, tt.want)
		}
	}
}
