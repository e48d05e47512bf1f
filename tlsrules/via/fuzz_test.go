package via

import (
	"slices"
	"testing"
)

// dialogue cuts fuzzed bytes into turns: a byte that says whose, one for the
// length, and that many bytes.
func dialogue(b []byte) (turns []turn) {
	for len(b) > 2 {
		from := client
		if b[0]&1 != 0 {
			from = server
		}
		n := min(int(b[1]), len(b)-2)
		turns = append(turns, turn{from, string(b[2 : 2+n]), false})
		b = b[2+n:]
	}
	return turns
}

// encode is the inverse of dialogue.
func encode(turns []turn) (b []byte) {
	for _, t := range turns {
		for s := t.bytes; len(s) > 0; {
			n := min(len(s), 255)
			b = append(append(b, byte(t.from), byte(n)), s[:n]...)
			s = s[n:]
		}
	}
	return b
}

// FuzzConsume: however what both say is cut, the same is told; and a hello that
// a client sends once its server has spoken is found, unless it was told that
// there can be none.
func FuzzConsume(f *testing.F) {
	for _, d := range dialogues {
		f.Add(encode(parse(f, d.text).turns), uint64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		turns := dialogue(b)
		if len(turns) == 0 || len(b) > 4096 {
			return
		}
		turns = append(turns, turn{server, "x", false}, turn{client, hello, true})
		var first []told
		for i, name := range []string{"whole", "one byte", "random", "halves"} {
			var c Conn
			got := play(t, &c, turns, splits(seed)[name])
			if i == 0 {
				first = got
			} else if !slices.Equal(got, first) {
				t.Fatalf("%s: %v, whole: %v", name, got, first)
			}
			ended := slices.ContainsFunc(got, func(x told) bool { return x.st == Over || x.st == TooDeep || x.st == Twofold })
			if !ended && !c.Began(client) {
				t.Fatalf("%s: a hello was not found: %v", name, got)
			}
		}
	})
}
