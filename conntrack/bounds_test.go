package conntrack

import (
	"testing"
	"time"
)

// TestSetBounds: bounds change while the table is in use; above lowered ones it
// shrinks with what is new, and nothing that is in use goes.
func TestSetBounds(t *testing.T) {
	f := newFarm(t, Config{Connections: 10, HalfOpen: 4})
	for n := range 10 {
		f.open(n + 1)
	}
	if r := f.syn(11); r.Outcome != Full {
		t.Fatalf("an eleventh of ten: %v", r.Outcome)
	}
	f.tab.SetBounds(12, 4)
	f.open(11)
	f.open(12)
	if r := f.syn(13); r.Outcome != Full || f.tab.Len() != 12 {
		t.Fatalf("a thirteenth of twelve: %v, %d entries", r.Outcome, f.tab.Len())
	}
	f.tab.SetBounds(6, 2)
	f.lowered = true
	if r := f.syn(13); r.Outcome != Full || f.tab.Len() != 12 || len(f.ended) != 0 {
		t.Fatalf("twelve in use where six may be: %v, %d entries, %q ended", r.Outcome, f.tab.Len(), f.ended)
	}
	f.now += int64(time.Minute) // they are silent
	for n := 20; n < 40; n++ {
		before := f.tab.Len()
		f.open(n)
		if before > 6 && f.tab.Len() >= before {
			t.Fatalf("%d entries, %d before", f.tab.Len(), before)
		}
		f.now += int64(time.Minute)
	}
	if f.tab.Len() != 6 {
		t.Errorf("%d entries, want 6", f.tab.Len())
	}
	f.lowered = false
	f.tab.SetBounds(20, 2)
	for n := 50; n < 60; n++ {
		f.syn(n)
	}
	if f.tab.HalfOpen() != 2 {
		t.Errorf("%d half-open, want 2", f.tab.HalfOpen())
	}
	f.tab.SetBounds(0, 0)
	for n := range 100 {
		f.syn(100 + n)
	}
	if f.tab.HalfOpen() < 100 {
		t.Errorf("%d half-open of 100 within the defaults", f.tab.HalfOpen())
	}
}
