package nfq

import (
	"context"
	"errors"
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
