package engine

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Instructions are counted by taking one step after the other (ptrace(2),
// PTRACE_SINGLESTEP): that needs no counters of the processor, which a virtual
// machine may lack, and no privilege over a child of one's own. The child runs one
// row and nothing else: no collector, no other thread.

// countedRow is what the child is told to run.
const countedRow = "TLSGATE_COUNTED_ROW"

// TestCountedRow is the child of instructions.
func TestCountedRow(t *testing.T) {
	name := os.Getenv(countedRow)
	if name == "" {
		return
	}
	runtime.LockOSThread()
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	x, round := rows[i].make(t, countedTogether, countedRecords)
	mark := func() {
		syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGUSR1))
	}
	fmt.Printf("thread %d, %d packets\n", syscall.Gettid(), len(x.packets))
	// Until the parent has attached. The runtime knows that this waits: it would have a
	// thread that runs for long make way for others, and those stand still then.
	syscall.Read(0, make([]byte, 1))
	mark()
	round()
	mark()
}

// A round has few packets: a step takes some microseconds.
const countedTogether, countedRecords = 6, 2

// instructions returns how many a round of a row takes, and for how many packets.
func instructions(name string) (n, packets int, err error) {
	runtime.LockOSThread() // who attaches is who may ask
	defer runtime.UnlockOSThread()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestCountedRow$", "-test.cpu", "1")
	cmd.Env = append(os.Environ(), countedRow+"="+name, "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	var held []int
	defer func() {
		cmd.Process.Kill()
		for _, id := range held { // the first thread is not over before the others are reaped
			for id != cmd.Process.Pid {
				var st syscall.WaitStatus
				if _, err := syscall.Wait4(id, &st, syscall.WALL, nil); err != nil || st.Exited() || st.Signaled() {
					break
				}
			}
		}
		cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("the row %q: %w", name, err)
	}
	tid := 0
	if _, err := fmt.Sscanf(line, "thread %d, %d packets", &tid, &packets); err != nil {
		return 0, 0, fmt.Errorf("the row %q: %s: %w", name, line, err)
	}
	// The others stand still: a thread that watches for goroutines that run for long
	// would have this one make way.
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for _, path := range threads {
		id, _ := strconv.Atoi(filepath.Base(path))
		if err := syscall.PtraceAttach(id); errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		} else if err != nil {
			return 0, 0, fmt.Errorf("ptrace: %w", err)
		}
		held = append(held, id)
		if _, err := syscall.Wait4(id, nil, syscall.WALL, nil); err != nil {
			return 0, 0, err
		}
	}
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }) // one that stands still may hold what this one needs
	defer stuck.Stop()
	if _, err := in.Write([]byte{0}); err != nil {
		return 0, 0, err
	}
	for counts := false; ; n++ {
		if n%10_000 == 0 {
			stuck.Reset(time.Minute)
		}
		st, err := step(tid)
		switch {
		case err != nil:
			return 0, 0, err
		case !st.Stopped():
			return 0, 0, fmt.Errorf("the row %q ended: %v", name, st)
		case st.StopSignal() == syscall.SIGUSR1 && counts:
			return n, packets, nil
		case st.StopSignal() == syscall.SIGUSR1:
			counts, n = true, 0
		case st.StopSignal() != syscall.SIGTRAP:
			return 0, 0, fmt.Errorf("the row %q: %v", name, st.StopSignal())
		}
	}
}

// step has a thread take one. Go's own calls would have the scheduler look each time.
func step(tid int) (st syscall.WaitStatus, err error) {
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_SINGLESTEP, uintptr(tid), 0, 0, 0, 0); e != 0 {
		return 0, fmt.Errorf("ptrace: %w", e)
	}
	var is int32
	_, _, e := syscall.RawSyscall6(syscall.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&is)), syscall.WALL, 0, 0, 0)
	if e != 0 {
		return 0, fmt.Errorf("wait: %w", e)
	}
	return syscall.WaitStatus(is), nil
}
