package engine

import (
	"testing"

	"tlsgate/tlsrules"
)

// TestCalledHello: the end that was called may play the TLS client (RFC 4217,
// Section 7). What its caller says in the middle of its hello does not hide the rest.
func TestCalledHello(t *testing.T) {
	_, evil := hellos(t)
	p := policy(acceptAll, tlsrules.Rule{
		Name: "evil", Match: []tlsrules.Condition{condition("sni", "api.evil.example")}, Action: tlsrules.Reset, HasAction: true,
	})
	for _, half := range []int{4, 60} {
		for _, text := range []string{"SSH-2.0-x\r\n", "220 mail.example ESMTP\r\n", "hello\n", "x"} {
			l := newLab(t, config(), p)
			k := l.link4()
			k.open()
			k.data(reply, 0, evil[:half])
			k.data(original, 0, []byte(text))
			if k.data(reply, half, evil[half:]) {
				t.Errorf("%d bytes, %q: the rest of the hello passed, mark %#x", half, text, k.mark)
			}
		}
	}
	_, k := midstreamLab(t, MidstreamAccept, p) // who called is a guess
	k.data(reply, 0, evil[:60])
	k.data(original, 0, []byte("hello\n"))
	if k.data(reply, 60, evil[60:]) {
		t.Errorf("midstream: the rest of the hello passed, mark %#x", k.mark)
	}
}
