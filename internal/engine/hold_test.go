package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// gated is a policy of one rule that has data wait.
func gated(h tlsrules.Hold, match ...tlsrules.Condition) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "quarantine", Match: match, Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset, Hold: &h,
	})
}

// edges are where application data begins in both directions of a conversation.
func edges(turns []turn) (at [2]int) {
	var c tlswire.Conn
	var read [2]int
	s := streams(turns)
	at = [2]int{len(s[0]), len(s[1])}
	for _, turn := range turns {
		for b := turn.bytes; len(b) > 0; {
			n, _, st := c.Consume(side(turn.dir), b)
			b = b[n:]
			read[turn.dir] += n
			h := c.Header[side(turn.dir)].Content
			if st == tlswire.Record && (h == tlswire.ApplicationData || h == tlswire.EarlyData) {
				at[turn.dir] = min(at[turn.dir], read[turn.dir]-tlswire.RecordHeaderLen)
			}
		}
	}
	return at
}

// push sends all turns, though nobody may have got what they answer; finish goes
// on until everything has come.
func (k *link) push(turns []turn, strategy func(int) []piece) {
	var base [2]int
	for _, t := range turns {
		for _, p := range strategy(len(t.bytes)) {
			k.data(t.dir, base[t.dir]+p.from, t.bytes[p.from:p.to])
		}
		base[t.dir] += len(t.bytes)
		k.ack(t.dir.Other())
	}
}

func (k *link) finish(turns []turn) {
	sent := streams(turns)
	for range 1000 {
		for d := original; d <= reply; d++ {
			if at := len(k.ends[d.Other()].got); at < len(sent[d]) {
				k.data(d, at, sent[d][at:min(at+1460, len(sent[d]))])
			}
			k.ack(d.Other())
		}
	}
	k.ack(original)
	k.ack(reply)
}

// answering goes on as two ends that say nothing before they have what they
// answer, in segments of any size and order.
func (k *link) answering(turns []turn) {
	r := rand.New(rand.NewPCG(9, 9))
	had := -1
	for idle := 0; idle < 100; idle++ {
		if n := len(k.ends[0].got) + len(k.ends[1].got); n > had {
			had, idle = n, 0
		}
		var base [2]int
		for _, t := range turns {
			to := k.ends[t.dir.Other()]
			if end := base[t.dir] + len(t.bytes); len(to.got) < end {
				at := len(to.got)
				if r.IntN(3) == 0 { // a later part first
					at += r.IntN(end - at)
				}
				k.data(t.dir, at, t.bytes[at-base[t.dir]:min(len(t.bytes), at-base[t.dir]+1+r.IntN(1460))])
				break
			}
			base[t.dir] += len(t.bytes)
		}
		k.ack(original)
		k.ack(reply)
	}
}

// holds checks that both ends have their handshake, and nothing of what waits but
// the beginning of a record's header.
func (k *link) holds(what string, turns []turn) {
	k.lab.t.Helper()
	sent, edge := streams(turns), edges(turns)
	for d := original; d <= reply; d++ {
		got := k.ends[d.Other()].got
		if len(got) < edge[d] || len(got) >= edge[d]+tlswire.RecordHeaderLen && edge[d] < len(sent[d]) || !bytes.HasPrefix(sent[d], got) {
			k.lab.t.Errorf("%s: %d bytes of direction %v came, want %d", what, len(got), d, edge[d])
		}
	}
	if k.offloaded != 0 || k.mark != k.lab.marks.Held() {
		k.lab.t.Errorf("%s: %d packets offloaded, mark %#x, while data waits", what, k.offloaded, k.mark)
	}
}

// whole checks that both ends have everything.
func (k *link) whole(what string, turns []turn) {
	k.lab.t.Helper()
	k.lab.now += second
	k.lab.e.Tick(k.lab.now)
	for d, want := range streams(turns) {
		if got := k.ends[1-d].got; !bytes.Equal(got, want) {
			k.lab.t.Errorf("%s: %d bytes of %d came in direction %d", what, len(got), len(want), d)
		}
	}
	if k.mark != k.lab.marks.Accepted(5) {
		k.lab.t.Errorf("%s: mark %#x in the end", what, k.mark)
	}
}

func (l *lab) open(rule string) {
	l.t.Helper()
	if !l.e.cfg.Gates.Set(rule, true, l.now) {
		l.t.Fatalf("no gate %q", rule)
	}
	l.now += second / 10
	l.e.Tick(l.now)
	for _, k := range l.links {
		k.challenges()
	}
}

// talks are conversations whose data may wait: as recorded, with a server that
// speaks first, with data behind the Finished in one segment, with early data.
func talks(t *testing.T) map[string][]turn {
	all := map[string][]turn{}
	for _, kind := range kinds {
		turns := recording(t, kind)
		all[kind] = turns
		first := slices.Clone(turns)
		for i, turn := range turns {
			if from := turn.dir; from == original && i > 1 { // its Finished, and what follows at once
				first = append(slices.Clone(turns[:i+1]), append([]turnOf{{reply, record(23, make([]byte, 700))}}, turns[i+1:]...)...)
			}
		}
		all[kind+", server first"] = first
	}
	return all
}

type turnOf = turn

// TestHold: before the gate opens both ends have their handshake and not a byte
// behind it, afterwards everything, however it is cut.
func TestHold(t *testing.T) {
	matches := map[string][]tlsrules.Condition{
		"all": nil, "port": {condition("port", "443")}, "sni": {condition("sni", "api.bank.example")}, "version": {condition("version", "1.0", "1.1", "1.2", "1.3")},
	}
	for kind, turns := range talks(t) {
		for match, conditions := range matches {
			for name, strategy := range strategies {
				what := strings.Join([]string{kind, match, name}, ", ")
				l := newLab(t, config(), gated(tlsrules.Hold{}, conditions...))
				k := l.link4()
				if len(what)%2 == 0 {
					k = l.link6()
				}
				if name == "gso" {
					l.alter = func(p *nfq.Packet) { p.GSO, p.ChecksumNotReady = len(p.Payload) > 100, true }
				}
				k.play(turns, strategy)
				k.push(turns, strategy)
				k.holds(what, turns)
				if n := len(l.sink.drop); n != 1 || !l.sink.drop[0].Held || l.sink.drop[0].Decision.Rule != "quarantine" || l.sink.drop[0].Detail == "" {
					t.Errorf("%s: told %+v", what, l.sink.drop)
				}
				before, edge := k.released, edges(turns)
				l.open("quarantine")
				if k.released == before || len(k.ends[1].got) <= edge[0] && edge[0] < len(streams(turns)[0]) {
					t.Errorf("%s: nothing came with the opening", what)
				}
				k.finish(turns)
				k.whole(what, turns)
				if n := len(l.sink.drop); n != 1 || len(l.sink.tls) != 1 {
					t.Errorf("%s: %d drop events, %d tls events", what, n, len(l.sink.tls))
				}
				if used := l.e.budget.Used(); used != 0 || l.e.counts.Holding != 0 || l.e.counts.Held != 1 {
					t.Errorf("%s: %d bytes held, %d connections wait, %d have", what, used, l.e.counts.Holding, l.e.counts.Held)
				}
				if t.Failed() {
					return
				}
			}
		}
	}
}

// heldLink is a connection whose client's request waits; behind is what it said.
func heldLink(t *testing.T, h tlsrules.Hold) (l *lab, k *link, turns []turn) {
	turns = recording(t, "tls13")
	l = newLab(t, config(), gated(h))
	k = l.link4()
	k.play(turns, strategies["mss"])
	k.holds("to begin with", turns)
	return l, k, turns
}

// TestHoldSegments: what passes of a connection that waits besides data, and what
// does not.
func TestHoldSegments(t *testing.T) {
	for name, tt := range map[string]struct {
		segment func(k *link, edge int) segment
		passes  bool
		flags   packet.Flags
	}{
		"an acknowledgement":       {func(k *link, edge int) segment { return k.segment(original, edge, nil, packet.ACK) }, true, packet.ACK},
		"one behind data":          {func(k *link, edge int) segment { return k.segment(original, edge+100, nil, packet.ACK) }, true, packet.ACK},
		"a keep-alive":             {func(k *link, edge int) segment { return k.segment(original, edge-1, nil, packet.ACK) }, true, packet.ACK},
		"a keep-alive with a byte": {func(k *link, edge int) segment { return k.segment(original, edge-1, []byte{0}, packet.ACK) }, true, packet.ACK},
		"the server's keep-alive":  {func(k *link, _ int) segment { return k.segment(reply, len(k.ends[0].got)-1, nil, packet.ACK) }, true, packet.ACK},
		"data":                     {func(k *link, edge int) segment { return k.segment(original, edge, []byte{23, 3, 3}, packet.ACK) }, false, 0},
		"a window probe of a byte": {func(k *link, edge int) segment { return k.segment(original, edge, []byte{23}, packet.ACK) }, false, 0},
		"data further on":          {func(k *link, edge int) segment { return k.segment(original, edge+50, []byte("x"), packet.ACK) }, false, 0},
		"a FIN behind data":        {func(k *link, edge int) segment { return k.segment(original, edge+100, nil, packet.ACK|packet.FIN) }, false, 0},
		"a FIN instead of data":    {func(k *link, edge int) segment { return k.segment(original, edge, nil, packet.ACK|packet.FIN) }, false, 0},
		"an RST":                   {func(k *link, edge int) segment { return k.segment(original, edge, nil, packet.RST) }, true, packet.RST},
		"an RST behind data":       {func(k *link, edge int) segment { return k.segment(original, edge+100, nil, packet.RST|packet.ACK) }, true, packet.RST | packet.ACK},
	} {
		_, k, turns := heldLink(t, tlsrules.Hold{})
		edge := edges(turns)[0]
		before := k.ends[1].delivered + k.ends[0].delivered
		if passed := k.raw(tt.segment(k, edge)); passed != tt.passes {
			t.Errorf("%s: passes %v, want %v", name, passed, tt.passes)
		}
		if got := k.ends[1].delivered + k.ends[0].delivered - before; (got > 0) != tt.passes {
			t.Errorf("%s: %d segments came", name, got)
		}
		k.holds(name, turns)
	}
}

// TestHoldAcknowledges: what a segment says of the other direction is not lost with
// its data; the second time there is nothing new in it.
func TestHoldAcknowledges(t *testing.T) {
	for _, gso := range []bool{false, true} {
		turns := recording(t, "tls12 ecdhe")
		l := newLab(t, config(), gated(tlsrules.Hold{}))
		k := l.link4()
		k.play(turns[:3], strategies["mss"])
		k.data(reply, len(k.ends[0].got), turns[3].bytes)
		l.alter = func(p *nfq.Packet) { p.GSO = gso }
		edge := edges(turns)[0]
		for i, want := range []int{1, 0} {
			before, injected := k.ends[1].delivered, l.e.counts.Injected
			k.raw(k.segment(original, edge, turns[4].bytes, packet.ACK|packet.PSH|packet.FIN))
			got := k.ends[1].delivered - before
			if gso {
				got = int(l.e.counts.Injected - injected)
			}
			if got != want || len(k.ends[1].got) != edge {
				t.Errorf("GSO %v, time %d: %d segments came, %d bytes", gso, i, got, len(k.ends[1].got)-edge)
			}
		}
	}
}

// TestHoldLossy: whatever is lost on both sides of the engine.
func TestHoldLossy(t *testing.T) {
	for kind, turns := range talks(t) {
		for seed := range uint64(3) {
			what := fmt.Sprint(kind, ", seed ", seed)
			l := newLab(t, config(), gated(tlsrules.Hold{}))
			k := l.link6()
			k.open()
			k.lossy = rand.New(rand.NewPCG(7, seed))
			k.answering(turns)
			k.lossy, k.lost = nil, false
			k.answering(turns)
			k.holds(what, turns)
			k.lossy = rand.New(rand.NewPCG(8, seed))
			l.open("quarantine")
			k.answering(turns)
			k.lossy, k.lost = nil, false
			k.finish(turns)
			k.whole(what, turns)
		}
	}
}

// TestHoldEnds: a client that has sent its request and closed waits too, and for
// longer than a connection that is over is remembered.
func TestHoldEnds(t *testing.T) {
	l, k, turns := heldLink(t, tlsrules.Hold{})
	sent := streams(turns)
	fin := k.segment(original, len(sent[0]), nil, packet.ACK|packet.FIN)
	other := k.segment(reply, len(k.ends[0].got)+300, nil, packet.ACK|packet.FIN)
	k.raw(k.segment(reply, len(k.ends[0].got), record(23, make([]byte, 295)), packet.ACK))
	for range 20 {
		k.raw(fin)
		k.raw(other)
		for range 90 {
			l.now += second
			l.e.Tick(l.now)
		}
	}
	k.holds("half an hour after both FINs", turns)
	if len(l.sink.flow) != 0 {
		t.Fatalf("it has ended: %+v", l.sink.flow)
	}
	l.open("quarantine")
	k.data(original, len(k.ends[1].got), sent[0][len(k.ends[1].got):])
	if !k.raw(fin) || !bytes.Equal(k.ends[1].got, sent[0]) {
		t.Errorf("%d bytes of %d, and the FIN, after the opening", len(k.ends[1].got), len(sent[0]))
	}
	for range 200 {
		l.now += second
		l.e.Tick(l.now)
	}
	if len(l.sink.flow) != 1 || l.sink.flow[0].Waited < 30*time.Minute || len(l.e.held) != 0 {
		t.Errorf("told in the end: %+v", l.sink.flow)
	}
}

// TestHoldOpens: at its time, by hand, for one connection; and not for long where
// it is closed again.
func TestHoldOpens(t *testing.T) {
	turns := recording(t, "tls13")
	at := time.Unix(0, 1_700_000_000*second).Add(time.Minute)
	l, k, _ := heldLink(t, tlsrules.Hold{Open: at})
	if d := l.sink.drop[0].Detail; !strings.Contains(d, "2023-11-14T22:14:20Z") {
		t.Errorf("told %q", d)
	}
	l.now = at.UnixNano() - second
	l.e.Tick(l.now)
	k.holds("a second before its time", turns)
	l.now += second
	l.e.Tick(l.now)
	k.challenges()
	k.finish(turns)
	k.whole("at its time", turns)
	other := l.link4()
	other.play(turns, strategies["mss"])
	other.whole("behind an open gate", turns)
	if l.e.counts.Held != 1 {
		t.Errorf("%d connections have waited", l.e.counts.Held)
	}
	l.e.cfg.Gates.Set("quarantine", false, l.now)
	third := l.link4()
	third.play(turns, strategies["mss"])
	third.holds("behind a gate that was closed again", turns)
	k.data(original, len(k.ends[1].got), []byte("more"))
	if len(k.ends[1].got) != len(streams(turns)[0])+4 {
		t.Error("what was let go does not go on once the gate is closed")
	}
	// A time that is over is as good as none.
	l, k, _ = newLab(t, config(), gated(tlsrules.Hold{Open: time.Unix(1, 0)})), nil, turns
	k = l.link4()
	k.play(turns, strategies["mss"])
	k.whole("a time long ago", turns)
}

// TestHoldOpensOne: by hand, and stays so.
func TestHoldOpensOne(t *testing.T) {
	l, k, turns := heldLink(t, tlsrules.Hold{})
	other := l.link4()
	other.play(turns, strategies["mss"])
	c := l.e.table.Between(k.ends[0].addr, k.ends[1].addr)
	l.e.hold(c).byHand = true
	l.e.letPass(c)
	k.challenges()
	k.finish(turns)
	k.whole("the one", turns)
	other.holds("the other", turns)
}

// TestHoldEarlyKept: the gate opens while segments that came too early are kept.
func TestHoldEarlyKept(t *testing.T) {
	for _, kind := range []string{"tls12 ecdhe", "tls13"} {
		turns := recording(t, kind)
		sent, edge := streams(turns), edges(turns)
		l := newLab(t, config(), gated(tlsrules.Hold{}))
		k := l.link4()
		k.play(turns, strategies["mss"])
		for at := len(sent[0]) - 10; at > edge[0]+20; at -= 10 { // all but what comes first
			k.data(original, at, sent[0][at:at+10])
		}
		k.holds(kind, turns)
		l.open("quarantine")
		k.finish(turns)
		k.whole(kind, turns)
		if used := l.e.budget.Used(); used != 0 {
			t.Errorf("%s: %d bytes kept", kind, used)
		}
	}
}

// TestHoldOvertakes: data that comes before the handshake that it follows does not
// pass for what is not known yet.
func TestHoldOvertakes(t *testing.T) {
	turns := recording(t, "tls13")
	sent, edge := streams(turns), edges(turns)
	l := newLab(t, config(), gated(tlsrules.Hold{}))
	k := l.link4()
	k.open()
	hello := len(turns[0].bytes)
	k.data(original, 0, sent[0][:hello])
	k.talk(turns[1:2], strategies["mss"])
	k.data(original, edge[0], sent[0][edge[0]:])
	k.data(original, hello, sent[0][hello:edge[0]])
	k.finish(turns)
	k.holds("request before Finished", turns)
	l.open("quarantine")
	k.finish(turns)
	k.whole("request before Finished", turns)
}

// TestHoldPatience: what has waited for long enough is refused, with the exact
// number, and says so.
func TestHoldPatience(t *testing.T) {
	l, k, turns := heldLink(t, tlsrules.Hold{Patience: time.Minute})
	l.now += 30 * second
	other := l.link4()
	other.play(turns, strategies["mss"])
	l.now += 29 * second
	l.e.Tick(l.now)
	k.holds("a second before", turns)
	l.now += 2 * second
	l.e.Tick(l.now)
	k.challenges()
	if !k.closed() {
		t.Errorf("closed: client %v, server %v", k.ends[0].closed, k.ends[1].closed)
	}
	other.holds("the later one", turns)
	if n := len(l.sink.drop); n != 3 || l.sink.drop[2].Decision.Reason != tlsrules.ReasonHoldExpired || l.sink.drop[2].Held ||
		!strings.Contains(l.sink.drop[2].Detail, "1m0s") || l.sink.drop[2].Decision.Action != tlsrules.Reset {
		t.Errorf("told %+v", l.sink.drop)
	}
	l.open("quarantine")
	k.data(original, len(k.ends[1].got), streams(turns)[0][len(k.ends[1].got):])
	if len(k.ends[1].got) >= len(streams(turns)[0]) || k.mark != l.marks.Refused() {
		t.Errorf("it passes after its patience is over, mark %#x", k.mark)
	}
	other.finish(turns)
	other.whole("the later one", turns)
	if l.e.budget.Used() != 0 || l.e.counts.Holding != 0 {
		t.Errorf("%d bytes, %d wait", l.e.budget.Used(), l.e.counts.Holding)
	}
}

// TestHoldLost: what is sent when the gate opens is sent again until it is there, a
// few times.
func TestHoldLost(t *testing.T) {
	for _, losing := range []int{1, 4, 1000} {
		l, k, turns := heldLink(t, tlsrules.Hold{})
		edge := edges(turns)[0]
		k.losing = losing
		l.open("quarantine")
		for range 30 {
			l.now += second / 10
			l.e.Tick(l.now)
			k.challenges()
		}
		if came := len(k.ends[1].got) > edge; came != (losing < sendTries) || k.released != min(losing+1, sendTries) {
			t.Errorf("%d lost: came %v, sent %d times", losing, came, k.released)
		}
		if l.e.budget.Used() != 0 && losing < sendTries || l.e.sending.first != nil {
			t.Errorf("%d lost: %d bytes kept", losing, l.e.budget.Used())
		}
		k.finish(turns)
		k.whole("in the end", turns)
	}
	// A connection that ends takes it along.
	l, k, _ := heldLink(t, tlsrules.Hold{})
	k.losing = 1000
	l.open("quarantine")
	l.e.Close(l.now)
	l.now += second
	l.e.Tick(l.now)
	if k.released != 1 || l.e.budget.Used() != 0 {
		t.Errorf("sent %d times, %d bytes kept", k.released, l.e.budget.Used())
	}
}

// TestHoldKilled: both ends are reset, and nothing is left.
func TestHoldKilled(t *testing.T) {
	l, k, _ := heldLink(t, tlsrules.Hold{})
	if err := k.kill(); err != nil || !k.closed() {
		t.Errorf("%v, closed %v", err, k.closed())
	}
	l.open("quarantine")
	if l.e.budget.Used() != 0 || l.e.counts.Holding != 0 || k.released != 0 {
		t.Errorf("%d bytes, %d wait, %d segments sent", l.e.budget.Used(), l.e.counts.Holding, k.released)
	}
}

// TestHoldObserved: it is told, and nothing waits.
func TestHoldObserved(t *testing.T) {
	for _, kind := range kinds {
		turns := recording(t, kind)
		cfg := config()
		cfg.Default.Observe = true
		def := acceptAll
		def.Observe = true
		l := newLab(t, cfg, policy(def, tlsrules.Rule{
			Name: "quarantine", Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset, Hold: &tlsrules.Hold{Patience: time.Second},
		}))
		k := l.link4()
		k.play(turns, strategies["mss"])
		l.now += 10 * second
		l.e.Tick(l.now)
		k.finish(turns)
		k.whole(kind, turns)
		if n := len(l.sink.drop); n != 1 || !l.sink.drop[0].Held || !l.sink.drop[0].Decision.Observed {
			t.Errorf("%s: told %+v", kind, l.sink.drop)
		}
	}
}

// TestHoldNotTLS: what is not TLS is default.not_tls's; but TLS that begins in it
// waits.
func TestHoldNotTLS(t *testing.T) {
	l := newLab(t, config(), gated(tlsrules.Hold{}))
	k := l.link4()
	http := []turn{{original, []byte("GET / HTTP/1.0\r\n\r\n")}, {reply, []byte("HTTP/1.0 200 OK\r\n\r\n")}}
	k.play(http, strategies["mss"])
	for d, want := range streams(http) {
		if !bytes.Equal(k.ends[1-d].got, want) {
			t.Errorf("%d bytes of direction %d", len(k.ends[1-d].got), d)
		}
	}
	if len(l.sink.drop) != 0 {
		t.Errorf("told %+v", l.sink.drop)
	}
	turns := recording(t, "tls13")
	before := []turn{{reply, []byte("220 mail ESMTP\r\n")}, {original, []byte("EHLO x\r\n")}, {reply, []byte("250-mail\r\n250 STARTTLS\r\n")},
		{original, []byte("STARTTLS\r\n")}, {reply, []byte("220 go\r\n")}}
	l = newLab(t, config(), gated(tlsrules.Hold{}))
	k = l.link4()
	k.play(slices.Concat(before, turns), strategies["mss"])
	edge := edges(turns)
	for d, n := range [2]int{len(streams(before)[0]) + edge[0], len(streams(before)[1]) + edge[1]} {
		if d == 0 && len(k.ends[1].got) != n {
			t.Errorf("behind STARTTLS %d bytes came, want %d", len(k.ends[1].got), n)
		}
	}
	l.open("quarantine")
	k.finish(slices.Concat(before, turns))
	k.whole("behind STARTTLS", slices.Concat(before, turns))
}

// TestHoldUnreadable: what cannot be read any more waits all the same, though a
// rule has accepted whatever it carries.
func TestHoldUnreadable(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	l := newLab(t, config(), gated(tlsrules.Hold{}))
	k := l.link4()
	k.play(turns[:3], strategies["mss"])
	had := len(k.ends[1].got)
	broken := append([]byte{99, 99, 99, 99, 99}, make([]byte, 100)...)
	k.data(original, had, broken)
	k.data(original, had, broken)
	if got := len(k.ends[1].got); got != had || k.mark != l.marks.Held() {
		t.Errorf("%d bytes came of what is no record, mark %#x", got-had, k.mark)
	}
	l.open("quarantine")
	if got := len(k.ends[1].got); got != had+len(broken) {
		t.Errorf("%d bytes came when the gate opened", got-had)
	}
}

// TestHoldRestart: an engine that begins with connections of an earlier one does
// not let pass what waits; where it cannot know what for, it says so.
func TestHoldRestart(t *testing.T) {
	turns := recording(t, "tls13")
	sent := streams(turns)
	for _, m := range []Midstream{MidstreamAccept, MidstreamInspect} {
		for match, held := range map[string]bool{"port": true, "sni": false} {
			value := map[string]string{"port": "443", "sni": "api.bank.example"}[match]
			p := gated(tlsrules.Hold{}, condition(match, value))
			l := newLab(t, config(), p)
			k := l.link4()
			k.play(turns, strategies["mss"])
			k.holds(match, turns)
			cfg := l.e.cfg
			cfg.Default.Midstream = m
			cfg.Gates = nil
			l.e = New(cfg, p)
			at := len(k.ends[1].got)
			for range 3 {
				k.data(original, at, sent[0][at:])
				k.data(reply, len(k.ends[0].got), []byte("more"))
			}
			if len(k.ends[1].got) != at {
				t.Errorf("%s: %d bytes came after a restart", match, len(k.ends[1].got)-at)
			}
			if !held {
				if !k.closed() {
					t.Errorf("%s: not reset", match)
				}
				continue
			}
			l.open("quarantine")
			k.data(original, len(k.ends[1].got), sent[0][len(k.ends[1].got):])
			if !bytes.Equal(k.ends[1].got, sent[0]) || k.closed() {
				t.Errorf("%s: %d bytes of %d came when the gate opened", match, len(k.ends[1].got), len(sent[0]))
			}
		}
	}
}

// TestHoldAllocs: nor does it cost memory a packet.
func TestHoldAllocs(t *testing.T) {
	_, k, turns := heldLink(t, tlsrules.Hold{})
	sent, edge := streams(turns), edges(turns)
	s := k.segment(original, edge[0], sent[0][edge[0]:], packet.ACK)
	b := s.append(nil)
	e := k.lab.e
	if n := testing.AllocsPerRun(100, func() {
		k.lab.now += second
		e.Packet(&nfq.Packet{Payload: b, InDev: 1, OutDev: 2}, k.lab.now)
		e.Tick(k.lab.now)
	}); n != 0 {
		t.Errorf("%.1f allocations a packet that waits", n)
	}
}

// TestHoldRoom: what waits and has to make room in the table is reset: as one that
// began unseen it would not wait.
func TestHoldRoom(t *testing.T) {
	cfg := config()
	cfg.Limits.Connections = 1
	turns := recording(t, "tls13")
	l := newLab(t, cfg, gated(tlsrules.Hold{}))
	k := l.link4()
	k.play(turns, strategies["mss"])
	k.holds("to begin with", turns)
	l.now += 60 * second
	other := l.link4()
	other.syn()
	k.challenges()
	if !k.closed() || len(l.sink.flow) != 1 || l.sink.flow[0].Diagnosis.Code != "held" {
		t.Errorf("closed %v, told %+v", k.closed(), l.sink.flow)
	}
	if len(l.e.held) != 1 || l.e.counts.Holding != 0 { // the other's
		t.Errorf("%d have a hold, %d wait", len(l.e.held), l.e.counts.Holding)
	}
}

// TestHoldUnread: where the queue fails open, what passed unseen has passed, and
// what follows waits.
func TestHoldUnread(t *testing.T) {
	cfg := config()
	cfg.Lossy = true
	turns := recording(t, "tls12 ecdhe")
	l := newLab(t, cfg, gated(tlsrules.Hold{}))
	k := l.link4()
	k.play(turns, strategies["mss"])
	base := len(k.ends[original].got)
	data := record(23, make([]byte, 1000))
	k.deliver(k.segment(reply, base, data, packet.ACK)) // past the queue
	k.ack(original)
	for range 3 {
		k.data(reply, base+len(data), data)
	}
	if got := len(k.ends[original].got) - base; got != len(data) || k.mark != l.marks.Held() {
		t.Errorf("%d bytes came, want %d; mark %#x", got, len(data), k.mark)
	}
	l.open("quarantine")
	if got := len(k.ends[original].got) - base; got != 2*len(data) {
		t.Errorf("%d bytes came when the gate opened, want %d", got, 2*len(data))
	}
}
