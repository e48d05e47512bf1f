package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/suites"
)

// table is one table of the file being read. Each reading method takes a key
// off it; finish reports those that nobody took. A value that cannot be taken
// is reported and read as the default.
type table struct {
	l     *loader
	path  string
	m     map[string]any
	taken map[string]bool
	known []string
}

func (t *table) key(k string) string { return join(t.path, k) }

func (t *table) fail(k, hint, format string, args ...any) {
	t.l.fail(t.key(k), hint, format, args...)
}

// take returns a key's value, nil when the file does not have it.
func (t *table) take(k string) any {
	if t.taken == nil {
		t.taken = map[string]bool{}
	}
	t.taken[k] = true
	t.known = append(t.known, k)
	return t.m[k]
}

// finish reports the keys nobody knows.
func (t *table) finish() {
	for _, k := range slices.Sorted(maps.Keys(t.m)) {
		if t.taken[k] {
			continue
		}
		hint := "known here: " + strings.Join(t.known, ", ")
		if c := closest(k, t.known); c != "" {
			hint = fmt.Sprintf("did you mean %q?", c)
		}
		t.fail(k, hint, "unknown key")
	}
}

// table takes a table; one that is not there is empty.
func (t *table) table(k string) *table {
	sub := &table{l: t.l, path: t.key(k)}
	switch v := t.take(k).(type) {
	case nil:
	case map[string]any:
		sub.m = v
	case []map[string]any:
		t.fail(k, fmt.Sprintf("write [%s], once", k), "is a table, not a list of tables")
	default:
		t.fail(k, "", "is %s, not a table", describe(v))
	}
	return sub
}

// tables takes a list of tables; one that is not there is empty.
func (t *table) tables(k string) (list []*table) {
	switch v := t.take(k).(type) {
	case nil:
	case []map[string]any:
		for i, m := range v {
			list = append(list, &table{l: t.l, path: fmt.Sprintf("%s[%d]", t.key(k), i+1), m: m})
		}
	default:
		t.fail(k, fmt.Sprintf("write [[%s]] before each %s", k, k), "is %s, not a list of tables", describe(v))
	}
	return list
}

func (t *table) str(k, def string) string {
	switch v := t.take(k).(type) {
	case nil:
		return def
	case string:
		return v
	default:
		t.fail(k, "", "is %s, not a string", describe(v))
		return def
	}
}

func (t *table) boolean(k string, def bool) bool {
	switch v := t.take(k).(type) {
	case nil:
		return def
	case bool:
		return v
	default:
		t.fail(k, "write true or false, without quotes", "is %s, not true or false", describe(v))
		return def
	}
}

// integer takes a number of at most limit; 0 is returned as it is.
func (t *table) integer(k string, def, limit int) int {
	switch v := t.take(k).(type) {
	case nil:
		return def
	case int64:
		if v < 0 || v > int64(limit) {
			t.fail(k, "", "is %d, not a number from 0 to %d", v, limit)
			return def
		}
		return int(v)
	default:
		t.fail(k, "write a number without quotes", "is %s, not a number", describe(v))
		return def
	}
}

// orDefault makes zero mean the default.
func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

var units = []struct {
	name  string
	shift int
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"B", 0}}

// maxSize bounds sizes, so that sums of a few cannot overflow.
const maxSize = 1 << 40

const sizeHint = `write for example "96KiB", "256MiB" or "1GiB"`

// size takes a number of bytes, of at least so many; zero is the default.
func (t *table) size(k string, def, least int) int {
	enough := func(n int) int {
		if n > 0 && n < least {
			t.fail(k, sizeHint, "is %d, less than %d bytes", n, least)
			return def
		}
		return orDefault(n, def)
	}
	switch v := t.take(k).(type) {
	case nil:
		return def
	case int64:
		if v < 0 || v > maxSize {
			t.fail(k, sizeHint, "is %d, not a size", v)
			return def
		}
		return enough(int(v))
	case string:
		for _, u := range units {
			number, ok := strings.CutSuffix(v, u.name)
			if !ok {
				continue
			}
			n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 40)
			if err != nil || n > maxSize>>u.shift {
				break
			}
			return enough(int(n) << u.shift)
		}
		t.fail(k, sizeHint, "%q is not a size", v)
	default:
		t.fail(k, sizeHint, "is %s, not a size", describe(v))
	}
	return def
}

const durationHint = `write for example "30s", "5m" or "1h30m"`

// mostDuration leaves room in 64 bits of nanoseconds for the time it is counted from.
const mostDuration = 100 * 365 * 24 * time.Hour

// duration takes a duration, of at least so much; zero is the default.
func (t *table) duration(k string, def, least time.Duration) time.Duration {
	switch v := t.take(k).(type) {
	case nil:
	case string:
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			t.fail(k, durationHint, "%q is not a duration", v)
			return def
		}
		if d > mostDuration {
			t.fail(k, "876000h is the most", "%q is more than a hundred years", v)
			return def
		}
		// What is written and comes to nothing is too little too.
		if d < least && strings.ContainsAny(v, "123456789") {
			t.fail(k, durationHint, "is %s, less than %s", v, least)
			return def
		}
		return orDefault(d, def)
	case int64:
		if v != 0 {
			t.fail(k, fmt.Sprintf(`did you mean "%ds"?`, v), "%d has no unit", v)
		}
	default:
		t.fail(k, durationHint, "is %s, not a duration", describe(v))
	}
	return def
}

// oneOf takes one of some words, in any case, and returns the word's place.
func (t *table) oneOf(k string, def int, words []string) int {
	v := t.take(k)
	if v == nil {
		return def
	}
	s, ok := v.(string)
	if !ok {
		t.fail(k, "one of: "+quoted(words), "is %s, not a string", describe(v))
		return def
	}
	for i, w := range words {
		if w != "" && strings.EqualFold(s, w) {
			return i
		}
	}
	hint := "one of: " + quoted(words)
	c := closest(s, words)
	if other := synonyms[strings.ToLower(s)]; other != "" && slices.Contains(words, other) {
		c = other
	}
	if c != "" {
		hint = fmt.Sprintf("did you mean %q?", c)
	}
	t.fail(k, hint, "%q is not known", s)
	return def
}

// closest finds what was meant, in short words too, where one letter is much.
func closest(s string, words []string) string {
	if c := suites.Closest(s, words); c != "" || len(s) < 2 {
		return c
	}
	for _, w := range words {
		if len(w) != len(s) {
			continue
		}
		wrong := 0
		for i := range len(s) {
			if s[i] != w[i] {
				wrong++
			}
		}
		if wrong == 1 {
			return w
		}
	}
	return ""
}

func quoted(words []string) string {
	var q []string
	for _, w := range words {
		if w != "" {
			q = append(q, strconv.Quote(w))
		}
	}
	return strings.Join(q, ", ")
}

// synonyms are what other firewalls call our words.
var synonyms = map[string]string{
	"allow": "accept", "pass": "accept", "permit": "accept", "deny": "drop", "block": "drop", "reject": "reset",
}

// action takes one of some actions: besides dropping and resetting those of more.
func (t *table) action(k string, def tlsrules.Action, more ...tlsrules.Action) tlsrules.Action {
	words := make([]string, tlsrules.Continue+1)
	for _, a := range append([]tlsrules.Action{tlsrules.Drop, tlsrules.Reset}, more...) {
		words[a] = a.Name()
	}
	if s, ok := t.m[k].(string); ok && slices.Contains(more, tlsrules.Alert) {
		if head, _, named := strings.Cut(strings.ToLower(s), ":"); named && head == tlsrules.Alert.Name() {
			t.take(k)
			a, err := tlsrules.ParseAction(s)
			if err != nil {
				t.l.value(t.key(k), "", err)
				return def
			}
			return a
		}
	}
	if s, ok := t.m[k].(string); ok && strings.EqualFold(s, holdAction) {
		t.take(k)
		t.fail(k, "write action = \"hold\" in a rule: there application data waits for its gate", "%q is an action of rules only", s)
		return def
	}
	return tlsrules.Action(t.oneOf(k, int(def), words))
}

// alertless is action where there may be nobody who reads alerts.
func (t *table) alertless(k, why string, def tlsrules.Action, more ...tlsrules.Action) tlsrules.Action {
	if s, ok := t.m[k].(string); ok {
		if head, _, _ := strings.Cut(strings.ToLower(s), ":"); head == tlsrules.Alert.Name() {
			t.take(k)
			t.fail(k, `write "reset"`, "%q: %s", s, why)
			return def
		}
	}
	return t.action(k, def, more...)
}

// list takes a list of strings and numbers, for which a single one may stand.
func (t *table) list(k string, def []string) []string {
	v := t.take(k)
	if v == nil {
		return def
	}
	values, bad := strs(v)
	if bad != "" {
		hint := "write a string, or a list of strings"
		if f, ok := v.(float64); ok && !math.IsInf(f, 0) {
			hint = fmt.Sprintf("write it in quotes: %q", strconv.FormatFloat(f, 'f', -1, 64))
		}
		t.fail(k, hint, "has %s, where a string or a list of strings belongs", bad)
		return def
	}
	return values
}

// truths takes true or false, for which a list of strings may stand.
func (t *table) truths(k string, def []string) []string {
	if b, ok := t.m[k].(bool); ok {
		t.take(k)
		return []string{strconv.FormatBool(b)}
	}
	return t.list(k, def)
}

// strs reads a string, a number, or a list of those; bad says what else it is.
func strs(v any) (values []string, bad string) {
	switch v := v.(type) {
	case string:
		return []string{v}, ""
	case int64:
		return []string{strconv.FormatInt(v, 10)}, ""
	case []any:
		values = []string{}
		for _, e := range v {
			if _, nested := e.([]any); nested {
				return nil, "a list in a list"
			}
			one, bad := strs(e)
			if bad != "" {
				return nil, bad
			}
			values = append(values, one...)
		}
		return values, ""
	}
	return nil, describe(v)
}

func describe(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case bool, int64, float64:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	}
	return "a date"
}
