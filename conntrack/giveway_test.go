package conntrack

import (
	"testing"

	"tlsgate/conntrack/packet"
)

// TestSpoke: the answers to what was sent in the server's name are no longer
// beyond what it sent, and the connection is taken to end.
func TestSpoke(t *testing.T) {
	for _, isn := range isns {
		tab, c := play(t, `
			> S  0 0 : opened SYN_SENT
			< SA 0 1 : known SYN_RECV
			> A  1 1 : known ESTABLISHED
			> A  1 1 len=100 : known`, isn)
		replay(t, tab, `> A 101 9 : bad_ack ESTABLISHED`, isn)
		tab.Spoke(c, Reply, isn[1].Add(9))
		if err := tab.check(); err != nil || c.State() != FinWait {
			t.Fatalf("%s, %v", c.State(), err)
		}
		replay(t, tab, `
			> A  101 9 : known CLOSE_WAIT
			> A  101 10 : bad_ack
			> FA 101 9 : known LAST_ACK
			< A  1 101 len=50 : known LAST_ACK`, isn)
	}
	// Of a connection that is not open, or over, the state stays.
	tab, c := play(t, `
		> S 0 0 : opened SYN_SENT`, isns[0])
	tab.Spoke(c, Reply, 9)
	if err := tab.check(); err != nil || c.State() != SynSent {
		t.Errorf("%s, %v", c.State(), err)
	}
}

func TestFindAndGiveWay(t *testing.T) {
	ended := 0
	tab := New(Config{}, func(_ *Conn[int], why End) {
		if ended++; why != EndReopened {
			t.Errorf("ended: %s", why)
		}
	})
	isn := isns[0]
	c := replay(t, tab, `
		> S  0 0 : opened SYN_SENT
		< SA 0 1 : known SYN_RECV`, isn)
	now := c.Last
	for _, from := range []Direction{Original, Reply} {
		a, b := client, server
		if from == Reply {
			a, b = b, a
		}
		p := seg(a, b, packet.SYN, 77, 0, 0)
		if got, d := tab.Find(&p, now); got != c || d != from {
			t.Errorf("%s: found %p %s, want %p", from, got, d, c)
		}
		if got, _ := tab.Find(&p, now+1000*second); got != nil {
			t.Errorf("%s: found one that has expired", from)
		}
	}
	tab.GiveWay(c)
	p := seg(client, server, packet.SYN, 77, 0, 0)
	if got, _ := tab.Find(&p, now); got != nil || ended != 1 || tab.Len() != 0 {
		t.Errorf("found %v, %d ended, %d entries", got, ended, tab.Len())
	}
	if r := tab.Track(&p, now); r.Outcome != Opened {
		t.Errorf("the ports are not free: %s", verdict(r))
	}
	if err := tab.check(); err != nil {
		t.Error(err)
	}
}
