package engine

import (
	"testing"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// TestOverloadUnkept: more out of order than limits allow to keep.
func TestOverloadUnkept(t *testing.T) {
	good, evil := hellos(t)
	for _, overload := range []tlsrules.Action{tlsrules.Drop, tlsrules.Accept, tlsrules.Reset} {
		cfg := config()
		cfg.Overload = overload
		cfg.Limits.PerConnection = 4000
		l := newLab(t, cfg, named("api.bank.example"))
		k := l.link4()
		k.open()
		passed := 0
		for at := 1000; at < 20000; at += 1000 {
			if k.data(original, at, make([]byte, 1000)) {
				passed++
			}
		}
		switch overload {
		case tlsrules.Drop:
			if passed == 0 || passed > 4 || len(l.sink.drop) != 0 {
				t.Errorf("drop: %d segments passed, %d drop events", passed, len(l.sink.drop))
			}
			if k.data(original, 0, evil) {
				t.Errorf("drop: the hello passed unjudged")
			}
		case tlsrules.Accept:
			if passed != 19 || len(l.sink.drop) != 0 || !k.data(original, 0, good) {
				t.Errorf("accept: %d segments passed", passed)
			}
			k.data(original, len(good), make([]byte, 20000-len(good)))
			k.ack(reply)
			if l.e.budget.Used() != 0 || k.mark != l.marks.Accepted(5) {
				t.Errorf("accept: %d bytes held, mark %#x", l.e.budget.Used(), k.mark)
			}
		case tlsrules.Reset:
			k.refuses("reset", original, 1, "limit.buffered")
		}
	}
}

// TestDecoyBehindAFlood: what was accepted by its first bytes is held to them
// until they are acknowledged, however much is out of order.
func TestDecoyBehindAFlood(t *testing.T) {
	_, evil := hellos(t)
	cfg := config()
	cfg.Limits.PerConnection = 4000
	l := newLab(t, cfg, named("api.bank.example"))
	k := l.link4()
	k.open()
	k.lost = true
	k.data(original, 0, []byte("GET / HTTP/1.0\r\n"))
	for at := 1000; at < 60000; at += 1000 {
		k.data(original, at, make([]byte, 1000))
	}
	k.lost = false
	k.data(original, 0, evil)
	k.refuses("decoy", original, 1, "tcp.overlap")
}

// TestOverloadBudget: the bytes of all connections together have a bound, and
// who holds most of them does not keep others from their hellos.
func TestOverloadBudget(t *testing.T) {
	cfg := config()
	cfg.Limits.Buffered = 64 << 10
	l := newLab(t, cfg, partner())
	for range 200 {
		k := l.link4()
		k.open()
		k.data(original, 1000, make([]byte, 5000))
		if used := l.e.budget.Used(); used > 64<<10 {
			t.Fatalf("%d bytes held", used)
		}
	}
	k := l.link4()
	turns := recording(t, "tls13")
	k.play(turns, strategies["mss"])
	checkPassedOnly(t, l, k, turns)
	l.e.Close(l.now)
	if used := l.e.budget.Used(); used != 0 {
		t.Errorf("%d bytes held at the end", used)
	}
}

func checkPassedOnly(t *testing.T, l *lab, k *link, turns []turn) {
	t.Helper()
	if want := streams(turns); len(k.ends[1].got) != len(want[0]) || len(k.ends[0].got) != len(want[1]) || len(l.sink.drop) != 0 {
		t.Errorf("passed %d of %d and %d of %d bytes, %d drop events",
			len(k.ends[1].got), len(want[0]), len(k.ends[0].got), len(want[1]), len(l.sink.drop))
	}
}

// TestTableFull: no room for a connection, all others in use.
func TestTableFull(t *testing.T) {
	for _, overload := range []tlsrules.Action{tlsrules.Drop, tlsrules.Accept, tlsrules.Reset} {
		cfg := config()
		cfg.Overload = overload
		cfg.Limits.Connections = 3
		l := newLab(t, cfg, named("api.bank.example"))
		for range 3 {
			l.link4().open()
		}
		k := l.link4()
		if got := k.syn(); got != (overload == tlsrules.Accept) {
			t.Errorf("%s: passed: %v", overload, got)
		}
		if got := k.ends[0].closed; got != (overload == tlsrules.Reset) {
			t.Errorf("%s: closed: %v", overload, got)
		}
		if l.e.counts.TableFull != 1 || l.e.table.Len() != 3 {
			t.Errorf("%s: counted %d, %d in the table", overload, l.e.counts.TableFull, l.e.table.Len())
		}
		l.now += 60 * second
		if k = l.link4(); !k.open() { // somebody silent makes room
			t.Errorf("%s: no room after a while", overload)
		}
		if n := len(l.sink.flow); n != 1 || l.sink.flow[0].End != conntrack.EndEvicted {
			t.Errorf("%s: %d flow events", overload, n)
		}
	}
}

// TestRememberedLimit: a handshake that nobody acknowledges is not remembered
// without end.
func TestRememberedLimit(t *testing.T) {
	cfg := config()
	cfg.Limits.PerConnection = 4000
	cfg.Overload = tlsrules.Reset
	cfg.Limits.Hello = 60000
	l := newLab(t, cfg, partner())
	k := l.link4()
	k.open()
	first := append([]byte{22, 3, 1, 0x3f, 0xff, 1, 0, 0xe0, 0}, make([]byte, 16379)...)
	k.lost = true
	for at := 0; at < len(first); at += 1000 {
		k.data(original, at, first[at:min(at+1000, len(first))])
		if used := l.e.budget.Used(); used > 8000 {
			t.Fatalf("%d bytes remembered", used)
		}
	}
	if len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Reason.String() != "limit.buffered" {
		t.Errorf("drop events: %+v", l.sink.drop)
	}
}

// TestOverloadMessages: messages that are only partly there have a bound, all
// together, and those who hold much of one do not keep others from their hellos.
func TestOverloadMessages(t *testing.T) {
	const bound = 256 << 10
	cfg := config()
	cfg.Limits.Buffered, cfg.Overload = bound, tlsrules.Reset
	l := newLab(t, cfg, partner())
	turns := recording(t, "tls12 ecdhe")
	fat := handshakeRecord(0x0303, serverHelloOf(0xc02f, nil))
	fat = append(fat, 22, 3, 3, 0x40, 0, byte(tlswire.TypeCertificate), 0, 0xff, 0xff)
	fat = append(fat, make([]byte, 16380)...)
	fat = append(fat, 22, 3, 3, 0x40, 0)
	fat = append(fat, make([]byte, 10000)...)
	for range 30 {
		k := l.link4()
		k.play([]turn{turns[0], {reply, fat}}, strategies["mss"])
		k.ack(original)
		if held := l.e.buffers.Held(); held > bound {
			t.Fatalf("%d bytes held", held)
		}
	}
	if n := len(l.sink.drop); n < 20 || l.sink.drop[0].Decision.Reason != tlsrules.ReasonLimitBuffered {
		t.Fatalf("%d of 30 refused", n)
	}
	before := len(l.sink.drop)
	k := l.link4()
	k.play(turns, strategies["shuffled"])
	sent := streams(turns)
	if len(l.sink.drop) != before || len(k.ends[original].got) != len(sent[1]) {
		t.Errorf("an honest connection: refused %d, got %d bytes of %d", len(l.sink.drop)-before, len(k.ends[original].got), len(sent[1]))
	}
	l.e.Close(l.now)
	if s := l.e.Stats(); l.e.buffers.Held() != 0 || s.Buffered != 0 {
		t.Errorf("%d bytes held in the end, %d told", l.e.buffers.Held(), s.Buffered)
	}
}

// TestSmallLimit: a certificate that comes in one segment larger than
// limits.per_connection is read, remembered until it is acknowledged, and passes.
func TestSmallLimit(t *testing.T) {
	turns := banking()
	cfg := config()
	cfg.Limits.PerConnection = 4000
	l := newLab(t, cfg, requires("cert_issuer", "CN=Bank CA"))
	k := l.link4()
	k.play(turns, strategies["gso"])
	checkPassed(t, "gso", l, k, turns)
}
