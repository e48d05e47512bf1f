package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const captures = "../../../testdata/captures"

// elsewhere are captures that other rooms' tests made.
var elsewhere = map[string]bool{"partner-bank": true, "single-connection": true}

func TestScenarios(t *testing.T) {
	names := map[string]bool{}
	manifest, err := os.ReadFile(filepath.Join(captures, "captures.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range scenarios {
		sc := &scenarios[i]
		switch {
		case names[sc.name]:
			t.Errorf("%s: twice", sc.name)
		case sc.shows == "":
			t.Errorf("%s: what does it show?", sc.name)
		case len(sc.clients) == 0 || len(sc.servers) == 0 && sc.serve == nil:
			t.Errorf("%s: nobody to speak with", sc.name)
		case !strings.Contains(string(manifest), "\n"+sc.name+"\n  shows   "+sc.shows+"\n"):
			t.Errorf("%s: captures.txt says something else: scripts/captures writes it", sc.name)
		}
		names[sc.name] = true
		if _, err := os.Stat(filepath.Join(captures, sc.name+".pcapng")); err != nil {
			t.Error(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(captures, "*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".pcapng"); !names[name] && !elsewhere[name] {
			t.Errorf("%s: no scenario makes it", name)
		}
	}
}
