package nfq

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestIntegrationInstall(t *testing.T) {
	ctx := context.Background()
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			n := newNamespace(t)
			for _, f := range families {
				n.iptables(t, f, variant, "-N", "FOREIGN")
				n.iptables(t, f, variant, "-A", "FORWARD", "-p", "tcp", "-m", "comment", "--comment", "a -j TLSGATE", "-j", "FOREIGN")
				n.iptables(t, f, variant, "-A", "FOREIGN", "-j", "MARK", "--set-xmark", "0x1/0x1")
			}
			all := func() string {
				var b strings.Builder
				for _, f := range families {
					for line := range strings.Lines(n.save(t, f, variant)) {
						if line[0] != '#' && line[0] != ':' {
							b.WriteString(line)
						} else if line[0] == ':' {
							b.WriteString(strings.Fields(line)[0] + "\n")
						}
					}
				}
				return b.String()
			}
			installed := func() (is bool) {
				n.do(t, func() (err error) {
					is, err = Rules{Variant: variant}.Installed(ctx)
					return err
				})
				return is
			}
			before := all()
			if installed() {
				t.Error("installed before it was")
			}
			r := Rules{Workers: 4, Hooks: []Hook{Forward, Input, Output}, Mark: ourBits, Offload: true, FailOpen: true,
				Ports: []PortRange{{443, 443}, {8443, 8443}, {9000, 9099}}, InInterfaces: []string{"eth0", "ppp*"}, Variant: variant}
			n.install(t, r)
			once := all()
			for _, f := range families {
				n.iptables(t, f, variant, "-A", "FORWARD", "-j", "FOREIGN")
			}
			placed := all()
			n.install(t, r)
			if twice := all(); twice != placed {
				t.Errorf("twice is not once:\n%s\nwant\n%s", twice, placed)
			}
			for _, f := range families {
				n.iptables(t, f, variant, "-D", "FORWARD", "-j", "FOREIGN")
				n.iptables(t, f, variant, "-A", "FORWARD", "-p", "tcp", "-j", chainMain)      // again
				n.iptables(t, f, variant, "-I", "PREROUTING", "-i", "eth0", "-g", chainQueue) // from elsewhere
			}
			other := r
			other.Hooks, other.Generation = []Hook{Input}, 5
			n.install(t, other)
			if got := all(); strings.Count(got, "-j "+chainMain+"\n") != 2 || strings.Contains(got, "-A PREROUTING") {
				t.Errorf("other hooks:\n%s", got)
			}
			n.install(t, r)
			if !installed() {
				t.Error("not installed")
			}
			n.do(t, func() error { return Rules{Variant: variant}.Remove(ctx) })
			if after := all(); after != before {
				t.Errorf("down leaves:\n%s\nwant\n%s", after, before)
			}
			n.do(t, func() error { return r.Remove(ctx) }) // again
			if installed() {
				t.Error("installed after removal")
			}
			// What is printed is what is installed, and its opposite removes it.
			n.restore(t, r, r.Render)
			if got := all(); got != once {
				t.Errorf("rendered:\n%s\nwant\n%s", got, once)
			}
			n.restore(t, r, func(f Family) (string, error) { return r.Down(f), nil })
			if after := all(); after != before {
				t.Errorf("rendered down leaves:\n%s\nwant\n%s", after, before)
			}
		})
	}
}

// TestIntegrationInPlace: rules are known again where they are in place, whatever
// iptables makes of how they are written, and no others are taken for them.
func TestIntegrationInPlace(t *testing.T) {
	base := Rules{Hooks: []Hook{Forward}, Mark: ourBits, Offload: true, Ports: []PortRange{{443, 443}}}
	changes := map[string]func(*Rules){
		"as is":            func(*Rules) {},
		"generation":       func(r *Rules) { r.Generation = 9 },
		"the first one":    func(r *Rules) { r.Generation = 1 },
		"hooks":            func(r *Rules) { r.Hooks = []Hook{Input, Output} },
		"all hooks":        func(r *Rules) { r.Hooks = []Hook{Forward, Input, Output} },
		"ports":            func(r *Rules) { r.Ports = []PortRange{{443, 443}, {9000, 9099}} },
		"all ports":        func(r *Rules) { r.Ports = nil },
		"many ports":       func(r *Rules) { r.Ports = slices.Repeat([]PortRange{{443, 443}, {8000, 8010}, {1, 1}}, 8) },
		"interfaces":       func(r *Rules) { r.InInterfaces = []string{"eth0", "ppp*"} },
		"workers":          func(r *Rules) { r.Workers = 3 },
		"queue":            func(r *Rules) { r.Queue = 7 },
		"fail open":        func(r *Rules) { r.FailOpen = true },
		"everything":       func(r *Rules) { r.FailOpen, r.Workers, r.InInterfaces = true, 2, []string{"eth0"} },
		"without offload":  func(r *Rules) { r.Offload = false },
		"another mark":     func(r *Rules) { r.Mark = 0x1f },
		"the highest mark": func(r *Rules) { r.Mark = 0xff000000 },
	}
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			n := newNamespace(t)
			inPlace := func(r Rules) (is bool) {
				n.do(t, func() (err error) {
					is, err = r.InPlace(context.Background())
					return err
				})
				return is
			}
			if inPlace(base) {
				t.Error("in place before they were put there")
			}
			var all []Rules
			for name, change := range changes {
				r := base
				r.Variant = variant
				change(&r)
				n.install(t, r)
				if !inPlace(r) {
					t.Errorf("%s: not in place:\n%s\nwant\n%s", name, n.save(t, IPv4, variant), r.document(nil))
				}
				for _, other := range all {
					if inPlace(other) {
						t.Errorf("%s: taken for %+v", name, other)
					}
				}
				all = append(all, r)
			}
			last := all[len(all)-1]
			n.iptables(t, IPv6, variant, "-F", chainSeen)
			if inPlace(last) {
				t.Error("in place, though a chain is empty")
			}
		})
	}
}

func (n namespace) restore(t *testing.T, r Rules, document func(Family) (string, error)) {
	t.Helper()
	for _, f := range families {
		text, err := document(f)
		if err != nil {
			t.Fatal(err)
		}
		n.do(t, func() error { return tables{f, r.Variant}.restore(context.Background(), text) })
	}
}

func TestIntegrationInstallErrors(t *testing.T) {
	n := newNamespace(t)
	r := Rules{Hooks: []Hook{Forward}, Mark: ourBits}
	err := n.try(func() error {
		if err := dropCapabilities(); err != nil {
			return err
		}
		return r.Install(context.Background())
	})
	if !errors.Is(err, ErrPermission) {
		t.Errorf("without permission: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	err = n.try(func() error { return r.Install(context.Background()) })
	var e *Error
	if !errors.Is(err, ErrUnsupported) || !errors.As(err, &e) || !strings.Contains(e.Hint, "apt-get install iptables") {
		t.Errorf("without iptables: %v", err)
	}
}
