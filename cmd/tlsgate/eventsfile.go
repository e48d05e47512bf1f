package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// eventsLook is how often is looked whether the event log is still where it was.
const eventsLook = time.Second

// eventsFile is a file of events that may be moved or deleted while it is written: what
// comes then goes to a new one in its place. It belongs to the one who writes.
type eventsFile struct {
	path string
	file atomic.Pointer[os.File] // closed by who does not wait for the one who writes
	next time.Time               // when is looked again
	torn bool                    // the last line there has not been written to its end
	half bool                    // there is half a line that somebody else has left
}

func openEventsFile(path string) (*eventsFile, error) {
	f, err := openAppending(path)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("opening the event log: nobody reads the FIFO %s: start its reader first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the event log: %w", err)
	}
	e := &eventsFile{path: path}
	e.goOnIn(f)
	return e, nil
}

// openAppending opens a file to append. Without O_NONBLOCK a FIFO that nobody reads would
// hold us here for ever.
func openAppending(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0o640)
}

// Write writes whole lines, or what is left of one of which the beginning was written: that
// goes nowhere, if the file with the beginning is not in its place any more.
func (e *eventsFile) Write(b []byte) (int, error) {
	left := 0
	if now := time.Now(); now.After(e.next) {
		e.next = now.Add(eventsLook)
		if e.look() && e.torn {
			left, e.torn = bytes.IndexByte(b, '\n')+1, false
		}
	}
	if e.half {
		if _, err := e.file.Load().Write([]byte{'\n'}); err != nil {
			return left, err
		}
		e.half = false
	}
	n, err := e.file.Load().Write(b[left:])
	if n += left; n > left {
		e.torn = err != nil && b[n-1] != '\n'
	}
	return n, err
}

// look opens the file in its place, if that is another one by now, and reports whether it
// has. Where none can be had, the one there is goes on.
func (e *eventsFile) look() bool {
	there, err := os.Stat(e.path)
	old := e.file.Load()
	is, err2 := old.Stat()
	if err2 != nil || err == nil && os.SameFile(there, is) || err != nil && !errors.Is(err, os.ErrNotExist) {
		return false
	}
	f, err := openAppending(e.path)
	if err != nil {
		return false
	}
	e.goOnIn(f)
	old.Close()
	return true
}

// goOnIn has what comes next written to f.
func (e *eventsFile) goOnIn(f *os.File) {
	e.half = endsInLine(f, e.path)
	e.file.Store(f)
}

// endsInLine reports whether a file of that path ends within a line: who wrote it was
// killed meanwhile (the kernel writes page by page), or had no room for the rest. Of what
// is not a file, or cannot be read, nothing is known.
func endsInLine(f *os.File, path string) bool {
	is, err := f.Stat()
	if err != nil || !is.Mode().IsRegular() || is.Size() == 0 {
		return false
	}
	reading, err := os.Open(path)
	if err != nil {
		return false
	}
	defer reading.Close()
	var last [1]byte
	n, _ := reading.ReadAt(last[:], is.Size()-1)
	return n == 1 && last[0] != '\n'
}

func (e *eventsFile) Close() error { return e.file.Load().Close() }
