package conntrack

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// wire is two honest ends with a table between them. All four legs lose,
// duplicate and reorder.
type wire struct {
	*rapid.T
	ends [2]*end // client, server
	legs [4][]flying
	tab  *Table[int]
	now  int64
	on   bool // the table sees what passes
	log  []string
}

// flying is a packet on a leg, and what the table said of it.
type flying struct {
	packet.Parsed
	seen Tracked[int]
	on   bool
}

// collect puts what the ends have sent on their legs.
func (w *wire) collect() {
	for i, e := range w.ends {
		for _, p := range e.out {
			w.legs[2*i] = append(w.legs[2*i], flying{Parsed: p})
		}
		e.out = e.out[:0]
	}
}

// move takes packet i of a leg to the leg's end: the table, or a host.
func (w *wire) move(leg, i int, keep bool) {
	f := w.legs[leg][i]
	if !keep {
		w.legs[leg] = append(w.legs[leg][:i:i], w.legs[leg][i+1:]...)
	}
	if leg%2 == 0 {
		if f.on = w.on; w.on {
			w.now += 1e6
			f.seen = w.tab.Track(&f.Parsed, w.now)
			state := ""
			if f.seen.Conn != nil {
				state = f.seen.Conn.State().String()
			}
			w.log = append(w.log, fmt.Sprint(show(&f.Parsed, w), ": ", verdict(f.seen), " ", state))
			f.seen.Conn = nil // it may be another by the time the packet arrives
			if err := w.tab.check(); err != nil {
				w.Fatal(err)
			}
		}
		w.legs[leg+1] = append(w.legs[leg+1], f)
		return
	}
	to := w.ends[1-leg/2]
	taken := to.receive(&f.Parsed)
	w.collect()
	if taken && f.on && f.seen.Outcome == Invalid {
		w.fail("accepted by its receiver, but %v: %s", f.seen.Why, show(&f.Parsed, w))
	}
}

func (w *wire) fail(format string, args ...any) {
	w.Helper()
	for _, l := range w.log {
		w.Log(l)
	}
	w.Fatalf(format, args...)
}

func show(p *packet.Parsed, w *wire) string {
	way, mine, other := ">", w.ends[0].iss, w.ends[1].iss
	if p.SrcPort == w.ends[1].at.Port() {
		way, mine, other = "<", other, mine
	}
	flags := ""
	for _, f := range "SAFR" {
		if p.Flags.Has(flagsOf(string(f))) {
			flags += string(f)
		}
	}
	return fmt.Sprintf("%s %s %d %d len=%d win=%d", way, flags, p.Seq.Diff(mine), p.Ack.Diff(other), len(p.Payload), p.Window)
}

// step does one thing: an end acts, or a packet moves.
func (w *wire) step(ends int) {
	switch act := rapid.IntRange(0, 11+ends).Draw(w.T, "act"); {
	case act < 8:
		leg := rapid.IntRange(0, 3).Draw(w.T, "leg")
		if n := len(w.legs[leg]); n > 0 {
			i := 0
			if rapid.IntRange(0, 3).Draw(w.T, "reorder") == 0 {
				i = rapid.IntRange(0, n-1).Draw(w.T, "which")
			}
			switch rapid.IntRange(0, 9).Draw(w.T, "luck") {
			case 0:
				w.legs[leg] = append(w.legs[leg][:i:i], w.legs[leg][i+1:]...)
			case 1:
				w.move(leg, i, true)
			default:
				w.move(leg, i, false)
			}
		}
	default:
		e := w.ends[rapid.IntRange(0, 1).Draw(w.T, "end")]
		n := rapid.SampledFrom([]int{0, 1, 100, 1460, 60000}).Draw(w.T, "bytes")
		switch act {
		case 8:
			e.send(n)
		case 9:
			e.again(n)
		case 10:
			e.probe(min(n, 1))
		case 11:
			e.room = uint32(rapid.SampledFrom([]int{0, 1, 3000, 65535, 1 << 22, 1 << 30}).Draw(w.T, "room"))
			if e.state == established {
				e.ack()
			}
		case 12:
			e.close()
		default:
			e.abort()
		}
		w.collect()
	}
}

// settle lets everything arrive that is to be sent. It reports false if the ends
// answer each other for ever, as after a window that shrank.
func (w *wire) settle() bool {
	moves := 0
	for range 6 {
		for busy := true; busy; {
			busy = false
			for leg := range w.legs {
				for len(w.legs[leg]) > 0 {
					if moves++; moves > 2000 {
						return false
					}
					w.move(leg, 0, false)
					busy = true
				}
			}
		}
		for _, e := range w.ends {
			if e.state == established {
				e.room = 1 << 20
				e.ack()
			}
			e.again(1 << 16)
		}
		w.collect()
	}
	return true
}

// TestHonestEnds: no packet that an honest receiver acts upon is Invalid, the
// table never says that an end has what it has not, and at last it knows where
// both stand.
func TestHonestEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &wire{T: t, tab: New[int](Config{}, nil), now: epoch, on: true}
		w.ends = [2]*end{drawEnd(t, client, server), drawEnd(t, server, client)}
		simultaneous := rapid.IntRange(0, 9).Draw(t, "simultaneous") == 0
		w.ends[1].state = listening
		w.ends[0].open(w.ends[0].iss)
		if simultaneous {
			w.ends[1].open(w.ends[1].iss)
		}
		w.collect()
		last := rapid.IntRange(0, 2).Draw(t, "ends")
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			w.step(last)
			w.honest()
		}
		settled := w.settle()
		w.honest()
		if settled {
			w.agree()
		}
	})
}

// TestHonestMidstream: as TestHonestEnds, but the table comes later.
func TestHonestMidstream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &wire{T: t, tab: New[int](Config{}, nil), now: epoch}
		w.ends = [2]*end{drawEnd(t, client, server), drawEnd(t, server, client)}
		w.ends[1].state = listening
		w.ends[0].open(w.ends[0].iss)
		w.collect()
		for range rapid.IntRange(0, 60).Draw(t, "unseen") {
			w.step(0)
		}
		// A SYN that comes late, before anything else is seen, is taken for a new
		// connection: until the other end says otherwise there is no better guess.
		for leg := range w.legs {
			w.legs[leg] = slices.DeleteFunc(w.legs[leg], func(f flying) bool { return f.Flags&synBits == packet.SYN })
		}
		if w.ends[0].state != established {
			return
		}
		w.on = true
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			w.step(1)
			w.honest()
		}
		w.settle()
		w.honest()
	})
}

// honest compares what the table says with what the ends know.
func (w *wire) honest() {
	w.tab.All(func(c *Conn[int]) bool {
		for d := Original; d <= Reply; d++ {
			from, to := w.ends[d], w.ends[d.Other()]
			if c.Addr(Original) != client {
				from, to = to, from
			}
			if to.state >= synReceived && c.sides[Original].seen && c.sides[Reply].seen && to.rcv.Less(c.Acked(d)) {
				w.fail("%v: acked %d, its receiver has %d", d, c.Acked(d).Diff(from.iss), to.rcv.Diff(from.iss))
			}
			if from.nxt.Less(c.Sent(d)) && c.sides[d].seen {
				w.fail("%v: sent %d, its sender is at %d", d, c.Sent(d).Diff(from.iss), from.nxt.Diff(from.iss))
			}
			if !c.Midstream && c.HasISS(d) && c.ISS(d) != from.iss {
				w.fail("%v: ISS %d, want %d", d, c.ISS(d), from.iss)
			}
		}
		return true
	})
}

// agree compares what is known in the end, when both ends are still there.
func (w *wire) agree() {
	a, b := w.ends[0], w.ends[1]
	if a.state != established || b.state != established {
		return
	}
	if w.tab.Len() != 1 {
		w.fail("%d connections", w.tab.Len())
	}
	w.tab.All(func(c *Conn[int]) bool {
		x, y := a, b
		if c.Addr(Original) != client {
			x, y = b, a
		}
		got := [2][3]seqnum.Value{{c.ISS(0), c.Acked(0), c.Sent(0)}, {c.ISS(1), c.Acked(1), c.Sent(1)}}
		if want := [2][3]seqnum.Value{{x.iss, y.rcv, x.nxt}, {y.iss, x.rcv, y.nxt}}; got != want || !c.HasISS(0) || !c.HasISS(1) {
			w.fail("got %d, want %d", got, want)
		}
		want := Established
		switch {
		case a.fin && b.fin:
			want = TimeWait
		case a.fin || b.fin:
			want = CloseWait
		}
		if c.State() != want {
			w.fail("state %v, want %v", c.State(), want)
		}
		return true
	})
}
