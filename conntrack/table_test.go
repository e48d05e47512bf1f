package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
)

// host returns the n-th of many clients.
func host(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 24), byte(n >> 16), byte(n >> 8)}), uint16(n&0xff)+30000)
}

// farm drives a table with many clients of one server.
type farm struct {
	t     *testing.T
	tab   *Table[int]
	now   int64
	ended []string // "client reason"
	ids   map[uint64]int
	// lowered: the bounds were, below what there is.
	lowered bool
}

func newFarm(t *testing.T, cfg Config) *farm {
	f := &farm{t: t, now: epoch, ids: map[uint64]int{}}
	f.tab = New(cfg, func(c *Conn[int], why End) {
		if f.ids[c.ID] != c.Value || c.Value == 0 {
			t.Errorf("connection %d ended with value %d, want %d: twice, or changed", c.ID, c.Value, f.ids[c.ID])
		}
		delete(f.ids, c.ID)
		f.ended = append(f.ended, fmt.Sprint(c.Value, " ", why))
	})
	return f
}

func (f *farm) track(p packet.Parsed, n int) Tracked[int] {
	f.t.Helper()
	r := f.tab.Track(&p, f.now)
	switch r.Outcome {
	case Opened, Reopened, Midstream:
		if r.Conn.Value != 0 || r.Conn.ID == 0 || r.Conn.Start != f.now {
			f.t.Fatalf("new connection: %+v", r.Conn)
		}
		r.Conn.Value = n
		if f.ids[r.Conn.ID] != 0 {
			f.t.Fatalf("ID %d given twice", r.Conn.ID)
		}
		f.ids[r.Conn.ID] = n
	}
	if err := f.tab.check(); err != nil && !(f.lowered && errors.Is(err, errBounds)) {
		f.t.Fatal(err)
	}
	return r
}

func (f *farm) syn(n int) Tracked[int] {
	f.t.Helper()
	return f.track(seg(host(n), server, packet.SYN, 0, 0, 0), n)
}
func (f *farm) ack(n int) Tracked[int] {
	f.t.Helper()
	return f.track(seg(host(n), server, packet.ACK, 1, 1, 0), n)
}
func (f *farm) open(n int) Tracked[int] {
	f.t.Helper()
	f.syn(n)
	f.track(seg(server, host(n), packet.SYN|packet.ACK, 0, 1, 0), n)
	return f.ack(n)
}
func (f *farm) reset(n int) { f.t.Helper(); f.track(seg(host(n), server, packet.RST, 1, 0, 0), n) }

func (f *farm) wantEnded(want ...string) {
	f.t.Helper()
	if !slices.Equal(f.ended, want) {
		f.t.Fatalf("ended %q, want %q", f.ended, want)
	}
	f.ended = nil
}

func TestExpiry(t *testing.T) {
	tests := []struct {
		state  State
		script string
		after  time.Duration
	}{
		{SynSent, "> S 0 0 : opened", 120 * time.Second},
		{SynRecv, "> S 0 0 : opened\n< SA 0 1 : known", 120 * time.Second},
		{SynSent2, "> S 0 0 : opened\n< S 0 0 : known", 120 * time.Second},
		{Established, opening, 5 * 24 * time.Hour},
		{FinWait, opening + "> FA 1 1 : known", time.Hour},
		{CloseWait, opening + "> FA 1 1 : known\n< A 1 2 : known", time.Hour},
		{LastAck, opening + "> FA 1 1 : known\n< FA 1 1 : known", 120 * time.Second},
		{TimeWait, closed, 120 * time.Second},
		{Close, opening + "> R 1 0 : known", 120 * time.Second},
	}
	steps := []struct {
		name string
		step time.Duration
	}{{"wheel", 700 * time.Millisecond}, {"rarely", 10 * time.Minute}, {"clock_jump", 6 * 24 * time.Hour}}
	for _, tt := range tests {
		for _, s := range steps {
			t.Run(tt.state.String()+"/"+s.name, func(t *testing.T) {
				tab, c := play(t, tt.script, isns[0])
				if c.State() != tt.state {
					t.Fatalf("state %v", c.State())
				}
				due := c.Last + int64(tt.after)
				step := max(int64(s.step), int64(tt.after)/1000)
				for now := c.Last; tab.Len() > 0; now += step {
					n := tab.Expire(now)
					if err := tab.check(); err != nil {
						t.Fatal(err)
					}
					if n != 0 && now < due {
						t.Fatalf("expired %v early", time.Duration(due-now))
					}
					if n == 0 && now > due+2*slotWidth+step {
						t.Fatalf("%v late", time.Duration(now-due))
					}
				}
			})
		}
		t.Run(tt.state.String()+"/lazy", func(t *testing.T) {
			for _, late := range []int64{-1, 0} {
				tab, c := play(t, tt.script, isns[0])
				id, want := c.ID, Opened
				if late < 0 {
					want = Known
				}
				p := seg(client, server, packet.SYN, isns[0][0]+90000000, 0, 0)
				if r := tab.Track(&p, c.Last+int64(tt.after)+late); r.Outcome != want || (r.Conn.ID == id) != (late < 0) {
					t.Fatalf("late by %d: %s, connection %d", late, verdict(r), r.Conn.ID)
				}
			}
		})
	}
}

// TestRefreshed keeps connections alive over many turns of the wheel.
func TestRefreshed(t *testing.T) {
	f := newFarm(t, Config{Timeouts: Timeouts{Established: 3000 * time.Second}})
	f.open(1)
	f.open(2)
	for range 40 {
		f.now += 2900 * second
		f.ack(1)
		f.tab.Expire(f.now)
	}
	f.wantEnded("2 timeout")
	f.now += 3002 * second
	f.tab.Expire(f.now)
	f.wantEnded("1 timeout")
}

// TestShorter moves connections to states of which the time is up long before
// the old state's.
func TestShorter(t *testing.T) {
	f := newFarm(t, Config{})
	f.open(1)
	f.open(2)
	f.now += 100 * second
	f.tab.Expire(f.now)
	f.reset(1)
	for range 125 {
		f.now += second
		f.tab.Expire(f.now)
	}
	f.wantEnded("1 timeout")
}

// TestJumpIsBounded lets the clock jump over a full table: no call does it all.
func TestJumpIsBounded(t *testing.T) {
	const n = 3*turnMost + 10
	f := newFarm(t, Config{})
	for i := range n {
		p := seg(host(i), server, packet.SYN, 0, 0, 0)
		f.tab.Track(&p, f.now+int64(i)*second/50).Conn.Value = i + 1
		f.ids[uint64(i+1)] = i + 1
	}
	f.now += 5 * 3600 * second
	calls, total := 0, 0
	for ; f.tab.Len() > 0; calls++ {
		n := f.tab.Expire(f.now)
		if total += n; n > turnMost || calls > 10 {
			t.Fatalf("call %d ended %d", calls, n)
		}
		if err := f.tab.check(); err != nil {
			t.Fatal(err)
		}
	}
	if total != n || f.tab.Stats().Expired != n || len(f.ids) != 0 {
		t.Fatalf("%d ended of %d, %d counted, %d left", total, n, f.tab.Stats().Expired, len(f.ids))
	}
}

func TestEviction(t *testing.T) {
	f := newFarm(t, Config{Connections: 6, HalfOpen: 4})
	f.open(1)
	f.open(2)
	f.open(3)
	f.reset(3)
	f.open(4)
	f.reset(4)
	f.syn(5)
	f.syn(6)
	f.now += 5 * second
	f.ack(1)
	f.now += 6 * second
	f.syn(5) // again: does not make it younger
	for n, want := range []string{
		"3 evicted", // over, the oldest: there are no more that are half open
		"5 evicted", // half open: of those there are more by now
		"4 evicted",
		"6 evicted",
	} {
		f.open(7 + n)
		f.wantEnded(want)
	}
	f.open(11)
	f.wantEnded("2 evicted") // established and idle
	if r := f.syn(12); r.Outcome != Full || r.Conn != nil {
		t.Fatalf("all in use: %s", verdict(r))
	}
	f.wantEnded()
	if got, want := f.tab.Stats(), (Stats{Created: 11, Evicted: 3, EvictedHalfOpen: 2, Full: 1, AtConnections: 6}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// TestBusy: where the table is full of connections that have ended, those that
// begin at the same time do not push out each other.
func TestBusy(t *testing.T) {
	f := newFarm(t, Config{Connections: 40, HalfOpen: 30})
	for n := 1; n <= 40; n++ {
		f.open(n)
		f.reset(n)
	}
	for n := 100; n < 120; n++ {
		f.syn(n)
	}
	for n := 100; n < 120; n++ {
		if r := f.track(seg(server, host(n), packet.SYN|packet.ACK, 0, 1, 0), n); r.Outcome != Known {
			t.Fatalf("connection %d: its SYN-ACK is %s", n, verdict(r))
		}
	}
	if s := f.tab.Stats(); s.EvictedHalfOpen != 0 || s.Evicted != 20 {
		t.Errorf("%+v", s)
	}
}

// TestFlood: segments from nowhere push out each other, and no connection of
// which both ends were heard.
func TestFlood(t *testing.T) {
	for name, flags := range map[string]packet.Flags{
		"syn": packet.SYN, "syn_ack": packet.SYN | packet.ACK, "ack": packet.ACK, "fin": packet.FIN | packet.ACK,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t, Config{Connections: 20, HalfOpen: 5})
			for n := 1; n <= 12; n++ {
				f.open(n)
			}
			f.now += 3600 * second
			for n := 100; n < 200; n++ {
				f.track(seg(host(n), server, flags, 5, 5, 0), n)
			}
			for n := 1; n <= 12; n++ {
				if r := f.ack(n); r.Outcome != Known {
					t.Fatalf("connection %d: %s", n, verdict(r))
				}
			}
			if f.tab.HalfOpen() != 5 || f.tab.Len() != 17 {
				t.Fatalf("%d half open of %d", f.tab.HalfOpen(), f.tab.Len())
			}
			if got := f.tab.Stats(); got.AtHalfOpen != 95 || got.AtConnections != 0 {
				t.Errorf("bounds hit: %+v", got)
			}
		})
	}
}

// TestOverloadedReopen opens connections anew on ports in use, with no room left.
func TestOverloadedReopen(t *testing.T) {
	f := newFarm(t, Config{Connections: 2, HalfOpen: 1})
	f.open(1)
	f.open(2)
	f.track(seg(host(1), server, packet.SYN, 5000, 0, 0), 1)
	if r := f.track(seg(server, host(1), packet.SYN|packet.ACK, 0, 5001, 0), 3); r.Outcome != Reopened {
		t.Fatal(verdict(r))
	}
	f.wantEnded("1 reopened")
	f.track(seg(host(2), server, packet.SYN, 5000, 0, 0), 2)
	if r := f.track(seg(server, host(2), packet.SYN|packet.ACK, 0, 5001, 0), 4); r.Outcome != Reopened {
		t.Fatal(verdict(r))
	}
	f.wantEnded("2 reopened", "3 evicted")
}

func TestAllAndClose(t *testing.T) {
	f := newFarm(t, Config{})
	f.open(1)
	f.syn(2)
	f.open(3)
	f.reset(3)
	var got []int
	f.tab.All(func(c *Conn[int]) bool { got = append(got, c.Value); return true })
	slices.Sort(got)
	if !slices.Equal(got, []int{1, 2, 3}) {
		t.Fatalf("All: %d", got)
	}
	calls := 0
	f.tab.All(func(*Conn[int]) bool { calls++; return calls < 2 })
	if calls != 2 {
		t.Fatalf("All called %d times after false", calls)
	}
	f.tab.Close()
	slices.Sort(f.ended)
	f.wantEnded("1 shutdown", "2 shutdown", "3 shutdown")
	if f.tab.Len() != 0 || len(f.ids) != 0 {
		t.Fatalf("%d left", f.tab.Len())
	}
	if r := f.syn(1); r.Outcome != Opened || r.Conn.ID != 4 {
		t.Fatalf("after Close: %s, connection %d", verdict(r), r.Conn.ID)
	}
}

func TestAddr(t *testing.T) {
	v6 := netip.MustParseAddrPort("[2001:db8::1]:40000")
	mapped := netip.MustParseAddrPort("[::ffff:198.51.100.2]:443")
	low := netip.MustParseAddrPort("198.51.100.2:80")
	tests := []struct {
		name            string
		from, to        netip.AddrPort
		flags           packet.Flags
		original, reply netip.AddrPort
	}{
		{"syn", client, server, packet.SYN, client, server},
		{"syn_to_lower_address", server, client, packet.SYN, server, client},
		{"syn_ack", server, client, packet.SYN | packet.ACK, client, server},
		{"midstream_from_high_port", client, server, packet.ACK, client, server},
		{"midstream_from_low_port", server, client, packet.ACK, client, server},
		{"midstream_same_ports", client, netip.AddrPortFrom(server.Addr(), 40000), packet.ACK,
			client, netip.AddrPortFrom(server.Addr(), 40000)},
		{"ipv6", v6, netip.MustParseAddrPort("[2001:db8::2]:443"), packet.SYN, v6, netip.MustParseAddrPort("[2001:db8::2]:443")},
		{"mapped_is_not_ipv4", netip.MustParseAddrPort("[::ffff:192.0.2.1]:40000"), mapped, packet.SYN,
			netip.MustParseAddrPort("[::ffff:192.0.2.1]:40000"), mapped},
		{"same_address_two_ports", server, low, packet.SYN, server, low},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := New[int](Config{}, nil)
			p := seg(tt.from, tt.to, tt.flags, 0, 1, 0)
			c := tab.Track(&p, epoch).Conn
			if c.Addr(Original) != tt.original || c.Addr(Reply) != tt.reply {
				t.Fatalf("got %v and %v, want %v and %v", c.Addr(Original), c.Addr(Reply), tt.original, tt.reply)
			}
			p = seg(tt.to, tt.from, packet.ACK, 1, 1, 0)
			if r := tab.Track(&p, epoch); r.Conn != c {
				t.Error("the other direction has another entry")
			}
			p = seg(tt.from, netip.AddrPortFrom(tt.to.Addr().Unmap(), 9), packet.SYN, 1, 1, 0)
			if r := tab.Track(&p, epoch); r.Conn == c {
				t.Error("another connection has the same entry")
			}
		})
	}
}

// TestLand sends segments from a host and port to itself.
func TestLand(t *testing.T) {
	f := newFarm(t, Config{})
	for flags := range 256 {
		f.track(seg(client, client, packet.Flags(flags), 0, 1, 0), 1)
	}
}
