package conntrack

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// check compares what is known of free Conns with the Conns.
func (s *conns[V]) check() error {
	spare, used := 0, 0
	listed := map[uint32]bool{}
	for _, n := range s.room {
		if listed[n] || !s.states[n].listed {
			return fmt.Errorf("slab %d is listed twice, or not said to be", n)
		}
		listed[n] = true
	}
	for n, slab := range s.slabs {
		x, free := s.states[n], 0
		if slab == nil {
			continue
		}
		for p := x.free; p != 0; p = slab[p-1].place {
			c := &slab[p-1]
			if c.ID != 0 || c.head != nil || c.ref != uint32(n)*connSlab+p-1 {
				return fmt.Errorf("connection %d is free and in use", c.ID)
			}
			free++
		}
		if int(x.used)+free != connSlab || (free > 0) != listed[uint32(n)] || x.listed != listed[uint32(n)] {
			return fmt.Errorf("slab %d: %d in use and %d free, listed %v", n, x.used, free, x.listed)
		}
		spare, used = spare+free, used+int(x.used)
	}
	if spare != s.spare || used != s.used {
		return fmt.Errorf("%d free and %d in use, want %d and %d", s.spare, s.used, spare, used)
	}
	return nil
}

// TestConns: a Conn stays where it is while it is in use, memory is given back once few
// are, and not while they only come and go.
func TestConns(t *testing.T) {
	const most = 20_000
	var s conns[int]
	r := rand.New(rand.NewPCG(6, 6))
	var all []*Conn[int]
	step := func(n int) {
		for len(all) < n {
			c := s.take()
			if c.ID != 0 || c.Value != 0 || c.place != 0 || &s.slabs[c.ref/connSlab][c.ref%connSlab] != c {
				t.Fatalf("%+v is not free", c)
			}
			c.ID = uint64(len(all)) + 1
			all = append(all, c)
		}
		for len(all) > n {
			k := r.IntN(len(all))
			c := all[k]
			if &s.slabs[c.ref/connSlab][c.ref%connSlab] != c || c.ID == 0 {
				t.Fatalf("%+v has moved", c)
			}
			all[k] = all[len(all)-1]
			all = all[:len(all)-1]
			s.give(c)
		}
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		step(most)
		for range 10 {
			step(r.IntN(most))
		}
		if step(0); s.spare > spareConns+connSlab {
			t.Fatalf("%d are kept for nobody", s.spare)
		}
	}
	if got, most := len(s.slabs), most/connSlab+1; got > most {
		t.Errorf("%d slabs, want %d at most", got, most)
	}
	for range 3 {
		step(spareConns)
		step(0)
	}
	if n := testing.AllocsPerRun(20, func() {
		for range spareConns {
			all = append(all, s.take())
		}
		for _, c := range all {
			s.give(c)
		}
		all = all[:0]
	}); n != 0 {
		t.Errorf("%.1f allocations for those that come and go", n)
	}
}
