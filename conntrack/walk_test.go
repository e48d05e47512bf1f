package conntrack

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestWalk: a walk in pieces, while connections come and go, meets each that is
// there from its beginning to its end once, and none twice.
func TestWalk(t *testing.T) {
	f := newFarm(t, Config{Connections: 3000, HalfOpen: 3000, FirstID: 2, StepID: 5})
	r := rand.New(rand.NewPCG(3, 4))
	n := 0
	for ; n < 1500; n++ {
		f.syn(n + 1)
	}
	for range 5 {
		stays := map[uint64]bool{}
		f.tab.All(func(c *Conn[int]) bool { stays[c.ID] = true; return true })
		met := map[uint64]int{}
		for place := 0; place >= 0; {
			place = f.tab.Walk(place, 1+r.IntN(100), func(c *Conn[int]) {
				if met[c.ID]++; c.ID%5 != 2 || c.Value == 0 {
					t.Fatalf("ID %d, value %d", c.ID, c.Value)
				}
			})
			for range r.IntN(60) {
				n++
				f.syn(n + 1)
			}
		}
		lives := map[uint64]bool{}
		f.tab.All(func(c *Conn[int]) bool { lives[c.ID] = true; return true })
		for id := range stays {
			if lives[id] && met[id] != 1 {
				t.Fatalf("ID %d was there all the time and met %d times", id, met[id])
			}
		}
		for id, times := range met {
			if times != 1 {
				t.Fatalf("ID %d met %d times", id, times)
			}
		}
	}
	if got := f.tab.Walk(-1, 10, nil); got != -1 {
		t.Errorf("beyond the end: %d", got)
	}
	if got := (&Table[int]{}).Walk(0, 10, nil); got != -1 {
		t.Errorf("an empty table: %d", got)
	}
}

func TestBetween(t *testing.T) {
	f := newFarm(t, Config{})
	want := f.syn(7).Conn
	if got := f.tab.Between(want.Addr(Original), want.Addr(Reply)); got != want {
		t.Errorf("got %v", got)
	}
	if got := f.tab.Between(want.Addr(Reply), want.Addr(Original)); got != want {
		t.Errorf("the other way round: got %v", got)
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(want.Addr(Original).Addr().As16()), want.Addr(Original).Port())
	for _, a := range []netip.AddrPort{{}, mapped, netip.MustParseAddrPort("[::1]:1"), netip.AddrPortFrom(want.Addr(Original).Addr(), 1)} {
		if got := f.tab.Between(a, want.Addr(Reply)); got != nil {
			t.Errorf("%s: got %v", a, got)
		}
	}
}
