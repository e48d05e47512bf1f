package tlsrules

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

func searching(t testing.TB, texts ...string) *Policy {
	t.Helper()
	c, err := ParseCondition(KeyContains, texts)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New([]Rule{{Match: []Condition{c}, Action: Reset, HasAction: true}}, Defaults{Action: Accept, NotTLS: Accept})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// slowly is an obvious search.
func slowly(texts []string, b []byte) (found uint64) {
	for i, text := range texts {
		if bytes.Contains(b, []byte(text)) {
			found |= 1 << i
		}
	}
	return found
}

func TestSearch(t *testing.T) {
	for _, tt := range []struct {
		texts []string
		in    string
		want  uint64
	}{
		{[]string{"amazinggrace"}, "how sweet amazinggrace the sound", 1},
		{[]string{"amazinggrace"}, "amazinggrac", 0},
		{[]string{"amazinggrace"}, "amazingamazinggrace", 1},
		{[]string{"he", "she", "his", "hers"}, "ushers", 1 | 2 | 8},
		{[]string{"aa", "aaaa"}, "baaab", 1},
		{[]string{"hex:00ff", "hex:ff 00"}, "\x00\xff\x00", 3},
		{[]string{"abcd", "bc"}, "abce", 2},
		{[]string{"x"}, "", 0},
	} {
		p := searching(t, tt.texts...)
		for cut := range len(tt.in) + 1 {
			state, first := p.Search(0, []byte(tt.in[:cut]))
			if _, second := p.Search(state, []byte(tt.in[cut:])); first|second != tt.want {
				t.Errorf("%q in %q, cut at %d: %b, want %b", tt.texts, tt.in, cut, first|second, tt.want)
			}
		}
	}
	if s, found := new(Policy).Search(7, []byte("x")); s != 0 || found != 0 {
		t.Error("a policy without patterns finds some")
	}
}

// TestSearchDrawn compares with a slow search, in pieces of any length.
func TestSearchDrawn(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abc"[r.IntN(3)]
		}
		return string(b)
	}
	for range 2000 {
		var texts []string
		for range 1 + r.IntN(6) {
			texts = append(texts, draw(1+r.IntN(6)))
		}
		p := searching(t, texts...)
		in := []byte(draw(r.IntN(60)))
		want := slowly(p.Patterns(), in)
		var found uint64
		var state SearchState
		for b := in; len(b) > 0; {
			n := 1 + r.IntN(len(b))
			var some uint64
			state, some = p.Search(state, b[:n])
			found, b = found|some, b[n:]
		}
		if found != want {
			t.Fatalf("%q in %q: %b, want %b", p.Patterns(), in, found, want)
		}
	}
}

// TestSearchLargest: all texts there can be, as long as they can be.
func TestSearchLargest(t *testing.T) {
	var texts []string
	for i := range maxPatterns {
		texts = append(texts, string(rune('A'+i%50))+strings.Repeat(string(rune(' '+i)), maxPattern-1))
	}
	p := searching(t, texts...)
	if n := len(p.automaton.found); n > maxStates {
		t.Errorf("%d states", n)
	}
	for i, text := range p.Patterns() {
		if _, found := p.Search(0, []byte(text)); found != 1<<i {
			t.Errorf("text %d: %b", i, found)
		}
	}
	if n := testing.AllocsPerRun(10, func() { p.Search(0, []byte(texts[0])) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSearch(b *testing.B) {
	p := searching(b, "amazinggrace", "hex:160301")
	in := bytes.Repeat([]byte("GET /grace/amazing HTTP/1.1\r\n"), 50)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		p.Search(0, in)
	}
}
