package tlsrules

import (
	"bytes"
	"testing"

	"tlsgate/tlsrules/tlswire"
)

// TestQuoted: a sentence has no more of what a stranger has said than a sentence can.
func TestQuoted(t *testing.T) {
	long := bytes.Repeat([]byte{0xff}, 60_000)
	var protocols tlswire.ProtocolList
	for range 200 {
		protocols = append(append(protocols, 255), long[:255]...)
	}
	h := &tlswire.ClientHello{HasServerName: true, ServerName: long, ALPN: protocols}
	for _, k := range []Key{KeyServerName, KeyALPN} {
		if s := (&Condition{key: k}).seenOffered(h); len(s) > 4000 || !bytes.Contains([]byte(s), []byte(" bytes)")) {
			t.Errorf("%s: %d bytes: %.100s", k, len(s), s)
		}
	}
	if s := quoted([]byte("api.example"), 255); s != `"api.example"` {
		t.Errorf("got %s", s)
	}
}
