package state

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
)

// TestGates: a gate that somebody has opened or closed is as it was, as long as its
// rule has the same time to open; what nobody has touched is not remembered.
func TestGates(t *testing.T) {
	later := time.Unix(2_000_000_000, 0)
	gates := func(at time.Time) *engine.Gates {
		var rules []tlsrules.Rule
		for name, open := range map[string]time.Time{"opened": {}, "closed": at, "untouched": at} {
			rules = append(rules, tlsrules.Rule{
				Name: name, Action: tlsrules.Accept, HasAction: true, Hold: &tlsrules.Hold{Open: open},
			})
		}
		p, err := tlsrules.New(rules, tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept})
		if err != nil {
			t.Fatal(err)
		}
		return engine.NewGates(p)
	}
	g := gates(later)
	notes := 0
	g.OnChange(func() { notes++ })
	if !g.Set("opened", true, 77) || !g.Set("closed", false, 78) || g.Set("unknown", true, 79) || notes != 2 {
		t.Fatalf("%d notes", notes)
	}
	var file bytes.Buffer
	if left, err := encode(&file, &State{Written: 1, Gates: GatesOf(g.Export())}, maxFile); left != 0 || err != nil {
		t.Fatal(left, err)
	}
	s, err := decode(&file)
	if err != nil || len(s.Gates) != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	again := gates(later)
	again.Import(s.KnownGates())
	if got, want := again.List(), g.List(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	other := gates(later.Add(1))
	other.Import(s.KnownGates())
	if x, _ := other.Of("closed"); x.ByHand || x.Opens != later.Add(1).UnixNano() {
		t.Errorf("what was wanted of another time counts: %+v", x)
	}
}
