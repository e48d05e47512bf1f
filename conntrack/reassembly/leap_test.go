package reassembly

import "testing"

// TestLeap: what lies before is neither waited for nor held against anything, and
// nothing is held.
func TestLeap(t *testing.T) {
	b := &Budget{Max: 1 << 20}
	var s Stream
	s.Start(100)
	s.Offer(100, []byte("read"), 1<<16, b)
	for v := s.Take(); v != nil; v = s.Take() {
		s.Remember(100, v, 1<<16, b)
	}
	s.Offer(200, []byte("kept"), 1<<16, b)
	s.Leap(1000, b)
	if b.Used() != 0 || s.Next() != 1000 || !s.Leapt() || !s.Settled() {
		t.Errorf("%d bytes held, next %d, leapt %v, settled %v", b.Used(), s.Next(), s.Leapt(), s.Settled())
	}
	if st := s.Offer(990, []byte("old"), 1<<16, b); st != Old {
		t.Errorf("what lies before is %s", st)
	}
	if st := s.Offer(1000, []byte("new"), 1<<16, b); st != InOrder {
		t.Errorf("what comes next is %s", st)
	}
	if s.Release(b); s.Leapt() {
		t.Error("leapt after Release")
	}
}
