package engine

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestCookie: what could begin another connection by a SYN cookie is dropped under its
// own name: before the server has shown that it has the connection, and once it is over.
// What it could not is not.
func TestCookie(t *testing.T) {
	good, evil := hellos(t)
	opened := func(k *link) { k.ack(original) }
	served := func(k *link) {
		if !k.data(original, 0, good) || !k.ack(reply) {
			t.Fatal("the permitted hello does not pass")
		}
	}
	reset := func(k *link) { served(k); k.rst(original) }
	answered := func(k *link) {
		served(k)
		k.data(reply, 0, recording(t, "tls13")[1].bytes[:len(good)])
		k.ack(original)
		k.rst(original)
	}
	ended := func(k *link) { served(k); k.close() }
	const minute = int64(60 * second)
	for _, tt := range []struct {
		what   string
		before func(k *link)
		at     int // the payload's offset
		ack    int // what it acknowledges
		wait   int64
		cookie bool
	}{
		{what: "one further on", at: 1, cookie: true},
		{what: "three further on", at: 3, cookie: true},
		{what: "four further on", at: 4},
		{what: "one further on, four minutes later", at: 1, before: opened, wait: 4*minute + 1},
		{what: "one further on, which the server has confirmed", before: served, at: 1},
		{what: "as at first, once it is reset", before: reset, cookie: true},
		{what: "as far on in both directions, once it is reset", before: answered, at: len(good), ack: len(good), cookie: true},
		{what: "as at first, once it has ended", before: ended, cookie: true},
		{what: "behind the hello, once it is reset", before: reset, at: len(good)},
	} {
		for _, observe := range []bool{false, true} {
			cfg := config()
			cfg.Default.Observe = observe
			l := newLab(t, cfg, named("api.bank.example"))
			k := l.link4()
			k.syn()
			k.synAck()
			if tt.before != nil {
				opened(k)
				tt.before(k)
			}
			l.now += tt.wait
			s := k.segment(original, tt.at, evil, packet.ACK|packet.PSH)
			s.ack = k.ends[1].iss + 1 + uint32(tt.ack)
			raw := s.append(nil)
			r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw)}, l.now)
			want := uint64(0)
			if tt.cookie && !observe {
				want = 1
			}
			if got := l.e.counts.Dropped[DropCookie]; got != want || want == 1 && r.Verdict != nfq.Drop {
				t.Errorf("%s, observing %v: %d dropped as SYN cookies, verdict %v", tt.what, observe, got, r.Verdict)
			}
		}
	}
}
