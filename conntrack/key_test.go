package conntrack

import (
	"net/netip"
	"testing"

	"tlsgate/conntrack/packet"
)

// TestKey: a packet's key is the same read from its header, in either direction, and
// made of its addresses; it tells who is at which end, and IPv4 from what is mapped
// into IPv6.
func TestKey(t *testing.T) {
	type ends struct{ a, b string }
	seen := map[key]ends{}
	for _, e := range []ends{
		{"192.0.2.1:40000", "198.51.100.2:443"},
		{"192.0.2.1:443", "198.51.100.2:40000"},
		{"192.0.2.1:40000", "192.0.2.1:443"},
		{"192.0.2.1:443", "192.0.2.1:443"},
		{"255.255.255.255:1", "0.0.0.0:65535"},
		{"[2001:db8::1]:40000", "[2001:db8::2]:443"},
		{"[2001:db8:1::]:40000", "[2001:db8::ffff:1]:443"},
		{"[2001:db8::1]:40000", "[2001:db8::1]:443"},
		{"[::ffff:192.0.2.1]:40000", "[::ffff:198.51.100.2]:443"},
		{"[::]:1", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:2"},
	} {
		from, to := netip.MustParseAddrPort(e.a), netip.MustParseAddrPort(e.b)
		want, _ := keyOf(from, to)
		if other, taken := seen[want]; taken {
			t.Errorf("%v and %v have one key", e, other)
		}
		seen[want] = e
		for range 2 {
			g := packet.Segment{Src: from.Addr(), SrcPort: from.Port(), Dst: to.Addr(), DstPort: to.Port(), Flags: packet.ACK}
			var p packet.Parsed
			if st := packet.Decode(g.Append(nil), &p); st != packet.OK {
				t.Fatal(e, st)
			}
			var k key
			sender := k.take(&p)
			if !k.same(&want) || k != want {
				t.Errorf("%s to %s: %+v, want %+v", from, to, k, want)
			}
			if k.end(sender) != from || k.end(1-sender) != to {
				t.Errorf("%s to %s: from %s to %s", from, to, k.end(sender), k.end(1-sender))
			}
			from, to = to, from
		}
	}
	for _, other := range []key{{loHigh: 1}, {loLow: 1}, {hiHigh: 1}, {hiLow: 1}, {ports: 1}, {family: 1}} {
		if other.same(&key{}) {
			t.Errorf("%+v is taken for the zero key", other)
		}
	}
}
