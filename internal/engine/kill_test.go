package engine

import (
	"errors"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// kill ends the connection of a link as Kill does, and lets both ends answer.
func (k *link) kill() error {
	c := k.lab.e.table.Between(k.ends[1].addr, k.ends[0].addr)
	if c == nil {
		return ErrUnknown
	}
	err := k.lab.e.kill(c)
	k.challenges()
	k.challenges()
	return err
}

// TestKill ends connections at every point of their life: both ends are reset,
// nothing passes any more, and one event says why.
func TestKill(t *testing.T) {
	turns := recording(t, "tls13")
	bulk := make([]byte, 3<<20) // more than any window in between
	tests := []struct {
		name string
		to   func(k *link)
		keep bool // in the queue
	}{
		{"half a hello", func(k *link) { k.open(); k.data(original, 0, turns[0].bytes[:50]) }, false},
		{"a hello", func(k *link) { k.open(); k.data(original, 0, turns[0].bytes) }, false},
		{"nothing said", func(k *link) { k.open() }, false},
		{"accepted, in the queue", func(k *link) { k.play(turns, strategies["mss"]) }, true},
		{"offloaded, quiet since", func(k *link) { k.play(turns, strategies["mss"]) }, false},
		{"offloaded, much has passed", func(k *link) {
			k.play(turns, strategies["mss"])
			k.talk([]turn{{reply, bulk}, {original, bulk[:1<<20]}}, strategies["gso"])
		}, false},
	}
	for _, six := range []bool{false, true} {
		for _, tt := range tests {
			cfg := config()
			cfg.Offload = !tt.keep
			l := newLab(t, cfg, policy(acceptAll))
			k := l.link4()
			if six {
				k = l.link6()
			}
			tt.to(k)
			other := l.link4()
			other.play(turns, strategies["mss"])
			if err := k.kill(); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			for d, e := range k.ends {
				if !e.closed {
					t.Errorf("%s, IPv6 %v: the sender of %d is not reset", tt.name, six, d)
				}
			}
			if k.data(original, len(k.ends[1].got), []byte("more")) {
				t.Errorf("%s: data passes after it was killed", tt.name)
			}
			if k.mark != l.marks.Refused() || other.closed() || !other.ack(original) {
				t.Errorf("%s: mark %#x; another connection closed %v", tt.name, k.mark, other.closed())
			}
			if n := len(l.sink.drop); n != 1 {
				t.Fatalf("%s: %d drop events", tt.name, n)
			}
			if d := l.sink.drop[0]; d.Decision.Reason != tlsrules.ReasonKilled || d.Detail == "" || d.Packet == 0 || d.Original != k.ends[0].addr {
				t.Errorf("%s: drop event %+v", tt.name, d)
			}
			if l.e.budget.Used() != 0 || l.e.counts.Killed != 1 {
				t.Errorf("%s: %d bytes kept, %d killed", tt.name, l.e.budget.Used(), l.e.counts.Killed)
			}
			l.e.Close(l.now)
			if d := l.sink.flow[len(l.sink.flow)-2:]; d[0].Diagnosis.Code != "refused" && d[1].Diagnosis.Code != "refused" {
				t.Errorf("%s: diagnosis %+v %+v", tt.name, d[0].Diagnosis, d[1].Diagnosis)
			}
		}
	}
}

// TestKillHalfOpen: the client that waits for an answer to its SYN is reset, and
// its connection never comes about; another on its ports does.
func TestKillHalfOpen(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.syn()
	if err := k.kill(); err != nil || !k.ends[0].closed {
		t.Errorf("after its SYN: %v, client closed %v", err, k.ends[0].closed)
	}
	if k.syn() {
		t.Errorf("its SYN passes when it comes again")
	}
	k.again(123456, 5000)
	if !k.open() {
		t.Errorf("another connection on its ports does not come through")
	}
	k = l.link4()
	k.syn()
	k.synAck()
	if err := k.kill(); err != nil || !k.ends[0].closed {
		t.Errorf("after the SYN-ACK: %v, client closed %v", err, k.ends[0].closed)
	}
	if k.ack(original) {
		t.Errorf("the client's ACK passes")
	}
}

// TestKillAgain asks again, and tells nothing again; ports that serve another
// connection are not killed with the first.
func TestKillAgain(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.play(turns, strategies["mss"])
	inject := l.e.cfg.Inject
	l.e.cfg.Inject = func([]byte, uint32) error { return errors.New("lost") }
	if err := k.kill(); err != nil || k.ends[0].closed {
		t.Fatalf("%v, closed %v", err, k.ends[0].closed)
	}
	l.e.cfg.Inject = inject
	if err := k.kill(); err != nil || !k.closed() || len(l.sink.drop) != 1 || l.e.counts.Refused != 1 {
		t.Errorf("%v, closed %v, %d drop events", err, k.closed(), len(l.sink.drop))
	}
	k.again(77000, 88000)
	k.play(turns, strategies["mss"])
	if len(k.ends[1].got) != len(streams(turns)[0]) {
		t.Errorf("the next connection on its ports: %d bytes came", len(k.ends[1].got))
	}
}

func TestKillRefusals(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	if err := k.kill(); err != ErrUnknown {
		t.Errorf("nothing there: %v", err)
	}
	// Left to the kernel, and its mark cannot be changed: nothing is done by half.
	passed := errors.New("passed")
	for _, refuse := range []func([]byte, uint32) error{nil, func([]byte, uint32) error { return passed }} {
		k = l.link4()
		k.play(turns, strategies["mss"])
		l.e.cfg.Refuse = refuse
		before := l.e.counts.Injected
		if err := k.kill(); !errors.Is(err, ErrOffloaded) || l.e.counts.Injected != before || len(l.sink.drop) != 0 || k.closed() {
			t.Errorf("offloaded: %v, %d injected, %d drop events", err, l.e.counts.Injected-before, len(l.sink.drop))
		}
	}
	// One direction is enough: the kernel knows the other by another address.
	l.e.cfg.Refuse = func(ip []byte, _ uint32) error {
		var p packet.Parsed
		if packet.Decode(ip, &p); p.Flags == packet.SYN {
			return l.refused(ip, 0)
		}
		return passed
	}
	if err := k.kill(); err != nil || !k.closed() {
		t.Errorf("one direction: %v, closed %v", err, k.closed())
	}

	l = newLab(t, config(), named("www.example.com"))
	k = l.link4()
	k.open()
	good, _ := hellos(t)
	k.data(original, 0, good)
	if err := k.kill(); err != ErrRefused {
		t.Errorf("refused by a rule: %v", err)
	}
}
