package config

import (
	"strconv"
	"strings"
)

// lines finds the line of a key for error messages; the TOML decoder tells
// lines of syntax errors only. It knows headers, keys at the beginning of a
// line and inline tables, and where it is wrong a message is less helpful.
type lines map[string]int

// scanLines notes the first line of every table and key of a policy file.
func scanLines(data []byte) lines {
	l := lines{}
	table, arrays := "", map[string]int{}
	depth := 0 // of brackets left open by a list over several lines
	for i, text := range strings.Split(string(data), "\n") {
		text = strings.TrimSpace(text)
		if depth > 0 {
			depth = max(0, depth+brackets(text))
			continue
		}
		if header, ok := strings.CutPrefix(text, "[["); ok {
			name, _, _ := strings.Cut(header, "]]")
			name = plainKey(name)
			arrays[name]++
			l.put(name, i+1)
			table = name + "[" + strconv.Itoa(arrays[name]) + "]"
			l.put(table, i+1)
			continue
		}
		if header, ok := strings.CutPrefix(text, "["); ok {
			name, _, _ := strings.Cut(header, "]")
			table = plainKey(name)
			first, rest, _ := strings.Cut(table, ".")
			if n := arrays[first]; n > 0 { // [rule.match] belongs to the last [[rule]]
				table = first + "[" + strconv.Itoa(n) + "]." + rest
			}
			l.put(table, i+1)
			continue
		}
		if key, value, ok := strings.Cut(text, "="); ok && !strings.HasPrefix(text, "#") {
			l.put(join(table, plainKey(key)), i+1)
			depth = max(0, brackets(value))
		}
	}
	return l
}

func (l lines) put(key string, line int) {
	if _, ok := l[key]; !ok {
		l[key] = line
	}
}

// of gives the line of a key, or of the nearest table around it.
func (l lines) of(key string) int {
	for key != "" {
		if line, ok := l[key]; ok {
			return line
		}
		key = key[:max(0, strings.LastIndexByte(key, '.'))]
	}
	return 0
}

// brackets counts those opened and not closed, outside strings and comments.
func brackets(s string) (open int) {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"', c == '\'':
			quote = c
		case c == '#':
			return open
		case c == '[', c == '{':
			open++
		case c == ']', c == '}':
			open--
		}
	}
	return open
}

func plainKey(s string) string {
	parts := strings.Split(s, ".")
	for i, p := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(p), `"'`)
	}
	return strings.Join(parts, ".")
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}
