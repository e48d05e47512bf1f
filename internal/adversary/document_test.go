package adversary

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/EVASION.md anew")

const document = "../../docs/EVASION.md"

// between these two lines stands the table.
const (
	tableBegins = "<!-- the table: go test ./internal/adversary -run TestDocument -update -->\n"
	tableEnds   = "<!-- end of the table -->\n"
)

// TestDocument: the document holds the table.
func TestDocument(t *testing.T) {
	was, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := bytes.Cut(was, []byte(tableBegins))
	_, tail, ends := bytes.Cut(rest, []byte(tableEnds))
	if !ok || !ends {
		t.Fatalf("%s has no place for the table", document)
	}
	var b bytes.Buffer
	b.Write(head)
	b.WriteString(tableBegins)
	group := Group("")
	for _, trick := range Tricks() {
		if trick.Group != group {
			group = trick.Group
			fmt.Fprintf(&b, "\n### %s\n\n| trick | why it fails | |\n|---|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", trick.Name, trick.Why, trick.Label())
	}
	b.WriteString("\n" + tableEnds)
	b.Write(tail)
	if bytes.Equal(b.Bytes(), was) {
		return
	}
	if !*update {
		t.Fatalf("%s does not hold the table: go test ./internal/adversary -run TestDocument -update", document)
	}
	if err := os.WriteFile(document, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestNames: no two tricks have one name, and each says why it fails.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, trick := range Tricks() {
		name := string(trick.Group) + "/" + trick.Name
		if seen[name] || trick.Why == "" || trick.Play == nil {
			t.Errorf("%s: twice, or not told why it fails", name)
		}
		seen[name] = true
	}
}
