package engine

import (
	"bytes"
	"testing"
	"time"

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
		k.data(reply, 0, streams(recording(t, "tls13"))[1][:len(good)])
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

// TestFromStart: a client whose first segments hold an octet each need not wait for its
// server, and whatever the server begins with, it begins with the first octet. What cannot
// say the octets before it is dropped, and comes again.
func TestFromStart(t *testing.T) {
	good, evil := hellos(t)
	for _, hello := range [][]byte{good, evil} {
		for _, v6 := range []bool{false, true} {
			l := newLab(t, config(), named("api.bank.example"))
			k := l.link4()
			if v6 {
				k = l.link6()
			}
			k.open()
			var first uint32
			l.replacedBy = func(p *packet.Parsed) { first = uint32(p.Seq) - k.ends[0].iss - 1 }
			for at := range 4 {
				if first = uint32(at); !k.data(original, at, hello[at:at+1]) || first != 0 {
					t.Errorf("octet %d: begins at %d", at, first)
				}
			}
			if first = 4; k.data(original, 4, hello[4:]) != bytes.Equal(hello, good) || first != 4 {
				t.Errorf("the rest: begins at %d; passes %v", first, !bytes.Equal(hello, good))
			}
		}
	}
	for _, tt := range []struct {
		what   string
		change func(s *segment, p *nfq.Packet)
	}{
		{"as large as any", func(s *segment, _ *nfq.Packet) { s.payload = good[1:] }},
		{"without what is before it", nil},
		{"several segments", func(_ *segment, p *nfq.Packet) { p.GSO = true }},
		{"too large for every path", func(s *segment, _ *nfq.Packet) { s.payload = make([]byte, 536) }},
		{"without data", func(s *segment, _ *nfq.Packet) { s.payload = nil }},
		{"signed", func(s *segment, _ *nfq.Packet) { s.options = append([]byte{19, 18}, make([]byte, 18)...) }},
	} {
		l := newLab(t, config(), named("api.bank.example"))
		k := l.link4()
		k.open()
		if tt.change != nil {
			k.data(original, 0, good[:1])
		}
		s := k.segment(original, 1, good[1:3], packet.ACK)
		p := nfq.Packet{}
		if tt.change != nil {
			tt.change(&s, &p)
		}
		p.Payload = s.append(nil)
		p.InDev, p.OutDev = inside(p.Payload), 3-inside(p.Payload)
		r := l.e.Packet(&p, l.now)
		if passes := tt.what == "as large as any"; (r.Verdict != nfq.Drop) != passes || (l.e.counts.Dropped[DropCookie] == 0) != passes {
			t.Errorf("%s: %v, %d dropped", tt.what, r.Verdict, l.e.counts.Dropped[DropCookie])
		}
	}
}

// TestCookieRefused: what carries a refusal into the kernel does so, though it could begin
// another connection too.
func TestCookieRefused(t *testing.T) {
	cfg := config()
	cfg.Limits.Decide = 10 * time.Second
	l := newLab(t, cfg, blocked("api.evil.example"))
	k := l.link4()
	k.syn()
	k.synAck()
	k.ack(original)
	k.data(original, 50, make([]byte, 10)) // which the server does not acknowledge
	for range 12 {
		l.now += second
		l.e.Tick(l.now)
	}
	if k.data(original, 1, make([]byte, 10)) || k.mark != l.marks.Refused() {
		t.Errorf("mark %#x", k.mark)
	}
}
