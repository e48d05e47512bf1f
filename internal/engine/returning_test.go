package engine

import (
	"testing"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestReturningInvalidRST: an RST that the kernel's connection tracking does not know
// cannot clear the mark, and does not pass, of a decided connection that had to make room,
// nor where what one is may have been decided by a run before this one.
func TestReturningInvalidRST(t *testing.T) {
	for _, tt := range []struct {
		what   string
		known  bool
		later  int64
		passes bool
	}{
		{what: "of one that made room", known: true},
		{what: "of another, soon after the start"},
		{what: "of another", later: 300 * second, passes: true},
	} {
		cfg := config()
		cfg.Limits.Connections = 64
		l := newLab(t, cfg, blocked("api.evil.example"))
		k, other := l.link4(), l.link4()
		k.play(recording(t, "tls13"), strategies["mss"])
		l.now += 11*second + tt.later
		for range 64 {
			l.link4().open()
		}
		l.alter = func(p *nfq.Packet) { p.Mark = foreign | l.marks.Untracked() }
		if !tt.known {
			k = other
		}
		if passed := k.raw(k.segment(original, 0, nil, packet.RST)); passed != tt.passes {
			t.Errorf("%s: passed %v", tt.what, passed)
		}
	}
}

// TestReturningRefused: one that was refused between two packets, and had to make room
// before it came by again, has no mark: while a SYN cookie of it may be good it is known.
func TestReturningRefused(t *testing.T) {
	for _, later := range []int64{0, 600 * second} {
		cfg := config()
		cfg.Limits.Connections, cfg.Limits.Decide = 64, 10*time.Second
		l := newLab(t, cfg, blocked("api.evil.example"))
		k := l.link4()
		k.open()
		k.data(original, 0, recording(t, "tls13")[0].bytes[:40])
		for range 12 {
			l.now += second
			l.e.Tick(l.now)
		}
		k.rst(original)
		k.rst(reply)
		if c := k.conn(); c.Value.phase != refused || !c.Value.barred || k.mark != 0 {
			t.Fatalf("phase %d, barred %v, mark %#x", c.Value.phase, c.Value.barred, k.mark)
		}
		for range 64 {
			l.link4().open()
		}
		l.now += 11*second + later
		if passed := k.data(original, 0, []byte("text")); passed != (later > 0) {
			t.Errorf("%d s later: passed %v", later/second, passed)
		}
	}
}

// TestAfterwards: what an earlier run has accepted says nothing any more once it is over,
// while a SYN cookie of it may be good, and its mark is gone with it.
func TestAfterwards(t *testing.T) {
	turns := recording(t, "tls13")
	fin := func(k *link, d conntrack.Direction) {
		k.raw(k.segment(d, len(k.ends[d.Other()].got), nil, packet.FIN|packet.ACK))
		s := k.segment(d.Other(), len(k.ends[d].got), nil, packet.ACK)
		s.ack++
		k.raw(s)
	}
	for _, offload := range []bool{false, true} {
		for _, tt := range []struct {
			what         string
			later        int64 // than the start of this run
			end          func(k *link)
			passes, mark bool
		}{
			{what: "goes on", end: func(*link) {}, passes: true, mark: true},
			{what: "is reset", end: func(k *link) { k.rst(original) }},
			{what: "is reset by its server", end: func(k *link) { k.rst(reply) }},
			{what: "ends", end: (*link).close},
			{what: "ends for the client", end: func(k *link) { fin(k, original) }, passes: true, mark: true},
			{what: "ends for the server", end: func(k *link) { fin(k, reply) }, passes: true},
			{what: "is reset, being old", later: 300 * second, end: func(k *link) { k.rst(original) }, passes: true, mark: true},
		} {
			cfg := config()
			cfg.Offload, cfg.Default.Midstream = offload, MidstreamReset
			l := newLab(t, cfg, blocked("api.evil.example"))
			k := l.link4()
			k.play(turns, strategies["mss"])
			l.e.Close(l.now)
			l.e = New(l.e.cfg, blocked("api.evil.example"))
			l.e.Tick(l.now)
			k.ack(original)
			l.now += tt.later
			tt.end(k)
			if has := k.mark == l.marks.Accepted(l.e.cfg.Generation); has != tt.mark {
				t.Errorf("who %s, offload %v: mark %#x", tt.what, offload, k.mark)
			}
			acked := k.ack(original) // a server that answers SYNs by cookies needs no more
			if passed := k.data(original, 0, []byte("text")); passed != tt.passes || acked != passed {
				t.Errorf("who %s, offload %v: passed %v, an acknowledgement %v", tt.what, offload, passed, acked)
			}
		}
	}
}

// TestAfterwardsOld: the last octets of what an earlier run has accepted, and its server's
// FIN, pass again, for their acknowledgement may have been lost, once no cookie can be good
// that is older than this run.
func TestAfterwardsOld(t *testing.T) {
	for _, offload := range []bool{false, true} {
		for _, old := range []bool{false, true} {
			cfg := config()
			cfg.Offload = offload
			l := newLab(t, cfg, blocked("api.evil.example"))
			k := l.link4()
			k.play(recording(t, "tls13"), strategies["mss"])
			l.e.Close(l.now)
			l.e = New(l.e.cfg, blocked("api.evil.example"))
			l.e.Tick(l.now)
			if old {
				l.now += 300 * second
			}
			k.close()
			k.ack(original)
			s := k.segment(reply, len(k.ends[original].got)-10, make([]byte, 10), packet.FIN|packet.ACK)
			if passed := k.raw(s); passed != old {
				t.Errorf("offload %v, old %v: passed %v", offload, old, passed)
			}
		}
	}
}

// TestEndsUnknown: a FIN that the kernel's connection tracking takes for none of a
// connection that began before this run does not pass, however often it comes, while a SYN
// cookie of that may be good: the mark may say accepted.
func TestEndsUnknown(t *testing.T) {
	for _, tt := range []struct {
		name   string
		known  bool // this run has seen it
		later  int64
		change func(*Config)
		passes bool
	}{
		{name: "soon after the start", change: func(*Config) {}},
		{name: "soon after the start, refused for that", change: func(c *Config) { c.Default.Midstream = MidstreamReset }},
		{name: "minutes later", later: 300 * second, change: func(*Config) {}, passes: true},
		{name: "observed", change: func(c *Config) { c.Default.Observe = true }, passes: true},
		{name: "known", known: true, change: func(*Config) {}, passes: true},
	} {
		for _, d := range []conntrack.Direction{original, reply} {
			cfg := config()
			tt.change(&cfg)
			l := newLab(t, cfg, blocked("api.evil.example"))
			k := l.link4()
			k.play(recording(t, "tls13"), strategies["mss"])
			if !tt.known {
				l.e.Close(l.now)
				l.e = New(l.e.cfg, blocked("api.evil.example"))
				l.e.Tick(l.now)
			}
			l.now += tt.later
			l.alter = func(p *nfq.Packet) { p.Mark = foreign | l.marks.Untracked() }
			s := k.segment(d, len(k.ends[d.Other()].got), nil, packet.FIN|packet.ACK)
			for range 3 {
				if passed := k.raw(s); passed != tt.passes {
					t.Errorf("%s, direction %v: passed %v", tt.name, d, passed)
				}
			}
		}
	}
}

// TestHalfClosedRestart: whose server has said its FIN in the first minutes has no mark any
// more: to the next run it began unseen, and midstream says what becomes of it. Later than
// that it goes on.
func TestHalfClosedRestart(t *testing.T) {
	for _, mode := range []Midstream{MidstreamAccept, MidstreamInspect, MidstreamReset} {
		for _, old := range []bool{false, true} {
			cfg := config()
			cfg.Default.Midstream = mode
			l := newLab(t, cfg, blocked("api.evil.example"))
			k := l.link4()
			k.play(recording(t, "tls13"), strategies["mss"])
			if old {
				l.now += 300 * second
			}
			k.raw(k.segment(reply, len(k.ends[original].got), nil, packet.FIN|packet.ACK))
			l.e.Close(l.now)
			l.e = New(l.e.cfg, blocked("api.evil.example"))
			l.e.Tick(l.now)
			if passed := k.data(original, 0, []byte("text")); passed != (old || mode != MidstreamReset) {
				t.Errorf("midstream %v, old %v: passed %v", mode, old, passed)
			}
		}
	}
}

// TestAfterwardsReused: whose client's end got lost answers a SYN on the ports by an
// acknowledgement, which has the client reset it: that passes, or no other connection could
// begin there while the first one is over to us. The client's own does not.
func TestAfterwardsReused(t *testing.T) {
	for _, offload := range []bool{false, true} {
		for name, end := range map[string]func(*link){
			"reset": func(k *link) { k.rst(original) },
			"ended": (*link).close,
		} {
			cfg := config()
			cfg.Offload, cfg.Default.Midstream = offload, MidstreamReset
			l := newLab(t, cfg, blocked("api.evil.example"))
			k := l.link4()
			k.play(recording(t, "tls13"), strategies["mss"])
			l.e.Close(l.now)
			l.e = New(l.e.cfg, blocked("api.evil.example"))
			l.e.Tick(l.now)
			k.ack(original)
			end(k)
			l.now += second
			ack := k.segment(reply, len(k.ends[original].got), nil, packet.ACK)
			syn := k.segment(original, 1<<20, nil, packet.SYN)
			syn.ack = 0
			own := k.segment(original, 0, nil, packet.ACK)
			c := k.conn() // none where the RST was the first of it that came by
			if k.raw(syn); !k.raw(ack) || c != nil && k.raw(own) {
				t.Errorf("%s, offload %v: what answers does not pass, or what does not does", name, offload)
			}
		}
	}
}
