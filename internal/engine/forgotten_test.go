package engine

import (
	"net/netip"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// TestForgotten: what speaks when its entry is gone is refused, unless it was
// decided, was over, or has not been silent for so long that nobody waits for it.
func TestForgotten(t *testing.T) {
	_, evil := hellos(t)
	turns := recording(t, "tls13")
	reset := func(k *link) { k.decoy(k.segment(original, 0, nil, packet.RST)) }
	// half is refused when its time is up: no packet of it says so to the kernel.
	half := func(k *link, a tlsrules.Action) {
		k.lab.e.cfg.Default.Undecided = a
		k.open()
		k.data(original, 0, evil[:40])
		k.lab.now += 31 * second
		k.lab.e.Tick(k.lab.now)
	}
	for name, tt := range map[string]struct {
		before  func(k *link)
		silence time.Duration
		refused bool
	}{
		"opened and reset":           {func(k *link) { k.open(); reset(k) }, 2 * time.Minute, true},
		"reset, for half a day":      {func(k *link) { k.open(); reset(k) }, 12 * time.Hour, true},
		"reset, for more than a day": {func(k *link) { k.open(); reset(k) }, 25 * time.Hour, false},
		"not answered":               {func(k *link) { k.syn() }, 3 * time.Minute, false},
		"answered":                   {func(k *link) { k.syn(); k.synAck() }, 2 * time.Minute, true},
		"closed":                     {func(k *link) { k.open(); k.close() }, 3 * time.Minute, false},
		"decided": {func(k *link) {
			k.play(turns, strategies["mss"])
			k.ends[0].got, k.ends[1].got = nil, nil
			k.mark = 0
		}, 6 * 24 * time.Hour, false},
		"refused in silence":              {func(k *link) { half(k, tlsrules.Drop) }, 5*24*time.Hour + time.Hour, true},
		"refused in silence, and known":   {func(k *link) { half(k, tlsrules.Drop); k.next(original, evil[40:50]); k.mark = 0 }, 5*24*time.Hour + time.Hour, false},
		"reset, and nobody has heard it":  {func(k *link) { k.deaf = [2]int{99, 99}; half(k, tlsrules.Reset); k.wait(3 * second) }, 3 * time.Minute, true},
		"reset, and both have heard it":   {func(k *link) { half(k, tlsrules.Reset); k.wait(3 * second) }, 3 * time.Minute, false},
		"reset, and one has not heard it": {func(k *link) { k.deaf[1] = 99; half(k, tlsrules.Reset); k.wait(3 * second) }, 3 * time.Minute, true},
		"another's entry":                 {func(k *link) { o := k.lab.link4(); o.open(); reset(o) }, 2 * time.Minute, false},
	} {
		for _, d := range []bool{false, true} {
			l := newLab(t, config(), blocked("api.evil.example"))
			k := l.link4()
			tt.before(k)
			for step := range int64(100) {
				l.e.Tick(l.now + (step+1)*int64(tt.silence)/100)
			}
			l.now += int64(tt.silence) + second
			l.sink.drop = nil
			if d {
				k.ack(reply) // the server's may come first
			}
			passed := k.data(original, 0, append([]byte("text"), evil...))
			was := len(l.sink.drop) == 1 && l.sink.drop[0].Decision.Reason == tlsrules.ReasonForgotten
			if was != tt.refused || passed == tt.refused {
				t.Errorf("%s: forgotten %v, passed %v, drop events %+v", name, was, passed, l.sink.drop)
			}
			if (l.e.counts.Forgotten == 1) != tt.refused {
				t.Errorf("%s: %d counted", name, l.e.counts.Forgotten)
			}
		}
	}
}

// TestForgottenBounded: however many are noted, memory stays, and nobody makes
// one forgotten by them.
func TestForgottenBounded(t *testing.T) {
	cfg := config()
	cfg.Limits.Connections = 64
	l := newLab(t, cfg, blocked("api.evil.example"))
	first := l.link4()
	first.open()
	for range 20 {
		l.now += 11 * second
		for range 64 {
			l.link4().open()
		}
	}
	if n := len(l.e.forgotten.bits[0]); n != l.e.forgotten.limit*forgottenBits/64 || l.e.forgotten.bits[1] != nil {
		t.Errorf("%d words of this age, %d of the one before", n, len(l.e.forgotten.bits[1]))
	}
	l.now += 11 * second
	if first.data(original, 0, []byte("text")) || l.e.counts.Forgotten != 1 {
		t.Errorf("the first one is not known any more")
	}
}

// TestForgottenDecided: a decided connection that had to make room is what its mark says,
// until an RST ends it while a SYN cookie of it may be good: on its numbers a server may
// begin another by that, of which text is not to hide a hello. It is known for as long,
// and apart from those that left unread, or a busy table would have everyone taken for one.
func TestForgottenDecided(t *testing.T) {
	for _, tt := range []struct {
		what         string
		end          bool
		old, later   int64 // before it makes room; after its RST
		mark, passes bool
	}{
		{what: "goes on", mark: true, passes: true},
		{what: "is reset", end: true},
		{what: "is reset, and another begins ten minutes later", end: true, later: 600 * second, passes: true},
		{what: "goes on, being old", old: 300 * second, mark: true, passes: true},
		{what: "has an RST of anybody's, being old", old: 300 * second, end: true, mark: true, passes: true},
	} {
		cfg := config()
		cfg.Limits.Connections = 64
		l := newLab(t, cfg, blocked("api.evil.example"))
		k := l.link4()
		k.play(recording(t, "tls13"), strategies["mss"])
		if k.mark != l.marks.Accepted(5) {
			t.Fatalf("mark %#x", k.mark)
		}
		l.now += 11*second + tt.old
		for range 64 {
			l.link4().open()
		}
		if tt.end {
			k.decoy(k.segment(original, 0, nil, packet.RST))
		}
		l.now += 11*second + tt.later // another's place can be had
		if has := k.mark == l.marks.Accepted(5); has != tt.mark {
			t.Errorf("who %s: mark %#x", tt.what, k.mark)
		}
		if passed := k.data(original, 0, []byte("text")); passed != tt.passes {
			t.Errorf("who %s: passed %v", tt.what, passed)
		}
		if l.e.forgotten.has([2]netip.AddrPort{k.ends[0].addr, k.ends[1].addr}, lostStream, l.now) {
			t.Errorf("who %s: is known for half a day", tt.what)
		}
	}
}

// someEnds are those of the i-th of many connections, of which every other one is by IPv6.
func someEnds(i int) (ends [2]netip.AddrPort) {
	for d, a := range [][2]string{{"192.0.2.1", "2001:db8::1"}, {"198.51.100.2", "2001:db8:1::2"}} {
		ends[d] = netip.AddrPortFrom(netip.MustParseAddr(a[i%2]), uint16(443+d*(1000+i/2%60000)))
	}
	return ends
}

// TestForgottenLasts: who is noted is known for as long as that lasts, from either end,
// and whatever is noted meanwhile; afterwards nothing is kept of him.
func TestForgottenLasts(t *testing.T) {
	const lasts, begins = 100, 1_700_000_000 * second
	for _, noted := range []int64{0, 1, 50, 99} { // in its age
		x := forgotten{lasts: lasts}
		x.bound(0)
		start := begins + noted
		knows := func(ends [2]netip.AddrPort, what sight, at int64, want bool) {
			if got := x.has(ends, what, at); got != want {
				t.Errorf("noted at %d of an age: %v, of %v at %d: %v", noted, ends, what, at-start, got)
			}
		}
		knows(someEnds(0), lostStream, begins, false)
		x.note(someEnds(1), lostStream, begins)
		x.note(someEnds(0), lostStream, start)
		a := someEnds(0)
		for at := start; at <= start+lasts; at += 10 {
			x.note(someEnds(3), lostStream, at-3) // a clock may step back a little
			knows(a, lostStream, at, true)
			knows([2]netip.AddrPort{a[1], a[0]}, lostStream, at, true)
			knows(a, lostSYN, at, false)
			knows(someEnds(2), lostStream, at, false)
			for d := range a {
				other := a
				other[d] = netip.AddrPortFrom(a[d].Addr(), 1)
				knows(other, lostStream, at, false)
				knows([2]netip.AddrPort{a[d], a[d]}, lostStream, at, false)
			}
		}
		knows(a, lostStream, start+2*lasts, false)
		if knows(someEnds(3), lostStream, start+10*lasts, false); x.bits[0] != nil || x.bits[1] != nil {
			t.Errorf("noted at %d of an age: it keeps memory", noted)
		}
	}
	x := forgotten{lasts: lasts} // nobody else is noted in the age that follows
	x.note(someEnds(0), lostStream, begins)
	if !x.has(someEnds(0), lostStream, begins+lasts) || x.bits[0] != nil {
		t.Error("alone it is not known in the age that follows")
	}
}

// TestForgottenGrows: a reload may allow more connections than there is room for. Who was
// known before stays known, and strangers are not taken for one.
func TestForgottenGrows(t *testing.T) {
	const before, after = 1000, 100_000
	cfg := config()
	cfg.Limits.Connections = before
	l := newLab(t, cfg, policy(acceptAll))
	for _, x := range []*forgotten{&l.e.forgotten, &l.e.returning} {
		for i := range before {
			if i == before/2 {
				l.now += x.lasts // half of them in the age before
			}
			x.note(someEnds(i), lostStream, l.now)
		}
	}
	now := l.now
	for _, connections := range []int{after, before, after + 1} {
		cfg = l.e.cfg
		cfg.Limits.Connections = connections
		l.e.adopt(cfg, l.e.policy)
	}
	for name, x := range map[string]*forgotten{"forgotten": &l.e.forgotten, "returning": &l.e.returning} {
		now := now
		if name == "forgotten" {
			now -= l.e.returning.lasts
		}
		for i := range after / 2 {
			x.note(someEnds(before+i), lostStream, now)
		}
		known, strangers := 0, 0
		for i := range before {
			if x.has(someEnds(i), lostStream, now) {
				known++
			}
			if x.has(someEnds(i), lostSYN, now) {
				strangers++
			}
		}
		if known != before || strangers > before/50 {
			t.Errorf("%s: of %d it knows %d, and of as many strangers %d", name, before, known, strangers)
		}
	}
}

// TestForgottenNot: what leaves nothing behind that is to be known for half a day.
func TestForgottenNot(t *testing.T) {
	for name, leave := range map[string]func(k *link){
		"its ports are used again": func(k *link) { k.open(); k.again(900_000, 800_000); k.open() },
		"the engine was closed":    func(k *link) { k.open(); k.lab.e.Close(k.lab.now) },
		"heard from one end":       func(k *link) { k.data(original, 0, make([]byte, 9)) },
	} {
		l := newLab(t, config(), blocked("api.evil.example"))
		k := l.link4()
		leave(k)
		ends := [2]netip.AddrPort{k.ends[0].addr, k.ends[1].addr}
		if name == "heard from one end" { // nothing was said on a SYN
			l.now += 6 * 24 * 3600 * second
			for l.e.table.Len() > 0 {
				l.e.Tick(l.now)
			}
		} else if l.e.forgotten.has(ends, lostStream, l.now) {
			t.Errorf("%s: it is known", name)
		}
		if l.e.forgotten.has(ends, lostSYN, l.now) {
			t.Errorf("%s: it is known to have said something on its SYN", name)
		}
	}
}

// TestForgottenSYN: of data on a SYN that nobody answered in time an answer may come
// later, which says where the stream begins but not what was in it.
func TestForgottenSYN(t *testing.T) {
	_, evil := hellos(t)
	for _, n := range []int{0, 40} {
		for _, answer := range []bool{false, true} {
			l := newLab(t, config(), blocked("api.evil.example"))
			k := l.link4()
			s := k.segment(original, -1, evil[:n], packet.SYN)
			s.ack = 0
			k.raw(s)
			l.now += 180 * second
			l.e.Tick(l.now)
			if l.e.table.Len() != 0 {
				t.Fatal("it is still there")
			}
			if k.mark = 0; answer {
				a := k.segment(reply, -1, nil, packet.SYN|packet.ACK)
				a.ack = k.ends[0].iss + 1 + uint32(n)
				k.raw(a)
			} else {
				k.data(original, n, evil[n:])
			}
			if got, want := l.e.counts.Forgotten, uint64(n/40); got != want {
				t.Errorf("%d octets on the SYN, answered %v: %d are forgotten, want %d", n, answer, got, want)
			}
		}
	}
}

// TestForgottenClosed: one that both ends have closed makes room for others while a SYN
// cookie of it may be good.
func TestForgottenClosed(t *testing.T) {
	for _, later := range []int64{0, 600 * second} {
		cfg := config()
		cfg.Limits.Connections = 64
		l := newLab(t, cfg, blocked("api.evil.example"))
		k := l.link4()
		k.open()
		k.close()
		l.now += 11 * second
		for range 64 {
			l.link4().open()
		}
		l.now += 11*second + later
		if k.mark = 0; k.data(original, 0, []byte("text")) != (later > 0) {
			t.Errorf("%d seconds later: passed %v", later/second, later == 0)
		}
	}
}
