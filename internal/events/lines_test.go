package events

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// tight is a disk with room for so many bytes.
type tight struct {
	bytes.Buffer
	room int
}

func (d *tight) Write(b []byte) (int, error) {
	n := min(len(b), d.room)
	d.room -= n
	d.Buffer.Write(b[:n])
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

// TestLinesFull: however often the disk is full, and wherever in a line, what is
// written is whole lines in their order, and each of the others is counted.
func TestLinesFull(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := &tight{}
		l := lines{w: disk}
		told, lost := 0, 0
		for range 300 {
			if rng.IntN(10) == 0 {
				disk.room = rng.IntN(3000)
			}
			n, err := l.put(fmt.Appendf(nil, "%d:%s\n", told, strings.Repeat("x", rng.IntN(300))))
			told++
			if rng.IntN(3) == 0 && err == nil {
				var more int
				more, err = l.flush()
				n += more
			}
			if lost += n; n > 0 && !errors.Is(err, errFull) {
				t.Fatalf("%d lost, and %v", n, err)
			}
			if len(l.buf) > 2*enough {
				t.Fatalf("it holds %d bytes", len(l.buf))
			}
		}
		disk.room = 1 << 20
		if n, err := l.flush(); n != 0 || err != nil {
			t.Fatalf("with room: %d lost, %v", n, err)
		}
		written, last := 0, -1
		for line := range strings.Lines(disk.String()) {
			var n int
			if _, err := fmt.Sscanf(line, "%d:", &n); err != nil || n <= last || !strings.HasSuffix(strings.TrimRight(line, "x\n")+":", "::") {
				t.Fatalf("seed %d: after %d: %q, %v", seed, last, line, err)
			}
			written, last = written+1, n
		}
		if written+lost != told {
			t.Errorf("seed %d: %d written and %d lost of %d", seed, written, lost, told)
		}
	}
}
