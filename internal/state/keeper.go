package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says what a Keeper keeps, and where.
type Config struct {
	File string
	// MakeDir: the directory may be made, with nobody else in it.
	MakeDir bool
	// Every is how often all is written, though nothing has changed but sessions,
	// which change all the time; 0 is a minute.
	Every time.Duration
	// Changes: pins or gates have changed, and are written within a second.
	Changes Changes
	// Collect gives what is to be written, with the sessions or without. It is called
	// by the keeper alone, never twice at a time, and not before Start.
	Collect func(sessions bool) *State
	// Warn takes a sentence that an administrator should read.
	Warn func(text string)
}

// Changes carries the news that something has changed. The zero Changes carries
// none; it is made by NewChanges.
type Changes chan struct{}

// NewChanges makes Changes for one Keeper.
func NewChanges() Changes { return make(Changes, 1) }

// Note says that something has changed. Anybody may call it at any time: it never
// waits.
func (c Changes) Note() {
	select {
	case c <- struct{}{}:
	default:
	}
}

const (
	// lockWait is for the daemon that is about to end, and writes what it knows.
	lockWait = 2 * time.Second

	// After writing there is a pause, at least so long, and twice as long as
	// writing took: it must not take a CPU from those who answer packets.
	minPause = 200 * time.Millisecond
)

// Keeper writes a state file, now and then and at the end. It is made by Open; nil
// keeps nothing.
type Keeper struct {
	cfg  Config
	lock *os.File
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex
	trouble [2]string // why a file could not be written, "" if it was: the first, that of sessions
}

// Open takes a file for this process and returns what it holds, which is empty when
// there is no file yet. A broken one is set aside, with a warning.
func Open(cfg Config) (*Keeper, *State, error) { return open(cfg, lockWait) }

func open(cfg Config, wait time.Duration) (*Keeper, *State, error) {
	fail := func(err error) (*Keeper, *State, error) { return nil, nil, &FileError{cfg.File, err, otherFile} }
	if cfg.Every <= 0 {
		cfg.Every = time.Minute
	}
	if cfg.Warn == nil {
		cfg.Warn = func(string) {}
	}
	if dir := filepath.Dir(cfg.File); cfg.MakeDir {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fail(fmt.Errorf("making its directory: %w", bare(err)))
		}
	}
	held, err := lock(cfg.File, wait)
	if err != nil {
		return fail(err)
	}
	s, err := load(cfg.File, cfg.Warn)
	if err == nil {
		var known *State
		if known, err = load(cfg.File+sessionsFile, cfg.Warn); err == nil {
			s.Sessions = append(s.Sessions, known.Sessions...)
		}
	}
	if err != nil {
		held.Close()
		return fail(err)
	}
	return &Keeper{cfg: cfg, lock: held, stop: make(chan struct{}), done: make(chan struct{})}, s, nil
}

// load reads a file, or sets it aside.
func load(path string, warn func(string)) (*State, error) {
	s, err := read(path)
	var b *broken
	switch {
	case errors.As(err, &b):
		aside, err := setAside(path, time.Now())
		if aside == "" {
			return nil, fmt.Errorf("it cannot be used: %s; nor be set aside: %w", b.why, err)
		}
		warn(fmt.Sprintf("state file %s is not used: %s; it is set aside as %s, and what it knew is not known any more", path, b.why, aside))
	case err != nil:
		return nil, err
	case s != nil:
		return s, nil
	}
	return &State{}, nil
}

// Start begins to write.
func (k *Keeper) Start() {
	if k == nil {
		return
	}
	go func() {
		defer close(k.done)
		every := time.NewTicker(k.cfg.Every)
		defer every.Stop()
		for {
			all := false
			select {
			case <-k.stop:
				return
			case <-every.C:
				all = true
			case <-k.cfg.Changes:
			}
			began := time.Now()
			k.write(all)
			select {
			case <-k.stop:
				return
			case <-time.After(max(minPause, 2*time.Since(began))):
			}
		}
	}()
}

// write writes what changes seldom, and all if it is time.
func (k *Keeper) write(all bool) error {
	s := k.cfg.Collect(all)
	err := k.writeFile(0, k.cfg.File, &State{Written: s.Written, Pins: s.Pins, Gates: s.Gates})
	if all {
		err = errors.Join(err, k.writeFile(1, k.cfg.File+sessionsFile, &State{Written: s.Written, Sessions: s.Sessions}))
	}
	return err
}

// writeFile writes a file, and notes why if it cannot. What it says once it does not
// repeat.
func (k *Keeper) writeFile(which int, path string, s *State) error {
	left, err := write(path, s)
	trouble := ""
	switch {
	case err != nil:
		err = &FileError{path, err, otherFile}
		trouble = err.Error() + ": what it says is old"
	case left > 0:
		trouble = fmt.Sprintf("state file %s: entries that are not in it: %d; there is no room, or they cannot be written", path, left)
	}
	k.mu.Lock()
	again := trouble == k.trouble[which]
	k.trouble[which] = trouble
	k.mu.Unlock()
	if trouble != "" && !again {
		k.cfg.Warn(trouble)
	}
	return err
}

// Trouble says why a file is not as it should be, "" if both are.
func (k *Keeper) Trouble() string {
	if k == nil {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(slices.DeleteFunc(slices.Clone(k.trouble[:]), func(s string) bool { return s == "" }), "; ")
}

// Close writes for the last time and gives the file back. It is called once, after
// Start.
func (k *Keeper) Close() error {
	if k == nil {
		return nil
	}
	close(k.stop)
	<-k.done
	err := k.write(true)
	return errors.Join(err, k.lock.Close())
}

// Release gives the file back as it is. It is called instead of Start and Close.
func (k *Keeper) Release() {
	if k != nil {
		k.lock.Close()
	}
}
