package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// results are all values measured: of each column, of each row, one a round. The zero
// results are empty. In JSON they are the columns' names, with the rows' names in them.
type results struct {
	machine  machine
	settings settings
	columns  map[string]map[string][]float64
	missing  map[string]string // rows that could not be measured, and why
}

func (r *results) add(column, row string, v float64) {
	if r.columns == nil {
		r.columns = map[string]map[string][]float64{}
	}
	if r.columns[column] == nil {
		r.columns[column] = map[string][]float64{}
	}
	r.columns[column][row] = append(r.columns[column][row], v)
}

func (r *results) miss(row, why string) {
	if r.missing == nil {
		r.missing = map[string]string{}
	}
	r.missing[row] = why
}

// rounds is how many rounds a column has, at most.
func (r *results) rounds(column string) (n int) {
	for _, values := range r.columns[column] {
		n = max(n, len(values))
	}
	return n
}

func (r *results) has(column, row string) bool { return len(r.columns[column][row]) > 0 }

// spread is a median with the least and the most.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(values))
	return spread{(s[len(s)/2] + s[(len(s)-1)/2]) / 2, s[0], s[len(s)-1]}
}

func (r *results) spread(column, row string) spread { return spreadOf(r.columns[column][row]) }

// ratio compares two rows round by round: they were measured one after the other.
func (r *results) ratio(column, row, base string) spread {
	return r.ratioOf(column, row, column, base)
}

func (r *results) ratioOf(column, row, baseColumn, base string) spread {
	a, b := r.columns[column][row], r.columns[baseColumn][base]
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return spreadOf(ratios)
}

// machine says where the values are from.
type machine struct {
	CPU, Kernel, Go, Nginx, Suricata string
	CPUs                             int
}

func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			m.CPU = strings.TrimSpace(strings.TrimLeft(name, "\t :"))
			break
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	m.Nginx, m.Suricata = versionOf("nginx", "-v"), versionOf("suricata", "-V")
	return m
}

// versionOf is the word of what a program says of itself that has a digit in it.
func versionOf(program, flag string) string {
	out, err := exec.Command(program, flag).CombinedOutput()
	for word := range strings.FieldsSeq(string(out)) {
		if word = strings.TrimPrefix(word, "nginx/"); err == nil && strings.ContainsAny(word[:1], "0123456789") {
			return word
		}
	}
	return "not installed"
}

func (m machine) String() string {
	return fmt.Sprintf("%d CPUs (%s), Linux %s, %s, nginx %s, Suricata %s",
		m.CPUs, cmp.Or(m.CPU, "unknown"), m.Kernel, m.Go, m.Nginx, m.Suricata)
}

// write writes all values to a file.
func (r *results) write(path string) error {
	text, err := json.MarshalIndent(struct {
		Machine machine                         `json:"machine"`
		Rounds  int                             `json:"rounds"`
		Columns map[string]map[string][]float64 `json:"columns"`
		Missing map[string]string               `json:"missing"`
		Targets []target                        `json:"targets"`
	}{r.machine, r.settings.rounds, r.columns, r.missing, r.targets()}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
