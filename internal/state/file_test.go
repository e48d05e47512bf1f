package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names are what is in a directory.
func names(t testing.TB, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// keeping opens a keeper of a state, which it notes the warnings of.
type keeping struct {
	*Keeper
	mu     sync.Mutex
	says   []string
	state  *State
	wrote  int
	loaded *State
}

func (k *keeping) warnings() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.says)
}

func (k *keeping) written() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wrote
}

func keep(t testing.TB, cfg Config) (*keeping, error) {
	t.Helper()
	k := &keeping{state: &State{}}
	cfg.Warn = func(text string) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.says = append(k.says, text)
	}
	cfg.Collect = func(bool) *State {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.wrote++
		return k.state
	}
	var err error
	k.Keeper, k.loaded, err = open(cfg, 50*time.Millisecond)
	return k, err
}

// TestKeeps: what one writes at its end the next one finds, and nothing else stays
// in the directory but the lock.
func TestKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "state")
	if _, err := keep(t, Config{File: path}); err == nil {
		t.Error("a directory was made that was not to be")
	}
	var last *State
	for run := range 3 {
		k, err := keep(t, Config{File: path, MakeDir: true})
		if err != nil {
			t.Fatal(err)
		}
		want := &State{}
		if run > 0 {
			want = last
		}
		if !reflect.DeepEqual(k.loaded, want) {
			t.Errorf("run %d: %+v, want %+v", run, k.loaded, want)
		}
		last = sample(t)
		last.Written = int64(run)
		k.state = last
		k.Start()
		if err := k.Close(); err != nil || len(k.says) != 0 || k.Trouble() != "" {
			t.Errorf("run %d: %v, %q", run, err, k.says)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"state", "state.lock", "state.sessions"}) {
		t.Errorf("left in the directory: %q", got)
	}
	var none *Keeper
	none.Start()
	none.Release()
	if none.Close() != nil || none.Trouble() != "" {
		t.Error("nil keeps something")
	}
}

// TestSetAside: a file that cannot be believed is kept under another name, three of
// them at most, and the keeper goes on without.
func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	newer := signed(`{"tlsgate_state":{"version":2,"written":1}}`)
	for i, tt := range []struct {
		file []byte
		mode os.FileMode
		says string
	}{
		{nil, 0o600, "cut short"},
		{[]byte("nonsense\n"), 0o600, "not a state file"},
		{newer, 0o600, "of version 2, and this program reads version 1"},
		{encoded(t, sample(t)), 0o620, "others may write it"},
		{encoded(t, sample(t))[:100], 0o600, "cut short"},
	} {
		put(t, path, tt.file)
		os.Chmod(path, tt.mode)
		k, err := keep(t, Config{File: path})
		if err != nil {
			t.Fatal(err)
		}
		if w := k.warnings(); len(w) != 1 || !strings.Contains(w[0], tt.says) || !strings.Contains(w[0], path+brokenFile) {
			t.Errorf("warnings: %q, want %q", w, tt.says)
		}
		if !reflect.DeepEqual(k.loaded, &State{}) {
			t.Errorf("something is believed: %+v", k.loaded)
		}
		k.Release()
		aside, _ := filepath.Glob(path + brokenFile + "*")
		if b, err := os.ReadFile(aside[len(aside)-1]); err != nil || !bytes.Equal(b, tt.file) || len(aside) != min(i+1, maxBroken) {
			t.Errorf("set aside: %q, %v, %d bytes", aside, err, len(b))
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is there still: %v", err)
		}
	}
}

// TestNoFile: what is no file of ours is neither read, nor set aside, nor written.
func TestNoFile(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a symbolic link":           func(path string) error { return os.Symlink("elsewhere", path) },
		"something is there":        func(path string) error { return os.Mkdir(path, 0o700) },
		"is there that is no file":  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"levels of symbolic":        func(path string) error { return os.Symlink("elsewhere", path+lockFile) },
		"is a directory":            func(path string) error { return os.Mkdir(path+lockFile, 0o700) },
		"no such file or directory": func(path string) error { return os.Remove(filepath.Dir(path)) },
	} {
		dir := t.TempDir()
		elsewhere := filepath.Join(dir, "elsewhere")
		put(t, elsewhere, encoded(t, sample(t)))
		path := filepath.Join(dir, "in", "state")
		os.Mkdir(filepath.Dir(path), 0o700)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		k, err := keep(t, Config{File: path})
		if err == nil || k.Keeper != nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if len(k.says) != 0 {
			t.Errorf("%s: %q", name, k.says)
		}
	}
}

// TestTaken: two daemons do not write one file. The second one waits for a first
// that is about to end, and has what that has written last.
func TestTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	first, err := keep(t, Config{File: path})
	if err != nil {
		t.Fatal(err)
	}
	first.state = sample(t)
	first.Start()
	if _, err := keep(t, Config{File: path}); !errors.Is(err, errTaken) || !strings.Contains(err.Error(), path) {
		t.Errorf("the second one: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { first.Close() })
	second, s, err := open(Config{File: path}, 5*time.Second)
	if err != nil || !reflect.DeepEqual(s, sample(t)) {
		t.Fatalf("behind the first: %v, %+v", err, s)
	}
	second.Release()
}

// TestWrites: at once when something has changed, though seldom, and now and then
// without a reason.
func TestWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	changes := NewChanges()
	k, err := keep(t, Config{File: path, Every: time.Hour, Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	changes.Note() // before anybody listens
	k.Start()
	begin := time.Now()
	for time.Since(begin) < time.Second {
		changes.Note()
	}
	for until := time.Now().Add(5 * time.Second); k.written() == 0 && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	if n := k.written(); n < 1 || n > int(time.Since(begin)/minPause)+1 {
		t.Errorf("written %d times in %v", n, time.Since(begin))
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	k.Close()
	k, err = keep(t, Config{File: path, Every: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	k.Start()
	for until := time.Now().Add(10 * time.Second); k.written() < 2 && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	if n := k.written(); n < 2 {
		t.Errorf("written %d times", n)
	}
	k.Close()
	var nobody Changes
	nobody.Note()
}

// TestTrouble: what cannot be written is said once, the old file stays whole, and
// once it can be written again all is well.
func TestTrouble(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	old := encoded(t, sample(t))
	put(t, path, old)
	k, err := keep(t, Config{File: path, Every: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	inTheWay := filepath.Join(path+newFile, "x")
	os.MkdirAll(inTheWay, 0o700)
	k.Start()
	wait := func(what string, ok func() bool) {
		t.Helper()
		for until := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%s: trouble %q, %q", what, k.Trouble(), k.warnings())
			}
		}
	}
	wait("two tries", func() bool { return k.written() > 2 })
	if w := k.warnings(); len(w) != 1 || w[0] != k.Trouble() || !strings.Contains(w[0], path) || !strings.Contains(w[0], "directory not empty") {
		t.Errorf("trouble %q, warnings %q", k.Trouble(), w)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, old) {
		t.Errorf("the old file: %d bytes, %v", len(b), err)
	}
	os.Remove(inTheWay)
	wait("written at last", func() bool { return k.Trouble() == "" })
	if err := k.Close(); err != nil || len(k.warnings()) != 1 {
		t.Errorf("at the end: %v, %q", err, k.warnings())
	}
	// Made a link meanwhile, it is not written through, nor in its place.
	k, err = keep(t, Config{File: path})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(dir, "elsewhere")
	os.Rename(path, elsewhere)
	os.Symlink(elsewhere, path)
	now, _ := os.ReadFile(elsewhere)
	k.state = sample(t)
	k.Start()
	if err := k.Close(); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("through a link: %v", err)
	}
	if b, _ := os.ReadFile(elsewhere); !bytes.Equal(b, now) {
		t.Error("it was written through a link")
	}
	// What is left out is said too.
	os.Remove(path)
	k, err = keep(t, Config{File: path})
	if err != nil {
		t.Fatal(err)
	}
	k.state = &State{Gates: []Gate{{}}}
	k.Start()
	if err := k.Close(); err != nil || !strings.Contains(k.Trouble(), "entries that are not in it: 1") {
		t.Errorf("%v, %q", err, k.Trouble())
	}
}

// TestTwoFiles: a change is written without the sessions, and what is wrong with one
// file leaves the other alone.
func TestTwoFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	changes := NewChanges()
	k, err := keep(t, Config{File: path, Every: time.Hour, Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	k.state = sample(t)
	k.Start()
	changes.Note()
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if s, err := read(path); err == nil && s != nil {
			if len(s.Pins) != 4 || len(s.Gates) != 2 || len(s.Sessions) != 0 {
				t.Errorf("written: %+v", s)
			}
			break
		} else if time.Now().After(until) {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(path + sessionsFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sessions are written with a change: %v", err)
	}
	inTheWay := filepath.Join(path+sessionsFile+newFile, "x")
	os.MkdirAll(inTheWay, 0o700)
	if err := k.write(true); err == nil || !strings.Contains(err.Error(), path+sessionsFile) {
		t.Errorf("sessions cannot be written: %v", err)
	}
	if err := k.write(false); err != nil || !strings.Contains(k.Trouble(), path+sessionsFile) {
		t.Errorf("the sessions' trouble is forgotten: %v, %q", err, k.Trouble())
	}
	os.Remove(inTheWay)
	if err := k.Close(); err != nil || k.Trouble() != "" || len(k.warnings()) != 1 {
		t.Errorf("%v, %q, %q", err, k.Trouble(), k.warnings())
	}
	for _, broken := range []string{path, path + sessionsFile} {
		whole, _ := os.ReadFile(broken)
		os.Truncate(broken, 100)
		k, err := keep(t, Config{File: path})
		if err != nil {
			t.Fatal(err)
		}
		k.Release()
		w := k.warnings()
		if len(w) != 1 || !strings.Contains(w[0], "state file "+broken+" is not used") || (len(k.loaded.Pins) == 0) != (broken == path) || (len(k.loaded.Sessions) == 0) == (broken == path) {
			t.Errorf("%s is cut: %q, %d pins, %d sessions", broken, w, len(k.loaded.Pins), len(k.loaded.Sessions))
		}
		put(t, broken, whole)
	}
	os.Rename(path+sessionsFile, path+"elsewhere")
	os.Symlink(path+"elsewhere", path+sessionsFile)
	if _, err := keep(t, Config{File: path}); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("through a link: %v", err)
	}
}
