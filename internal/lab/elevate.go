package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// elevated is the environment variable by which a process knows that Elevate
// started it.
const elevated = "TLSGATE_LAB_USER_NAMESPACE"

// Elevate lets a program use the lab without root: where the process may not
// make network namespaces, it runs the program again, same arguments, same
// standard files, in a user and a network namespace of its own, where it is
// root. In that case ran is true and code is what that run exited with: the
// caller exits with it. An error means that there is no way; New would say the
// same. Call it before the program does anything else.
func Elevate() (code int, ran bool, err error) {
	ns, err := newNamespace()
	if err == nil {
		return 0, false, wrap("close the probe", ns.Close())
	}
	if !errors.Is(err, unix.EPERM) {
		return 0, false, permissionError("make a network namespace", err)
	}
	if os.Getenv(elevated) != "" {
		return 0, false, &Error{"make a network namespace inside a user namespace", err,
			"the kernel lets users make user namespaces but no use of them: " + namespaceLimits()}
	}
	// The parent's death has to be this thread's death, not an idle thread's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, err := startElevated()
	if err != nil {
		return 0, false, &Error{"make a user namespace", err, "run as root, or allow it: " + namespaceLimits()}
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	signal.Stop(signals)
	close(signals)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		status := exit.Sys().(syscall.WaitStatus)
		return 128 + int(status.Signal()), true, nil
	case errors.As(err, &exit):
		return exit.ExitCode(), true, nil
	case err != nil:
		return 0, false, wrap("wait for the run in a user namespace", err)
	}
	return 0, true, nil
}

func startElevated() (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), elevated+"=1",
		// The lock of iptables-legacy is in /run, which is not ours to write.
		"XTABLES_LOCKFILE="+filepath.Join(os.TempDir(), fmt.Sprintf("tlsgate-xtables-%d.lock", os.Getuid())))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	return cmd, cmd.Start()
}

// namespaceLimits names the kernel parameters that decide whether users may make
// user namespaces, with their values here.
func namespaceLimits() string {
	var found []string
	for _, p := range []struct{ name, want string }{
		{"kernel/unprivileged_userns_clone", "1"},
		{"kernel/apparmor_restrict_unprivileged_userns", "0"},
		{"user/max_user_namespaces", "more than 0"},
	} {
		if b, err := os.ReadFile("/proc/sys/" + p.name); err == nil {
			found = append(found, fmt.Sprintf("%s is %s (needs %s)",
				strings.ReplaceAll(p.name, "/", "."), strings.TrimSpace(string(b)), p.want))
		}
	}
	if found == nil {
		return "the kernel has no user namespaces"
	}
	return strings.Join(found, ", ")
}
