package events

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestTail: a tail gets what the log gets, from its beginning on, of its types.
func TestTail(t *testing.T) {
	var out bytes.Buffer
	for name, l := range map[string]*Log{"live": NewLive(&out), "at once": New(&bytes.Buffer{}), "silent": NewSilent()} {
		l.Flow(refusal())
		all, drops := l.Tail(), l.Tail("drop")
		l.Drop(refusal())
		l.Flow(refusal())
		l.Stats(&Stats{})
		if got := len(all.Lines()); got != 3 {
			t.Errorf("%s: %d lines, want 3", name, got)
		}
		if got := len(drops.Lines()); got != 1 || !strings.Contains(string(<-drops.Lines()), `"event_type":"drop"`) {
			t.Errorf("%s: %d drops, want 1", name, got)
		}
		drops.Close()
		drops.Close()
		l.Drop(refusal())
		if got := len(drops.Lines()); got != 0 {
			t.Errorf("%s: %d lines after the end", name, got)
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		n := 0
		for range all.Lines() {
			n++
		}
		if n != 4 {
			t.Errorf("%s: %d lines until the log was closed, want 4", name, n)
		}
		all.Close()
		if _, open := <-l.Tail().Lines(); open {
			t.Errorf("%s: a tail of a closed log gives lines", name)
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines != 5 {
		t.Errorf("the log itself has %d lines, want 5", lines)
	}
}

// TestTailSlow: who does not read loses events, and is told how many.
func TestTailSlow(t *testing.T) {
	l := NewSilent()
	slow, other := l.Tail(), l.Tail()
	for range tailed + 5 {
		l.Stats(&Stats{})
		<-other.Lines()
	}
	if slow.Lost() != 5 || other.Lost() != 0 || l.Lost() != 0 {
		t.Errorf("lost %d, another %d, the log %d", slow.Lost(), other.Lost(), l.Lost())
	}
	var e map[string]any
	if err := json.Unmarshal(LostLine(1795253400123456000, 5), &e); err != nil || e["event_type"] != "lost" || e["lost"] != 5.0 {
		t.Errorf("%v, %v", e, err)
	}
}

// TestSilent: where nobody listens no event is made.
func TestSilent(t *testing.T) {
	l := NewSilent()
	r := refusal()
	if n := testing.AllocsPerRun(10, func() { l.Drop(r) }); n != 0 {
		t.Errorf("%.0f allocations for nobody", n)
	}
	l.Tail().Close()
	if n := testing.AllocsPerRun(10, func() { l.Drop(r) }); n != 0 {
		t.Errorf("%.0f allocations for nobody any more", n)
	}
}
