package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/internal/lab/labtest"
	"tlsgate/internal/replay/replaytest"
)

// replayProgram is tlsgate replay as a process of its own.
func replayProgram(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"replay"}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// TestReplayPipe: what comes through a pipe is told while it is open, and an
// interrupt ends it with the connections told that are open.
func TestReplayPipe(t *testing.T) {
	cmd := replayProgram(t, "--json", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	file := replaytest.Files(replaytest.Options{Packets: 100, Open: 2}, 1)[0]
	if _, err := in.Write(file); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"event_type":"tls"`) {
		t.Fatalf("nothing is told while the pipe is open: %q", lines.Text())
	}
	cmd.Process.Signal(os.Interrupt)
	flows := 0
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"event_type":"flow"`) {
			flows++
		}
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != exitNotFine || flows == 0 || !strings.Contains(said.String(), "interrupted") {
		t.Errorf("%v, %d flows told: %s", err, flows, said.String())
	}
}

// TestReplayWaits: nobody has written a byte yet, and an interrupt ends it.
func TestReplayWaits(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"-", fifo} {
		cmd := replayProgram(t, file)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // it has set up its signals by then
		cmd.Process.Signal(os.Interrupt)
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			t.Errorf("%s: an interrupt does not end it", file)
			<-ended
		}
		in.Close()
		if code := cmd.ProcessState.ExitCode(); code != exitNotFine {
			t.Errorf("%s: exit code %d", file, code)
		}
	}
}

// terminal is a terminal of our own: what is written to user can be read from
// the other end.
func terminal(t *testing.T) (screen, user *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		labtest.Missing(t, fmt.Errorf("no terminal can be made: %w", err))
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, screen.Fd(), unix.TIOCGPTPEER, uintptr(unix.O_RDWR|unix.O_NOCTTY))
	if errno != 0 {
		t.Fatal(errno)
	}
	user = os.NewFile(peer, "terminal")
	t.Cleanup(func() { user.Close() })
	return screen, user
}

// TestProgress: a bar on a terminal, after a second, gone at the end and between
// the lines of the output; nothing anywhere else.
func TestProgress(t *testing.T) {
	screen, user := terminal(t)
	bar := newProgress(user)
	bar.start(func() (read, total int64) { return 300_000_000, 1_200_000_000 })
	out := bar.beside(user)
	time.Sleep(progressAfter + 2*progressEvery)
	io.WriteString(out, "first ")
	io.WriteString(out, "line\nsecond")
	io.WriteString(out, " line\n")
	bar.stop()
	io.WriteString(user, "end")
	var got []byte
	for !bytes.HasSuffix(got, []byte("end")) {
		b := make([]byte, 4096)
		n, err := screen.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b[:n]...)
	}
	const drawn = "tlsgate: [#######.......................] 25% of 1.2 GB, "
	if shown := string(got); !strings.Contains(shown, eraseLine+drawn) || !strings.Contains(shown, eraseLine+"first line\r\n") ||
		!strings.Contains(shown, "\nsecond line\r\n") {
		t.Errorf("shown: %q", shown)
	}
	var b bytes.Buffer
	bar = newProgress(&b)
	bar.start(func() (read, total int64) { t.Error("asked"); return 0, 0 })
	bar.stop()
	if bar.beside(&b) != io.Writer(&b) || b.Len() != 0 {
		t.Errorf("not to a terminal: %q", b.String())
	}
}

func TestProgressLine(t *testing.T) {
	for _, tt := range []struct {
		read, total int64
		want        string
	}{
		{0, 1000, "tlsgate: [..............................] 0% of 1 kB"},
		{999_000, 1_000_000, "tlsgate: [#############################.] 99% of 1 MB, 0s left"},
		{1_000_000, 1_000_000, "tlsgate: [##############################] 100% of 1 MB, 0s left"},
		{500_000_000_000, 2_000_000_000_000, "tlsgate: [#######.......................] 25% of 2 TB, 30s left"},
		{1_234_000, 0, "tlsgate: 1.23 MB read"},
		{2_000_000, 1_000_000, "tlsgate: 2 MB read"}, // the file grows
	} {
		if got := progressLine(tt.read, tt.total, 10*time.Second); got != tt.want {
			t.Errorf("%d of %d: got %q, want %q", tt.read, tt.total, got, tt.want)
		}
	}
}
