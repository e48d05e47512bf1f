package events

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRoom: a room agrees with one that is told of all that is read.
func TestRoom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	r, obvious := newRoom(8, 1000), []int(nil)
	sum := func() (n int) {
		for _, size := range obvious {
			n += size
		}
		return n
	}
	for range 10_000 {
		obvious = obvious[rng.IntN(len(obvious)+1):]
		size := rng.IntN(600)
		if rng.IntN(20) == 0 {
			size = 5000
		}
		want := sum() == 0 || sum()+size <= 1000
		if got := r.fits(len(obvious), size); got != want {
			t.Fatalf("%v and %d: fits %v", obvious, size, got)
		}
		if want && len(obvious) < 8 {
			r.add(size)
			obvious = append(obvious, size)
		}
	}
}

// TestLargeEvents: events that are as large as strangers can make them take no more
// memory than there is room for, though nobody reads, and those that find none are
// counted, in the log and in each tail.
func TestLargeEvents(t *testing.T) {
	reader := make(stuck)
	l := NewLive(reader)
	tail := l.Tail()
	const size, n = 400_000, 500 // what a hello of 64 kB may offer, escaped
	large := &event{Type: "tls", InIface: strings.Repeat("x", size)}
	for range n {
		l.write(large)
	}
	held := func(lines <-chan []byte) (bytes int) {
		for range len(lines) {
			bytes += len(<-lines)
		}
		return bytes
	}
	if kept := n - l.Lost(); kept > queuedBytes/size+2 || kept < queuedBytes/size-1 {
		t.Errorf("%d kept of %d", kept, n)
	}
	if bytes := held(tail.Lines()); bytes > tailedBytes || bytes < tailedBytes-2*size {
		t.Errorf("a tail holds %d bytes", bytes)
	}
	before := tail.Lost()
	l.write(large)
	if got := held(tail.Lines()); got < size || tail.Lost() != before || before == 0 {
		t.Errorf("after it was read %d bytes, %d lost before, %d after", got, before, tail.Lost())
	}
	close(reader)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
