package replay

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tlsgate/internal/engine"
	"tlsgate/internal/replay/replaytest"
	"tlsgate/tlsrules"
)

func compareConfig() Config {
	return Config{Engine: engine.Config{
		Default: engine.Defaults{Midstream: engine.MidstreamAccept, Undecided: tlsrules.Accept, Malformed: tlsrules.Reset, Ambiguous: tlsrules.Reset},
	}}
}

// requires is a policy with one requirement.
func requires(t testing.TB, observe bool, otherwise tlsrules.Action, key string, values ...string) *tlsrules.Policy {
	t.Helper()
	k, _ := tlsrules.ParseKey(key)
	c, err := tlsrules.ParseCondition(k, values)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tlsrules.New([]tlsrules.Rule{{Name: "only", Require: []tlsrules.Condition{c}, Otherwise: otherwise}},
		tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// actions notes what becomes of each connection, in a replay of its own.
type actions map[flowKey]tlsrules.Action

func (a actions) TLS(*engine.Report)  {}
func (a actions) Drop(*engine.Report) {}
func (a actions) Flow(r *engine.Report) {
	a[keyOf(r)] = tlsrules.Accept
	if r.Decision.Decided {
		a[keyOf(r)] = r.Decision.Action
	}
}

func captures(t testing.TB, packets int, pace time.Duration) (files []string) {
	t.Helper()
	for i, b := range replaytest.Files(replaytest.Options{Packets: packets, Open: 60, Data: 3000, Pace: pace}, 3) {
		if i == 1 { // a hole, in which connections end and begin
			at := 24
			for at < len(b)*2/3 {
				at += 16 + int(binary.LittleEndian.Uint32(b[at+8:]))
			}
			b = append(b[:24], b[at:]...)
		}
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	return files
}

// TestCompare: the connections that change are those of which two replays say
// different things.
func TestCompare(t *testing.T) {
	files := captures(t, 6000, 0)
	all := requires(t, false, tlsrules.Reset, "content_type", "handshake", "change_cipher_spec", "alert", "application_data")
	policies := map[string]*tlsrules.Policy{
		"all":      all,
		"1.3":      requires(t, false, tlsrules.Reset, "version", "1.3"),
		"1.2":      requires(t, false, tlsrules.Drop, "version", "1.2"),
		"quiet":    requires(t, false, tlsrules.Drop, "content_type", "handshake", "change_cipher_spec"),
		"observes": requires(t, true, tlsrules.Reset, "version", "1.3"),
	}
	alone := map[string]actions{"none": {}}
	for name, p := range policies {
		alone[name] = actions{}
		cfg := compareConfig()
		cfg.Engine.Sink = alone[name]
		if _, err := Run(t.Context(), cfg, p, files); err != nil {
			t.Fatal(err)
		}
	}
	for before := range alone {
		for after, p := range policies {
			var old Side
			if before != "none" {
				old = Side{Engine: compareConfig().Engine, Policy: policies[before]}
			}
			want := map[flowKey][2]tlsrules.Action{}
			for k, is := range alone[after] {
				was := tlsrules.Accept
				if before != "none" {
					was = alone[before][k]
				}
				if was != is {
					want[k] = [2]tlsrules.Action{was, is}
				}
			}
			got := map[flowKey][2]tlsrules.Action{}
			n, _, err := Compare(t.Context(), compareConfig(), old, p, files, func(c *Change) error {
				got[flowKey{c.Original, c.Reply, c.Start}] = [2]tlsrules.Action{c.Old.Decision.Action, c.New.Decision.Action}
				for _, v := range []*Verdict{&c.Old, &c.New} {
					if v.Refuses() != (v.Detail != "") || v.Refuses() != (v.Packet != 0) {
						t.Errorf("%+v: nothing said, or too much", v)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, want) || n.Changed() != uint64(len(want)) || n.Connections != uint64(len(alone[after])) {
				t.Errorf("from %s to %s: %d changes, want %d, of %d; %+v", before, after, len(got), len(want), len(alone[after]), n)
			}
			if same := before == after || slices.Contains([]string{"1.3observes", "observes1.3", "noneall"}, before+after); same != (len(want) == 0) {
				t.Errorf("from %s to %s: %d changes", before, after, len(want))
			}
		}
	}
}

// TestCompareHoldsLittle: what is held is of connections that are open.
func TestCompareHoldsLittle(t *testing.T) {
	const open = 60
	files := captures(t, 30000, 50*time.Millisecond)
	most, changes := 0, 0
	var c *comparer
	c = &comparer{tell: func(*Change) error {
		if len(c.old) <= open { // those that the end of the files ends come together
			changes++
		}
		most = max(most, len(c.old))
		return nil
	}}
	old := Side{Engine: compareConfig().Engine, Policy: requires(t, false, tlsrules.Drop, "version", "1.2")}
	sum, err := c.run(t.Context(), compareConfig(), old, requires(t, false, tlsrules.Drop, "version", "1.3"), files)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.old) != 0 || c.count.Connections != sum.Stats.ConnectionsSeen || changes < 100 {
		t.Errorf("%d left, %d connections of %d, %d changes", len(c.old), c.count.Connections, sum.Stats.ConnectionsSeen, changes)
	}
	if limit := int(sum.Stats.ConnectionsSeen) / 3; most > limit {
		t.Errorf("%d of %d connections were held", most, sum.Stats.ConnectionsSeen)
	}
}

// TestCompareStops: what cannot be written is an error, told once.
func TestCompareStops(t *testing.T) {
	full := fmt.Errorf("the disk is full")
	calls := 0
	_, _, err := Compare(t.Context(), compareConfig(), Side{}, requires(t, false, tlsrules.Drop, "version", "1.3"), captures(t, 2000, 0), func(*Change) error {
		calls++
		return full
	})
	if err != full || calls != 1 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}
