package suites

// Suggest returns the suite name most like s, or "" when none is like it: "did
// you mean". It is for error messages, and allocates.
func Suggest(s string) string {
	c := closest{to: s}
	for i := range names {
		c.offer(names[i].name)
	}
	return c.best
}

// SuggestClass returns the class name most like s, or "".
func SuggestClass(s string) string { return Closest(s, Classes()) }

// Closest returns the candidate most like s, the first of equals, or "" when
// none is like it.
func Closest(s string, candidates []string) string {
	c := closest{to: s}
	for _, name := range candidates {
		c.offer(name)
	}
	return c.best
}

// longest bounds the names compared, and with them the work: the longest
// registered name has 45 letters.
const longest = 64

// closest keeps the best of the names offered to it.
type closest struct {
	to   string
	best string
	cost int
}

// offer compares one name. A name is like another when less than a third of
// its letters have to change.
func (c *closest) offer(name string) {
	bound := (max(len(c.to), len(name)) + 2) / 3
	if c.best != "" {
		bound = min(bound, c.cost)
	}
	if d := distance(c.to, name); d < bound {
		c.best, c.cost = name, d
	}
}

// distance is the optimal string alignment distance: letters inserted, deleted,
// changed, and neighbours exchanged. Case does not count, and neither does which
// of - _ and space is between words.
func distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return max(len(a), len(b))
	}
	var before, above, row [longest + 1]int
	for j := range len(b) + 1 {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if plain(a[i-1]) == plain(b[j-1]) {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && plain(a[i-1]) == plain(b[j-2]) && plain(a[i-2]) == plain(b[j-1]) {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

func plain(c byte) byte {
	if c == '_' || c == ' ' {
		return '-'
	}
	return lower(c)
}
