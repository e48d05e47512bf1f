package engine

import (
	"fmt"
	"testing"
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
)

func (k *link) conn() *conntrack.Conn[flow] {
	return k.lab.e.table.Between(k.ends[0].addr, k.ends[1].addr)
}

// gateTold tells of the only gate that a connection is under.
func (k *link) gateTold(t *testing.T, what string, id uint64) GateStory {
	t.Helper()
	s := k.why(t, id)
	list := s.Gates()
	if len(list) != 1 || list[0].Rule != "quarantine" || list[0].Hold == nil {
		t.Fatalf("%s: %+v", what, list)
	}
	return list[0]
}

// TestStoryHold: a story tells what waits, since when, and what has let it go.
func TestStoryHold(t *testing.T) {
	for name, tt := range map[string]struct {
		hold tlsrules.Hold
		do   func(l *lab, k *link)
		by   LetBy
		open bool
	}{
		"for it alone": {tlsrules.Hold{}, func(l *lab, k *link) {
			l.e.hold(k.conn()).byHand = true
			l.e.letPass(k.conn())
		}, LetByHand, false},
		"the gate by hand": {tlsrules.Hold{}, func(l *lab, _ *link) { l.open("quarantine") }, LetByGateHand, true},
		"its time": {tlsrules.Hold{Open: time.Unix(0, 1<<62)}, func(l *lab, _ *link) {
			l.e.cfg.Gates.find("quarantine").plan(l.now)
			l.e.Tick(l.now)
		}, LetByGateTime, true},
		"its patience": {tlsrules.Hold{Patience: time.Second}, func(l *lab, _ *link) {
			l.now += 2 * second
			l.e.Tick(l.now)
		}, LetByRefusal, false},
		"another policy": {tlsrules.Hold{}, func(l *lab, k *link) {
			l.e.letPass(k.conn())
		}, LetByPolicy, false},
		"the operator ends it": {tlsrules.Hold{}, func(l *lab, k *link) {
			l.e.kill(k.conn())
		}, LetByRefusal, false},
		"nothing, it ends": {tlsrules.Hold{}, func(*lab, *link) {}, LetByNothing, false},
	} {
		t.Run(name, func(t *testing.T) {
			l, k, turns := heldLink(t, tt.hold)
			id := k.id(t)
			edge := edges(turns)
			var want [2]uint64
			for d, b := range streams(turns) {
				if d == 0 {
					want[d] = uint64(len(b) - edge[d])
				}
			}
			g := k.gateTold(t, "waiting", id)
			h := *g.Hold
			if g.Open(l.now) || g.Waiting != 1 || h.Began == 0 || h.Since != h.Began || h.Until != 0 || h.By != LetByNothing || h.Bytes[0] == 0 || h.Bytes[0] > want[0] {
				t.Errorf("waiting: %+v, %+v; the client sends %d", g.GateState, h, want[0])
			}
			tt.do(l, k)
			after := k.gateTold(t, "after", id)
			if after.Hold.By != tt.by || (after.Hold.Until == 0) != (tt.by == LetByNothing) || after.Hold.Bytes != h.Bytes || after.Open(l.now) != tt.open {
				t.Errorf("after: %+v, %+v; want %q", after.GateState, after.Hold, tt.by)
			}
			l.e.table.Close()
			if ended := k.gateTold(t, "ended", id); *ended.Hold != *after.Hold {
				t.Errorf("ended: %+v, before %+v", ended.Hold, after.Hold)
			}
		})
	}
}

// TestStoryHoldUnmet: a gate that a connection has not come to, and one that was open
// when it did.
func TestStoryHoldUnmet(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), gated(tlsrules.Hold{}))
	k := l.link4()
	k.play(turns[:1], strategies["mss"])
	if g := k.gateTold(t, "before its data", k.id(t)); g.Hold.Began != 0 || g.Hold.Bytes != [2]uint64{} {
		t.Errorf("before its data: %+v", g.Hold)
	}
	l.open("quarantine")
	other := l.link4()
	other.play(turns[:2], strategies["mss"])
	s := other.why(t, other.id(t))
	if list := s.Gates(); len(list) != 1 || list[0].Hold != nil || !list[0].ByHand || !list[0].Open(l.now) {
		t.Errorf("behind an open gate: %+v", list)
	}
}

// TestStoryPins: a story tells who has the pin that a connection is under, at the
// moment, whether it is read, has ended, or was refused.
func TestStoryPins(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	l := pinLab(t, pinRule(per(tlsrules.KeySource)), nil)
	a, b := l.link4(), l.link4()
	if !begins(a, turns) {
		t.Fatal("the first is refused")
	}
	b.play(turns[:2], strategies["mss"])
	first, second := a.id(t), b.id(t)
	told := func(what string, k *link, id uint64, want string) {
		t.Helper()
		s := k.why(t, id)
		got := ""
		for _, p := range s.Pins() {
			got += fmt.Sprintf("%s %s %v %v %q:", p.Rule, p.Group, p.Known, p.Holds, p.Lost)
			for _, h := range p.Holders {
				got += fmt.Sprint(" ", h.ID)
			}
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	group := "one source=" + a.ends[0].addr.Addr().String() + " true"
	told("who has it", a, first, fmt.Sprintf("%s true %q: %d", group, "", first))
	told("who was refused", b, second, fmt.Sprintf("%s false %q: %d", group, "", first))
	l.e.cfg.Pins.Release(first, "", nil)
	told("it was taken away, and nothing has come since", a, first, fmt.Sprintf("%s false %q:", group, ""))
	told("the other one then", b, second, fmt.Sprintf("%s false %q:", group, ""))
	a.says(original)
	if s := a.why(t, first); s.Decision.Reason != tlsrules.ReasonPinTaken || len(s.Pins()) != 1 {
		t.Errorf("refused: %+v, %+v", s.Decision, s.Pins())
	}
}
