package nfq

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// elsewhere are the tables of iptables' other variant, if rules of ours may be left in
// them: whoever changes a system from one to the other leaves there what was in place,
// and the kernel asks both, so that each packet would be queued twice, or for ever where
// nobody listens any more. To look into tables of the legacy variant makes them, so they
// are looked into only where there are some.
func (t tables) elsewhere() (other tables, ok bool) {
	if t.variant != "" {
		return other, false
	}
	path, err := exec.LookPath(t.program("restore"))
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	other.family = t.family
	switch name := filepath.Base(path); {
	case err != nil:
		return other, false
	case strings.Contains(name, "nft"):
		other.variant = "legacy"
		names := "ip_tables_names"
		if t.family == IPv6 {
			names = "ip6_tables_names"
		}
		made, _ := os.ReadFile(procNet(names))
		if !slices.Contains(strings.Fields(string(made)), "mangle") {
			return other, false
		}
	case strings.Contains(name, "legacy"):
		other.variant = "nft"
	default:
		return other, false
	}
	_, err = exec.LookPath(other.program("save"))
	return other, err == nil
}

// removeElsewhere takes away what is left of ours in the other variant's tables. A
// kernel that does not have them has nothing of ours in them.
func (t tables) removeElsewhere(ctx context.Context) error {
	other, ok := t.elsewhere()
	if !ok {
		return nil
	}
	if p, err := other.present(ctx); err != nil || p.empty() {
		return nil
	}
	return other.remove(ctx)
}

// Rivals are queues that rules of ours in place send packets to, which are not those of
// r, and which somebody serves: to install r would take his packets away from him.
func (r Rules) Rivals(ctx context.Context) (queues []uint16, err error) {
	families, err := r.families()
	if err != nil {
		return nil, err
	}
	open, err := os.ReadFile(procNet(queueTable))
	if err != nil {
		return nil, nil // without it nobody can be told from nobody
	}
	for _, t := range families {
		out, err := t.run(ctx, "", "save", "-t", "mangle")
		if err != nil {
			return nil, err
		}
		for _, q := range queuesOf(out) {
			if r.serves(q) || slices.Contains(queues, q) {
				continue
			}
			if _, err := findRow(open, q); err == nil {
				queues = append(queues, q)
			}
		}
	}
	return queues, nil
}

func (r Rules) serves(queue uint16) bool {
	return queue >= r.Queue && int(queue) < int(r.Queue)+max(r.Workers, 1)
}

// queuesOf are the queues that rules in a chain of ours send packets to, as iptables-save
// prints them.
func queuesOf(saved string) (queues []uint16) {
	for line := range strings.Lines(saved) {
		f := strings.Fields(line)
		at := slices.Index(f, "NFQUEUE")
		if at < 0 || len(f) < at+3 || f[0] != "-A" || f[1] != chainQueue {
			continue
		}
		first, last, balanced := strings.Cut(f[at+2], ":")
		if !balanced {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil {
			continue
		}
		for q := from; q <= to; q++ {
			queues = append(queues, uint16(q))
		}
	}
	return queues
}
