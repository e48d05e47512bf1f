package engine

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// from refuses a source at its SYN.
func from(action tlsrules.Action, source string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "from", Match: []tlsrules.Condition{condition("source", source)}, Action: action, HasAction: true,
	})
}

func TestRefusedSYN(t *testing.T) {
	for _, action := range []tlsrules.Action{tlsrules.Drop, tlsrules.Reset} {
		l := newLab(t, config(), from(action, "192.0.2.0/24"))
		k := l.link4()
		for range 3 {
			if k.syn() {
				t.Errorf("%s: a refused SYN passed", action)
			}
		}
		if got := k.ends[0].closed; got != (action == tlsrules.Reset) {
			t.Errorf("%s: client closed: %v", action, got)
		}
		k.again(99000, 7)
		if k.syn() {
			t.Errorf("%s: another SYN from the same port passed", action)
		}
		if len(l.sink.drop) != 1 || l.sink.drop[0].Packet != 1 || l.sink.drop[0].Decision.Reason != tlsrules.ReasonRule {
			t.Errorf("%s: drop events %+v", action, l.sink.drop)
		}
		if l.idle() != 1 {
			t.Errorf("%s: what reads is not given back", action)
		}
		other := l.link("198.51.100.1", "203.0.113.10", 1, 2)
		if !other.open() {
			t.Errorf("%s: another source is refused", action)
		}
	}
}

// TestResetsAfterLoss: an end that misses what passed us is reset all the same.
func TestResetsAfterLoss(t *testing.T) {
	turns := recording(t, "tls12 rsa")
	l := newLab(t, config(), named("www.example.com"))
	k := l.link4()
	k.open()
	hello := turns[0].bytes
	k.lost = true
	k.data(original, 0, hello[:100])
	k.lost = false
	k.data(original, 100, hello[100:])
	k.refuses("client's segment lost", original, 1, "require.sni")

	l = newLab(t, config(), partner())
	k = l.link4()
	k.open()
	k.data(original, 0, hello)
	dir, at := reach(t, turns, atMessage(tlswire.TypeServerHello))
	k.lost = true
	k.data(reply, 0, turns[1].bytes[:20])
	k.lost = false
	k.data(reply, 20, turns[1].bytes[20:])
	k.refuses("server's segment lost", dir, at, "require.cipher")

	// Both RSTs lost: whatever comes later is answered exactly.
	for d := original; d <= reply; d++ {
		l = newLab(t, config(), partner())
		k = l.link4()
		k.open()
		k.data(original, 0, hello)
		l.e.cfg.Inject = nil
		k.data(reply, 0, turns[1].bytes)
		l.e.cfg.Inject = l.injected
		if d == original {
			k.ack(original)
		} else {
			k.data(reply, 0, turns[1].bytes[:100])
		}
		if !k.ends[d].closed {
			t.Errorf("%s: a later segment is not answered by an exact RST", d)
		}
	}
}

// TestRefusedDrop: silence.
func TestRefusedDrop(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll, tlsrules.Rule{
		Name: "quiet", Match: []tlsrules.Condition{condition("sni", "api.bank.example")}, Action: tlsrules.Drop, HasAction: true,
	}))
	k := l.link4()
	k.play(recording(t, "tls13"), strategies["mss"])
	l.e.Tick(l.now)
	if len(k.ends[1].got) != 0 || l.e.Stats().Injected != 0 || len(l.sink.drop) != 1 {
		t.Errorf("%d bytes delivered, %d injected, %d drop events", len(k.ends[1].got), l.e.Stats().Injected, len(l.sink.drop))
	}
}

// TestResetOfARefused: an RST ends a refused connection and is not answered.
func TestResetOfARefused(t *testing.T) {
	l := newLab(t, config(), named("www.example.com"))
	k := l.link4()
	k.open()
	good, _ := hellos(t)
	k.data(original, 0, good)
	before := l.e.counts.Injected
	for _, payload := range [][]byte{nil, []byte("why")} {
		if !k.raw(k.segment(original, 0, payload, packet.RST|packet.ACK)) || l.e.counts.Injected != before {
			t.Errorf("RST with %d bytes: %d RSTs in answer", len(payload), l.e.counts.Injected-before)
		}
	}
}

// TestResetPayload: no receiver gives the text of an RST to its application.
func TestResetPayload(t *testing.T) {
	good, _ := hellos(t)
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.open()
	k.raw(k.segment(original, 10, []byte("not what will come"), packet.RST|packet.ACK))
	k.data(original, 0, good)
	if len(k.ends[1].got) != len(good) || len(l.sink.drop) != 0 {
		t.Errorf("%d of %d bytes passed, %d drop events", len(k.ends[1].got), len(good), len(l.sink.drop))
	}
}

func TestUndecided(t *testing.T) {
	good, _ := hellos(t)
	for _, start := range []int64{1_700_000_000 * second, 0} { // a capture may begin at the epoch
		l := newLab(t, config(), named("api.bank.example"))
		l.now = start - 5000
		k := l.link4()
		k.open()
		l.now = start - 1000
		k.data(original, 0, good[:10])
		k.data(original, 10, good[10:20])
		silent := l.link4()
		silent.open()
		done := l.link4()
		done.play(recording(t, "tls13"), strategies["mss"])
		l.e.Tick(start + 29*second)
		if len(l.sink.drop) != 0 {
			t.Fatalf("decided before its time: %s", l.sink.drop[0].Detail)
		}
		l.e.Tick(start + 31*second)
		k.challenges()
		k.refuses("undecided", original, len(good), "undecided")
		if silent.ends[0].closed || done.ends[0].closed {
			t.Errorf("a connection that owes nothing was reset")
		}
		if l.e.waiting != (waiting{}) {
			t.Errorf("somebody still waits")
		}
		l.now = start + 32*second
		if k.data(original, 20, good[20:]) {
			t.Errorf("the rest of the hello passed")
		}
	}
}

func TestUndecidedAccept(t *testing.T) {
	good, _ := hellos(t)
	cfg := config()
	cfg.Default.Undecided = tlsrules.Accept
	l := newLab(t, cfg, named("api.bank.example"))
	k := l.link4()
	k.open()
	k.data(original, 0, good[:20])
	l.e.Tick(l.now + 31*second)
	l.now += 31 * second
	if !k.data(original, 20, good[20:]) || len(l.sink.drop) != 0 {
		t.Errorf("the rest of the hello did not pass")
	}
	k.ack(reply)
	if k.mark != l.marks.Accepted(5) {
		t.Errorf("mark %#x", k.mark)
	}
}

func TestMalformed(t *testing.T) {
	good, _ := hellos(t)
	tooLong := append([]byte{22, 3, 1, 0x40, 0}, append([]byte{1, 2, 0, 0}, make([]byte, 16380)...)...)
	for name, test := range map[string]struct {
		bytes  []byte
		reason string
		action tlsrules.Action
	}{
		"empty handshake record":  {[]byte{22, 3, 1, 0, 0, 1}, "malformed.record", tlsrules.Reset},
		"record of a wrong type":  {append([]byte{22, 3, 1, 0, 1, 1}, 99, 3, 3, 0, 1), "malformed.record", tlsrules.Reset},
		"hello cut short inside":  {append([]byte{22, 3, 1, 0, 10, 1, 0, 0, 6, 3, 3}, make([]byte, 4)...), "malformed.handshake", tlsrules.Reset},
		"a Finished first":        {append([]byte{22, 3, 1, 0, 16, 20, 0, 0, 12}, make([]byte, 12)...), "malformed.handshake", tlsrules.Reset},
		"hello beyond the limit":  {tooLong, "limit.hello", tlsrules.Drop},
		"server's first, changed": {nil, "malformed.record", tlsrules.Reset},
	} {
		l := newLab(t, config(), partner())
		k := l.link4()
		k.open()
		if test.bytes == nil {
			k.data(original, 0, good)
			k.data(reply, 0, []byte("HTTP/1.0 400 Bad Request\r\n\r\n"))
		} else {
			k.data(original, 0, test.bytes)
		}
		if len(l.sink.drop) != 1 {
			t.Errorf("%s: %d drop events", name, len(l.sink.drop))
			continue
		}
		d := l.sink.drop[0]
		if d.Decision.Reason.String() != test.reason || d.Decision.Action != test.action || d.Detail == "" {
			t.Errorf("%s: %s %s: %s", name, d.Decision.Action, d.Decision.Reason, d.Detail)
		}
		if k.closed() != (test.action == tlsrules.Reset) {
			t.Errorf("%s: closed: %v", name, k.closed())
		}
	}
}

// TestMalformedOfTheAccepted: a rule that takes a source as it is takes it broken.
func TestMalformedOfTheAccepted(t *testing.T) {
	l := newLab(t, config(), from(tlsrules.Accept, "192.0.2.0/24"))
	good, _ := hellos(t)
	k := l.link4()
	k.open()
	k.data(original, 0, good)
	k.ack(reply)
	k.data(reply, 0, []byte("what?\r\n"))
	k.ack(original)
	k.data(original, len(good), []byte("nothing"))
	if len(l.sink.drop) != 0 || k.mark != l.marks.Accepted(5) {
		t.Errorf("%d drop events, mark %#x", len(l.sink.drop), k.mark)
	}
}
