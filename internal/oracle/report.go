package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxShown bounds a value in the report.
const maxShown = 300

// report prints the table and the differences, and returns how many of these
// nobody explained.
func (c *comparison) report(w io.Writer) int {
	const format = "%-20s %9v %9v %9v %9v  %s\n"
	fmt.Fprintf(w, "\n"+format, strings.ToUpper(c.oracle), "COMPARED", "AGREE", "DIFFER", "EXPLAINED", "")
	names := []string{connection, tuple, helloField, answerName}
	for i := range fields {
		names = append(names, fields[i].name)
	}
	bad := 0
	for i, name := range names {
		s := c.scores[name]
		switch {
		case s == nil:
			continue
		case i >= 4 && !c.told[name] && s.differ > 0:
			fmt.Fprintf(w, format, name, "-", "-", "-", "-", "not told yet")
			continue
		default:
			word := ""
			if s.oursOnly > 0 {
				word = fmt.Sprintf("%d more told by us only", s.oursOnly)
			}
			fmt.Fprintf(w, format, name, s.compared, s.agree, s.differ, s.explained, word)
		}
		bad += s.differ
	}
	c.list = slices.DeleteFunc(c.list, func(d difference) bool {
		s := c.scores[d.field]
		return !c.told[d.field] && s.differ > 0 && slices.ContainsFunc(fields, func(f field) bool { return f.name == d.field })
	})
	for _, d := range c.list {
		if d.explained != nil {
			continue
		}
		fmt.Fprintf(w, "\n%s: %s: %s\n  ours   %s\n  %-6s %s\n", d.file, d.conn, d.field, shown(d.ours), d.oracle, shown(d.theirs))
	}
	for _, s := range c.only {
		fmt.Fprintf(w, "\nonly we found TLS, not %s: %s", c.oracle, s)
	}
	if len(c.only) > 0 {
		fmt.Fprintln(w)
	}
	return bad
}

func shown(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown] + "..."
	}
	return fmt.Sprintf("%q", s)
}
