package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tlsgate/config"
	"tlsgate/internal/engine"
)

// footprint is how much memory a daemon takes within the limits of a policy, at most,
// without garbage.
func footprint(c *config.Config) int64 {
	n := workerCount(c)
	return int64(n)*engineConfig(c, n).Limits.Footprint() + engine.SharedFootprint(c.Limits.Sessions, c.Limits.Pins)
}

// garbage is what the collector may leave lying beside a footprint: with it, memory has
// a quarter more, and where little is in use twice of that, as ever.
const garbage = 4

// memoryLimit is where the collector is to work harder rather than have the process
// grow: a quarter above what the policy's limits allow, and in any case below what the
// kernel allows this process. has is the latter, 0 if that is not known.
func memoryLimit(footprint, has int64) int64 {
	limit := footprint + footprint/garbage
	if has > 0 {
		limit = min(limit, has-has/10)
	}
	return limit
}

// limitMemory tells the collector, and warns where the limits allow more than there is.
// GOMEMLIMIT in the environment is left as it is.
func limitMemory(c *config.Config) (warning string) {
	need := footprint(c)
	has, whose := allowedMemory("/proc/self/cgroup", "/proc/self/mountinfo")
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(need, has))
	}
	if has > 0 && need > has {
		return fmt.Sprintf("the policy's [limits] allow %s of memory, and %s has %s: a flood could have the kernel kill the daemon; lower connections or buffered", mebibytes(need), whose, mebibytes(has))
	}
	return ""
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// allowedMemory is how much memory the kernel lets this process have, and whose it is:
// the machine's, or a control group's (cgroups(7)), of either version.
func allowedMemory(cgroup, mountinfo string) (bytes int64, whose string) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		bytes, whose = int64(info.Totalram)*int64(info.Unit), "this machine"
	}
	for _, group := range controlGroups(cgroup, mountinfo) {
		// A group's limit holds for those below it.
		for dir := group.at; strings.HasPrefix(dir, group.mount); dir = filepath.Dir(dir) {
			b, err := os.ReadFile(filepath.Join(dir, group.file))
			if n, perr := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && perr == nil && n > 0 && n < math.MaxInt64>>12<<12 && (bytes == 0 || n < bytes) {
				bytes, whose = n, "its control group"
			}
		}
	}
	return bytes, whose
}

// controlGroup is a directory in which a limit of ours may stand.
type controlGroup struct{ mount, at, file string }

// controlGroups finds where this process's memory is bounded.
func controlGroups(cgroup, mountinfo string) (groups []controlGroup) {
	paths := map[string]string{} // of version 1's memory controller, and of version 2
	b, err := os.ReadFile(cgroup)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) != 3:
		case f[0] == "0" && f[1] == "":
			paths["cgroup2"] = f[2]
		case strings.Contains(","+f[1]+",", ",memory,"):
			paths["cgroup"] = f[2]
		}
	}
	if b, err = os.ReadFile(mountinfo); err != nil {
		return nil
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		// 36 35 98:0 /root /mount options - type source options (proc_pid_mountinfo(5))
		before, after, _ := strings.Cut(lines.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(g) < 3 {
			continue
		}
		file := "memory.max"
		switch {
		case g[0] == "cgroup" && strings.Contains(","+g[2]+",", ",memory,"):
			file = "memory.limit_in_bytes"
		case g[0] != "cgroup2":
			continue
		}
		if path, ok := paths[g[0]]; ok {
			rest := strings.TrimPrefix(path, strings.TrimSuffix(f[3], "/"))
			groups = append(groups, controlGroup{f[4], filepath.Join(f[4], rest), file})
		}
	}
	return groups
}
