package engine

import (
	"strings"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// TestTableFullTold: who finds no room is told of, and a flood of such is one event a
// second.
func TestTableFullTold(t *testing.T) {
	for _, tt := range []struct {
		name     string
		overload tlsrules.Action
		observe  bool
		told     bool
	}{
		{"drop", tlsrules.Drop, false, true},
		{"reset", tlsrules.Reset, false, true},
		{"accept", tlsrules.Accept, false, false},
		{"observe", tlsrules.Drop, true, true},
	} {
		cfg := config()
		cfg.Overload, cfg.Default.Observe = tt.overload, tt.observe
		cfg.Limits.Connections = 3
		cfg.Interface = func(i uint32) string { return string(rune('a' + i)) }
		l := newLab(t, cfg, named("api.bank.example"))
		for range 3 {
			l.link4().open()
		}
		const flood = 5000 // in five milliseconds
		var links []*link
		for range flood {
			k := l.link6()
			k.syn()
			links = append(links, k)
		}
		l.now += untrackedEvery
		k := l.link4()
		k.syn()
		if !tt.told {
			if len(l.sink.drop) != 0 {
				t.Errorf("%s: told %+v", tt.name, l.sink.drop)
			}
			continue
		}
		if len(l.sink.drop) != 2 {
			t.Fatalf("%s: %d drop events", tt.name, len(l.sink.drop))
		}
		first, second := l.sink.drop[0], l.sink.drop[1]
		d := first.Decision
		if first.Original != links[0].ends[0].addr || first.Reply != links[0].ends[1].addr || first.ID != 0 || first.Packet != 1 || first.InInterface != "b" ||
			d.Action != tt.overload || d.Reason != tlsrules.ReasonLimitConnections || d.Observed != tt.observe || !d.Decided || !d.Final || d.Index != -1 || strings.Contains(first.Detail, "other packets") {
			t.Errorf("%s: told %+v", tt.name, first)
		}
		if second.Original != k.ends[0].addr || !strings.HasSuffix(second.Detail, "; so were 4999 other packets since the last one that an event told of") {
			t.Errorf("%s: then %q of %s", tt.name, second.Detail, second.Original)
		}
		if got := l.e.counts.TableFull; got != flood+1 || l.e.counts.Refused != 0 {
			t.Errorf("%s: %d counted, %d refused", tt.name, got, l.e.counts.Refused)
		}
	}
}

// TestMultipathLateTold: Multipath TCP that begins with the third packet is refused, and
// the log says so, with the connection that it is of.
func TestMultipathLateTold(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.syn()
	k.synAck()
	cfg := l.e.cfg
	cfg.MPTCP = MPTCPRefuse // by a reload
	l.e.adopt(cfg, l.e.policy)
	third := k.segment(original, 0, nil, packet.ACK)
	third.options = append([]byte{30, 20, 1, 1}, make([]byte, 16)...)
	for range 3 {
		if k.raw(third) {
			t.Error("it passes")
		}
	}
	if len(l.sink.drop) != 1 || l.e.counts.Dropped[DropMPTCP] != 3 || !k.ends[0].closed {
		t.Fatalf("%d drop events, %d dropped, client reset %v", len(l.sink.drop), l.e.counts.Dropped[DropMPTCP], k.ends[0].closed)
	}
	d := l.sink.drop[0]
	if d.ID == 0 || d.Packet != 3 || d.Original != k.ends[0].addr || d.Decision.Action != tlsrules.Reset || d.Decision.Reason != tlsrules.ReasonMPTCP || d.Detail != multipathLateText {
		t.Errorf("told %+v", d)
	}
	// A SYN on its ports is of another one.
	l.now += untrackedEvery
	syn := k.segment(original, -1, nil, packet.SYN)
	syn.ack, syn.seq, syn.options = 0, 900_000, []byte{2, 4, 5, 180, 30, 4, 1, 1}
	if k.raw(syn) || len(l.sink.drop) != 2 || l.sink.drop[1].ID != 0 || l.sink.drop[1].Packet != 1 {
		t.Errorf("a SYN on its ports: %+v", l.sink.drop)
	}
}

// TestUntrackedUntold: what was told already is not told again, what the server sends is
// told as of its connection, and who tells nobody tells nothing.
func TestUntrackedUntold(t *testing.T) {
	for name, tt := range map[string]struct {
		refused, server, nobody bool
		told                    int
	}{
		"of the client":    {told: 1},
		"of the server":    {server: true, told: 1},
		"of a refused one": {refused: true},
		"to nobody":        {nobody: true},
	} {
		l := newLab(t, config(), policy(acceptAll))
		k := l.link4()
		k.open()
		cfg := l.e.cfg
		cfg.MPTCP = MPTCPRefuse
		p := l.e.policy
		if tt.refused {
			p = policy(acceptAll, rule("no", tlsrules.Reset, "source", "192.0.2.0/24"))
		}
		l.e.adopt(cfg, p)
		l.around()
		l.sink.drop = nil
		if tt.nobody {
			l.e.cfg.Sink = nil
		}
		d := original
		if tt.server {
			d = reply
		}
		s := k.segment(d, 0, nil, packet.ACK)
		s.options = append([]byte{30, 20, 1, 1}, make([]byte, 16)...)
		if k.unkernelled = true; k.raw(s) || len(l.sink.drop) != tt.told {
			t.Errorf("%s: %d drop events", name, len(l.sink.drop))
		}
		for _, r := range l.sink.drop {
			if r.ID == 0 || r.Original != k.ends[0].addr || r.Reply != k.ends[1].addr {
				t.Errorf("%s: told %+v", name, r)
			}
		}
	}
}
