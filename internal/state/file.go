package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// FileError is a state file that cannot be had.
type FileError struct {
	Path string
	Err  error
	Help string
}

func (e *FileError) Error() string { return fmt.Sprintf("state file %s: %v", e.Path, e.Err) }

func (e *FileError) Unwrap() error { return e.Err }

// Hint says what an administrator can do about it.
func (e *FileError) Hint() string { return e.Help }

const otherFile = `choose another: state.file in the policy, or --state FILE; "none" for none`

// Files beside the state file.
const (
	sessionsFile = ".sessions" // the same again for sessions: they are many, and change all the time
	newFile      = ".new"      // being written
	lockFile     = ".lock"     // held by the daemon whose files they are
	brokenFile   = ".broken-"

	// maxBroken is how many that were set aside are kept.
	maxBroken = 3
)

// bare leaves out what the message says already.
func bare(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}

// regular reports what else than a file there is; nothing is fine.
func regular(path string) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return bare(err)
	case info.Mode()&fs.ModeSymlink != 0:
		return errors.New("it is a symbolic link, which a new file would take the place of")
	case !info.Mode().IsRegular():
		return errors.New("something is there that is no file")
	}
	return nil
}

// read returns what a file holds, nil if there is none. A *broken error says that
// it can be set aside.
func read(path string) (*State, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, bare(err)
	}
	switch owner := info.Sys().(*syscall.Stat_t).Uid; {
	case !info.Mode().IsRegular():
		return nil, errors.New("something is there that is no file")
	case info.Mode().Perm()&0o022 != 0 || owner != 0 && int(owner) != os.Geteuid():
		return nil, refuse("others may write it")
	case info.Size() > maxFile:
		return nil, refuse("it has %d bytes, the most is %d", info.Size(), maxFile)
	}
	s, err := decode(io.LimitReader(f, maxFile+1))
	return s, bare(err)
}

// write replaces a file, whole or not at all, and returns what encode does. Only who
// has the lock may.
func write(path string, s *State) (left int, err error) {
	if err := regular(path); err != nil {
		return 0, err
	}
	temporary := path + newFile
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, bare(err)
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, bare(err)
	}
	left, err = encode(f, s, maxFile)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
		return left, bare(err)
	}
	return left, bare(syncDir(filepath.Dir(path)))
}

// syncDir makes a new name in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// setAside gives a broken file another name, which it returns, and takes away all
// but the latest of those that have such a name.
func setAside(path string, now time.Time) (aside string, err error) {
	aside = path + brokenFile + now.UTC().Format("20060102T150405.000000")
	if err := os.Rename(path, aside); err != nil {
		return "", bare(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	var old []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+brokenFile) {
			old = append(old, e.Name())
		}
	}
	slices.Sort(old)
	for _, name := range old[:max(0, len(old)-maxBroken)] {
		os.Remove(filepath.Join(filepath.Dir(path), name))
	}
	return aside, bare(err)
}

var errTaken = errors.New("another daemon keeps its state there")

// lock takes a path for this process until the file is closed or the process ends,
// waiting for one that is about to end. The lock is a file of its own, for the state
// file is another with each time it is written. It is left where it is: who removed
// it could remove the next one's.
func lock(path string, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path+lockFile, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, bare(err)
	}
	for until := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			f.Close()
			return nil, bare(err)
		case time.Now().After(until):
			f.Close()
			return nil, errTaken
		}
	}
}
