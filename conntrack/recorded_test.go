package conntrack

import (
	"fmt"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// lifetime is a connection from SYN to the last acknowledgement.
func lifetime(isn [2]seqnum.Value) (all []packet.Parsed) {
	c, s := isn[0], isn[1]
	for _, k := range []struct {
		fromServer bool
		flags      string
		seq, ack   uint32
		n          int
	}{
		{false, "S", 0, 0, 0}, {true, "SA", 0, 1, 0}, {false, "A", 1, 1, 0},
		{false, "PA", 1, 1, 500}, {true, "A", 1, 501, 1000}, {true, "PA", 1001, 501, 1000}, {false, "A", 501, 2001, 0},
		{false, "PA", 501, 2001, 300}, {true, "PA", 2001, 801, 100}, {false, "FA", 801, 2101, 0}, {true, "FA", 2101, 802, 0}, {false, "A", 802, 2102, 0},
	} {
		if k.fromServer {
			all = append(all, seg(server, client, flagsOf(k.flags), s.Add(k.seq), c.Add(k.ack), k.n))
			continue
		}
		p := seg(client, server, flagsOf(k.flags), c.Add(k.seq), s.Add(k.ack), k.n)
		if k.flags == "S" {
			p.Ack = 0
		}
		all = append(all, p)
	}
	return all
}

// TestRecordedLosesNone: of a capture that lacks any two packets, or holds one
// direction alone, every other packet belongs to the one connection, which comes
// as far as those packets say.
func TestRecordedLosesNone(t *testing.T) {
	for _, isn := range isns {
		all := lifetime(isn)
		for i := range all {
			for j := i; j < len(all); j++ {
				holds(t, fmt.Sprintf("%v without %d and %d", isn, i, j), all, func(k int) bool { return k != i && k != j })
			}
		}
		for _, port := range []uint16{client.Port(), server.Port()} {
			holds(t, fmt.Sprintf("%v, from port %d", isn, port), all, func(k int) bool { return all[k].SrcPort == port })
		}
	}
}

func holds(t *testing.T, what string, all []packet.Parsed, has func(int) bool) {
	t.Helper()
	tab := New[int](Config{Recorded: true}, nil)
	var c *Conn[int]
	now := epoch
	for k := range all {
		if !has(k) {
			continue
		}
		now += second / 1000
		r := tab.Track(&all[k], now)
		if r.Outcome == Invalid || c != nil && r.Conn != c || r.Conn.Addr(r.Dir).Port() != all[k].SrcPort {
			t.Errorf("%s: packet %d is %v, %v", what, k, r.Outcome, r.Why)
			return
		}
		c = r.Conn
	}
	if want := all[0].SrcPort; c.Addr(Original).Port() != want {
		t.Errorf("%s: taken for begun by port %d", what, c.Addr(Original).Port())
	}
	if c.State() == SynSent || c.State() == SynRecv {
		t.Errorf("%s: it came only to %v", what, c.State())
	}
}

// TestRecordedPorts: a SYN ends what one side was done with, and nothing else.
func TestRecordedPorts(t *testing.T) {
	isn := isns[0]
	all := lifetime(isn)
	for n := 1; n <= len(all); n++ {
		ended := 0
		tab := New[int](Config{Recorded: true}, func(*Conn[int], End) { ended++ })
		now := epoch
		for k := range n {
			tab.Track(&all[k], now)
		}
		again := seg(client, server, packet.SYN, isn[0].Add(1<<28), 0, 0)
		r := tab.Track(&again, now)
		if done := n >= 10; done != (r.Outcome == Opened) || done != (ended == 1) {
			t.Errorf("a SYN behind %d packets: %v, %d ended", n, r.Outcome, ended)
		}
	}
}

// TestClosedTable: its time may begin anew, and entries expire by it.
func TestClosedTable(t *testing.T) {
	tab := New[int](Config{}, nil)
	p := seg(client, server, packet.SYN, 1, 0, 0)
	tab.Track(&p, epoch)
	tab.Expire(epoch)
	tab.Close()
	earlier := epoch - 1000*second
	r := tab.Track(&p, earlier)
	if r.Outcome != Opened || r.Conn.ID != 2 || tab.Expire(earlier+10*second) != 0 {
		t.Errorf("%v, id %d", r.Outcome, r.Conn.ID)
	}
	if n := tab.Expire(earlier + 130*second); n != 1 {
		t.Errorf("%d entries expired", n)
	}
}
