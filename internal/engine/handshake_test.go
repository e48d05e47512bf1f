package engine

import (
	"testing"
	"time"

	"tlsgate/tlsrules"
)

// TestClientAlert: up to TLS 1.2 a client that does not like the certificate says
// so in clear, behind all that the policy asks about. It is told all the same.
func TestClientAlert(t *testing.T) {
	l := newLab(t, config(), policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept}))
	k := l.link4()
	turns := recording(t, "tls12 ecdhe")
	if !k.open() {
		t.Fatal("no TCP handshake")
	}
	k.talk(turns[:2], strategies["mss"]) // to the ServerHelloDone
	unknownCA := []byte{21, 3, 3, 0, 2, 2, 48}
	k.data(original, len(k.ends[reply].got), unknownCA)
	l.e.Close(l.now)
	want := Diagnosis{"alert", "the client ended the handshake with the alert unknown_ca"}
	if f := l.sink.flow; len(f) != 1 || f[0].Diagnosis != want {
		t.Errorf("flows: got %+v, want one with %+v", f, want)
	}
}

// TestSlowClient: somebody chooses a certificate for a minute. The time to decide
// is over once the server has said all it will.
func TestSlowClient(t *testing.T) {
	l := newLab(t, config(), partner())
	k := l.link4()
	turns := recording(t, "tls12 client cert")
	if !k.open() {
		t.Fatal("no TCP handshake")
	}
	k.talk(turns[:2], strategies["mss"])
	k.ack(original)
	l.now += int64(time.Minute)
	l.e.Tick(l.now)
	k.talk(turns[2:], strategies["mss"])
	for _, d := range l.sink.drop {
		t.Errorf("refused: %s", d.Detail)
	}
	for side, s := range streams(turns) {
		if got := len(k.ends[1-side].got); got != len(s) {
			t.Errorf("side %d: %d bytes came of %d", side, got, len(s))
		}
	}
}
