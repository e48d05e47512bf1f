package nfq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	lockFile = "/run/xtables.lock"
	lockWait = "--wait=10" // seconds for another iptables to end

	// installAttempts is how often the rules are read and changed: somebody
	// else may change them in between, and then nothing of ours is done.
	installAttempts = 3
)

// tables runs the iptables programs of one family.
type tables struct {
	family  Family
	variant string
}

// program is for instance ip6tables-legacy-restore.
func (t tables) program(action string) string {
	name := "iptables"
	if t.family == IPv6 {
		name = "ip6tables"
	}
	if t.variant != "" {
		name += "-" + t.variant
	}
	return name + "-" + action
}

// families are those the kernel has.
func (r Rules) families() ([]tables, error) {
	if r.Variant != "" && r.Variant != "nft" && r.Variant != "legacy" {
		return nil, fmt.Errorf("nfq: iptables variant %q: want nft or legacy", r.Variant)
	}
	all := []tables{{IPv4, r.Variant}}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		all = append(all, tables{IPv6, r.Variant})
	}
	return all, nil
}

// Install puts the rules in place, or in the place of those that are there,
// whatever their generation and hooks: in one step for each IP version. What is left of
// ours in iptables' other variant is taken away then. If one of that fails, rules that
// are in place where there were none before are taken back.
func (r Rules) Install(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	families, err := r.families()
	if err != nil {
		return err
	}
	var fresh []tables
	for _, t := range families {
		was, e := t.install(ctx, r)
		if err = e; err != nil {
			break
		}
		if !was {
			fresh = append(fresh, t)
		}
	}
	for i := 0; i < len(families) && err == nil; i++ {
		err = families[i].removeElsewhere(ctx)
	}
	if err != nil {
		for _, t := range fresh {
			err = errors.Join(err, t.remove(ctx))
		}
	}
	return err
}

// Remove takes away our chains and all that leads to them, whichever Rules
// put them there, and nothing else. It is no error if there are none.
func (r Rules) Remove(ctx context.Context) error {
	families, err := r.families()
	if err != nil {
		return err
	}
	for _, t := range families {
		err = errors.Join(err, t.remove(ctx), t.removeElsewhere(ctx))
	}
	return err
}

// Installed reports whether any rule of ours is in place: after a crash, what
// is to be removed.
func (r Rules) Installed(ctx context.Context) (bool, error) {
	families, err := r.families()
	if err != nil {
		return false, err
	}
	for _, t := range families {
		p, err := t.present(ctx)
		if err != nil || !p.empty() {
			return err == nil, err
		}
	}
	return false, nil
}

func (t tables) install(ctx context.Context, r Rules) (was bool, err error) {
	for range installAttempts {
		var p present
		if p, err = t.present(ctx); err != nil {
			return was, err
		}
		was = !p.empty()
		if err = t.restore(ctx, r.document(p.jumps)); err == nil {
			return was, nil
		}
	}
	return was, err
}

func (t tables) remove(ctx context.Context) (err error) {
	for range installAttempts {
		var p present
		if p, err = t.present(ctx); err != nil || p.empty() {
			return err
		}
		if err = t.restore(ctx, downDocument(p.chains, p.jumps)); err == nil {
			return nil
		}
	}
	return err
}

func (t tables) restore(ctx context.Context, document string) error {
	_, err := t.run(ctx, document, "restore", "--noflush", lockWait)
	return err
}

// present is what there is of ours: chains, and the rules elsewhere that lead
// to them, without their -A.
type present struct {
	chains, jumps []string
}

func (p present) empty() bool { return len(p.chains) == 0 && len(p.jumps) == 0 }

func (t tables) present(ctx context.Context) (present, error) {
	out, err := t.run(ctx, "", "save", "-t", "mangle")
	if err != nil {
		return present{}, err
	}
	return parseSave(out), nil
}

func parseSave(out string) (p present) {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0][0] == ':':
			if slices.Contains(chains, f[0][1:]) {
				p.chains = append(p.chains, f[0][1:])
			}
		case f[0] == "-A" && len(f) > 1 && !slices.Contains(chains, f[1]) && leadsToUs(f):
			p.jumps = append(p.jumps, strings.TrimPrefix(line, "-A "))
		}
	}
	return p
}

// leadsToUs reports whether a rule jumps or goes to a chain of ours: iptables
// saves the target last, but for its options, and our chains have none.
func leadsToUs(f []string) bool {
	n := len(f)
	return n >= 2 && (f[n-2] == "-j" || f[n-2] == "-g") && slices.Contains(chains, f[n-1])
}

// run runs one of the programs and returns what it printed.
func (t tables) run(ctx context.Context, input, action string, args ...string) (string, error) {
	name := t.program(action)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if unix.Access(lockFile, unix.W_OK) != nil && unix.Access("/run", unix.W_OK) != nil && os.Getenv("XTABLES_LOCKFILE") == "" {
		// In a user namespace without /run there is nobody to lock out.
		f, err := os.CreateTemp("", "xtables-*.lock")
		if err != nil {
			return "", wrap("run "+name, err)
		}
		f.Close()
		defer os.Remove(f.Name())
		cmd.Env = append(cmd.Env, "XTABLES_LOCKFILE="+f.Name())
	}
	if err := cmd.Run(); err != nil {
		return "", programError(name, err, stderr.String())
	}
	return stdout.String(), nil
}

// programError reads what the iptables programs say: they have an exit code for
// bad parameters (2), one for trouble with resources (4), and 1 for the rest.
func programError(name string, err error, stderr string) error {
	op := "run " + name
	if errors.Is(err, exec.ErrNotFound) {
		return &Error{op, fmt.Errorf("%w: %w", ErrUnsupported, err), "install iptables (apt-get install iptables)"}
	}
	// The last lines only tell where in the document it was.
	text := strings.Join(strings.Fields(strings.SplitN(stderr, "Try `", 2)[0]), " ")
	if text == "" {
		return wrap(op, err)
	}
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
	}
	switch {
	case says("Permission denied", "you must be root", "Operation not permitted"):
		return &Error{op, fmt.Errorf("%w: %s", ErrPermission, text), "needs CAP_NET_ADMIN (root has it)"}
	case says("does not exist", "No chain/target/match", "missing kernel module", "Couldn't load", "Could not fetch rule set",
		"Protocol not supported", "Protocol wrong type", "RULE_APPEND failed (No such file"):
		return &Error{op, fmt.Errorf("%w: %s", ErrUnsupported, text),
			"the kernel needs the mangle table and the matches and targets NFQUEUE, CONNMARK, MARK, connmark, conntrack, mark and multiport; iptables in its other variant (nft or legacy) may have them"}
	}
	return wrap(op, fmt.Errorf("%s (%w)", text, err))
}
