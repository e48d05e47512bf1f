package conntrack

import (
	"testing"

	"tlsgate/conntrack/packet"
)

// TestAbort: a connection that somebody in the middle has reset is over as soon as
// after an RST, unless it is heard of again; one that is half open stays so.
func TestAbort(t *testing.T) {
	const open = `
		> S  0 0 : opened SYN_SENT
		< SA 0 1 : known SYN_RECV
		> A  1 1 : known ESTABLISHED`
	for _, isn := range isns {
		for _, heard := range []bool{false, true} {
			tab, c := play(t, open, isn)
			at := c.Last + 50*second
			tab.Expire(at)
			tab.Keep(c, heard)
			last := c.Last
			tab.Abort(c, at)
			if err := tab.check(); err != nil || c.State() != Close || c.Last != last {
				t.Fatalf("%s, %v", c.State(), err)
			}
			tab.Expire(at + 119*second)
			if heard {
				p := seg(client, server, packet.ACK, isn[0].Add(1), isn[1].Add(1), 10)
				if r := tab.Track(&p, at+119*second); r.Outcome != Known || c.State() != Close {
					t.Errorf("heard again: %v, %s", r.Outcome, c.State())
				}
			}
			tab.Expire(at + 122*second)
			if got := tab.Len() == 1; got != heard {
				t.Errorf("heard %v: there still %v", heard, got)
			}
			tab.Expire(at + 250*second)
			if tab.Len() != 0 {
				t.Errorf("heard %v: it stays", heard)
			}
		}
	}
	tab, c := play(t, `> S 0 0 : opened SYN_SENT`, isns[0])
	tab.Abort(c, c.Last+second)
	if err := tab.check(); err != nil || c.State() != SynSent {
		t.Errorf("%s, %v", c.State(), err)
	}
}

// TestAbortKept: what was kept, and had been reset already, is over all the same.
func TestAbortKept(t *testing.T) {
	for _, isn := range isns {
		tab, c := play(t, opening+"> R 1 0 : known CLOSE", isn)
		tab.Keep(c, true)
		at := c.Last + 300*second
		if tab.Expire(at); tab.Len() != 1 || c.head.rank != rankEstablished {
			t.Fatalf("%d entries, rank %d", tab.Len(), c.head.rank)
		}
		if tab.Abort(c, at); c.head.rank != rankOver || tab.check() != nil {
			t.Errorf("rank %d, %v", c.head.rank, tab.check())
		}
		if tab.Expire(at + 122*second); tab.Len() != 0 {
			t.Error("it stays")
		}
	}
}
