package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tlsgate/config"
)

// TestAllowedMemory: what a control group allows is found, of either version, in the
// group itself or above it; what cannot be read is nobody's.
func TestAllowedMemory(t *testing.T) {
	machine, _ := allowedMemory("/nowhere", "/nowhere")
	if machine <= 0 {
		t.Fatalf("this machine has %d bytes", machine)
	}
	const v1, v2 = "memory.limit_in_bytes", "memory.max"
	for name, tt := range map[string]struct {
		cgroup, mount string // %s: the directory it is mounted on
		limits        map[string]string
		want          int64 // 0: the machine's
	}{
		"version 2":             {"0::/system.slice/tlsgate.service\n", "30 23 0:26 / %s rw,nosuid - cgroup2 cgroup2 rw", map[string]string{"system.slice/tlsgate.service/" + v2: "104857600\n"}, 100 << 20},
		"version 2, above":      {"0::/system.slice/tlsgate.service\n", "30 23 0:26 / %s rw shared:4 - cgroup2 cgroup2 rw", map[string]string{"system.slice/tlsgate.service/" + v2: "max\n", "system.slice/" + v2: "52428800\n"}, 50 << 20},
		"version 2, none":       {"0::/\n", "30 23 0:26 / %s rw - cgroup2 cgroup2 rw", map[string]string{v2: "max\n"}, 0},
		"version 1":             {"4:memory:/docker/abc\n1:cpu:/\n0::/\n", "35 31 0:32 / %s rw - cgroup cgroup rw,memory", map[string]string{"docker/abc/" + v1: "104857600\n"}, 100 << 20},
		"version 1, unlimited":  {"4:memory:/\n", "35 31 0:32 / %s rw - cgroup cgroup rw,memory", map[string]string{v1: "9223372036854771712\n"}, 0},
		"version 1, in a group": {"4:memory:/docker/abc\n", "35 31 0:32 /docker/abc %s rw - cgroup cgroup rw,memory", map[string]string{v1: "104857600\n"}, 100 << 20},
		"another controller":    {"4:cpu:/\n", "35 31 0:32 / %s rw - cgroup cgroup rw,cpu", map[string]string{v1: "1"}, 0},
		"nonsense":              {"x\n:\n4:memory\n", "- -\n%s\n1 2 3\n", nil, 0},
		"more than there is":    {"0::/\n", "30 23 0:26 / %s rw - cgroup2 cgroup2 rw", map[string]string{v2: fmt.Sprint(machine + 1)}, 0},
	} {
		dir := t.TempDir()
		root := filepath.Join(dir, "mounted")
		for file, text := range tt.limits {
			os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o700)
			os.WriteFile(filepath.Join(root, file), []byte(text), 0o600)
		}
		cgroup, mountinfo := filepath.Join(dir, "cgroup"), filepath.Join(dir, "mountinfo")
		os.WriteFile(cgroup, []byte(tt.cgroup), 0o600)
		os.WriteFile(mountinfo, fmt.Appendf(nil, tt.mount+"\n", root), 0o600)
		got, whose := allowedMemory(cgroup, mountinfo)
		want, who := tt.want, "its control group"
		if want == 0 {
			want, who = machine, "this machine"
		}
		if got != want || whose != who {
			t.Errorf("%s: %d of %s, want %d of %s", name, got, whose, want, who)
		}
	}
}

// TestMemoryLimit: the collector has room for garbage beside what may be in use, and
// less than the kernel's bound; a policy that may take more than there is is warned of.
func TestMemoryLimit(t *testing.T) {
	for _, tt := range []struct{ footprint, has, want int64 }{
		{1000, 0, 1250}, {1000, 10_000, 1250}, {1000, 1000, 900}, {1000, 500, 450},
	} {
		if got := memoryLimit(tt.footprint, tt.has); got != tt.want {
			t.Errorf("%+v: got %d", tt, got)
		}
	}
	of := func(limits string) int64 {
		c, err := config.Parse("policy.toml", []byte("[queue]\nworkers = 2\n[limits]\n"+limits), ".")
		if err != nil {
			t.Fatal(err)
		}
		return footprint(c)
	}
	least := of("connections = 1000\nhalf_open = 100\nbuffered = \"1MiB\"\nsessions = 16\npins = 16\nstories = 16\nrefused = 16")
	if least > 400<<20 {
		t.Errorf("with the least limits %s", mebibytes(least))
	}
	for what, more := range map[string]string{"connections": "connections = 10_000_000", "buffered": "buffered = \"4GiB\"", "sessions": "sessions = 4_000_000", "pins": "pins = 1_000_000", "stories": "stories = 1_000_000"} {
		if n := of(more); n < 3*least {
			t.Errorf("%s is not counted: %s", what, mebibytes(n))
		}
	}
	t.Logf("by default %s", mebibytes(of("")))
}
