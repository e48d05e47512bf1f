package engine

import (
	"bytes"
	"slices"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
)

// TestRetryUnreadable: what a rule has accepted for good by the hello that a server
// wants to be said again is read on, whatever stands in front of the other hello or is
// wrong with it: servers read over more than we do (OpenSSL over an alert of any level
// that says user_canceled), and take larger hellos.
func TestRetryUnreadable(t *testing.T) {
	const name, other = "api.bank.example", "api.good.example"
	byName := policy(acceptAll, rule("names", tlsrules.Reset, "sni", name), rule("other", tlsrules.Accept, "sni", other))
	turns := slices.Clone(recording(t, "tls13 retry"))
	first := bytes.ReplaceAll(turns[0].bytes, []byte(name), []byte(other))
	turns[0].bytes = first
	hello := bytes.Index(turns[2].bytes, []byte{22, 3, 3})
	if hello < 0 || bytes.Equal(first, recording(t, "tls13 retry")[0].bytes) {
		t.Fatal("the recording is another")
	}
	second := turns[2].bytes[hello:]
	large := bytes.Clone(second)
	large[6] = 2 // 128 KiB more
	broken := bytes.Clone(second)
	at := bytes.Index(broken, []byte(name)) - 9 // server_name, its length
	broken[at+2]++
	for _, tt := range []struct {
		name, reason string
		says         []byte
	}{
		{"as it should be", "rule", second},
		{"behind an alert of no level", "malformed.record", slices.Concat([]byte{21, 3, 3, 0, 2, 0, 90}, second)},
		{"behind an alert of level 3", "malformed.record", slices.Concat([]byte{21, 3, 3, 0, 2, 3, 90}, second)},
		{"behind an empty record", "malformed.record", slices.Concat([]byte{22, 3, 3, 0, 0}, second)},
		{"behind an unknown record", "malformed.record", slices.Concat([]byte{99, 3, 3, 0, 1, 0}, second)},
		{"too large", "limit.hello", large},
		{"broken", "malformed.handshake", broken},
	} {
		for _, strategy := range []string{"mss", "one byte", "reversed"} {
			cfg := config()
			cfg.Overload = tlsrules.Reset
			l := newLab(t, cfg, byName)
			k := l.link4()
			said := slices.Clone(turns[:3])
			said[2].bytes = tt.says
			k.play(said, strategies[strategy])
			k.refuses(tt.name+", "+strategy, conntrack.Original, len(first)+len(tt.says), tt.reason)
		}
	}
	l := newLab(t, config(), byName) // and the name that is not refused passes
	k := l.link4()
	said := slices.Clone(turns[:3])
	said[2].bytes = bytes.ReplaceAll(said[2].bytes, []byte(name), []byte(other))
	k.play(said, strategies["mss"])
	if len(l.sink.drop) != 0 || len(k.ends[1].got) != len(first)+len(said[2].bytes) {
		t.Errorf("%d bytes came, drop events %+v", len(k.ends[1].got), l.sink.drop)
	}
}
