package engine

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"tlsgate/tlsrules/tlswire"
)

// TestKeyed: what shares a place in the memory of sessions, or of pins, under one seed
// does not under another. Who does not know the seed cannot choose what shares a place.
func TestKeyed(t *testing.T) {
	const places, wanted = 1 << 10, 64
	one, other := [16]byte{1}, [16]byte{2}
	sessions, elsewhere := NewSessions(places*sessionWays, one), NewSessions(places*sessionWays, other)
	key := func(n uint64) sessionKey {
		return serverOf(netip.MustParseAddrPort("192.0.2.1:443"), byTicket, tlswire.SessionKeyOf(binary.BigEndian.AppendUint64(nil, n)))
	}
	pins, apart := NewPins(places*4, one), NewPins(places*4, other)
	group := func(n uint64) groupKey { return groupKey{"rule", string(binary.BigEndian.AppendUint64(nil, n))} }
	for name, tt := range map[string]struct{ here, there func(n uint64) unsafe.Pointer }{
		"sessions": {func(n uint64) unsafe.Pointer { return unsafe.Pointer(sessions.set(key(n))) }, func(n uint64) unsafe.Pointer { return unsafe.Pointer(elsewhere.set(key(n))) }},
		"pins":     {func(n uint64) unsafe.Pointer { return unsafe.Pointer(pins.place(group(n))) }, func(n uint64) unsafe.Pointer { return unsafe.Pointer(apart.place(group(n))) }},
	} {
		var sharing []uint64
		for n := uint64(0); len(sharing) < wanted; n++ {
			if tt.here(n) == tt.here(0) {
				sharing = append(sharing, n)
			}
		}
		spread, most := map[unsafe.Pointer]int{}, 0
		for _, n := range sharing {
			spread[tt.there(n)]++
			most = max(most, spread[tt.there(n)])
		}
		// By chance two of 64 share one of 1024 places now and then, and six never do.
		if len(spread) < wanted*3/4 || most > 5 {
			t.Errorf("%s: %d that share a place share %d under another seed, %d of them one", name, wanted, len(spread), most)
		}
	}
}

// TestForgottenKeyed: connections that have each other taken for forgotten by one engine
// have not by another: its filter has a seed of its own.
func TestForgottenKeyed(t *testing.T) {
	const noted = 2000
	full := func() *forgotten {
		x := &forgotten{limit: noted / 2, lasts: forgottenAge} // half full and more, so that some are taken for others
		for n := range noted {
			x.note(sighted(n), lostStream, second)
		}
		return x
	}
	a, b := full(), full()
	taken, both := 0, 0
	for n := noted; n < noted+20_000; n++ {
		c := sighted(n)
		if a.has(c, lostStream, second) {
			taken++
			if b.has(c, lostStream, second) {
				both++
			}
		}
	}
	if taken == 0 || both*2 > taken {
		t.Errorf("%d are taken for others by one, and %d of these by another", taken, both)
	}
}

// sighted are the ends of the n-th of many connections.
func sighted(n int) [2]netip.AddrPort {
	return [2]netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), 40000),
		netip.MustParseAddrPort("203.0.113.10:443"),
	}
}
