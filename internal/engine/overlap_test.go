package engine

import (
	"bytes"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// hello is the ClientHello of a TLS 1.3 connection, and one for another name.
func hellos(t *testing.T) (good, decoy []byte) {
	good = recording(t, "tls13")[0].bytes
	decoy = bytes.Replace(good, []byte("api.bank.example"), []byte("api.evil.example"), 1)
	if bytes.Equal(good, decoy) {
		t.Fatal("no server name in the hello")
	}
	return good, decoy
}

// named refuses any server name but one.
func named(name string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "named", Require: []tlsrules.Condition{condition("sni", name)}, Otherwise: tlsrules.Reset,
		Action: tlsrules.Accept, HasAction: true,
	})
}

func TestOverlap(t *testing.T) {
	good, evil := hellos(t)
	for name, test := range map[string]struct {
		bring  func(k *link)
		limit  int // bytes the server may have
		passes bool
	}{
		"changed retransmission of a part": {func(k *link) {
			k.data(original, 0, good[:60])
			k.data(original, 0, append(bytes.Repeat([]byte{1}, 60), good[60:]...))
		}, 61, false},
		"changed retransmission after its acknowledgement": {func(k *link) {
			k.data(original, 0, good)
			k.ack(reply)
			k.data(original, 0, evil)
		}, 0, true},
		"decoy hello, lost on its way, then another": {func(k *link) {
			k.lost = true
			k.data(original, 0, good)
			k.lost = false
			k.data(original, 0, evil)
		}, 1, false},
		"decoy hello, then another, record by record": {func(k *link) {
			k.lost = true
			k.data(original, 0, good)
			k.lost = false
			for i := range evil {
				k.data(original, i, evil[i:i+1])
			}
		}, len(evil), false},
		"early segment, then a changed copy of it": {func(k *link) {
			k.lost = true
			k.data(original, 100, good[100:])
			k.lost = false
			k.data(original, 100, bytes.Repeat([]byte{7}, 50))
		}, 1, false},
		"early segment, then one in order that differs": {func(k *link) {
			k.lost = true
			k.data(original, 100, good[100:])
			k.lost = false
			k.data(original, 0, evil[:140])
		}, 1, false},
		"old bytes with new ones behind them": {func(k *link) {
			k.data(original, 0, good[:100])
			k.ack(reply)
			k.data(original, 0, append(bytes.Repeat([]byte{1}, 100), good[100:]...))
		}, 0, true},
		"the same bytes again, cut otherwise": {func(k *link) {
			k.lost = true
			k.data(original, 0, good)
			k.data(original, 10, good[10:90])
			k.lost = false
			k.data(original, 0, good)
		}, 0, true},
	} {
		l := newLab(t, config(), named("api.bank.example"))
		k := l.link4()
		k.open()
		test.bring(k)
		if !test.passes {
			k.refuses(name, original, test.limit, "tcp.overlap")
		} else if got := k.ends[1].got; !bytes.Equal(got, good) || len(l.sink.drop) != 0 {
			t.Errorf("%s: server got %d bytes of %d, %d drop events", name, len(got), len(good), len(l.sink.drop))
		}
		if k.mark == l.marks.Accepted(5) {
			t.Errorf("%s: offloaded", name)
		}
	}
}

// TestDecoyNeverOffloaded: a policy that accepts by the hello alone waits for
// its acknowledgement all the same.
func TestDecoyNeverOffloaded(t *testing.T) {
	turns := recording(t, "tls13")
	_, evil := hellos(t)
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.open()
	k.lost = true
	k.data(original, 0, turns[0].bytes)
	// A server that answers what it never got: its segments acknowledge nothing.
	s := k.segment(reply, 0, turns[1].bytes, packet.ACK)
	k.raw(s)
	k.lost = false
	k.ack(original)
	if k.mark != 0 {
		t.Errorf("mark %#x before the hello was acknowledged", k.mark)
	}
	if k.data(original, 0, evil) || len(k.ends[1].got) != 0 {
		t.Errorf("another hello passed")
	}
	if len(l.sink.drop) != 1 {
		t.Errorf("%d drop events", len(l.sink.drop))
	}
}

// TestAmbiguousAccept: the policy may not mind.
func TestAmbiguousAccept(t *testing.T) {
	good, evil := hellos(t)
	cfg := config()
	cfg.Default.Ambiguous = tlsrules.Accept
	l := newLab(t, cfg, named("api.bank.example"))
	k := l.link4()
	k.open()
	k.data(original, 0, good[:120])
	if !k.data(original, 0, evil) {
		t.Errorf("the changed segment did not pass")
	}
	k.ack(reply)
	k.data(original, len(good), []byte("more"))
	if k.mark != l.marks.Accepted(5) {
		t.Errorf("mark %#x", k.mark)
	}
	if len(l.sink.drop) != 0 || l.e.budget.Used() != 0 {
		t.Errorf("%d drop events, %d bytes held", len(l.sink.drop), l.e.budget.Used())
	}
}

func TestUrgent(t *testing.T) {
	good, _ := hellos(t)
	urgent := func(k *link, at int, b []byte) bool {
		s := k.segment(original, at, b, packet.ACK|packet.URG)
		s.urgent = 3
		return k.raw(s)
	}
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.open()
	if urgent(k, 0, good) {
		t.Errorf("an urgent hello passed")
	}
	k.refuses("urgent hello", original, 1, "tcp.invalid")

	l = newLab(t, config(), named("api.bank.example"))
	k = l.link4()
	k.open()
	k.data(original, 0, []byte("SSH-2.0-x\r\n"))
	if !urgent(k, 11, []byte("x")) || len(l.sink.drop) != 0 {
		t.Errorf("urgent data of a connection that is not TLS was refused")
	}
}
