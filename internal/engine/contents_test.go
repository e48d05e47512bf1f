package engine

import (
	"bytes"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// TestContentTypes: the handshake passes, no header of a record of application
// data does.
func TestContentTypes(t *testing.T) {
	for _, kind := range kinds {
		turns := recording(t, kind)
		dir, at := reach(t, turns, atContent(tlswire.ApplicationData))
		for name, strategy := range strategies {
			l := newLab(t, config(), only("handshake", "change_cipher_spec", "alert"))
			k := l.link4()
			k.play(turns, strategy)
			what := kind + " " + name
			got := len(k.ends[dir.Other()].got)
			if got >= at {
				t.Errorf("%s: %d bytes delivered, the header of forbidden data ends at %d", what, got, at)
			}
			if name == "one byte" && got != at-1 {
				t.Errorf("%s: %d bytes delivered, want all before %d", what, got, at)
			}
			if len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Reason.String() != "require.content_type" {
				t.Errorf("%s: drop events %+v", what, l.sink.drop)
			}
			if len(l.sink.tls) != 1 || !k.closed() || k.offloaded != 0 {
				t.Errorf("%s: %d tls events, closed %v, %d offloaded", what, len(l.sink.tls), k.closed(), k.offloaded)
			}
		}
	}
}

// TestContentTypesHeld: a connection whose records are judged stays with us, and
// holds next to nothing.
func TestContentTypesHeld(t *testing.T) {
	l := newLab(t, config(), only("handshake", "change_cipher_spec", "alert", "application_data"))
	k := l.link4()
	turns := recording(t, "tls13")
	k.play(turns, strategies["mss"])
	if got := k.ends[1].got; !bytes.Equal(got, streams(turns)[0]) {
		t.Errorf("server got %d bytes", len(got))
	}
	if k.offloaded != 0 || k.mark != 0 {
		t.Errorf("%d offloaded, mark %#x", k.offloaded, k.mark)
	}
	if used := l.e.budget.Used(); used != 0 {
		t.Errorf("%d bytes held after everything was acknowledged", used)
	}
}

// observer is partner's policy that observes: by mode or by rule.
func observer(mode bool) (*tlsrules.Policy, Config) {
	cfg := config()
	cfg.Default.Observe = mode
	def := acceptAll
	def.Observe = mode
	return policy(def, tlsrules.Rule{
		Name: "partner", Require: []tlsrules.Condition{condition("cipher", partnerSuites...)},
		Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset, Observe: !mode,
	}), cfg
}

func TestObserve(t *testing.T) {
	turns := recording(t, "tls12 rsa")
	for _, mode := range []bool{true, false} {
		p, cfg := observer(mode)
		l := newLab(t, cfg, p)
		k := l.link4()
		k.play(turns, strategies["mss"])
		sent := streams(turns)
		if !bytes.Equal(k.ends[1].got, sent[0]) || !bytes.Equal(k.ends[0].got, sent[1]) {
			t.Errorf("mode %v: not everything passed", mode)
		}
		if len(l.sink.drop) != 1 || len(l.sink.tls) != 1 {
			t.Fatalf("mode %v: %d drop events, %d tls events", mode, len(l.sink.drop), len(l.sink.tls))
		}
		d := l.sink.drop[0]
		if !d.Decision.Observed || d.Decision.Action != tlsrules.Reset || d.Packet == 0 || d.Detail == "" {
			t.Errorf("mode %v: drop event %+v", mode, d)
		}
		if k.mark != l.marks.Accepted(5) {
			t.Errorf("mode %v: mark %#x", mode, k.mark)
		}
		l.e.Close(l.now)
		if s := l.e.Stats(); s.Observed != 1 || s.Refused != 0 || s.Injected != 0 {
			t.Errorf("mode %v: stats %+v", mode, s)
		}
		if f := l.sink.flow[0].Decision; !f.Decided || mode && !f.Observed || !mode && f.Action != tlsrules.Accept {
			t.Errorf("mode %v: the flow event's decision is %+v", mode, f)
		}
	}
}

// TestObserveRefusesNothing: not even what no rule speaks about.
func TestObserveRefusesNothing(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	for name, bring := range map[string]func(*link){
		"overlap": func(k *link) {
			k.open()
			k.data(original, 0, turns[0].bytes[:50])
			changed := bytes.Clone(turns[0].bytes)
			changed[20] ^= 1
			k.data(original, 0, changed)
		},
		"malformed": func(k *link) {
			k.open()
			k.data(original, 0, []byte{22, 3, 1, 0, 0, 0})
		},
		"undecided": func(k *link) {
			k.open()
			k.data(original, 0, turns[0].bytes[:50])
			k.lab.e.Tick(k.lab.now + 100*second)
		},
		"multipath": func(k *link) { k.openMPTCP() },
		"unkept": func(k *link) {
			k.open()
			k.data(original, 5000, make([]byte, 1400))
			k.data(original, 90000, make([]byte, 1400))
			k.data(original, 0, turns[0].bytes)
		},
		"midstream": func(k *link) { k.data(original, 0, turns[0].bytes) },
	} {
		_, cfg := observer(true)
		cfg.MPTCP, cfg.Default.Midstream = MPTCPRefuse, MidstreamReset
		cfg.Limits.PerConnection = 3000
		l := newLab(t, cfg, policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept, Observe: true}))
		k := l.link4()
		bring(k)
		if l.drops != 0 {
			t.Errorf("%s: %d packets were dropped", name, l.drops)
		}
		if k.ends[0].closed || k.ends[1].closed {
			t.Errorf("%s: reset", name)
		}
		if name != "multipath" && len(l.sink.drop) != 1 {
			t.Errorf("%s: %d drop events", name, len(l.sink.drop))
		}
	}
}

// openMPTCP is the handshake of an end that offers Multipath TCP.
func (k *link) openMPTCP() bool {
	s := k.segment(original, -1, nil, 2)
	s.ack = 0
	s.options = []byte{2, 4, 5, 180, 30, 4, 1, 1}
	return k.raw(s) && k.synAck() && k.ack(original)
}

// refuses checks that direction d's receiver was given fewer than limit bytes
// and the connection was refused for reason.
func (k *link) refuses(what string, d conntrack.Direction, limit int, reason string) {
	t, l := k.lab.t, k.lab
	t.Helper()
	if got := len(k.ends[d.Other()].got); got >= limit {
		t.Errorf("%s: %d bytes delivered, want fewer than %d", what, got, limit)
	}
	if len(l.sink.drop) != 1 {
		t.Errorf("%s: %d drop events", what, len(l.sink.drop))
		return
	}
	if got := l.sink.drop[0].Decision.Reason.String(); got != reason {
		t.Errorf("%s: refused for %q, want %q", what, got, reason)
	}
	if !k.closed() {
		t.Errorf("%s: closed: client %v, server %v", what, k.ends[0].closed, k.ends[1].closed)
	}
}
