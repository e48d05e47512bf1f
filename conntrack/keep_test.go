package conntrack

import "testing"

// TestKeep: what is kept outlives its state and makes room last, until it is not
// kept any more.
func TestKeep(t *testing.T) {
	const script = `
		> S  0 0 : opened SYN_SENT
		< SA 0 1 : known SYN_RECV
		> A  1 1 : known ESTABLISHED
		> FA 1 1 : known FIN_WAIT
		< FA 1 1 : known LAST_ACK`
	for _, kept := range []bool{false, true} {
		tab, c := play(t, script, isns[0])
		if kept {
			tab.Keep(c, true)
		}
		if err := tab.check(); err != nil {
			t.Fatal(err)
		}
		now := c.Last
		for range 10 * 60 {
			now += second
			tab.Expire(now)
		}
		if (tab.Len() == 1) != kept {
			t.Errorf("kept %v: %d entries after ten minutes", kept, tab.Len())
		}
		if !kept {
			continue
		}
		tab.Keep(c, false)
		if err := tab.check(); err != nil {
			t.Fatal(err)
		}
		for range 3 * 60 {
			now += second
			tab.Expire(now)
		}
		if tab.Len() != 0 {
			t.Errorf("it lives on when it is not kept any more")
		}
	}
	// It gives way to nobody while others can.
	var gone []uint64
	tab := New(Config{Connections: 1}, func(c *Conn[int], _ End) { gone = append(gone, c.ID) })
	c := replay(t, tab, script, isns[0])
	tab.Keep(c, true)
	if tab.evict(c.Last); len(gone) != 0 {
		t.Errorf("evicted %v, which is kept", gone)
	}
	tab.Keep(c, false)
	if tab.evict(c.Last); len(gone) != 1 {
		t.Errorf("evicted %v, which is over", gone)
	}
}
