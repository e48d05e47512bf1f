package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// wait lets time pass, as a worker does, and both ends answer what they are sent.
func (k *link) wait(d int64) {
	for until := k.lab.now + d; k.lab.now < until; {
		k.lab.now += int64(tickEvery)
		k.lab.e.Tick(k.lab.now)
		k.challenges()
		k.challenges()
	}
}

// resetWays are ways in which a connection comes to be reset.
var resetWays = []struct {
	name   string
	policy func() *tlsrules.Policy
	to     func(t *testing.T, k *link)
}{
	{"a hello", func() *tlsrules.Policy { return named("www.example.com") }, func(t *testing.T, k *link) {
		k.open()
		k.data(original, 0, recording(t, "tls13")[0].bytes)
	}},
	{"a ServerHello", partner, func(t *testing.T, k *link) {
		turns := recording(t, "tls12 rsa")
		k.open()
		k.data(original, 0, turns[0].bytes)
		k.data(reply, 0, turns[1].bytes)
	}},
	{"half a hello, out of time", func() *tlsrules.Policy { return policy(acceptAll) }, func(t *testing.T, k *link) {
		k.open()
		k.data(original, 0, recording(t, "tls13")[0].bytes[:50])
		k.lab.now += 31 * second
		k.lab.e.Tick(k.lab.now)
	}},
	{"killed", func() *tlsrules.Policy { return policy(acceptAll) }, func(t *testing.T, k *link) {
		k.open()
		k.data(original, 0, recording(t, "tls13")[0].bytes)
		k.kill()
	}},
	{"killed, left to the kernel", func() *tlsrules.Policy { return policy(acceptAll) }, func(t *testing.T, k *link) {
		k.play(recording(t, "tls13"), strategies["mss"])
		k.kill()
	}},
}

func eachRefusal(t *testing.T, f func(what string, l *lab, k *link, refuse func())) {
	for _, tt := range resetWays {
		for _, six := range []bool{false, true} {
			l := newLab(t, config(), tt.policy())
			k := l.link4()
			if six {
				k = l.link6()
			}
			f(fmt.Sprintf("%s, IPv6 %v", tt.name, six), l, k, func() { tt.to(t, k) })
		}
	}
}

// TestResetLost: an end that has nothing to say, and missed what it was sent, is
// reset all the same, as long as not all that we send is lost.
func TestResetLost(t *testing.T) {
	for _, lost := range [][2]int{{0, 0}, {4, 0}, {0, 4}, {4, 4}, {6, 6}} {
		eachRefusal(t, func(what string, l *lab, k *link, refuse func()) {
			k.deaf = lost
			refuse()
			k.wait(4 * second)
			if !k.closed() {
				t.Errorf("%s, lost %v: closed %v %v", what, lost, k.ends[0].closed, k.ends[1].closed)
			}
			if len(l.e.doomed.of) != 0 || l.e.doomed.first != nil || l.e.doomed.last != nil {
				t.Errorf("%s, lost %v: %d are listed still", what, lost, len(l.e.doomed.of))
			}
		})
	}
}

// TestResetLossy: with every fourth packet lost in either direction both ends are
// reset nearly always, and nothing of the connection passes.
func TestResetLossy(t *testing.T) {
	const tries = 200
	failed := 0
	for seed := range uint64(tries) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newLab(t, config(), named("www.example.com"))
		inject := l.e.cfg.Inject
		k := l.link4()
		k.open()
		l.e.cfg.Inject = func(ip []byte, index uint32) error {
			if r.IntN(4) == 0 {
				return nil
			}
			return inject(ip, index)
		}
		k.data(original, 0, recording(t, "tls13")[0].bytes)
		l.alter = nil
		k.lossy = r
		k.wait(4 * second)
		if !k.closed() {
			failed++
		}
		if len(k.ends[1].got) != 0 {
			t.Errorf("seed %d: %d bytes came", seed, len(k.ends[1].got))
		}
	}
	if failed > tries/100 {
		t.Errorf("%d of %d are not reset", failed, tries)
	}
}

// TestResetHeard: who says that it is gone is not asked again, and the connection is
// over soon.
func TestResetHeard(t *testing.T) {
	eachRefusal(t, func(what string, l *lab, k *link, refuse func()) {
		refuse()
		if !k.closed() {
			t.Fatalf("%s: closed %v %v", what, k.ends[0].closed, k.ends[1].closed)
		}
		before := k.ours
		k.wait(4 * second)
		if n := k.ours - before; n > 2 {
			t.Errorf("%s: %d packets to ends that are gone", what, n)
		}
		if c := l.e.table.Between(k.ends[0].addr, k.ends[1].addr); c == nil || c.State() != conntrack.Close {
			t.Errorf("%s: %+v", what, c)
		}
		k.wait(122 * second)
		flow := l.sink.flow
		if len(flow) != 1 || flow[0].Diagnosis.Code != "refused" || flow[0].State != conntrack.Close || flow[0].End != conntrack.EndExpired || l.e.table.Len() != 0 {
			t.Errorf("%s: %d flow events, %d connections: %+v", what, len(flow), l.e.table.Len(), flow)
		}
	})
}

// TestResetSilent: ends that never answer are asked a few times, and the connection
// is over soon.
func TestResetSilent(t *testing.T) {
	eachRefusal(t, func(what string, l *lab, k *link, refuse func()) {
		k.deaf = [2]int{1 << 30, 1 << 30}
		refuse()
		before := k.ours
		k.wait(4 * second)
		after := k.ours
		if n := after - before; n < 2*resetTries || n > 2*4*resetTries {
			t.Errorf("%s: %d packets to ends that do not answer", what, n)
		}
		k.wait(122 * second)
		if flow := l.sink.flow; k.ours != after || len(flow) != 1 || l.e.table.Len() != 0 || flow[0].Last > l.now-122*second {
			t.Errorf("%s: %d more packets, %d connections, %d flow events: %+v", what, k.ours-after, l.e.table.Len(), len(flow), flow)
		}
	})
}

// TestResetGoesOn: a refused connection whose packets go on stays one for as long as
// they do, and none of them passes.
func TestResetGoesOn(t *testing.T) {
	eachRefusal(t, func(what string, l *lab, k *link, refuse func()) {
		k.deaf = [2]int{1 << 30, 1 << 30}
		refuse()
		for d := original; d <= reply; d++ {
			k.deaf = [2]int{1 << 30, 1 << 30}
			for range 20 {
				k.wait(100 * second)
				before := k.ours
				if k.data(d, len(k.ends[d.Other()].got), []byte("and on")) || k.ours == before {
					t.Fatalf("%s: it passes, or is not answered", what)
				}
			}
			if l.e.table.Len() != 1 || len(l.sink.flow) != 0 || len(l.sink.drop) != 1 {
				t.Fatalf("%s: %d connections, %d flow and %d drop events", what, l.e.table.Len(), len(l.sink.flow), len(l.sink.drop))
			}
			k.deaf = [2]int{}
			k.data(d, len(k.ends[d.Other()].got), []byte("and on"))
			if !k.ends[d].closed {
				t.Errorf("%s: the sender of %d is not reset at last", what, d)
			}
		}
		// Forgotten, the mark is there.
		k.wait(130 * second)
		if k.unkernelled = true; k.mark != l.marks.Refused() || l.e.table.Len() != 0 {
			t.Fatalf("%s: mark %#x, %d connections", what, k.mark, l.e.table.Len())
		}
		for d := original; d <= reply; d++ {
			if k.data(d, len(k.ends[d.Other()].got), []byte("once more")) {
				t.Errorf("%s: what is forgotten passes", what)
			}
		}
	})
}

// TestResetNext: the ports of a connection that is asked still serve another one,
// which is left alone.
func TestResetNext(t *testing.T) {
	l := newLab(t, config(), named("www.example.com"))
	k := l.link4()
	k.open()
	k.deaf = [2]int{1 << 30, 1 << 30}
	k.data(original, 0, recording(t, "tls13")[0].bytes)
	k.deaf = [2]int{}
	k.again(77000, 88000)
	if !k.open() {
		t.Fatal("another connection on its ports does not come through")
	}
	before := k.ours
	k.wait(4 * second)
	if k.ours != before || k.ends[0].closed || len(l.e.doomed.of) != 0 {
		t.Errorf("%d packets of ours, closed %v, %d listed", k.ours-before, k.closed(), len(l.e.doomed.of))
	}
}

// TestResetBounded: of very many refused connections some are reset once only, which
// is counted, and those are over soon too.
func TestResetBounded(t *testing.T) {
	l := newLab(t, config(), named("www.example.com"))
	hello := recording(t, "tls13")[0].bytes
	l.e.cfg.Inject = func([]byte, uint32) error { return nil }
	const n = resetMost + 100
	for range n {
		k := l.link4()
		k.open()
		k.data(original, 0, hello)
		l.links = nil
	}
	if got := l.e.counts.ResetsOnce; got != 100 || len(l.e.doomed.of) != resetMost {
		t.Errorf("%d reset once, %d listed", got, len(l.e.doomed.of))
	}
	l.now += second
	before := l.e.counts.Injected
	l.e.Tick(l.now)
	if got := l.e.counts.Injected - before; got == 0 || got > 2*resetAtOnce {
		t.Errorf("%d packets in one tick", got)
	}
	for until := l.now + 300*second; l.now < until; l.now += int64(tickEvery) {
		l.e.Tick(l.now)
	}
	if l.e.table.Len() != 0 || len(l.e.doomed.of) != 0 || len(l.sink.flow) != n {
		t.Errorf("%d connections, %d listed, %d flow events", l.e.table.Len(), len(l.e.doomed.of), len(l.sink.flow))
	}
}

// TestResetBesideAlert: where the client is told by an alert, the server is asked.
func TestResetBesideAlert(t *testing.T) {
	for _, lost := range []int{0, 5} {
		l := newLab(t, config(), otherwise(denied, "sni", "www.example.com"))
		k := l.link4()
		k.open()
		k.deaf[1] = lost
		k.data(original, 0, recording(t, "tls13")[0].bytes)
		k.wait(4 * second)
		if !k.ends[1].closed || !k.ends[0].ended {
			t.Errorf("lost %d: the server is closed %v, the client is told %v", lost, k.ends[1].closed, k.ends[0].ended)
		}
		k.sameAlerts("beside an alert")
		for d := original; d <= reply; d++ {
			at := len(k.ends[d.Other()].got)
			if passes := k.raw(k.segment(d, at, nil, packet.RST|packet.ACK)); passes != (d == original) {
				t.Errorf("lost %d: an RST of %d passes %v, and the alert may be forgotten for it", lost, d, passes)
			}
		}
		k.wait(125 * second)
		if len(l.e.doomed.of) != 0 || len(l.sink.flow) != 1 || l.sink.flow[0].State != conntrack.Close {
			t.Errorf("lost %d: %d listed, flow events %+v", lost, len(l.e.doomed.of), l.sink.flow)
		}
	}
}

// TestResetDropped: who is refused in silence is not asked anything.
func TestResetDropped(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll, tlsrules.Rule{
		Name: "quiet", Match: []tlsrules.Condition{condition("sni", "api.bank.example")}, Action: tlsrules.Drop, HasAction: true,
	}))
	k := l.link4()
	k.play(recording(t, "tls13"), strategies["mss"])
	k.wait(4 * second)
	if k.ours != 0 {
		t.Errorf("%d packets of ours", k.ours)
	}
	half := newLab(t, config(), from(tlsrules.Reset, "192.0.2.0/24"))
	k = half.link4()
	k.deaf[0] = 1 << 30
	k.syn()
	before := k.ours
	k.wait(4 * second)
	if k.ours != before {
		t.Errorf("a SYN is answered %d times more", k.ours-before)
	}
	if k.raw(k.segment(original, 0, nil, packet.ACK)) {
		t.Error("an ACK passes")
	}
}
