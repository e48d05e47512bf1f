package engine

import (
	"slices"
	"testing"
	"time"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// TestPackedPreludes: connections that are silent between all that is said before TLS,
// and after it. What was read of that, and where the tunnel leads, is not lost.
func TestPackedPreludes(t *testing.T) {
	for _, q := range preludes {
		for _, name := range []string{"api.bank.example", "www.bank.example"} {
			t.Run(q.name+", "+name, func(t *testing.T) {
				x := newScene(t, config(), policy(acceptAll,
					tlsrules.Rule{Name: "name", Require: []tlsrules.Condition{condition("sni", name)}, Otherwise: tlsrules.Reset},
					tlsrules.Rule{Name: "quiet", Require: []tlsrules.Condition{condition("content_type", tlsRecords...)}, Otherwise: tlsrules.Reset}), "tls13", false)
				x.both(func(k *link) { k.open() })
				for i, said := range slices.Concat(q.said, x.turns[:3]) {
					x.both(func(k *link) { k.talk([]turn{said}, strategies["mss"]) })
					if i < len(q.said) {
						x.silent(-1)
					}
				}
				if k := x.links[0]; name == "www.bank.example" {
					if q.kind != 0 && k.lab.e.counts.Refused != 1 {
						t.Error("a forbidden name is not refused")
					}
					return
				}
				x.silent(1)
				x.say(reply, recordOf(tlswire.RecordTypeApplicationData, 500))
				x.silent(1)
				if list, _ := x.links[sleeper].lab.e.listStep(0, &Filter{}, nil); len(list) != 1 || q.kind != 0 && list[0].Via != q.kind {
					t.Errorf("listed: %+v", list)
				}
				x.say(original, recordOf(tlswire.RecordTypeHeartbeat, 30))
				if n := x.links[0].lab.e.counts.Refused; q.kind != 0 && n != 1 {
					t.Errorf("%d are refused", n)
				}
			})
		}
	}
}

// TestPackedMany: all that rest wake at once, and rest again, where those were who
// rested before.
func TestPackedMany(t *testing.T) {
	const connections = 5000
	x := newMany(t, anyRecord(), connections, true)
	for i := range connections {
		x.distinct(i)
		x.open(i)
	}
	used := uint32(0)
	for round := range 3 {
		x.ticks(20 * time.Second)
		p := &x.e.packed
		if round == 0 {
			used = p.blocks.used
		}
		if x.e.table.AtRest() != connections || p.blocks.used != used {
			t.Fatalf("round %d: %d of %d rest in %d blocks, %d in the first", round, x.e.table.AtRest(), connections, p.blocks.used, used)
		}
		last := x.packets[2] // of the handshake of TCP: it comes again
		for i := range connections {
			x.send(i, last)
		}
		if x.e.table.AtRest() != 0 || p.blocks.n != 0 || len(p.common.by) != 0 || x.lost != 0 {
			t.Fatalf("round %d: %d rest still in %d blocks, %d packets lost", round, x.e.table.AtRest(), p.blocks.n, x.lost)
		}
	}
	for i := range connections {
		x.end(i)
	}
	if x.ticks(5 * time.Minute); x.lost > 0 || x.e.table.Len() != 0 || x.e.counts.Bugs != 0 {
		t.Errorf("%d packets lost, %d connections left", x.lost, x.e.table.Len())
	}
}

// TestListKeepsSayings: what connections that are read no more have said is kept once,
// however many others are listed that have said other things.
func TestListKeepsSayings(t *testing.T) {
	const connections = maxSayings + 1000
	x := newMany(t, anyRecord(), 2*connections, true)
	for i := range connections {
		x.distinct(i)
		x.open(i)
	}
	kept := x.e.saidOf(x.e.table.At(1).Value.ins, true)
	x.ticks(30 * time.Second)
	for range 2 {
		var names []string
		for at := 0; at >= 0; {
			var list []Seen
			list, at = x.e.listStep(at, &Filter{}, nil)
			for _, s := range list {
				names = append(names, s.Said.ServerName)
			}
		}
		slices.Sort(names)
		if n := len(slices.Compact(names)); n != connections {
			t.Errorf("%d names are listed, want %d", n, connections)
		}
	}
	if x.e.sayings[*kept] != kept || len(x.e.sayings) > maxSayings {
		t.Errorf("what was said is not found any more; %d are kept", len(x.e.sayings))
	}
}
