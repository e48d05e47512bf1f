package engine

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
)

var baseline = flag.String("baseline", "", `"compare" instructions with testdata/baseline.json, or "update" it`)

const (
	baselineFile = "../../testdata/baseline.json"
	// baselineMost is how much of the baseline a row may take. Counts of what looks
	// connections up differ by up to 0.02 from run to run: hashes have a key.
	baselineMost = 1.05
)

// counted is the baseline: instructions a packet, by row.
type counted struct {
	Go, Arch string
	Rows     map[string]float64
}

// TestBaseline counts what the rows take, when scripts/baseline asks for it.
func TestBaseline(t *testing.T) {
	if *baseline == "" {
		return
	}
	now := counted{Go: goRelease(), Arch: runtime.GOARCH, Rows: map[string]float64{}}
	var then counted
	if b, err := os.ReadFile(baselineFile); err == nil {
		if err := json.Unmarshal(b, &then); err != nil {
			t.Fatal(err)
		}
	} else if *baseline != "update" {
		t.Fatal(err)
	}
	if *baseline != "update" && (then.Go != now.Go || then.Arch != now.Arch) {
		t.Fatalf("the baseline is of %s for %s, this is %s for %s: other compilers make other instructions", then.Go, then.Arch, now.Go, now.Arch)
	}
	t.Logf("%-40s %12s %12s  %s", "a packet's", "instructions", "baseline", "ratio")
	for _, r := range rows {
		was := then.Rows[r.name]
		is := perPacket(t, r)
		for tries := 0; tries < 2 && was > 0 && is > was*baselineMost; tries++ {
			is = min(is, perPacket(t, r))
		}
		now.Rows[r.name] = math.Round(is*10) / 10
		ratio := "new"
		if was > 0 {
			ratio = fmt.Sprintf("%.3f", is/was)
		}
		t.Logf("%-40s %12.1f %12.1f  %s", r.name, is, was, ratio)
		if *baseline != "update" && is > was*baselineMost {
			t.Errorf("%s takes more than %.2f of the baseline", r.name, baselineMost)
		}
	}
	if *baseline == "update" {
		b, err := json.MarshalIndent(now, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(baselineFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func perPacket(t *testing.T, r row) float64 {
	t.Helper()
	n, packets, err := instructions(r.name)
	if err != nil {
		n, packets, err = instructions(r.name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return float64(n) / float64(packets)
}

// goRelease is the release without the number of its latest mend.
func goRelease() string {
	parts := strings.SplitN(runtime.Version(), ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}
