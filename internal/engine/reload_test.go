package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// adopt has another policy judge, as Adopt does, and under the same generation: the
// kernel still lets pass what it was left.
func (l *lab) adopt(p *tlsrules.Policy) {
	cfg := l.e.cfg
	l.e.adopt(cfg, p)
}

// around lets the walk go once round.
func (l *lab) around() Adopted {
	l.t.Helper()
	for range 10_000 {
		l.e.now = l.now
		if l.e.guardedWalk(); !l.e.again.walks {
			break
		}
	}
	if l.e.again.walks {
		l.t.Fatal("the walk never ends")
	}
	for range 3 {
		for _, k := range l.links {
			k.challenges()
		}
	}
	if l.e.counts.Bugs != 0 {
		l.t.Fatal(l.e.shared.bug)
	}
	a := l.e.again.Adopted
	a.Done = true
	return a
}

// rule is one rule with a name.
func rule(name string, a tlsrules.Action, key string, values ...string) tlsrules.Rule {
	return tlsrules.Rule{Name: name, Match: []tlsrules.Condition{condition(key, values...)}, Action: a, HasAction: true}
}

// rest is what is left of a conversation from byte at of both directions on.
func (k *link) rest(turns []turn) (left []turn) {
	done := [2]int{len(k.ends[1].got), len(k.ends[0].got)}
	for _, t := range turns {
		n := min(done[t.dir], len(t.bytes))
		done[t.dir] -= n
		if n < len(t.bytes) {
			left = append(left, turn{t.dir, t.bytes[n:]})
		}
	}
	return left
}

// complete reports whether both ends have all of a conversation, and are not reset.
func (k *link) complete(turns []turn) bool {
	s := streams(turns)
	return bytes.Equal(k.ends[1].got, s[0]) && bytes.Equal(k.ends[0].got, s[1]) && !k.ends[0].closed && !k.ends[1].closed
}

// lives are points in the life of a connection.
var lives = []struct {
	name    string
	to      func(k *link, turns []turn)
	hello   bool // a ClientHello has come
	server  bool // a ServerHello, too
	decided bool
	keep    bool // in the queue
}{
	{name: "a SYN", to: func(k *link, _ []turn) { k.syn() }},
	{name: "nothing said", to: func(k *link, _ []turn) { k.open() }},
	{name: "half a hello", to: func(k *link, turns []turn) { k.open(); k.data(original, 0, turns[0].bytes[:100]) }},
	{name: "half a hello, out of order", to: func(k *link, turns []turn) { k.open(); k.data(original, 100, turns[0].bytes[100:]) }},
	{name: "a hello", hello: true, to: func(k *link, turns []turn) { k.open(); k.data(original, 0, turns[0].bytes) }},
	{name: "half a ServerHello", hello: true, to: func(k *link, turns []turn) {
		k.play(turns[:1], strategies["mss"])
		k.data(reply, 0, turns[1].bytes[:50])
	}},
	{name: "a ServerHello", hello: true, server: true, decided: true, to: func(k *link, turns []turn) {
		k.play(turns[:1], strategies["mss"])
		k.data(reply, 0, turns[1].bytes[:1200]) // settling: nothing of it is acknowledged
	}},
	{name: "accepted, in the queue", hello: true, server: true, decided: true, keep: true, to: func(k *link, turns []turn) { k.play(turns[:3], strategies["mss"]) }},
	{name: "offloaded", hello: true, server: true, decided: true, to: func(k *link, turns []turn) { k.play(turns[:3], strategies["mss"]) }},
}

func (k *link) toLife(i int, turns []turn) {
	lives[i].to(k, turns)
}

// TestReload: every point of a connection's life, every kind of new policy, found by
// the walk or by its next packet.
func TestReload(t *testing.T) {
	all := recording(t, "tls13")
	policies := []struct {
		name    string
		policy  *tlsrules.Policy
		forbids func(hello, server, decided bool) bool
		reason  string
		stands  bool // where decided
	}{
		{"permits", policy(acceptAll, rule("new", tlsrules.Accept, "port", "443")), nil, "", false},
		{"permits by name", named("api.bank.example"), nil, "", false},
		{"port", policy(acceptAll, rule("new", tlsrules.Reset, "port", "443")), func(bool, bool, bool) bool { return true }, "rule", false},
		{"silently", policy(acceptAll, rule("new", tlsrules.Drop, "source", "192.0.2.0/24", "2001:db8::/48")), func(bool, bool, bool) bool { return true }, "rule", false},
		{"interface", policy(acceptAll, rule("new", tlsrules.Reset, "in_interface", "lan1")), func(bool, bool, bool) bool { return true }, "rule", false},
		{"name", named("www.bank.example"), func(hello, _, _ bool) bool { return hello }, "require.sni", false},
		{"version", otherwise(tlsrules.Reset, "version", "1.2"), func(_, server, _ bool) bool { return server }, "require.version", false},
		{"cipher", otherwise(tlsrules.Reset, "cipher", "ECDHE-RSA-AES128-SHA"), func(_, server, _ bool) bool { return server }, "require.cipher", false},
		{"group", otherwise(tlsrules.Reset, "group", "x448"), func(_, server, _ bool) bool { return server }, "require.group", false},
		{"alpn", otherwise(tlsrules.Reset, "alpn", "imap"), func(hello, _, _ bool) bool { return hello }, "require.alpn", false},
		{"lost when decided", otherwise(tlsrules.Reset, "offers_only_cipher", "NULL-SHA"), func(hello, _, decided bool) bool { return hello && !decided }, "require.offers_only_cipher", true},
		{"lost when decided, matched", policy(acceptAll, rule("new", tlsrules.Reset, "ja4", "*_*_*")), func(hello, _, decided bool) bool { return hello && !decided }, "rule", true},
	}
	for i, life := range lives {
		for _, p := range policies {
			for _, way := range []string{"walk", "packet"} {
				for _, six := range []bool{false, true} {
					what := fmt.Sprintf("%s, %s, %s, IPv6 %v", life.name, p.name, way, six)
					cfg := config()
					cfg.Offload = !life.keep
					cfg.Interface = func(i uint32) string { return fmt.Sprintf("lan%d", i) }
					l := newLab(t, cfg, policy(acceptAll, rule("old", tlsrules.Accept, "port", "443")))
					if !life.decided { // it waits for what comes
						l = newLab(t, cfg, policy(acceptAll, rule("old", tlsrules.Accept, "version", ">=1.0")))
					}
					k := l.link4()
					if six {
						k = l.link6()
					}
					k.toLife(i, all)
					l.adopt(p.policy)
					if way == "walk" {
						l.around()
					}
					forbids := p.forbids != nil && p.forbids(life.hello, life.server, life.decided && i >= 7)
					if i == 6 { // settling: it still has all facts
						forbids = p.forbids != nil && p.forbids(true, true, false)
					}
					if forbids {
						l.checkForbidden(k, what, p.reason, p.name == "silently", way, life.name == "a SYN")
						continue
					}
					if p.forbids != nil && !(p.stands && life.decided) {
						k.rest(all)
						continue // the next message tells
					}
					if life.name == "a SYN" {
						k.synAck()
						k.ack(original)
					}
					k.talk(k.rest(all), strategies["mss"])
					if !k.complete(all) || len(l.sink.drop) != 0 {
						t.Errorf("%s: %d and %d bytes came, closed %v %v, drops %+v", what, len(k.ends[1].got), len(k.ends[0].got), k.ends[0].closed, k.ends[1].closed, l.sink.drop)
					}
					a := l.around()
					if want := (Adopted{Judged: 1, Done: true}); p.stands && life.decided && i != 6 {
						want.Stood = 1
						if a != want {
							t.Errorf("%s: %+v, want %+v", what, a, want)
						}
					}
				}
			}
		}
	}
}

// checkForbidden: the connection is refused with its reason, both ends are reset,
// and nothing of it passes.
func (l *lab) checkForbidden(k *link, what, reason string, silent bool, way string, half bool) {
	t := l.t
	t.Helper()
	if way == "packet" && k.mark == l.marks.Accepted(5) { // the kernel does not show us one, but for the last
		k.unkernelled = true
	}
	before := [2]int{len(k.ends[1].got), len(k.ends[0].got)}
	if way == "packet" && !half {
		k.data(original, before[0], []byte("more"))
		k.ack(reply)
	} else if half {
		k.synAck()
	}
	if k.ends[0].closed == silent || k.ends[1].closed == silent && !half {
		t.Errorf("%s: client reset %v, server %v", what, k.ends[0].closed, k.ends[1].closed)
	}
	k.unkernelled = false
	for d := original; d <= reply && !half; d++ {
		k.data(d, before[d], []byte("more"))
		if len(k.ends[d.Other()].got) != before[d] {
			t.Errorf("%s: data passes in direction %d", what, d)
		}
	}
	if !half && k.mark != l.marks.Refused() {
		t.Errorf("%s: mark %#x", what, k.mark)
	}
	if n := len(l.sink.drop); n != 1 || l.e.counts.Refused != 1 {
		t.Errorf("%s: %d drop events, %d counted", what, n, l.e.counts.Refused)
		return
	}
	if d := l.sink.drop[0]; d.Decision.Reason.String() != reason || d.Decision.Rule == "" || d.Decision.Rule == "old" || d.Detail == "" || d.Packet == 0 {
		t.Errorf("%s: drop event %+v", what, d)
	}
	if a := l.around(); a != (Adopted{Judged: 1, Refused: 1, Done: true}) {
		t.Errorf("%s: %+v", what, a)
	}
	// Refused it stays, though a policy would accept it.
	l.adopt(policy(acceptAll))
	l.around()
	if !half && k.data(original, before[0], []byte("more")) || len(l.sink.drop) != 1 {
		t.Errorf("%s: accepted again", what)
	}
	if l.e.budget.Used() != 0 || l.e.waiting.first != nil {
		t.Errorf("%s: %d bytes kept, clock runs: %v", what, l.e.budget.Used(), l.e.waiting.first != nil)
	}
}

// TestReloadBeyond: a connection that is forbidden and cannot be reached is told of,
// and refused with its next packet that is seen.
func TestReloadBeyond(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.play(turns, strategies["mss"])
	l.e.cfg.Refuse = func([]byte, uint32) error { return errors.New("no") }
	l.adopt(policy(acceptAll, rule("new", tlsrules.Reset, "port", "443")))
	if a := l.around(); a != (Adopted{Judged: 1, Stood: 1, Beyond: 1, Done: true}) || k.closed() || len(l.sink.drop) != 0 {
		t.Errorf("%+v, closed %v", a, k.closed())
	}
	k.unkernelled = true
	if k.data(original, len(k.ends[1].got), []byte("more")) || k.mark != l.marks.Refused() || !k.ends[0].closed || len(l.sink.drop) != 1 {
		t.Errorf("its next packet: mark %#x, client closed %v", k.mark, k.ends[0].closed)
	}
}

// TestReloadGenerations: connections that the kernel shows us again, for their mark
// is of an earlier policy, are left to it again under the new one.
func TestReloadGenerations(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.play(turns, strategies["mss"])
	cfg := l.e.cfg
	cfg.Generation = 6
	l.e.adopt(cfg, policy(acceptAll, rule("new", tlsrules.Accept, "port", "443")))
	before := k.queued
	for range 3 {
		k.talk([]turn{{original, []byte("more")}, {reply, []byte("more")}}, strategies["mss"])
	}
	if k.mark != l.marks.Accepted(6) || k.queued-before > 2 || k.closed() {
		t.Errorf("mark %#x, %d packets queued", k.mark, k.queued-before)
	}
	// Offload switched off: all are shown to us, and marked for the next run.
	cfg.Offload = false
	cfg.Generation = 7
	l.e.adopt(cfg, policy(acceptAll))
	before = k.offloaded
	for range 3 {
		k.talk([]turn{{original, []byte("more")}}, strategies["mss"])
	}
	if k.mark != l.marks.Accepted(7) || k.offloaded != before || k.closed() {
		t.Errorf("mark %#x, %d packets left to the kernel", k.mark, k.offloaded-before)
	}
}

// TestReloadBounds: limits are those of the new policy.
func TestReloadBounds(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll))
	for range 20 {
		l.link4().syn()
	}
	cfg := l.e.cfg
	cfg.Limits = Limits{Connections: 10, HalfOpen: 5, Buffered: 1 << 20, PerConnection: 8 << 10, Hello: 300, Refused: 1}
	l.e.adopt(cfg, policy(acceptAll))
	l.around()
	for range 30 {
		l.link4().syn()
	}
	if n := l.e.table.HalfOpen(); n > 5 {
		t.Errorf("%d half-open, want at most 5", n)
	}
	k := l.link4()
	k.open()
	if k.data(original, 0, record(22, append([]byte{1, 0, 4, 0}, make([]byte, 1024)...))); len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Reason != tlsrules.ReasonLimitHello {
		t.Errorf("a hello beyond limits.hello: %+v", l.sink.drop)
	}
	if l.e.budget.Max != 1<<20 || l.e.refusing.limit != 1 {
		t.Errorf("budget %d, refused %d", l.e.budget.Max, l.e.refusing.limit)
	}
}

// TestReloadStorm: policies come faster than walks end. Everybody is judged by the
// last one, nothing is left, and who is permitted by all notices nothing.
func TestReloadStorm(t *testing.T) {
	turns := recording(t, "tls13")
	reset := policy(acceptAll, rule("no", tlsrules.Reset, "source", "198.51.100.0/24"))
	yes := policy(acceptAll, rule("yes", tlsrules.Accept, "sni", "api.bank.example"))
	l := newLab(t, config(), yes)
	var good, bad []*link
	for range 400 {
		k := l.link4()
		k.play(turns[:3], strategies["mss"])
		good = append(good, k)
	}
	for i := range 1000 {
		p := yes
		if i%2 == 0 {
			p = named("api.bank.example")
		}
		if i == 500 {
			for range 50 {
				k := l.link("198.51.100.7", "203.0.113.10", 1000, 5000)
				k.play(turns[:3], strategies["mss"])
				bad = append(bad, k)
			}
		}
		l.adopt(p)
		if l.e.guardedWalk(); i%10 == 0 {
			k := l.link4()
			k.play(turns, strategies["mss"])
			if !k.complete(turns) {
				t.Fatalf("a new connection during reload %d: %+v", i, l.sink.drop)
			}
		}
	}
	l.adopt(reset)
	a := l.around()
	if a.Refused != 50 || a.Judged < 400 || len(l.sink.drop) != 50 {
		t.Errorf("%+v, %d drop events", a, len(l.sink.drop))
	}
	for _, k := range bad {
		if !k.closed() {
			t.Fatal("a forbidden connection is not reset")
		}
	}
	for _, k := range good {
		k.talk(k.rest(turns), strategies["mss"])
		if !k.complete(turns) {
			t.Fatal("a permitted connection is broken")
		}
	}
	if l.e.budget.Used() != 0 || l.e.waiting.first != nil {
		t.Errorf("%d bytes kept", l.e.budget.Used())
	}
}

// TestReloadSlowly: however many are refused, packets are looked at in between.
func TestReloadSlowly(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), policy(acceptAll))
	for range 300 {
		l.link4().play(turns[:3], strategies["mss"])
	}
	l.adopt(policy(acceptAll, rule("no", tlsrules.Reset, "port", "443")))
	for rounds, last := 0, uint64(0); ; rounds++ {
		l.e.guardedWalk()
		if n := l.e.again.Refused - last; n >= 2*mostRefused {
			t.Fatalf("%d refused at once", n)
		}
		if last = l.e.again.Refused; !l.e.again.walks {
			if last != 300 {
				t.Errorf("%d refused in %d rounds", last, rounds)
			}
			return
		}
	}
}

// TestAdopt asks an engine that runs.
func TestAdopt(t *testing.T) {
	cfg := config()
	cfg.Refuse = func([]byte, uint32) error { return nil }
	r := run(t, cfg, policy(acceptAll))
	turns := recording(t, "tls13")
	packets := script(t, policy(acceptAll), turns, strategies["mss"])
	const fin = 1
	packets = packets[:slices.IndexFunc(packets, func(b []byte) bool { return b[20+13]&fin != 0 })]
	for port := range uint16(200) {
		r.push(t, packets, 20000+port)
	}
	if err := r.Adopt(t.Context(), config(), policy(acceptAll, rule("no", tlsrules.Reset, "port", "443"))); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		a, err := r.Adopted(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a.Done {
			if a.Judged != 200 || a.Refused != 200 {
				t.Errorf("%+v", a)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never done")
		}
	}
	for _, s := range r.list(t, &Filter{}) {
		if s.Decision.Rule != "no" || s.Verdict() != "reset" {
			t.Fatalf("%+v", s)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(config(), policy(acceptAll)).Adopt(ctx, config(), policy(acceptAll)); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody answers: %v", err)
	}
}

// TestReloadOver: a connection that was seen to end is not refused once more, unless
// it goes on.
func TestReloadOver(t *testing.T) {
	turns := recording(t, "tls13")
	for _, n := range []int{1, len(turns)} { // still read, offloaded
		for _, goesOn := range []bool{false, true} {
			l := newLab(t, config(), policy(acceptAll))
			k := l.link4()
			k.play(turns[:n], strategies["mss"])
			k.raw(k.segment(original, len(k.ends[1].got), nil, packet.RST|packet.ACK))
			if got := l.e.table.Between(k.ends[0].addr, k.ends[1].addr).State(); got != conntrack.Close {
				t.Fatalf("state %v", got)
			}
			l.adopt(policy(acceptAll, rule("new", tlsrules.Reset, "port", "443")))
			if a := l.around(); a.Refused != 0 || len(l.sink.drop) != 0 {
				t.Errorf("after %d turns: %+v, %d drop events", n, a, len(l.sink.drop))
			}
			if goesOn && (k.data(reply, len(k.ends[0].got), []byte("more")) || len(l.sink.drop) != 1 || l.e.again.Refused != 1) {
				t.Errorf("after %d turns: what follows passes, or %d drop events", n, len(l.sink.drop))
			}
		}
	}
}

// BenchmarkWalk judges connections again that are left to the kernel.
func BenchmarkWalk(b *testing.B) {
	const connections = 50_000
	turns := recording(b, "tls12 rsa")
	packets := script(b, policy(acceptAll), turns, strategies["mss"])
	const fin = 1
	packets = packets[:slices.IndexFunc(packets, func(b []byte) bool { return b[20+13]&fin != 0 })]
	e := New(config(), policy(acceptAll))
	for i := range connections {
		for _, p := range packets {
			setPort(p, uint16(1024+i%50_000))
			e.Packet(&nfq.Packet{Payload: p, InDev: 1, OutDev: 2}, second)
		}
	}
	policies := []*tlsrules.Policy{partner(), named("api.bank.example")}
	b.ReportAllocs()
	rounds := 0
	for b.Loop() {
		e.adopt(e.cfg, policies[rounds%2])
		for e.again.walks {
			e.guardedWalk()
		}
		rounds++
	}
	if a := e.again.Adopted; a.Judged != connections || a.Refused != 0 {
		b.Fatalf("%+v", a)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*connections), "ns/connection")
}
