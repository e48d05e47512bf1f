package conntrack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

func TestHeadSize(t *testing.T) {
	if got := unsafe.Sizeof(head{}); got != 128 {
		t.Errorf("a head has %d bytes, want two lines of 64", got)
	}
	if got := unsafe.Offsetof(head{}.last); got != 64 {
		t.Errorf("what a packet is found by has %d bytes, want a line of 64", got)
	}
	if got := unsafe.Sizeof(tail{}); got > 24 {
		t.Errorf("a tail has %d bytes, want 24 at most", got)
	}
}

// drawer has values rest: a handle is the place of one.
type drawer struct {
	values []int
	free   []uint32
	out    int
}

func (w *drawer) resting() Resting[int] {
	return Resting[int]{
		Pack: func(c *Conn[int]) (uint32, bool) {
			if c.Value < 0 {
				return 0, false
			}
			if len(w.free) == 0 {
				w.free, w.values = append(w.free, uint32(len(w.values))), append(w.values, 0)
			}
			n := w.free[len(w.free)-1]
			w.free = w.free[:len(w.free)-1]
			w.values[n] = c.Value
			w.out++
			return n, true
		},
		Unpack: func(c *Conn[int], n uint32, copied bool) {
			c.Value = w.values[n]
			if !copied {
				w.values[n] = -1 << 40
				w.free = append(w.free, n)
				w.out--
			}
		},
	}
}

// sleeping has most of those that rest not be woken.
func (w *drawer) sleeping() Resting[int] {
	how := w.resting()
	how.Passes = func(n uint32, _ Direction) bool { return w.values[n]%4 != 0 }
	return how
}

// facts are all that is known of an entry, wherever it stands.
func (c *Conn[V]) facts() string {
	sides := c.sides
	if c.loose { // nobody asks for these any more
		for d := range sides {
			sides[d].floor, sides[d].maxWin = 0, 0
		}
	}
	return fmt.Sprint(c.ID, c.Value, c.Start, c.Last, c.Packets, c.Bytes, c.head.key, c.Midstream, c.Guessed, c.original, c.state,
		c.loose, c.lossy, c.recorded, c.rivals, c.kept, c.assumed, sides, c.second, c.latest, c.deadline, c.head.rank, c.head.slot)
}

// twins are two tables that are told the same. In one entries rest whenever they can.
type twins struct {
	tabs  [2]*Table[int]
	ended [2][]string
	w     drawer
	slept int // packets that woke nobody
}

func newTwins(cfg Config) *twins {
	x := &twins{}
	for i := range x.tabs {
		x.tabs[i] = New(cfg, func(c *Conn[int], why End) { x.ended[i] = append(x.ended[i], c.facts()+why.String()) })
	}
	x.tabs[1].Rests(x.w.sleeping())
	return x
}

// both does something with either table, and returns what came of it if that was
// the same.
func (x *twins) both(do func(*Table[int]) string) error {
	plain, resting := do(x.tabs[0]), do(x.tabs[1])
	if plain != resting {
		return fmt.Errorf("got  %s\nwant %s", resting, plain)
	}
	if !slices.Equal(x.ended[0], x.ended[1]) {
		return fmt.Errorf("ended %q, want %q", x.ended[1], x.ended[0])
	}
	x.ended[0], x.ended[1] = x.ended[0][:0], x.ended[1][:0]
	return x.tabs[1].check()
}

// track tracks a packet with both, and lets its connection rest if told to.
func (x *twins) track(p *packet.Parsed, now int64, rest, loosen bool) (rested bool, err error) {
	err = x.both(func(t *Table[int]) string {
		r := t.Track(p, now)
		if r.Outcome == Asleep {
			x.slept++
		}
		what, does := t.become(p, r, rest, loosen)
		rested = rested || does
		return what
	})
	return rested, err
}

// become does what is to be done with a connection that was tracked, and returns what
// is known of it then, and whether it rests by that.
func (t *Table[V]) become(p *packet.Parsed, r Tracked[V], rest, loosen bool) (what string, rests bool) {
	c := r.Conn
	if r.Outcome == Asleep {
		var k key
		k.take(p)
		c, r.Outcome = t.look(t.index.find(&k)), Known
	}
	what = fmt.Sprint(r.Dir, r.Outcome, r.Why)
	if c == nil {
		return what, false
	}
	if v, is := any(&c.Value).(*int); is && (r.Outcome == Opened || r.Outcome == Reopened || r.Outcome == Midstream) {
		*v = int(c.ID)
	}
	if loosen {
		c = t.At(c.place)
		c.Loosen()
	}
	what += c.facts()
	return what, rest && !c.Resting() && t.Rest(c)
}

// same compares all that is in both tables, by walking them.
func (x *twins) same(all bool) error {
	return x.both(func(t *Table[int]) (s string) {
		var list []string
		t.Walk(0, 1<<30, func(c *Conn[int]) { list = append(list, c.facts()) })
		slices.Sort(list)
		if all {
			t.All(func(c *Conn[int]) bool { list = append(list, c.facts()); return true })
		}
		return fmt.Sprint(list, t.Len(), t.HalfOpen(), t.Stats())
	})
}

// FuzzRest: whether connections rest in between makes no difference to anything.
func FuzzRest(f *testing.F) {
	f.Add([]byte("\x00\x02\x00\x00\x00\x00\x00\x00\x01\x12\x00\x00\x00\x01\x00\x00\x00\x10\x00\x01\x00\x01\x00\x80\x00\x10\x00\x01\x00\x01\x00\xa0"))
	f.Fuzz(func(t *testing.T, b []byte) { playTwins(t, b) })
}

func playTwins(t testing.TB, b []byte) (rested, slept int) {
	x := newTwins(Config{Connections: 5, HalfOpen: 3})
	now := epoch
	for b = b[:min(len(b), 1600)]; len(b) >= 8; b = b[8:] {
		p, wait := segmentOf(b)
		now += wait
		did, err := x.track(&p, now, b[7]&0x80 != 0, b[7]&0x20 != 0)
		if err == nil && b[7]&0x40 != 0 {
			err = x.both(func(t *Table[int]) string { t.Settle(now); return fmt.Sprint(t.Expire(now)) })
		}
		if err == nil {
			err = x.same(b[7]&0xc0 == 0xc0)
		}
		if err != nil {
			t.Fatal(err)
		}
		if did {
			rested++
		}
	}
	x.tabs[0].Close()
	x.tabs[1].Close()
	if err := x.same(true); err != nil {
		t.Fatal(err)
	}
	if x.w.out != 0 {
		t.Fatalf("%d values still rest", x.w.out)
	}
	return rested, x.slept
}

// likely are connections that are random, but mostly come about: a script, with random
// segments in between.
func likely(r *rand.Rand) (b []byte) {
	script := [][6]byte{{0, 2, 0, 0, 0, 0}, {1, 0x12, 0, 0, 0, 1}, {0, 0x10, 0, 1, 0, 1}, {0, 0x18, 0, 1, 0, 1}, {1, 0x18, 0, 1, 0, 1},
		{0, 0x10, 0, 1, 0, 1}, {1, 0x10, 0, 1, 0, 1}, {0, 0x18, 0, 1, 0, 1}, {1, 0x10, 0, 1, 0, 1}, {0, 0x10, 0, 1, 0, 1},
		{0, 0x11, 0, 1, 0, 1}, {1, 0x11, 0, 1, 0, 2}, {0, 0x10, 0, 2, 0, 2}}
	var at [8]int
	for range 120 {
		one := make([]byte, 8)
		for i := range one {
			one[i] = byte(r.Uint32())
		}
		if host := r.IntN(8); r.IntN(6) != 0 {
			copy(one, script[at[host]][:])
			one[0] |= byte(host) << 1
			one[6] &= 0x0f
			at[host] = (at[host] + 1) % len(script)
			if r.IntN(4) != 0 {
				one[7] &^= 0x20
			}
		}
		b = append(b, one...)
	}
	return b
}

func TestRest(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	rested, slept := 0, 0
	for range 600 {
		n, m := playTwins(t, likely(r))
		rested, slept = rested+n, slept+m
	}
	if rested < 3000 || slept < 300 {
		t.Errorf("only %d rested, and %d packets woke nobody", rested, slept)
	}
}

// TestRestCrossing: which SYN the caller has sent last is known of who has rested, too.
// Who answers a SYN with another number is called by it, and not crossed.
func TestRestCrossing(t *testing.T) {
	const isn, other = 77_000, 5_000_000
	opened := []packet.Parsed{
		seg(client, server, packet.SYN, isn, 0, 0), seg(server, client, packet.SYN|packet.ACK, 900, isn+1, 0), seg(client, server, packet.ACK, isn+1, 901, 0),
	}
	another := append(slices.Clone(opened), // whose answer nobody sees, nor the SYN that is answered
		seg(client, server, packet.SYN, other, 0, 0), seg(server, client, packet.SYN|packet.ACK, 900, 2*other+1, 0), seg(client, server, packet.ACK, 2*other+1, 901, 0))
	for name, tt := range map[string]struct {
		before []packet.Parsed
		number seqnum.Value
		caller netip.AddrPort
	}{
		"a number of none":     {opened, 0, server},
		"its own again":        {opened, isn, server},
		"of another SYN":       {another, other, client},
		"of none, and another": {another, 0, server},
		"unseen":               {opened[2:], 9, server},
	} {
		x, now := newTwins(Config{}), epoch
		for _, p := range append(slices.Clone(tt.before), seg(server, client, packet.SYN, 1<<30, 0, 0), seg(client, server, packet.SYN|packet.ACK, tt.number, 1<<30+1, 0)) {
			if _, err := x.track(&p, now, true, false); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if c := x.tabs[1].Between(client, server); c == nil || c.Addr(Original) != tt.caller {
			t.Errorf("%s: the caller is %v, want %v", name, c.Addr(Original), tt.caller)
		}
	}
}

// TestRestFits: what has room in a head is there again, up to the largest numbers; what
// has not keeps a connection awake.
func TestRestFits(t *testing.T) {
	type conn = Conn[int]
	both := func(change func(*side)) func(*conn) {
		return func(c *conn) { change(&c.sides[Original]); change(&c.sides[Reply]) }
	}
	for name, tt := range map[string]struct {
		change func(*conn)
		rests  bool
	}{
		"as it is":            {func(*conn) {}, true},
		"most packets":        {func(c *conn) { c.Packets = [2]uint64{1<<32 - 1, 1<<32 - 2} }, true},
		"packets of Original": {func(c *conn) { c.Packets[0] = 1 << 32 }, false},
		"packets of Reply":    {func(c *conn) { c.Packets[1] = 1 << 32 }, false},
		"most bytes":          {func(c *conn) { c.Bytes = [2]uint64{1<<48 - 1, 1<<47 + 3} }, true},
		"bytes of Original":   {func(c *conn) { c.Bytes[0] = 1 << 48 }, false},
		"bytes of Reply":      {func(c *conn) { c.Bytes[1] = 1 << 48 }, false},
		"a window":            {both(func(s *side) { s.maxWin, s.scale, s.scaled = 1<<16-1, 14, true }), true},
		"a wide window":       {both(func(s *side) { s.maxWin, s.scale, s.scaled = (1<<16-1)<<14, 14, true }), true},
		"just wide":           {both(func(s *side) { s.maxWin, s.scale = 1<<16, 1 }), true},
		"an odd window":       {both(func(s *side) { s.maxWin, s.scale = 1<<16+1, 1 }), false},
		"too wide":            {both(func(s *side) { s.maxWin, s.scale = 1<<17, 1 }), false},
		"no scale":            {both(func(s *side) { s.maxWin = 1 << 16 }), false},
		"no such scale":       {both(func(s *side) { s.scale = maxScale + 1 }), false},
		"not known":           {func(c *conn) { c.sides[Reply].known = false }, false},
		"not seen":            {func(c *conn) { c.sides[Original].seen = false }, false},
		"no windows":          {both(func(s *side) { s.windowed = false }), true},
		"a FIN":               {both(func(s *side) { s.finSeen, s.fin = true, s.end.Sub(1) }), true},
		"data behind a FIN":   {both(func(s *side) { s.finSeen, s.fin = true, s.end.Sub(2) }), false},
		"a FIN that was not":  {both(func(s *side) { s.fin = 7 }), false},
		"a floor":             {both(func(s *side) { s.floor = s.acked.Sub(maxWindow) }), true},
		"another floor":       {both(func(s *side) { s.floor = s.acked }), false},
		"loose":               {func(c *conn) { c.loose = true }, true},
		"loose, with a floor": {func(c *conn) { c.loose = true; c.sides[0].floor = 7; c.sides[1].maxWin = 1<<17 + 1 }, true},
		"recorded":            {func(c *conn) { c.recorded = true }, false},
		"kept":                {func(c *conn) { c.kept = true }, false},
		"guessed":             {func(c *conn) { c.Guessed = true }, false},
		"assumed":             {func(c *conn) { c.assumed = true }, false},
		"half open":           {func(c *conn) { c.state = SynSent2 }, false},
		"heard from one end":  {func(c *conn) { c.head.rank = rankHalfOpen }, false},
		"another SYN":         {func(c *conn) { c.second.kind = aSYN }, false},
		"of a former SYN":     {func(c *conn) { c.latest++ }, false},
		"of no SYN": {func(c *conn) {
			s := &c.sides[Original]
			c.latest, s.iss, s.floor = 0, 77, s.acked.Sub(maxWindow)
		}, true},
		"of its SYN": {func(c *conn) {
			s := &c.sides[Original]
			c.latest, s.iss, s.floor = 77, 77, s.acked.Sub(maxWindow)
		}, true},
		"due sooner":          {func(c *conn) { c.deadline-- }, false},
		"unseen":              {func(c *conn) { c.Midstream, c.rivals = true, true }, true},
		"the other way round": {func(c *conn) { c.original ^= 1 }, true},
	} {
		var w drawer
		tab := New[int](Config{}, nil)
		tab.Rests(w.resting())
		for _, p := range handshakeOf(3) {
			tab.Track(&p, epoch)
		}
		c := tab.Between(host(3), server)
		tt.change(c)
		want, at := c.facts(), c.place
		if got := tab.Rest(c); got != tt.rests {
			t.Errorf("%s: rests: %v", name, got)
		}
		for _, c := range []*conn{tab.look(at), tab.At(at), tab.At(at)} {
			if got := c.facts(); got != want {
				t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
			}
		}
	}
}

// TestSettle: who is silent rests, who is not does not, nor what has no room, and
// memory serves again.
func TestSettle(t *testing.T) {
	var w drawer
	tab := New[int](Config{}, nil)
	tab.Rests(w.resting())
	now := epoch
	const n = 3000
	for i := range n {
		for _, p := range handshakeOf(i) {
			tab.Track(&p, now).Conn.Value = i
		}
	}
	half := seg(host(n), server, packet.SYN, 0, 0, 0)
	tab.Track(&half, now).Conn.Value = n
	settle := func() {
		for range 200 {
			tab.Settle(now)
		}
		if err := tab.check(); err != nil {
			t.Fatal(err)
		}
	}
	if settle(); tab.AtRest() != 0 {
		t.Fatalf("%d rest at once", tab.AtRest())
	}
	stays := seg(host(8), server, packet.ACK, 1, 1, 0)
	tab.Track(&stays, now).Conn.Value = -1
	if tab.Rest(tab.Between(host(8), server)) {
		t.Error("what cannot be packed rests")
	}
	now += idle
	if settle(); tab.AtRest() != 0 {
		t.Fatalf("%d rest too soon", tab.AtRest())
	}
	now++
	busy := seg(host(7), server, packet.ACK, 1, 1, 0)
	tab.Track(&busy, now)
	if settle(); tab.AtRest() != n-2 || tab.conns.used != 3 {
		t.Errorf("%d of %d rest, %d Conns are in use", tab.AtRest(), n, tab.conns.used)
	}
	slabs := len(tab.conns.slabs)
	for i := n + 1; i < 2*n; i++ {
		for _, p := range handshakeOf(i) {
			tab.Track(&p, now).Conn.Value = i
		}
	}
	if len(tab.conns.slabs) != slabs {
		t.Errorf("%d slabs of Conns, want the %d there were", len(tab.conns.slabs), slabs)
	}
	c := tab.Between(host(5), server)
	if c.Value != 5 || c.Packets != [2]uint64{2, 1} || tab.AtRest() != n-3 {
		t.Errorf("%+v; %d rest", c, tab.AtRest())
	}
}

// TestRestLossy: who has rested may have said what nobody saw, as before.
func TestRestLossy(t *testing.T) {
	for _, isn := range isns {
		tab := New[int](Config{Lossy: true}, nil)
		tab.Rests((&drawer{}).resting())
		if c := replay(t, tab, opening, isn); !tab.Rest(c) {
			t.Fatal("it does not rest")
		}
		replay(t, tab, "> A 5000 7000 len=9 : known", isn)
	}
}

// TestSettleBehind: whose Conn stands behind memory that was given back rests as others.
func TestSettleBehind(t *testing.T) {
	const n, last = 2 * spareConns, 2*spareConns - 1
	var w drawer
	tab := New[int](Config{}, nil)
	tab.Rests(w.resting())
	for i := range n {
		for _, p := range handshakeOf(i) {
			tab.Track(&p, epoch)
		}
	}
	tab.Between(host(last), server).Value = -1
	settle := func() {
		for range 3 * settleShare {
			tab.Settle(epoch + idle + 1)
		}
	}
	if settle(); tab.AtRest() != n-1 || !slices.ContainsFunc(tab.conns.slabs, func(slab []Conn[int]) bool { return slab == nil }) {
		t.Fatalf("%d of %d rest", tab.AtRest(), n)
	}
	tab.Between(host(last), server).Value = 1
	if settle(); tab.AtRest() != n {
		t.Errorf("%d of %d rest", tab.AtRest(), n)
	}
}

// TestRestEvict: who makes room is sought among those that rest, and wakes nobody else.
func TestRestEvict(t *testing.T) {
	const n = 20
	var w drawer
	tab := New[int](Config{Connections: n}, nil)
	tab.Rests(w.resting())
	for i := range n {
		for _, p := range handshakeOf(i) {
			tab.Track(&p, epoch)
		}
		tab.Rest(tab.Between(host(i), server))
	}
	p := seg(host(n), server, packet.SYN, 0, 0, 0)
	if r := tab.Track(&p, epoch+idle); r.Outcome != Full || tab.AtRest() != n {
		t.Errorf("none is silent: %d, %d rest", r.Outcome, tab.AtRest())
	}
	if r := tab.Track(&p, epoch+idle+1); r.Outcome != Opened || tab.AtRest() != n-1 || w.out != n-1 {
		t.Errorf("all are silent: %d, %d rest", r.Outcome, tab.AtRest())
	}
}

// TestRestWalk is TestWalk with connections that rest and wake in between.
func TestRestWalk(t *testing.T) {
	var w drawer
	f := newFarm(t, Config{Connections: 3000})
	f.tab.Rests(w.resting())
	r := rand.New(rand.NewPCG(7, 8))
	n := 0
	for ; n < 1500; n++ {
		f.open(n + 1)
	}
	for range 5 {
		stays, met := map[uint64]bool{}, map[uint64]int{}
		f.tab.Walk(0, 1<<30, func(c *Conn[int]) { stays[c.ID] = true })
		rest := f.tab.AtRest()
		f.tab.Walk(0, 1<<30, func(c *Conn[int]) {})
		if f.tab.AtRest() != rest {
			t.Fatal("a walk has woken somebody")
		}
		for at := 0; at >= 0; {
			var places []uint32
			at = f.tab.Walk(at, 1+r.IntN(100), func(c *Conn[int]) {
				met[c.ID]++
				if f.ids[c.ID] != c.Value {
					t.Fatalf("ID %d has value %d", c.ID, c.Value)
				}
				places = append(places, c.Place())
			})
			for _, p := range places {
				if r.IntN(3) == 0 {
					f.tab.Rest(f.tab.At(p))
				}
			}
			for range r.IntN(10) {
				n++
				f.now += second / 10
				f.open(n + 1)
				f.ack(1 + r.IntN(n))
			}
		}
		lives := map[uint64]bool{}
		f.tab.Walk(0, 1<<30, func(c *Conn[int]) { lives[c.ID] = true })
		for id := range stays {
			if lives[id] && met[id] != 1 {
				t.Fatalf("ID %d was there all the time and met %d times", id, met[id])
			}
		}
		if f.tab.AtRest() < 100 {
			t.Errorf("only %d rest", f.tab.AtRest())
		}
	}
}

// TestIndex: the index agrees with a map, whatever the hashes are.
func TestIndex(t *testing.T) {
	for name, hash := range map[string]func(key) uint32{
		"keyed": nil, "one for all": func(key) uint32 { return 7 }, "few": func(k key) uint32 { return k.ports % 5 << 30 },
		"in order": func(k key) uint32 { return k.ports },
	} {
		var s heads
		x := newIndex(&s)
		most := uint32(5000)
		if hash != nil {
			x.hash, most = hash, 300
		}
		r := rand.New(rand.NewPCG(1, 2))
		want := map[key]place{}
		for i := range 40000 {
			k := key{ports: r.Uint32N(most), family: 4}
			if p, ok := want[k]; ok && r.IntN(2) == 0 {
				x.remove(p)
				s.give(p)
				delete(want, k)
			} else if !ok {
				p := s.take()
				s.at(p).key = k
				x.add(p)
				want[k] = p
			}
			if k.ports = r.Uint32N(most); x.find(&k) != want[k] || x.len != len(want) {
				t.Fatalf("%s, step %d: %d is at %d, want %d", name, i, k.ports, x.find(&k), want[k])
			}
		}
		for k, p := range want {
			if x.find(&k) != p {
				t.Fatalf("%s: %d is at %d, want %d", name, k.ports, x.find(&k), p)
			}
		}
	}
	one, two := &New[int](Config{}, nil).index, &New[int](Config{}, nil).index
	if a, b := (key{ports: 1}), (key{ports: 2}); one.sum(&a) == two.sum(&a) && one.sum(&b) == two.sum(&b) {
		t.Error("two tables have the same hashes")
	}
}

// TestIndexSpread: the longest bucket is short, for keys as they come: many ports of
// one client, many clients of one server, IPv6 prefixes, and both ends alike.
func TestIndexSpread(t *testing.T) {
	const n = 100_000
	for name, of := range map[string]func(uint64) key{
		"ports": func(i uint64) key {
			return key{loLow: 0xffff0a000001 + i>>16, hiLow: 0xffffc0000201, ports: uint32(i)<<16 | 443}
		},
		"clients": func(i uint64) key {
			return key{loLow: 0xffff0a000000 + i, hiLow: 0xffffc0000201, ports: 40000<<16 | 443}
		},
		"prefixes": func(i uint64) key { return key{loHigh: i << 16, loLow: 1, hiHigh: 0x20010db8 << 32, hiLow: 1} },
		"alike":    func(i uint64) key { return key{loHigh: i, loLow: i, hiHigh: i, hiLow: i} },
		"opposite": func(i uint64) key { return key{loLow: i, hiLow: -i, ports: uint32(i)} },
	} {
		var s heads
		x := newIndex(&s)
		for i := range uint64(n) {
			p := s.take()
			s.at(p).key = of(i)
			x.add(p)
		}
		longest := 0
		for b := range x.size {
			length := 0
			for p := x.buckets[b/slab][b%slab]; p != 0; p = s.at(p).chain {
				length++
			}
			longest = max(longest, length)
		}
		if longest > 16 { // of random numbers: 10 or so
			t.Errorf("%s: a bucket of %d", name, longest)
		}
	}
}

// TestAsleepFar: a connection of which gigabytes pass while it rests is followed as one
// that does not.
func TestAsleepFar(t *testing.T) {
	const step = 1 << 29
	for _, isn := range isns {
		x := newTwins(Config{})
		x.tabs[1].Rests(Resting[int]{
			Pack:   func(*Conn[int]) (uint32, bool) { return 1, true },
			Unpack: func(*Conn[int], uint32, bool) {},
			Passes: func(uint32, Direction) bool { return true },
		})
		asleep := 0
		at := [2]uint32{1, 1}
		for _, tab := range x.tabs {
			replay(t, tab, "> S 0 0 ws=14 : opened\n< SA 0 1 ws=14 : known\n> A 1 1 : known\n< A 1 1 : known", isn)
		}
		if tab := x.tabs[1]; !tab.Rest(tab.Between(client, server)) {
			t.Fatal("it does not rest")
		}
		for n := range 60 {
			d := Direction(n / 2 % 2) // one says something, and the other acknowledges it
			if n%2 == 0 {
				at[d] += step
			} else {
				d = d.Other()
			}
			p := seg(client, server, packet.ACK, isn[0].Add(at[0]), isn[1].Add(at[1]), 0)
			if d == Reply {
				p = seg(server, client, packet.ACK, isn[1].Add(at[1]), isn[0].Add(at[0]), 0)
			}
			now := x.tabs[0].wheel.now + second
			if want := x.tabs[0].Track(&p, now); want.Outcome != Known {
				t.Fatalf("ISNs %#x: packet %d: %v", isn, n, want.Why)
			}
			if got := x.tabs[1].Track(&p, now); got.Outcome == Asleep && got.Dir == d {
				asleep++
			} else {
				t.Fatalf("ISNs %#x: packet %d of %v: %v", isn, n, d, got)
			}
		}
		got, want := x.tabs[1].Between(client, server).facts(), x.tabs[0].Between(client, server).facts()
		if got != want {
			t.Errorf("ISNs %#x: after %d packets\ngot  %s\nwant %s", isn, asleep, got, want)
		}
	}
}

// TestAsleepMany: what a head has no room for wakes its connection, and is counted.
func TestAsleepMany(t *testing.T) {
	for name, full := range map[string]func(h *head){
		"packets": func(h *head) { h.packets[0] = 1<<32 - 1 },
		"bytes":   func(h *head) { h.more[0], h.bytes[0] = 1<<16-1, 1<<32-1 },
	} {
		tab, c := play(t, opening, isns[0])
		tab.Rests(Resting[int]{
			Pack:   func(*Conn[int]) (uint32, bool) { return 1, true },
			Unpack: func(*Conn[int], uint32, bool) {},
			Passes: func(uint32, Direction) bool { return true },
		})
		if !tab.Rest(c) {
			t.Fatal("it does not rest")
		}
		p := seg(client, server, packet.ACK, isns[0][0].Add(1), isns[0][1].Add(1), 0)
		if r := tab.Track(&p, tab.wheel.now); r.Outcome != Asleep {
			t.Fatalf("%s: %v", name, r.Outcome)
		}
		h := tab.heads.at(1)
		packets, bytes := uint64(h.packets[0]), uint64(h.more[0])<<32|uint64(h.bytes[0])
		full(h)
		if name == "packets" {
			packets = 1<<32 - 1
		} else {
			bytes = 1<<48 - 1
		}
		r := tab.Track(&p, tab.wheel.now)
		if r.Outcome != Known || r.Conn.Packets[0] != packets+1 || r.Conn.Bytes[0] != bytes+uint64(p.Size()) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
