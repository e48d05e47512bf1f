package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tlsgate/internal/lab/labtest"
)

var update = flag.Bool("update", false, "write the expected events of testdata/captures")

const captures = "../../testdata/captures"

// built is the program, built once for all tests in a folder that TestMain
// makes and removes.
var (
	built  = sync.OnceValues(build)
	folder string
)

func build() (string, error) {
	tlsgate := filepath.Join(folder, "tlsgate")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", tlsgate, "../../cmd/tlsgate").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return tlsgate, nil
}

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "tlsgate-oracle-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// all returns the committed captures, and the program built to read them.
func all(t *testing.T) (files []string, tlsgate string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(captures, "*.pcapng"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d captures in %s, %v; want more than 100", len(files), captures, err)
	}
	if tlsgate, err = built(); err != nil {
		t.Fatal(err)
	}
	return files, tlsgate
}

// TestEvents compares what replay tells of each capture with the file beside it.
// After a change that is right, go test ./internal/oracle -run TestEvents -update
// writes the files anew: read the difference, and see what TestAgreement says.
func TestEvents(t *testing.T) {
	files, tlsgate := all(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".pcapng"), func(t *testing.T) {
			var said bytes.Buffer
			cmd := exec.Command(tlsgate, "replay", "--json", file)
			cmd.Stderr = &said
			got, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, said.Bytes())
			}
			expected := strings.TrimSuffix(file, ".pcapng") + ".json"
			if *update {
				if err := os.WriteFile(expected, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
				t.Errorf("events differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAgreement compares us with tshark, and Suricata if it is there, over the
// committed captures: every difference is explained, and every explanation still
// explains one.
func TestAgreement(t *testing.T) {
	labtest.Program(t, "tshark")
	files, tlsgate := all(t)
	var out bytes.Buffer
	bad, err := run(t.Context(), options{tlsgate: tlsgate, explained: "explained.toml", workers: 2, suricata: installed("suricata")}, files, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	if bad > 0 {
		t.Errorf("%d differences are not explained", bad)
	}
	if strings.Contains(out.String(), stalePrefix) {
		t.Error("an explanation explains nothing any more")
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "not told yet") {
			t.Errorf("no event tells this: %s", line)
		}
	}
}

func TestOrphans(t *testing.T) {
	expected, err := filepath.Glob(filepath.Join(captures, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range expected {
		if _, err := os.Stat(strings.TrimSuffix(file, ".json") + ".pcapng"); err != nil {
			t.Errorf("events without a capture: %v", err)
		}
	}
}

func TestPartner(t *testing.T) {
	early := testConn("1", "192.0.2.1:1000", "203.0.113.1:443", 0, 10)
	late := testConn("2", "192.0.2.1:1000", "203.0.113.1:443", 20, 30)
	late.tls = true
	for _, tt := range []struct {
		name string
		list []*conn
		want *conn
	}{
		{"none", nil, nil},
		{"the only one, whatever its time", []*conn{early}, early},
		{"the one at the time", []*conn{early, late}, late},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := partner(tt.list, testConn("x", "192.0.2.1:1000", "203.0.113.1:443", 21, 22)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	mine := func(facts ...string) *conn {
		c := testConn("1", "192.0.2.1:1000", "203.0.113.1:443", 0, 10)
		c.tls, c.syn = true, true
		c.facts = map[string]string{}
		for i := 0; i < len(facts); i += 2 {
			c.facts[facts[i]] = facts[i+1]
		}
		return c
	}
	silent := testConn("1", "192.0.2.1:1000", "203.0.113.1:443", 0, 10)
	for _, tt := range []struct {
		name string
		ours *conn
		want []string // fields that differ
	}{
		{"the same", mine("client_random", "00", "extensions", "", "sni", "a.example"), nil},
		{"another name", mine("client_random", "00", "extensions", "", "sni", "b.example"), []string{"sni"}},
		{"no hello at all is one difference", mine(), []string{helloField}},
		{"no TLS", silent, []string{connection}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &comparison{oracle: "tshark", scores: map[string]*score{}, told: map[string]bool{}}
			c.compare("x", &told{conns: []*conn{tt.ours}, fields: map[string]bool{"sni": true}}, &told{conns: []*conn{mine("client_random", "00", "extensions", "", "sni", "a.example")}})
			var got []string
			for _, d := range c.list {
				got = append(got, d.field)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("differ: %v, want %v", got, tt.want)
			}
		})
	}
}
