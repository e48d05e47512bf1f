package engine

import (
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestInvalidRST: an RST that the kernel's connection tracking does not know cannot clear
// its connection's mark, and does not pass where that says accepted. Any other does, and
// that of a connection that is read.
func TestInvalidRST(t *testing.T) {
	for _, flags := range []packet.Flags{packet.RST, packet.RST | packet.ACK, packet.RST | packet.URG, packet.RST | packet.FIN} {
		for _, decided := range []bool{false, true} {
			for _, untracked := range []bool{false, true} {
				l := newLab(t, config(), blocked("api.evil.example"))
				k := l.link4()
				if k.open(); decided {
					k.play(recording(t, "tls13"), strategies["mss"])
				}
				l.alter = func(p *nfq.Packet) {
					if untracked {
						p.Mark = l.marks.Untracked()
					}
				}
				passed := k.raw(k.segment(original, 0, nil, flags))
				want := !(decided && untracked)
				if !decided && flags.Has(packet.FIN) {
					want = false // as ever
				}
				if passed != want {
					t.Errorf("flags %06b, decided %v, untracked %v: passed %v", flags, decided, untracked, passed)
				}
			}
		}
	}
}

// TestInvalidRSTElsewhere: nothing else is dropped for that: what no RST is, what is only
// observed, and what comes where no rules of ours read the mark.
func TestInvalidRSTElsewhere(t *testing.T) {
	for name, tt := range map[string]struct {
		flags  packet.Flags
		change func(*Config)
	}{
		"an acknowledgement": {packet.ACK, func(*Config) {}},
		"observed":           {packet.RST, func(c *Config) { c.Default.Observe = true }},
		"without marks":      {packet.RST, func(c *Config) { c.Marks = nfq.Marks{} }},
	} {
		cfg := config()
		tt.change(&cfg)
		l := newLab(t, cfg, blocked("api.evil.example"))
		k := l.link4()
		k.play(recording(t, "tls13"), strategies["mss"])
		if f := &k.conn().Value; f.phase != decided {
			t.Fatalf("%s: it is not decided", name)
		}
		l.alter = func(p *nfq.Packet) { p.Mark = config().Marks.Untracked() }
		if l.marks.Mask() == 0 {
			l.alter = func(p *nfq.Packet) { p.Mark = 0 }
		}
		k.unkernelled = true
		if !k.raw(k.segment(original, 0, nil, tt.flags)) {
			t.Errorf("%s: it does not pass", name)
		}
	}
}

// TestUntracked: what ends a connection that was left to the kernel, and is none of it to
// the kernel's connection tracking, has its mark cleared by packets of ours. The FIN
// passes; where it says no end, or no cookie is good any more, nothing is sent, nor to
// whom is only observed. However often it comes again, it is two packets.
func TestUntracked(t *testing.T) {
	for _, tt := range []struct {
		name    string
		flags   packet.Flags
		d       conntrack.Direction
		late    bool
		passes  bool
		clears  int
		observe bool
	}{
		{"a FIN of the server", packet.FIN | packet.ACK, reply, false, true, 2, false},
		{"an RST of the server", packet.RST | packet.ACK, reply, false, false, 2, false},
		{"an RST of the client", packet.RST, original, false, false, 2, false},
		{"a FIN of the client", packet.FIN | packet.ACK, original, false, true, 0, false},
		{"a FIN of the server, minutes later", packet.FIN | packet.ACK, reply, true, true, 0, false},
		{"a FIN of the server, observed", packet.FIN | packet.ACK, reply, false, true, 0, true},
	} {
		sent := 0
		cfg := config()
		cfg.Default.Observe = tt.observe
		l := newLab(t, cfg, blocked("api.evil.example"))
		l.e.cfg.Clear = func(ip []byte, ifindex uint32) error {
			sent++
			return l.refused(ip, ifindex)
		}
		k := l.link4()
		k.play(recording(t, "tls13"), strategies["mss"])
		if k.mark != l.e.accepts() {
			t.Fatalf("%s: mark %#x", tt.name, k.mark)
		}
		if tt.late {
			l.now += conntrack.CookieAge
		}
		l.alter = func(p *nfq.Packet) { p.Mark = foreign | l.marks.Untracked() }
		s := k.segment(tt.d, len(k.ends[tt.d.Other()].got), nil, tt.flags)
		for range 3 {
			if passed := k.raw(s); passed != tt.passes || sent != tt.clears {
				t.Errorf("%s: passed %v, %d packets of ours", tt.name, passed, sent)
			}
		}
	}
}
