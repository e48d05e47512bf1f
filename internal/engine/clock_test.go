package engine

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/tlsrules"
)

// TestClockMonotonic: the engines' clock goes as CLOCK_MONOTONIC does.
func TestClockMonotonic(t *testing.T) {
	monotonic := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano()
	}
	clock := Clock()
	for range 100 {
		before, a := monotonic(), clock()
		time.Sleep(time.Millisecond)
		b, after := clock(), monotonic()
		if took := b - a; took > after-before || took < int64(time.Millisecond) {
			t.Fatalf("%d ns went by, on CLOCK_MONOTONIC at most %d", took, after-before)
		}
	}
}

// TestNoOtherClock: what a packet walks through takes its time as an argument. Here are
// all places that ask a clock; each has its reason.
func TestNoOtherClock(t *testing.T) {
	may := map[string]string{
		"internal/engine/clock.go": "is the clock",
		"nfq/batch.go":             "waits for packets, with a deadline that is monotonic",
	}
	for _, room := range []string{"internal/engine", "conntrack", "tlsrules", "nfq"} {
		filepath.WalkDir(filepath.Join("../..", room), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "nfqtest") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimPrefix(filepath.ToSlash(path), "../../")
			asks := false
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && (s.Sel.Name == "Now" || s.Sel.Name == "Since" || s.Sel.Name == "Until") {
						asks = true
					}
				}
				return true
			})
			if asks && may[name] == "" {
				t.Errorf("%s asks a clock of its own", name)
			}
			if !asks && may[name] != "" {
				t.Errorf("%s asks no clock any more", name)
			}
			return nil
		})
	}
}

// TestWallSet: a clock that is set, an hour on or years back, ends nothing, and has
// nothing wait any longer; what people mean by time goes by it at once.
func TestWallSet(t *testing.T) {
	turns := recording(t, "tls13")
	hour := int64(time.Hour)
	for _, by := range []int64{hour, 2 * hour, -10 * 365 * 24 * hour, 200 * 24 * hour} {
		cfg := config()
		cfg.Limits.Decide = 10 * time.Second
		cfg.Wall = &Wall{}
		l := newLab(t, cfg, policy(acceptAll, rule("later", tlsrules.Reset, "time", "after "+time.Unix(1_700_000_000, 0).Add(30*time.Minute).UTC().Format(time.RFC3339))))
		set := int64(0)
		cfg.Wall.clock, cfg.Wall.real = func() int64 { return l.now }, func() int64 { return l.now + set }

		waits := l.link4()
		waits.open()
		waits.data(original, 0, streams(turns)[0][:100])
		half := l.link4()
		half.syn()
		set = by
		if got := cfg.Wall.Look(); got != time.Duration(by) {
			t.Errorf("set by %s, and it says %s", time.Duration(by), got)
		}
		l.now += second
		l.e.Tick(l.now)
		if s := l.e.Stats(); s.Connections != 2 || len(l.sink.drop)+len(l.sink.flow) != 0 {
			t.Fatalf("set by %s: %d connections of two, %+v", time.Duration(by), s.Connections, l.sink.drop)
		}
		if refused := l.refused2(turns); refused != (by > 0) {
			t.Errorf("set by %s: refused %v", time.Duration(by), refused)
		}
		if by > 0 {
			if r := l.sink.drop[0]; r.Time != l.now+by || r.Decision.Rule != "later" {
				t.Errorf("set by %s: told at %s", time.Duration(by), time.Duration(r.Time-l.now))
			}
		}
		l.sink.drop = nil
		l.now += 10 * second
		l.e.Tick(l.now)
		if len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Reason != tlsrules.ReasonUndecided {
			t.Errorf("set by %s: after limits.decide %+v", time.Duration(by), l.sink.drop)
		}
	}
}

// refused2 reports whether a new connection is refused.
func (l *lab) refused2(turns []turn) bool {
	before := len(l.sink.drop)
	l.link4().play(turns, strategies["mss"])
	return len(l.sink.drop) > before
}

// TestWallGate: a gate opens when the wall's clock says so, one set back too far closes
// it for who comes later, and what somebody has opened stays open.
func TestWallGate(t *testing.T) {
	turns := recording(t, "tls13")
	for _, byHand := range []bool{false, true} {
		cfg := config()
		cfg.Wall = &Wall{}
		p := gated(tlsrules.Hold{Open: time.Unix(1_700_000_000+1800, 0)})
		cfg.Gates = NewGates(p)
		cfg.Gates.GoBy(cfg.Wall)
		l := newLab(t, cfg, p)
		set := int64(0)
		cfg.Wall.clock, cfg.Wall.real = func() int64 { return l.now }, func() int64 { return l.now + set }
		k := l.link4()
		k.play(turns, strategies["mss"])
		k.push(turns, strategies["mss"])
		k.holds("before", turns)
		set = int64(time.Hour)
		cfg.Wall.Look()
		if byHand {
			cfg.Gates.Set("quarantine", true, l.now)
		}
		l.now += second
		l.e.Tick(l.now)
		if g, _ := cfg.Gates.Of("quarantine"); l.e.counts.Holding != 0 || !g.Open(cfg.Wall.Time(l.now)) {
			t.Errorf("by hand %v: %d connections wait; %+v", byHand, l.e.counts.Holding, g)
		}
		set = 0
		cfg.Wall.Look()
		l.now += second
		k = l.link4()
		k.play(turns, strategies["mss"])
		k.push(turns, strategies["mss"])
		if held := l.e.counts.Holding == 1; held == byHand {
			t.Errorf("set back, by hand %v: held %v", byHand, held)
		}
	}
}
