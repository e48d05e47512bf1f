package adversary

import (
	"bytes"
	"fmt"
)

// copies is an order in which two copies of a hello come that differ in [from,
// to): mine is the one at stake.
type copies struct {
	name  string
	taken bool // the server has the other copy when the one at stake comes
	play  func(p *Peer, mine, other []byte, from, to int)
}

func orders() []copies {
	send := func(p *Peer, b []byte, from, to int) { p.send(p.segment(from, b[from:to])) }
	return []copies{
		{"the other copy first, before the beginning", false, func(p *Peer, mine, other []byte, from, to int) {
			send(p, other, max(from, 1), to)
			send(p, mine, max(from, 1), to)
			send(p, mine, to, len(mine))
			send(p, mine, 0, max(from, 1))
		}},
		{"the other copy later, before the beginning", false, func(p *Peer, mine, other []byte, from, to int) {
			send(p, mine, max(from, 1), to)
			send(p, other, max(from, 1), to)
			send(p, mine, to, len(mine))
			send(p, mine, 0, max(from, 1))
		}},
		{"the other copy larger on the left", false, func(p *Peer, mine, other []byte, from, to int) {
			send(p, mine, max(from, 1), len(mine))
			send(p, other, max(from-1, 1), to)
			send(p, mine, 0, max(from, 1))
		}},
		{"the other copy larger on the right", false, func(p *Peer, mine, other []byte, from, to int) {
			send(p, other, max(from, 1), min(to+3, len(mine)))
			send(p, mine, max(from, 1), to)
			send(p, mine, to, len(mine))
			send(p, mine, 0, max(from, 1))
		}},
		{"the copy at stake covers the other one", false, func(p *Peer, mine, other []byte, from, to int) {
			send(p, other, max(from, 2), to)
			send(p, mine, max(from-5, 1), len(mine))
			send(p, mine, 0, max(from-5, 1))
		}},
		{"the other one covers the copy at stake", false, func(p *Peer, mine, other []byte, from, to int) {
			send(p, mine, max(from, 2), to)
			send(p, other, 1, len(mine))
			send(p, mine, 0, max(from, 2))
			send(p, mine, to, len(mine))
		}},
		{"the other copy read, its end missing", false, func(p *Peer, mine, other []byte, from, to int) {
			p.decoy(p.segment(0, other[:to]))
			send(p, mine, 0, to)
			send(p, mine, to, len(mine))
		}},
		{"the other copy whole, then the one at stake", true, func(p *Peer, mine, other []byte, from, to int) {
			send(p, other, 0, to)
			send(p, mine, 0, len(mine))
		}},
		{"the other copy acknowledged, then the one at stake", true, func(p *Peer, mine, other []byte, from, to int) {
			send(p, other, 0, to)
			p.settle()
			send(p, mine, 0, len(mine))
		}},
		{"byte by byte, each twice", false, func(p *Peer, mine, other []byte, from, to int) {
			for i := len(mine) - 1; i > 0; i-- {
				send(p, other, i, i+1)
				send(p, mine, i, i+1)
			}
			send(p, mine, 0, 1)
		}},
		{"the gap is filled with both", false, func(p *Peer, mine, other []byte, from, to int) {
			send(p, other, max(from, 1), to)
			send(p, mine, 0, len(mine))
		}},
	}
}

func overlaps() (list []Trick) {
	const why = "the first copy seen is the one that counts; one that differs is refused, whichever a receiver would take"
	for _, o := range orders() {
		for _, region := range []string{"what is forbidden", "the record's header"} {
			list = append(list, Trick{
				Name: fmt.Sprintf("%s: %s", region, o.name), Group: Overlaps, Why: why, Ambiguous: !o.taken,
				Play: func(p *Peer) {
					other := p.twin()
					if region != "what is forbidden" {
						other = append([]byte{recordData}, p.Hello[1:]...)
						other[3] ^= 0x40
					}
					from, to := differ(p.Hello, other)
					p.open()
					p.stream = nil
					o.play(p, p.Hello, other, from, to)
					p.settle()
					p.mean(0, p.Hello)
				},
			})
		}
	}
	return append(list, Trick{
		Name: "copies that overlap and say the same", Group: Overlaps, Honest: true,
		Why: "copies that say the same change nothing",
		Play: func(p *Peer) {
			p.open()
			for _, r := range [][2]int{{100, 150}, {120, 180}, {90, 130}, {10, 180}, {180, len(p.Hello)}, {1, 100}, {0, 60}} {
				p.data(r[0], bytes.Clone(p.Hello[r[0]:r[1]]))
			}
		},
	})
}

// differ returns where two texts of one length differ first, and behind where last.
func differ(a, b []byte) (from, to int) {
	from = len(a)
	for i := range a {
		if a[i] != b[i] {
			from, to = min(from, i), i+1
		}
	}
	return min(from, to), to
}
