package tlsgate_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// arrows says which rooms of this module a room may import. A room is a
// folder; the first entry that matches it counts, and "x/..." matches
// everything below x. What is not listed may not be imported.
var arrows = []struct {
	room string
	may  []string
	why  string
}{
	{"cmd/...", []string{"internal/...", "nfq", "conntrack", "tlsrules", "tlsrules/suites", "config"}, "wiring"},
	{"internal/engine", []string{"nfq", "nfq/nfqtest", "conntrack/...", "conntrack", "tlsrules/...", "tlsrules"}, "the only room that knows all three"},
	{"internal/bench", []string{"internal/lab", "internal/replay/replaytest", "nfq"}, "programs in the lab's gateway, by what comes through"},
	{"internal/lab/...", []string{"internal/lab"}, "the lab for tests"},
	{"internal/lab", nil, "hosts and clients, not the firewall"},
	{"internal/adversary", []string{"internal/engine", "nfq", "conntrack/packet", "tlsrules", "config"}, "packets of its own, an engine and a receiver"},
	{"internal/capture", nil, "files and link layers"},
	{"internal/control", []string{"internal/engine", "internal/events", "nfq", "nfq/nfqtest", "conntrack", "conntrack/packet", "tlsrules", "tlsrules/suites", "tlsrules/tlswire"}, "asks the engines, knows no file"},
	{"internal/state", []string{"internal/engine", "tlsrules", "tlsrules/certs", "tlsrules/tlswire"}, "a file, of an engine's plain values"},
	{"internal/oracle/record", []string{"internal/lab", "internal/capture"}, "real programs, recorded"},
	{"internal/oracle", []string{"tlsrules/suites"}, "events by their JSON, nothing of how they came about"},
	{"internal/policytest", []string{"internal/engine", "nfq", "conntrack/...", "conntrack", "tlsrules/...", "tlsrules", "config"}, "packets of its own"},
	{"internal/...", []string{"internal/...", "nfq", "conntrack/...", "conntrack", "tlsrules/...", "tlsrules", "config"}, "around the engine"},
	{"config", []string{"nfq", "tlsrules", "tlsrules/..."}, "a file to checked values"},
	{"nfq/nfqtest", []string{"nfq"}, "a queue in memory"},
	{"nfq/...", []string{"nfq/..."}, "knows netfilter, not IP"},
	{"nfq", nil, "knows netfilter, not IP"},
	{"conntrack/seqnum", nil, "arithmetic"},
	{"conntrack/packet", []string{"conntrack/seqnum"}, "headers"},
	{"conntrack/reassembly", []string{"conntrack/seqnum"}, "bytes of one direction"},
	{"conntrack", []string{"conntrack/packet", "conntrack/seqnum"}, "never the payload"},
	{"tlsrules/tlswire", nil, "no policy, no names"},
	{"tlsrules/certs", nil, "certificates, whoever sent them"},
	{"tlsrules/suites/...", []string{"tlsrules/suites"}, "tables"},
	{"tlsrules/suites", nil, "tables"},
	{"tlsrules/via", []string{"tlsrules/tlswire"}, "what comes before TLS, no policy"},
	{"tlsrules", []string{"tlsrules/tlswire", "tlsrules/suites", "tlsrules/certs", "tlsrules/via"}, "facts in, decision out"},
}

// TestArrows holds the arrows of ARCHITECTURE.md. It parses the imports in
// process: through a child process a cached pass would hide a new arrow.
func TestArrows(t *testing.T) {
	rooms := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || filepath.Dir(path) == "." {
			return nil
		}
		room := filepath.ToSlash(filepath.Dir(path))
		rooms[room] = true
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			target, _ := strconv.Unquote(spec.Path.Value)
			target, ours := strings.CutPrefix(target, "tlsgate/")
			if !ours || target == room {
				continue
			}
			// An integration test of the whole program may drive the lab, send packets of
			// its own, and put a queue in memory in the kernel's place.
			if strings.HasSuffix(path, "_test.go") && (strings.HasPrefix(target, "internal/lab") || target == "conntrack/packet" || target == "conntrack/seqnum" || target == "nfq/nfqtest") {
				continue
			}
			if !allowed(room, target) {
				t.Errorf("%s imports %s: no such arrow", path, target)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, forbidden := range []string{"util", "utils", "common", "types", "core", "pkg", "helpers"} {
		for room := range rooms {
			if filepath.Base(room) == forbidden {
				t.Errorf("room %s: say what it is about", room)
			}
		}
	}
}

func allowed(room, target string) bool {
	for _, a := range arrows {
		if !matches(a.room, room) {
			continue
		}
		for _, may := range a.may {
			if matches(may, target) {
				return true
			}
		}
		return false
	}
	return false
}

func matches(pattern, room string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(room, below+"/")
	}
	return pattern == room
}
