package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
)

// TestHonestSmall: ends that say little at once, of which some is lost, overtaken or said
// again, that keep alive and acknowledge when nobody expects it, and are sent RSTs in the
// client's name that nobody takes, come to the end of what they have to say.
func TestHonestSmall(t *testing.T) {
	all := conversations(t)
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 1))
		cfg := config()
		cfg.Offload = r.IntN(2) == 0
		cfg.Default.Midstream = []Midstream{MidstreamReset, MidstreamAccept, MidstreamInspect}[r.IntN(3)]
		l := newLab(t, cfg, blocked("api.evil.example"))
		k := l.link4()
		if r.IntN(2) == 0 {
			k = l.link6()
		}
		x := &all[r.IntN(len(all))]
		for k.syn(); ; k.synAck() {
			if k.ack(original); r.IntN(2) == 0 {
				break
			}
		}
		if what := k.small(r, x); what != "" || len(l.sink.drop) > 0 || k.closed() {
			t.Fatalf("seed %d, %s, offload %v, midstream %d: %s, drops %+v, dropped %v", seed, x.name, cfg.Offload, cfg.Default.Midstream, what, l.sink.drop, l.e.counts.Dropped)
		}
	}
}

// small has a conversation, and tells what did not arrive.
func (k *link) small(r *rand.Rand, x *conversation) string {
	sizes := []int{1, 1, 2, 3, 4, 10, 100, 533, 535, 536, 1000, 1460}
	var sent [2]int
	for n, turn := range x.turns {
		to := k.ends[turn.dir.Other()]
		base := len(to.got)
		end := base + len(turn.bytes)
		for tries := 0; len(to.got) < end; tries++ {
			if tries > 40 {
				return fmt.Sprintf("turn %d stands still at %d of %d", n, len(to.got)-base, len(turn.bytes))
			}
			for _, at := range r.Perm(8 * r.IntN(2)) { // or in order
				k.piece(r, turn, base, len(to.got)+at*sizes[at], end, sizes[at], &sent)
			}
			for at := len(to.got); at < end && r.IntN(10) > 0; {
				at += k.piece(r, turn, base, at, end, sizes[r.IntN(len(sizes))], &sent)
			}
			if r.IntN(4) > 0 {
				k.ack(turn.dir.Other())
			}
			k.lab.now += second / 5
			k.lab.e.Tick(k.lab.now)
		}
	}
	return ""
}

// piece says some of a turn, unless it is lost, and perhaps something odd.
func (k *link) piece(r *rand.Rand, turn turn, base, at, end, size int, sent *[2]int) int {
	if size = min(size, end-at); size <= 0 {
		return 0
	}
	d := turn.dir
	for range 2 - r.IntN(3) { // or lost, or twice
		k.data(d, at, turn.bytes[at-base:][:size])
		sent[d] = max(sent[d], at+size)
	}
	if r.IntN(4) == 0 {
		k.ack(d.Other())
	}
	d = conntrack.Direction(r.IntN(2))
	switch s := k.segment(d, sent[d], nil, packet.ACK); r.IntN(16) {
	case 0: // a keep-alive
		k.raw(k.segment(d, len(k.ends[d.Other()].got)-1, nil, packet.ACK))
	case 1:
		k.raw(s)
	case 2: // acknowledges less than before
		s.ack = k.ends[d.Other()].iss + 1
		k.raw(s)
	case 3:
		if len(k.ends[0].got) == 0 {
			k.synAck()
		}
	case 4:
		k.raw(k.segment(original, 1<<27+r.IntN(1<<30), nil, packet.RST))
	}
	return size
}
