package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"tlsgate/conntrack"
	"tlsgate/conntrack/reassembly"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// filler fills whatever it is given, unexported fields too. A pointer of a kind that
// packing does not know fails.
type filler struct {
	t *testing.T
	r *rand.Rand
}

// unset are pointers that what is packed has not.
var unset = map[reflect.Type]bool{
	reflect.TypeFor[*conntrack.Conn[flow]](): true, reflect.TypeFor[*recorded](): true, reflect.TypeFor[*alert](): true,
	reflect.TypeFor[*tlswire.Limits](): true, reflect.TypeFor[*tlswire.Buffers](): true,
	reflect.TypeFor[*tlswire.ClientHello](): true, reflect.TypeFor[*tlswire.ServerHello](): true, // the inspection's own
}

// whole are pointers to what is kept as it is.
var whole = map[reflect.Type]bool{
	reflect.TypeFor[*saying](): true, reflect.TypeFor[*via.Conn](): true, reflect.TypeFor[*search](): true,
	reflect.TypeFor[*session](): true, reflect.TypeFor[*Certificates](): true, reflect.TypeFor[*certs.Certificate](): true,
}

func (x filler) fill(v reflect.Value) {
	switch v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem(); {
	case v.CanInt():
		v.SetInt(int64(x.r.Uint64()))
	case v.CanUint():
		v.SetUint(x.r.Uint64())
	case unset[v.Type()]:
	case whole[v.Type()]:
		v.Set(reflect.New(v.Type().Elem()))
	default:
		x.parts(v)
	}
}

func (x filler) parts(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(x.r.IntN(2) == 0)
	case reflect.String:
		v.SetString(fmt.Sprint(x.r.Uint32()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		x.fill(v.Elem())
	case reflect.Slice:
		n := 1 + x.r.IntN(14)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			x.fill(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[reassembly.Stream]() {
			v.Addr().Interface().(*reassembly.Stream).Resume(x.quiet())
			return
		}
		if v.Type() == reflect.TypeFor[tlswire.Conn]() {
			return
		}
		for i := range v.NumField() {
			x.fill(v.Field(i))
		}
	default:
		x.t.Fatalf("it is not said how %v is packed", v.Type())
	}
}

func (x filler) quiet() (q reassembly.Quiet) {
	x.fill(reflect.ValueOf(&q).Elem())
	q.Una = q.Next.Sub(x.r.Uint32N(1 << 30))
	return q
}

// silentFlow makes up what hangs on a connection that is read and silent.
func silentFlow(t *testing.T, seed uint64, c *conntrack.Conn[flow]) (f flow) {
	x := filler{t, rand.New(rand.NewPCG(seed, 1))}
	x.fill(reflect.ValueOf(&f).Elem())
	ins := f.ins
	f.phase, f.watched, f.pinned, f.firstByte = reading, false, false, 0
	f.gate &^= hasHold
	few := x.r.IntN(3) // of what stands apart: all, some, one or none
	for i, none := range []func(){
		func() { f.via = nil }, func() { f.search = nil }, func() { ins.certs = nil }, func() { ins.resumption.from = nil }, func() { ins.facts.Chain = nil },
	} {
		if few == 1 && x.r.IntN(2) == 0 || few == 2 && uint64(i) != seed%6 {
			none()
		}
	}
	if x.r.IntN(3) != 0 {
		*(**[]uint16)(unsafe.Pointer(reflect.ValueOf(&ins.judgement).Elem().FieldByName("more").UnsafeAddr())) = nil
	}
	if !ins.resumption.hasTicket {
		ins.resumption.ticket = tlswire.SessionKey{}
	}
	ins.ends(c)
	if x.r.IntN(2) == 0 {
		ins.facts.Client = &ins.tls.ClientHello
	}
	if x.r.IntN(2) == 0 {
		ins.facts.Server = &ins.tls.ServerHello
	}
	ins.tls = x.conversation()
	return f
}

// conversation is read up to somewhere between two turns: tlswire's own tests tell of
// every field.
func (x filler) conversation() (c tlswire.Conn) {
	turns := recording(x.t, kinds[x.r.IntN(len(kinds))])
	for _, turn := range turns[:x.r.IntN(len(turns)+1)] {
		for b := turn.bytes; len(b) > 0; {
			n, _, _ := c.Consume(side(turn.dir), b)
			b = b[n:]
		}
	}
	c.Rest()
	return c
}

// TestPackedWhole: whatever hangs on a connection that is read is there again, to look
// at and to go on with, and nothing is left behind.
func TestPackedWhole(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll))
	k := l.link("2001:db8::10", "2001:db8:1::10", 1, 2)
	k.open()
	e := l.e
	c := e.table.At(k.place())
	e.giveBack(c.Value.ins)
	stays := 0
	for seed := range uint64(500) {
		want := silentFlow(t, seed, c)
		e.waiting = waiting{}
		c.Value = silentFlow(t, seed, c)
		handle, ok := e.pack(c)
		if !ok {
			if stays++; c.Value.ins == nil || !reflect.DeepEqual(plain(&c.Value), plain(&want)) {
				t.Fatalf("seed %d: it stays, and is another", seed)
			}
			continue
		}
		if len(e.spare) == 0 {
			t.Fatalf("seed %d: what it was read with serves no other", seed)
		}
		for _, copied := range []bool{true, true, false} {
			c.Value = flow{}
			e.unpack(c, handle, copied)
			if got, want := plain(&c.Value), plain(&want); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, copied %v:\ngot  %+v\nwant %+v", seed, copied, got, want)
			}
			if tls := &c.Value.ins.tls; !tls.HasClientHello && len(tls.ClientHello.Extensions) > 0 || !tls.HasServerHello && !tls.Retry && len(tls.ServerHello.Extensions) > 0 {
				t.Fatalf("seed %d, copied %v: hellos of another are left", seed, copied)
			}
			if g := &c.Value.ins.facts; g.Client != nil && g.Client != &c.Value.ins.tls.ClientHello || g.Server != nil && g.Server != &c.Value.ins.tls.ServerHello {
				t.Fatalf("seed %d: the facts are of other hellos", seed)
			}
		}
	}
	x := &e.packed
	if len(x.common.by) != 0 || x.blocks.n != 0 || len(x.apart.free) != int(x.apart.used) || stays > 100 {
		t.Errorf("%d common, %d blocks, %d of %d apart are left; %d of 500 stay", len(x.common.by), x.blocks.n, len(x.apart.free), x.apart.used, stays)
	}
	for i := range x.apart.list {
		for j := range x.apart.list[i] {
			if a := &x.apart.list[i][j]; !a.empty() {
				t.Fatalf("%+v is still held", a)
			}
		}
	}
	c.Value = flow{lasting: lasting{phase: decided, adoption: e.adoption}}
}

// plain is all of a flow that is not memory for something else.
func plain(f *flow) (all struct {
	flow
	inspection
	tls            []byte
	client, server bool
}) {
	all.flow, all.inspection = *f, *f.ins
	facts := &all.inspection.facts
	all.client, all.server = facts.Client != nil, facts.Server != nil
	facts.Client, facts.Server = nil, nil
	p := tlswire.PutInto(nil)
	f.ins.tls.Pack(&p)
	all.tls = p.Bytes()
	all.flow.ins, all.inspection.tls = nil, tlswire.Conn{}
	return all
}

// place is where the table has the link.
func (k *link) place() uint32 {
	return k.lab.e.table.Between(k.ends[original].addr, k.ends[reply].addr).Place()
}

// TestPackedStays: what waits, is held, or is not a connection's own is not packed.
func TestPackedStays(t *testing.T) {
	for name, change := range map[string]func(e *Engine, c *conntrack.Conn[flow]){
		"refused":         func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.phase = refused },
		"clock":           func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.firstByte = 1 },
		"pinned":          func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.pinned = true },
		"gate":            func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.gate |= hasHold },
		"of a capture":    func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.rec = &recorded{} },
		"watched":         func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.watched = true },
		"alert":           func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.alert = &alert{} },
		"listed":          func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.before = c },
		"listed first":    func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.after = c },
		"nothing is read": func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.ins, c.Value.phase = nil, decided },
		"wordy":           func(e *Engine, c *conntrack.Conn[flow]) { e.told = map[*inspection]int{c.Value.ins: 1} },
		"another port":    func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.ins.facts.Port++ },
		"another source": func(_ *Engine, c *conntrack.Conn[flow]) {
			c.Value.ins.facts.Source = c.Value.ins.facts.Source.Next()
		},
		"another source's port": func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.ins.facts.SourcePort++ },
		"another destination": func(_ *Engine, c *conntrack.Conn[flow]) {
			c.Value.ins.facts.Destination = c.Value.ins.facts.Destination.Next()
		},
		"another hello":       func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.ins.facts.Client = &tlswire.ClientHello{} },
		"another ServerHello": func(_ *Engine, c *conntrack.Conn[flow]) { c.Value.ins.facts.Server = &tlswire.ServerHello{} },
		"bytes unread": func(e *Engine, c *conntrack.Conn[flow]) {
			s := &c.Value.streams[0]
			s.Release(&e.budget)
			s.Start(1)
			s.Offer(5, []byte("x"), 1<<20, &e.budget)
		},
		"bytes unacknowledged": func(e *Engine, c *conntrack.Conn[flow]) {
			s := &c.Value.streams[0]
			s.Release(&e.budget)
			s.Start(1)
			s.Offer(1, []byte("x"), 1<<20, &e.budget)
			s.Remember(1, s.Take(), 1<<20, &e.budget)
		},
		"half a message": func(_ *Engine, c *conntrack.Conn[flow]) {
			c.Value.ins.tls.Reset()
			for _, b := range []string{"\x16\x03\x01\x00\x20", "\x01\x00\x00\x40abc"} {
				c.Value.ins.tls.Consume(tlswire.Client, []byte(b))
			}
		},
		"a long hello": func(_ *Engine, c *conntrack.Conn[flow]) {
			c.Value.ins.tls.HasClientHello = true
			c.Value.ins.tls.ClientHello.ServerName = bytes.Repeat([]byte("x"), mostPacked)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, config(), policy(acceptAll))
			k := l.link("192.0.2.10", "203.0.113.10", 1, 2)
			k.open()
			c := l.e.table.At(k.place())
			f := silentFlow(t, 1, c)
			c.Value = f
			change(l.e, c)
			ins := c.Value.ins
			if _, ok := l.e.pack(c); ok || c.Value.ins != ins || l.e.packed.blocks.n != 0 || len(l.e.packed.common.by) != 0 {
				t.Errorf("packed: %v; %d blocks", ok, l.e.packed.blocks.n)
			}
		})
	}
}

// TestBlocks: what is kept in blocks is what was put there, and they serve again.
func TestBlocks(t *testing.T) {
	var s blocks
	r := rand.New(rand.NewPCG(3, 3))
	kept, most := map[uint32][]byte{}, 0
	for range 20000 {
		b := make([]byte, 1+r.IntN(400))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		kept[s.put(b)] = b
		most = max(most, s.n)
		for at, b := range kept {
			got := s.append([]byte("x"), at)
			if !bytes.HasPrefix(got[1:], b) || len(got) > len(b)+blockData {
				t.Fatalf("got %x, want %x", got, b)
			}
			if r.IntN(2) == 0 {
				s.give(at)
				delete(kept, at)
			}
			if len(kept) < 300 {
				break
			}
		}
	}
	if int(s.used) > most+1 {
		t.Errorf("%d blocks for %d at once", s.used, most)
	}
	for at := range kept {
		s.give(at)
	}
	if s.n != 0 {
		t.Errorf("%d are in use", s.n)
	}
}

// TestPackedRoom: what is packed is bounded, and who finds no room stays as it is.
func TestPackedRoom(t *testing.T) {
	const connections = 40
	x := newMany(t, only("handshake", "change_cipher_spec", "application_data", "alert"), connections, true)
	x.packets = script(t, policy(acceptAll), recording(t, "tls13 retry"), strategies["gso"])
	for i := range connections {
		x.open(i)
	}
	x.e.cfg.Limits.Connections = connections / 2 // as an operator may have it by now
	x.ticks(15 * time.Second)
	p := &x.e.packed
	if p.blocks.n > connections/2*blocksEach || p.blocks.n == 0 || x.e.table.AtRest() >= connections || x.e.table.Len() != connections {
		t.Errorf("%d of %d blocks are in use, %d of %d rest", p.blocks.n, connections/2*blocksEach, x.e.table.AtRest(), x.e.table.Len())
	}
	for i := range connections {
		x.end(i)
	}
	if x.ticks(5 * time.Minute); x.lost > 0 || x.e.table.Len() != 0 || p.blocks.n != 0 {
		t.Errorf("%d packets lost, %d connections left, %d blocks", x.lost, x.e.table.Len(), p.blocks.n)
	}
	var r rested[int]
	r.most = 2
	for i, want := range []uint32{1, 2, 0, 1} {
		if got := r.put(&[]int{5, 6, 7, 5}[i]); got != want {
			t.Errorf("put %d is %d, want %d", i, got, want)
		}
	}
	if r.drop(2); r.put(&[]int{7}[0]) != 2 {
		t.Error("no room where one has gone")
	}
}

// TestPackedCommon: what only many should have in common is bounded, and who has the
// same as others still rests; each look at one that does allocates nothing.
func TestPackedCommon(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.open()
	e := l.e
	c := e.table.At(k.place())
	e.giveBack(c.Value.ins)
	var handles []uint32
	rest := func(device uint32) bool {
		c.Value = flow{ins: e.inspection(), lasting: lasting{phase: reading, devices: [2]uint32{device}}}
		c.Value.ins.ends(c)
		handle, ok := e.pack(c)
		if ok {
			handles = append(handles, handle)
		} else {
			e.giveBack(c.Value.ins)
		}
		return ok
	}
	e.cfg.Limits.Connections = 2 * mostCommon
	for i := range uint32(mostCommon) {
		if !rest(i) {
			t.Fatalf("number %d stays", i)
		}
	}
	if rest(mostCommon) || !rest(7) {
		t.Error("one that is unlike all others rests, or one that is not stays")
	}
	if n := e.packed.apart.used; n != 0 {
		t.Errorf("%d have something apart", n)
	}
	if n := testing.AllocsPerRun(100, func() { e.unpack(c, handles[9], true) }); n > 0 {
		t.Errorf("a look allocates %v times", n)
	}
	for _, handle := range handles {
		c.Value = flow{}
		e.unpack(c, handle, false)
		e.giveBack(c.Value.ins)
	}
	if len(e.packed.common.by) != 0 || e.packed.blocks.n != 0 {
		t.Errorf("%d in common, %d blocks are left", len(e.packed.common.by), e.packed.blocks.n)
	}
	c.Value = flow{lasting: lasting{phase: decided, adoption: e.adoption}}
}

// BenchmarkPacked has a connection that is read rest and wake: of one, or of as many as
// fit into no cache.
func BenchmarkPacked(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := newMany(b, only("handshake", "change_cipher_spec", "application_data", "alert"), 1<<20, true)
			places := make([]uint32, 0, n)
			for i := range n {
				x.distinct(i)
				if x.open(i); i%250 == 0 {
					x.ticks(11 * time.Second)
				}
			}
			x.ticks(15 * time.Second)
			x.e.table.Walk(0, 1<<30, func(c *conntrack.Conn[flow]) { places = append(places, c.Place()) })
			rand.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !x.e.table.Rest(x.e.table.At(places[i%len(places)])) {
					b.Fatal("it stays")
				}
			}
		})
	}
}
