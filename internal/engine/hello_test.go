package engine

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// require is a policy of one rule with one requirement.
func require(key string, values ...string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "one", Require: []tlsrules.Condition{condition(key, values...)}, Otherwise: tlsrules.Reset,
	})
}

// fingerprintsOf are those of a conversation: of the client's first hello and
// of the ServerHello that is not a retry.
func fingerprintsOf(t *testing.T, turns []turn) (ja3, ja3s, ja4 string) {
	t.Helper()
	var c tlswire.Conn
	for _, turn := range turns {
		for b := turn.bytes; len(b) > 0; {
			n, _, st := c.Consume(side(turn.dir), b)
			b = b[n:]
			if st == tlswire.Message && c.LastMessage.Type == tlswire.TypeClientHello && ja3 == "" {
				hash := c.ClientHello.JA3()
				ja3, ja4 = hex.EncodeToString(hash[:]), string(c.ClientHello.AppendJA4(nil))
			}
		}
	}
	hash := c.ServerHello.JA3S()
	return ja3, hex.EncodeToString(hash[:]), ja4
}

// TestFingerprints: whoever has the fingerprint passes, a HelloRetryRequest or
// not; nobody else's hello is delivered.
func TestFingerprints(t *testing.T) {
	const none = "00000000000000000000000000000000"
	for _, kind := range kinds {
		turns := recording(t, kind)
		ja3, ja3s, ja4 := fingerprintsOf(t, turns)
		clientHello, hello := reach(t, turns, atMessage(tlswire.TypeClientHello))
		serverHello, answer := reach(t, turns, atMessage(tlswire.TypeServerHello))
		parts := strings.Split(ja4, "_")
		for _, tt := range []struct {
			key, value string
			dir        conntrack.Direction // refused at, if limit is not 0
			limit      int
		}{
			{"ja3", ja3, 0, 0},
			{"ja3", none, clientHello, hello},
			{"ja3s", ja3s, 0, 0},
			{"ja3s", none, serverHello, answer},
			{"ja4", ja4, 0, 0},
			{"ja4", "*_" + parts[1] + "_*", 0, 0},
			{"ja4", parts[0] + "_*_" + parts[2], 0, 0},
			{"ja4", "*_*_000000000000", clientHello, hello},
		} {
			for _, strategy := range []string{"mss", "one byte", "reversed"} {
				l := newLab(t, config(), require(tt.key, tt.value))
				k := l.link4()
				k.play(turns, strategies[strategy])
				what := kind + " " + tt.key + " " + tt.value + " " + strategy
				if tt.limit != 0 {
					k.refuses(what, tt.dir, tt.limit, "require."+tt.key)
				} else if sent := streams(turns); len(l.sink.drop) != 0 || len(k.ends[1].got) != len(sent[0]) || len(k.ends[0].got) != len(sent[1]) {
					t.Errorf("%s: %d and %d bytes came, drop events %+v", what, len(k.ends[1].got), len(k.ends[0].got), l.sink.drop)
				}
			}
		}
	}
}

// bareHello is a ClientHello in a record, with suites and extensions as they
// are on the wire.
func bareHello(suites, extensions string) []byte {
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00" + string([]byte{byte(len(suites))}) + suites + "\x01\x00"
	if extensions != "" {
		body += "\x00" + string([]byte{byte(len(extensions))}) + extensions
	}
	return record(22, append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...))
}

// TestHelloFlags: what a hello says of itself, asked for and refused.
func TestHelloFlags(t *testing.T) {
	const ech = "\xfe\x0d\x00\x0c\x00\x00\x01\x00\x01\x07\x00\x01e\x00\x01p"
	plain := bareHello("\x13\x01", "")
	for key, marked := range map[string][]byte{
		"ech":        bareHello("\x13\x01", ech),
		"early_data": bareHello("\x13\x01", "\x00\x2a\x00\x00"),
		"fallback":   bareHello("\x13\x01\x56\x00", ""),
	} {
		for value, passes := range map[string][]byte{"true": marked, "false": plain} {
			refused := map[string][]byte{"true": plain, "false": marked}[value]
			for _, strategy := range []string{"mss", "one byte"} {
				what := key + " " + value + " " + strategy
				l := newLab(t, config(), require(key, value))
				k := l.link6()
				k.play([]turn{{original, passes}}, strategies[strategy])
				if got := len(k.ends[1].got); got != len(passes) || len(l.sink.drop) != 0 {
					t.Errorf("%s: %d bytes of %d came, %+v", what, got, len(passes), l.sink.drop)
				}
				l = newLab(t, config(), require(key, value))
				k = l.link4()
				k.play([]turn{{original, refused}}, strategies[strategy])
				k.refuses(what, original, len(refused), "require."+key)
			}
		}
	}
}

// renegotiating is a TLS 1.2 conversation with another handshake begun by a
// side, and where its first record header ends.
func renegotiating(t *testing.T, by conntrack.Direction) (turns []turn, end int) {
	turns = recording(t, "tls12 ecdhe")
	turns = append([]turn(nil), turns[:len(turns)-1]...) // without the alert at the end
	turns = append(turns, turn{by, record(22, make([]byte, 60))}, turn{by.Other(), record(22, make([]byte, 60))})
	return turns, len(streams(turns)[by]) - 60
}

// TestRenegotiates: no header of a record that begins a renegotiation is
// delivered where none is allowed.
func TestRenegotiates(t *testing.T) {
	for _, by := range []conntrack.Direction{original, reply} {
		turns, end := renegotiating(t, by)
		for name, strategy := range strategies {
			what := name + " by " + side(by).String()
			l := newLab(t, config(), require("renegotiates", "false"))
			k := l.link4()
			k.play(turns, strategy)
			k.refuses(what, by, end, "require.renegotiates")
			if f := l.sink.drop[0].Later; f.Renegotiations[side(by)] != 1 {
				t.Errorf("%s: told %+v", what, f)
			}
		}
		l := newLab(t, config(), require("renegotiates", "false", "true"))
		k := l.link4()
		k.play(turns, strategies["mss"])
		l.e.Close(l.now)
		want := Later{SecureRenegotiation: true}
		want.Renegotiations[side(by)] = 1
		if len(l.sink.drop) != 0 || len(l.sink.flow) != 1 || l.sink.flow[0].Later != want {
			t.Errorf("allowed: drop %+v, flow %+v", l.sink.drop, l.sink.flow)
		}
	}
	for _, kind := range kinds { // where there is none all passes
		turns := recording(t, kind)
		l := newLab(t, config(), require("renegotiates", "false"))
		k := l.link4()
		k.play(turns, strategies["mss"])
		if sent := streams(turns); len(l.sink.drop) != 0 || len(k.ends[1].got) != len(sent[0]) {
			t.Errorf("%s: %+v", kind, l.sink.drop)
		}
	}
}

// TestRenegotiatesInClear: a second hello that nobody asked for is not
// delivered either.
func TestRenegotiatesInClear(t *testing.T) {
	hello := bareHello("\x00\x2f", "")
	another := bytes.Replace(hello, []byte("rr"), []byte("ss"), 1) // the random
	l := newLab(t, config(), require("renegotiates", "false"))
	k := l.link4()
	k.play([]turn{{original, hello}, {original, another}}, strategies["one byte"])
	k.refuses("in clear", original, 2*len(hello), "require.renegotiates")
}

// TestLaterIsKept: what happened before a connection was left to the kernel is
// still told when it ends.
func TestLaterIsKept(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	lie := record(24, []byte{1, 0x40, 0})
	turns = append([]turn{{original, append(append([]byte(nil), turns[0].bytes...), lie...)}}, turns[1:]...)
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.play(turns, strategies["mss"])
	l.e.Close(l.now)
	want := Later{Heartbeats: tlswire.Heartbeats{Requests: 1, Lies: 1}, SecureRenegotiation: true}
	if k.mark == 0 || len(l.sink.flow) != 1 || l.sink.flow[0].Later != want {
		t.Errorf("mark %#x, flow %+v", k.mark, l.sink.flow)
	}
}

// TestAlertsOfBothSides: warnings and a fatal one, each with its sender.
func TestAlertsOfBothSides(t *testing.T) {
	hello := bareHello("\x00\x2f", "")
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.play([]turn{
		{original, append(append([]byte(nil), hello...), record(21, []byte{1, 90})...)},
		{reply, append(record(21, []byte{1, 112}), record(21, []byte{2, 40})...)},
		{original, record(21, []byte{1, 0})},
	}, strategies["one byte"])
	l.e.Close(l.now)
	want := []AlertSeen{
		{tlswire.Client, tlswire.AlertMessage{Level: tlswire.AlertLevelWarning, Description: 90}},
		{tlswire.Server, tlswire.AlertMessage{Level: tlswire.AlertLevelWarning, Description: 112}},
		{tlswire.Server, tlswire.AlertMessage{Level: tlswire.AlertLevelFatal, Description: 40}},
		{tlswire.Client, tlswire.AlertMessage{Level: tlswire.AlertLevelWarning}},
	}
	f := l.sink.flow
	if len(f) != 1 || len(f[0].Alerts) != len(want) || f[0].Diagnosis.Text != "the server ended the handshake with the alert handshake_failure" {
		t.Fatalf("flows: %+v", f)
	}
	for i, a := range f[0].Alerts {
		if a != want[i] {
			t.Errorf("alert %d: got %+v, want %+v", i, a, want[i])
		}
	}
}

// TestAcceptedWaits: who is accepted for certain has been decided, however long the
// server takes to answer the hello. Where the answer is still to be judged, it has until
// limits.decide.
func TestAcceptedWaits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy *tlsrules.Policy
		waits  bool
	}{
		{"by its port", policy(acceptAll, rule("all", tlsrules.Accept, "port", "443")), true},
		{"by its name", policy(acceptAll, rule("name", tlsrules.Accept, "sni", "api.bank.example")), true},
		{"its suite is awaited", partner(), false},
		{"by default alone", policy(acceptAll), false},
	} {
		for _, name := range []string{"tls12 ecdhe", "tls13", "tls13 retry"} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				cfg := config()
				cfg.Limits.Decide = 5 * time.Second
				l := newLab(t, cfg, tt.policy)
				turns := recording(t, name)
				k := l.link6()
				k.play(turns[:1], strategies["mss"])
				for range 30 {
					l.now += second
					l.e.Tick(l.now)
				}
				if passes := len(l.sink.drop) == 0; passes != tt.waits {
					t.Fatalf("passes %v: %+v", passes, l.sink.drop)
				}
				if tt.waits {
					if k.talk(turns[1:], strategies["mss"]); k.closed() || l.e.clocks() != 0 {
						t.Errorf("refused: %+v; %d clocks run", l.sink.drop, l.e.clocks())
					}
				}
			})
		}
	}
}
