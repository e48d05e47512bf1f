package engine

import "testing"

// TestTableCounted: the stats tell how many connections there are, how many of them are
// half-open, and how many rest.
func TestTableCounted(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll)) // where all rest that can
	check := func(when string, connections, halfOpen, resting uint64) {
		t.Helper()
		l.e.Tick(l.now)
		s, both := l.e.Stats(), Stats{}
		both.Add(&s)
		both.Add(&s)
		if got, want := [3]uint64{s.Connections, s.HalfOpen, s.Resting}, [3]uint64{connections, halfOpen, resting}; got != want {
			t.Errorf("%s: %d connections, half-open and resting, want %d", when, got, want)
		}
		if both.HalfOpen != 2*s.HalfOpen || both.Resting != 2*s.Resting {
			t.Errorf("%s: of two workers alike %d are half-open and %d rest", when, both.HalfOpen, both.Resting)
		}
	}
	check("at the start", 0, 0, 0)
	silent, talking := l.link4(), l.link6()
	silent.syn()
	check("a SYN", 1, 1, 0)
	talking.open()
	check("a SYN, an open one", 2, 1, 1)
	talking.talk(recording(t, "tls13"), strategies["mss"])
	check("a SYN, a decided one", 2, 1, 1)
	silent.synAck()
	silent.ack(original)
	check("both open", 2, 0, 2)
}
