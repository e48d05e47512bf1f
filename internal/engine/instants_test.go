package engine

import (
	"fmt"
	"slices"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// instant is a point in the life of a connection at which its daemon is told to do
// something else, or ends.
type instant struct {
	name  string
	turns int // said and acknowledged
	more  int // bytes of the next one
	syns  int // 0: both ends are there; else so many packets of the handshake
	fins  int // 1: the client has closed; 2: both have
	rests bool
}

// conversation is a conversation of which both ends are honest, and what may be asked of it.
type conversation struct {
	name  string
	turns []turn
	hello int // bytes of the client up to the end of its ClientHello
	own   int // of those, the hello's
	// answer is bytes of the server up to the end of its ServerHello.
	answer int
}

func conversations(t *testing.T) (all []conversation) {
	for _, kind := range []string{"tls12 ecdhe", "tls13"} {
		all = append(all, conversation{name: kind, turns: recording(t, kind)})
	}
	for _, name := range []string{"smtp", "connect"} {
		i := 0
		for preludes[i].name != name {
			i++
		}
		all = append(all, conversation{name: name, turns: joined(slices.Concat(preludes[i].said, recording(t, "tls13")))})
	}
	for i := range all {
		x := &all[i]
		inTLS := x.turns
		var before [2]int
		for len(inTLS) > 0 && (inTLS[0].dir != original || inTLS[0].bytes[0] != 22) {
			before[inTLS[0].dir] += len(inTLS[0].bytes)
			inTLS = inTLS[1:]
		}
		_, x.own = reach(t, inTLS, atMessage(tlswire.TypeClientHello))
		x.hello = before[original] + x.own
		_, n := reach(t, inTLS, atMessage(tlswire.TypeServerHello))
		x.answer = before[reply] + n
	}
	return all
}

// instants are all that differ: each turn, and half of each.
func (x *conversation) instants() (all []instant) {
	for n := 1; n <= 2; n++ {
		all = append(all, instant{name: fmt.Sprintf("%d packets of the TCP handshake", n), syns: n})
	}
	for n, t := range x.turns {
		all = append(all, instant{name: fmt.Sprintf("%d turns", n), turns: n},
			instant{name: fmt.Sprintf("%d turns and a half", n), turns: n, more: len(t.bytes) / 2})
	}
	n := len(x.turns)
	all = append(all, instant{name: "the end", turns: n}, instant{name: "the client has closed", turns: n, fins: 1}, instant{name: "both have closed", turns: n, fins: 2})
	for _, m := range all[2:] {
		m.name, m.rests = m.name+", at rest", true
		all = append(all, m)
	}
	return all
}

// to brings a connection there.
func (k *link) to(x *conversation, m instant) {
	k.lab.t.Helper()
	k.syn()
	if m.syns == 1 {
		return
	}
	k.synAck()
	if m.syns == 2 {
		return
	}
	k.ack(original)
	if k.talk(x.turns[:m.turns], strategies["mss"]); k.closed() {
		return
	}
	if m.more > 0 {
		next := x.turns[m.turns]
		k.data(next.dir, len(k.ends[next.dir.Other()].got), next.bytes[:m.more])
		k.ack(next.dir.Other())
	}
	if m.fins > 0 {
		k.raw(k.segment(original, len(k.ends[1].got), nil, packet.FIN|packet.ACK))
		k.ends[1].ended = true
		s := k.segment(reply, len(k.ends[0].got), nil, packet.ACK)
		if m.fins > 1 {
			s.flags |= packet.FIN
		}
		k.raw(s)
		k.ends[0].ended = m.fins > 1
	}
	if m.rests {
		for range 12 {
			k.lab.now += second
			k.lab.e.Tick(k.lab.now)
		}
		k.lab.e.restAll()
	}
}

// on goes on to the end of the conversation.
func (k *link) on(x *conversation, m instant) {
	switch m.syns {
	case 1:
		k.synAck()
		k.ack(original)
	case 2:
		k.ack(original)
	}
	if m.fins > 0 {
		k.raw(k.segment(original, len(k.ends[1].got)+1, nil, packet.ACK))
		return
	}
	k.talk(k.rest(x.turns), strategies["mss"])
}

// setting is how a daemon ends and begins again.
type setting struct {
	midstream       Midstream
	requires        bool // the policy requires a name, else it refuses all others
	offload         bool
	same            bool // the policy
	killed          bool // by kill -9
	forbidden       bool // the connection's name, by the policy that it begins again with
	accepts, judges bool // what comes of it
}

func settings() (all []setting) {
	for i := range 1 << 7 {
		s := setting{
			midstream: Midstream(i & 3), requires: i&4 != 0, offload: i&8 != 0, same: i&16 != 0, killed: i&32 != 0, forbidden: i&64 != 0,
		}
		// docs/POLICY.md, "The daemon ends, and starts again".
		s.accepts = s.midstream == MidstreamAccept || s.midstream == MidstreamInspect && !s.requires
		s.judges = s.accepts || s.midstream == MidstreamInspect
		all = append(all, s)
	}
	return all
}

func (s *setting) policy(name string) *tlsrules.Policy {
	if s.requires {
		return named(name)
	}
	return policy(acceptAll, tlsrules.Rule{
		Name: "named", Match: []tlsrules.Condition{condition("protocol", "tls")},
		Unless: []tlsrules.Condition{condition("sni", name)}, Action: tlsrules.Reset, HasAction: true,
	})
}

// TestRestartAnytime: the daemon ends at each moment of a connection, by SIGTERM or by
// kill -9, and starts again with the same policy or another. Who was accepted goes on; who
// was not decided is what docs/POLICY.md says, and whose hello had not begun is never heard
// of by its server if it is forbidden.
func TestRestartAnytime(t *testing.T) {
	for _, x := range conversations(t) {
		for _, m := range x.instants() {
			for _, s := range settings() {
				x.restart(t, m, s)
			}
		}
	}
}

func (x *conversation) restart(t *testing.T, m instant, s setting) {
	t.Helper()
	what := fmt.Sprintf("%s, %s, %+v", x.name, m.name, s)
	const permitted, other = "api.bank.example", "api.evil.example"
	before, after := permitted, permitted
	if s.forbidden {
		if after = other; s.same {
			before = other
		}
	}
	cfg := config()
	cfg.Offload, cfg.Default.Midstream = s.offload, s.midstream
	l := newLab(t, cfg, s.policy(before))
	k := l.link4()
	k.to(x, m)
	if len(l.sink.drop) > 0 {
		if !s.forbidden || !s.same {
			t.Errorf("%s: refused before: %+v", what, l.sink.drop[0])
		}
		return
	}
	undecided := !s.same || k.mark != l.marks.Accepted(5)
	heard := len(k.ends[1].got)
	if !s.killed {
		l.e.Close(l.now)
	}
	if !s.same {
		cfg.Generation = 6
	}
	next := newLab(t, cfg, s.policy(after))
	next.now, next.links, k.lab = l.now+second, l.links, next
	k.on(x, m)
	drops := next.sink.drop
	seen := m.syns == 1 && s.judges // its SYN-ACK comes, so nothing of it was missed
	begun := heard > x.hello-x.own
	direct := x.hello == x.own // what leads to TLS is not looked at in what began unseen
	switch {
	case m.fins > 0: // no more is said
	case !s.forbidden && (!undecided || seen || s.accepts):
		if !k.complete(x.turns) || len(drops) != 0 {
			t.Errorf("%s: %d and %d bytes came, closed %v %v, %+v", what, len(k.ends[1].got), len(k.ends[0].got), k.ends[0].closed, k.ends[1].closed, drops)
		}
	case s.forbidden && !begun && (direct || seen || !s.accepts):
		if got := len(k.ends[1].got); got >= x.hello || len(drops) != 1 {
			t.Errorf("%s: %d bytes of a hello that ends at %d came, %d drop events", what, got, x.hello, len(drops))
		}
	case undecided && !seen && !s.accepts && m.turns < len(x.turns):
		if got := len(k.ends[1].got); got > heard || len(drops) != 1 {
			t.Errorf("%s: %d bytes came, %d drop events", what, got-heard, len(drops))
		}
	}
}
