package engine

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tlsgate/tlsrules"
)

// TestReloadTexts: what was found of a text stays found wherever it stands in the new
// policy, one that is partly there goes on, and that one which nobody searched for
// is not there is never said.
func TestReloadTexts(t *testing.T) {
	on := func(texts ...string) *tlsrules.Policy {
		return policy(acceptAll, rule("texts", tlsrules.Reset, "contains", texts...), rule("last", tlsrules.Accept, "port", "443"))
	}
	tls12 := recording(t, "tls12 rsa")
	for _, tt := range []struct {
		name     string
		old, now *tlsrules.Policy
		before   string
		after    string
		closed   bool
		passes   bool // in the end, with a TLS connection around it
	}{
		{"another place", on("amazing", "grace"), on("grace", "nothing", "amazing"), "x amaz", "ing x", true, false},
		{"another place, not there", on("other", "grace"), on("grace", "other"), "x amazing", " x", false, true},
		{"found, and only now forbidden", policy(acceptAll, rule("a", tlsrules.Continue, "contains", "grace"), rule("b", tlsrules.Accept, "protocol", "tls")), on("other", "grace"), "x grace", " ", true, false},
		{"comes later", policy(acceptAll), on("amazing"), "x", "amazing", true, false},
		{"nothing searched before", policy(acceptAll), on("amazing"), "x amazing", " x", false, true},
		{"searched for no longer", on("amazing"), policy(acceptAll), "x amaz", "ing", false, true},
	} {
		l := newLab(t, config(), tt.old)
		k := l.link4()
		k.open()
		k.talk(said("S220 mail ESMTP\r\n", "C"+tt.before), strategies["mss"])
		if k.closed() {
			t.Fatalf("%s: refused too early: %+v", tt.name, l.sink.drop)
		}
		l.adopt(tt.now)
		l.around()
		k.talk(said("C"+tt.after), strategies["mss"])
		if k.closed() != tt.closed {
			t.Errorf("%s: closed %v, %+v", tt.name, k.closed(), l.sink.drop)
		}
	}
	// A hello in two pieces, and the text on the seam.
	hello := tls12[0].bytes
	at := bytes.Index(hello, []byte("api.bank")) + 4
	for _, texts := range [][]string{{"bank", "api.bank"}, {"api.bank", "example"}} {
		l := newLab(t, config(), on("nothing", "api.bank"))
		k := l.link4()
		k.open()
		k.data(original, 0, hello[:at])
		l.adopt(on(texts...))
		if l.around(); k.data(original, at, hello[at:]) || !k.closed() {
			t.Errorf("on the seam: %q passes", texts)
		}
	}
	// One of which the beginning was not searched is judged by what is found in the
	// rest, at once, and at the latest when its cleartext is over.
	at = bytes.Index(hello, []byte("api.bank"))
	for text, passes := range map[string]bool{"amazing": true, "api.bank": false, string(hello[:20]): true} {
		for _, whole := range []bool{false, true} {
			l := newLab(t, config(), policy(acceptAll, rule("old", tlsrules.Accept, "version", "1.2")))
			k := l.link4()
			if whole {
				k.play(tls12[:1], strategies["mss"])
			} else {
				k.open()
				k.data(original, 0, hello[:at])
			}
			l.adopt(on(text))
			l.around()
			k.talk(k.rest(tls12), strategies["mss"])
			// It stands in the certificate too.
			if k.complete(tls12) != passes || len(l.sink.drop) == 1 == passes {
				t.Errorf("%q, whole hello %v: closed %v, %+v", text, whole, k.closed(), l.sink.drop)
			}
		}
	}
}

// TestReloadClock: the time to decide is the new policy's, counted from the first
// byte; one that becomes undecided has a clock, one that is certain has none.
func TestReloadClock(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.open()
	k.data(original, 0, turns[0].bytes[:100])
	l.now += 5 * second
	l.e.cfg.Limits.Decide = 3 * time.Second
	l.adopt(named("www.bank.example"))
	l.e.Tick(l.now) // before the walk comes to it
	if k.challenges(); !k.closed() || l.sink.drop[0].Decision.Reason != tlsrules.ReasonUndecided || !strings.Contains(l.sink.drop[0].Detail, "3s") {
		t.Errorf("closed %v, %+v", k.closed(), l.sink.drop)
	}
	trusting := policy(acceptAll, rule("trusting", tlsrules.Accept, "port", "443"))
	for _, undecided := range []bool{true, false} {
		l = newLab(t, config(), named("api.bank.example"))
		next := trusting
		if undecided {
			l, next = newLab(t, config(), trusting), named("api.bank.example")
		}
		k = l.link4()
		k.open()
		k.data(original, 0, turns[0].bytes[:100])
		l.adopt(next)
		l.around()
		if got := l.e.waiting.first != nil; got != undecided {
			t.Errorf("undecided %v: clock runs %v", undecided, got)
		}
		l.e.Tick(l.now + 31*second)
		if k.challenges(); k.closed() != undecided {
			t.Errorf("undecided %v: closed %v", undecided, k.closed())
		}
		l.e.Tick(l.now + 100*second)
	}
	// Between the deadline and the walk another policy may have decided it.
	l = newLab(t, config(), named("api.bank.example"))
	k = l.link4()
	k.open()
	k.data(original, 0, turns[0].bytes[:100])
	l.adopt(trusting)
	if l.e.Tick(l.now + 31*second); len(l.sink.drop) != 0 {
		t.Errorf("decided by the new policy: %+v", l.sink.drop)
	}
}

// TestReloadWaits: an alert that waits for a hello is not sent if the new policy
// would not.
func TestReloadWaits(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), policy(acceptAll, rule("old", denied, "port", "443")))
	k := l.link4()
	k.open()
	k.data(original, 0, turns[0].bytes[:100])
	l.adopt(policy(acceptAll))
	l.around()
	k.talk(k.rest(turns), strategies["mss"])
	if !k.complete(turns) || len(l.sink.drop) != 0 {
		t.Errorf("condemned by the old policy: %+v", l.sink.drop)
	}
}

// TestReloadRefusals: what is refused anew is refused as the new policy says.
func TestReloadRefusals(t *testing.T) {
	turns := recording(t, "tls13")
	old := policy(acceptAll, rule("old", tlsrules.Accept, "version", ">=1.0"))
	by := func(a tlsrules.Action) *tlsrules.Policy {
		return policy(acceptAll, rule("new", a, "sni", "api.bank.example"))
	}
	// An alert reaches a client that waits for its ServerHello, and no other.
	l := newLab(t, config(), old)
	k := l.link4()
	k.open()
	k.data(original, 0, turns[0].bytes)
	l.adopt(by(denied))
	l.around()
	if got := k.told("a hello", original, nil); !bytes.Equal(got, alertOf(0x0303, accessDenied)) && !bytes.Equal(got, alertOf(0x0301, accessDenied)) {
		t.Errorf("the client was told %x", got)
	}
	if !k.ends[1].closed {
		t.Error("the server is not reset")
	}
	k = l.link4()
	l.adopt(old)
	k.play(turns[:3], strategies["mss"])
	l.adopt(by(denied))
	if l.around(); !k.closed() || l.sink.drop[1].Decision.Action != tlsrules.Reset || !strings.Contains(l.sink.drop[1].Detail, "would not read an alert") {
		t.Errorf("offloaded: closed %v, %+v", k.closed(), l.sink.drop[1])
	}
	// refuse goes on for others of that client to that server.
	l.adopt(old)
	k = l.link4()
	k.play(turns, strategies["mss"])
	l.adopt(by(tlsrules.Refuse))
	l.around()
	if other := l.link4(); !k.closed() || other.syn() || !other.ends[0].closed {
		t.Errorf("refuse: closed %v, others closed %v", k.closed(), other.ends[0].closed)
	}
	// and is not over because another policy comes.
	l.adopt(policy(acceptAll))
	l.around()
	if other := l.link4(); other.syn() {
		t.Error("refused earlier: forgotten")
	}
}

// TestReloadObserve: what is only observed passes, and is told once.
func TestReloadObserve(t *testing.T) {
	turns := recording(t, "tls13")
	for _, mode := range []bool{true, false} {
		for _, n := range []int{1, 3} { // turns before
			cfg := config()
			l := newLab(t, cfg, policy(acceptAll))
			k := l.link4()
			k.play(turns[:n], strategies["mss"])
			def, r := acceptAll, rule("new", tlsrules.Reset, "sni", "api.bank.example")
			def.Observe, r.Observe = mode, !mode
			l.e.cfg.Default.Observe = mode
			l.adopt(policy(def, r))
			l.around()
			k.talk(k.rest(turns), strategies["mss"])
			if !k.complete(turns) || len(l.sink.drop) != 1 || !l.sink.drop[0].Decision.Observed || l.sink.drop[0].Decision.Rule != "new" {
				t.Errorf("mode %v, after %d turns: %+v", mode, n, l.sink.drop)
			}
			// Once it is enforced, it is refused.
			l.e.cfg.Default.Observe = false
			l.adopt(policy(acceptAll, rule("new", tlsrules.Reset, "sni", "api.bank.example")))
			if l.around(); !k.closed() || len(l.sink.drop) != 2 {
				t.Errorf("enforced: closed %v, %d drop events", k.closed(), len(l.sink.drop))
			}
		}
	}
}
