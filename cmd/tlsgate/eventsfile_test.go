package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	say("one\n")
	say("two ")
	os.Rename(path, path+".1")
	e.Write([]byte("three\n")) // not looked at yet
	before := e.file.Load()
	say("four\nand ")
	holds(path+".1", "one\ntwo three\n")
	holds(path, "four\nand ")
	if _, err := before.Stat(); err == nil {
		t.Error("the one before is still open")
	}
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

// TestEventsFileNone: where there is no log the reason is told.
func TestEventsFileNone(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:                                "opening the event log: nobody reads the FIFO " + fifo + ": start its reader first",
		filepath.Join(fifo+".no", "events"): "opening the event log: open " + filepath.Join(fifo+".no", "events") + ": no such file or directory",
	} {
		if _, err := openEventsFile(path); err == nil || err.Error() != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestEventsFileTorn: what is left of a line whose beginning went elsewhere does not begin
// the new file; a line of which nothing is left is missed there as little as the next one.
func TestEventsFileTorn(t *testing.T) {
	for name, size := range map[string]int{"within a line": 1 << 20, "behind a line": 0} {
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
		if size == 0 { // all that it takes while nobody reads
			if size, err = unix.FcntlInt(reader.Fd(), unix.F_GETPIPE_SZ, 0); err != nil {
				t.Fatal(err)
			}
		}
		long := append(bytes.Repeat([]byte("x"), size-1), '\n')
		go func() {
			time.Sleep(50 * time.Millisecond)
			reader.Close()
		}()
		n, err := e.Write(append(bytes.Clone(long), "zero\n"...))
		if n == 0 || n > len(long) || err == nil {
			t.Fatalf("%s: %d of %d, %v", name, n, len(long), err)
		}
		left := string(long[n:])
		for i, rest := range []string{left, "one\n", "two\n"} {
			if rest == "" {
				continue // nothing is left of it
			}
			if i == 1 && left != "" {
				if got, err := os.ReadFile(path); len(got) > 0 || err != nil {
					t.Errorf("%s: %d bytes of it in the new file, %v", name, len(got), err)
				}
			}
			if i < 2 {
				os.Remove(path)
			}
			e.next = time.Time{} // a second later
			if n, err := e.Write([]byte(rest)); n != len(rest) || err != nil {
				t.Errorf("%s: %d of %d, %v", name, n, len(rest), err)
			}
		}
		if got, err := os.ReadFile(path); string(got) != "one\ntwo\n" {
			t.Errorf("%s: %d bytes, %.20q, %v", name, len(got), got, err)
		}
	}
}

// TestEventsFileTornHere: what is left of a line goes behind its beginning, where that
// still is.
func TestEventsFileTornHere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	e, err := openEventsFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Write([]byte("be"))
	e.torn, e.next = true, time.Time{}
	if n, err := e.Write([]byte("gun\none\n")); n != 8 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got, _ := os.ReadFile(path); string(got) != "begun\none\n" {
		t.Errorf("%q", got)
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
