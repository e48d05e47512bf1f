package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// writeGuidelines writes the lists of suites that others recommend or offer.
func writeGuidelines(b *bytes.Buffer, dir string) error {
	named, err := byName(filepath.Join(dir, "suites.csv"))
	if err != nil {
		return err
	}
	if err := writeLists(b, filepath.Join(dir, "mozilla.csv"), "mozilla", "guideline", "version", named); err != nil {
		return err
	}
	return writeLists(b, filepath.Join(dir, "aws.csv"), "aws", "elbPolicy", "confidence", named)
}

// writeLists writes a file of lists with a name and one more property. Names
// must ascend, and where they are equal the property.
func writeLists(b *bytes.Buffer, path, variable, kind, property string, named map[string]uint16) error {
	rows, err := rows(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "var %s = []%s{\n", variable, kind)
	last := ""
	for i, r := range rows {
		key := r["name"] + "," + r[property]
		if key <= last {
			return fmt.Errorf("%s:%d: %s out of order", path, i+2, key)
		}
		last = key
		codes, err := list(r["suites"], named)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, i+2, err)
		}
		fmt.Fprintf(b, "{%q, %q, %s},\n", r["name"], r[property], codes)
	}
	b.WriteString("}\n\n")
	return nil
}

// list writes the numbers of suites as Go.
func list(suites string, named map[string]uint16) (string, error) {
	if suites == "" {
		return "nil", nil
	}
	seen := map[uint16]bool{}
	var codes []string
	for _, name := range strings.Split(suites, ":") {
		code, ok := named[name]
		if !ok || seen[code] {
			return "", fmt.Errorf("suite %q is not known, or stands twice", name)
		}
		seen[code] = true
		codes = append(codes, fmt.Sprintf("0x%04X", code))
	}
	return "[]uint16{" + strings.Join(codes, ", ") + "}", nil
}
