package engine

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

const accessDenied = 49

// otherwise is a policy of one rule with one requirement.
func otherwise(a tlsrules.Action, key string, values ...string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "one", Require: []tlsrules.Condition{condition(key, values...)}, Otherwise: a,
	})
}

var denied = tlsrules.AlertOf(accessDenied)

// told is the alert that a client was given behind what a server said, nil for
// none: it may have that server's bytes, then an alert and the end, and nothing else.
func (k *link) told(what string, client conntrack.Direction, said []byte) []byte {
	k.lab.t.Helper()
	e := k.ends[client]
	at := len(e.got) - tlswire.AlertRecordLen
	if !e.ended {
		if !bytes.HasPrefix(said, e.got) {
			k.lab.t.Errorf("%s: the client has %d bytes, and not the server's: %x", what, len(e.got), e.got)
		}
		return nil
	}
	if at < 0 || !bytes.HasPrefix(said, e.got[:at]) {
		k.lab.t.Fatalf("%s: the client has %d bytes, and they are not the server's before an alert: %x", what, len(e.got), e.got)
	}
	return e.got[at:]
}

// sameAlerts fails if what was sent at one place of the stream was not the same
// each time.
func (k *link) sameAlerts(what string) {
	k.lab.t.Helper()
	var first packet.Parsed
	for i, raw := range k.alerts {
		var p packet.Parsed
		packet.Decode(raw, &p)
		if i == 0 {
			first = p
		}
		if p.Seq != first.Seq || p.Flags != first.Flags || !bytes.Equal(p.Payload, first.Payload) {
			k.lab.t.Errorf("%s: alert %d is %x at %d, the first one %x at %d", what, i, p.Payload, p.Seq, first.Payload, first.Seq)
		}
	}
}

// TestAlert: for what a hello says, however it is cut, the client is given the
// alert in answer; for what a ServerHello says, the alert in its place if it was
// not given a part of it already, or else an RST. Never a mix.
func TestAlert(t *testing.T) {
	for _, kind := range kinds {
		turns := recording(t, kind)
		said := streams(turns)
		for name, strategy := range strategies {
			for _, latest := range []bool{false, true} {
				for _, v6 := range []bool{false, true} {
					for _, tt := range []struct {
						key, value string
						from       conntrack.Direction // who says what is refused
					}{{"sni", "www.example.com", original}, {"ja3s", "00000000000000000000000000000000", reply}} {
						what := kind + " " + tt.key + " " + name
						l := newLab(t, config(), otherwise(denied, tt.key, tt.value))
						k := l.link4()
						if v6 {
							k = l.link6()
						}
						k.latest = latest
						k.play(turns, strategy)
						message := tlswire.TypeClientHello
						if tt.from == reply {
							message = tlswire.TypeServerHello
						}
						_, limit := reach(t, turns, atMessage(message))
						if got := len(k.ends[tt.from.Other()].got); got >= limit && !k.ends[tt.from.Other()].ended {
							t.Errorf("%s: %d bytes came, want fewer than %d", what, got, limit)
						}
						alert := k.told(what, original, said[reply])
						k.sameAlerts(what)
						must := tt.from == original || name == "mss" || name == "gso"
						if alert == nil && must || alert != nil && tt.from == reply && name == "one byte" {
							t.Errorf("%s: the client was told %x", what, alert)
						}
						d := l.sink.drop
						if len(d) != 1 || d[0].Decision.Reason.String() != "require."+tt.key {
							t.Errorf("%s: drop events %+v", what, d)
							continue
						}
						want, sent := tlsrules.Reset, uint8(0)
						if alert != nil {
							want, sent = denied, accessDenied
						}
						if d[0].Decision.Action != want || d[0].AlertSent != sent {
							t.Errorf("%s: told of %s and alert %d, the client has %x", what, d[0].Decision.Action, d[0].AlertSent, alert)
						}
						if !k.ends[1].closed || alert == nil && !k.ends[0].closed {
							t.Errorf("%s: closed: client %v, server %v", what, k.ends[0].closed, k.ends[1].closed)
						}
						if k.mark != l.marks.Refused() {
							t.Errorf("%s: mark %#x", what, k.mark)
						}
					}
				}
			}
		}
	}
}

// alertOf is the record a client of a recording expects.
func alertOf(version uint16, description uint8) []byte {
	return []byte{21, byte(version >> 8), byte(version), 0, 2, 2, description}
}

func TestAlertVersion(t *testing.T) {
	for kind, want := range map[string][2]uint16{
		"tls10": {0x0301, 0x0301}, "tls11": {0x0302, 0x0302}, "tls12 rsa": {0x0303, 0x0303},
		"tls13": {0x0303, 0x0303}, "tls13 retry": {0x0303, 0x0303},
	} {
		turns := recording(t, kind)
		for i, p := range []*tlsrules.Policy{otherwise(tlsrules.Alert, "sni", "none"), otherwise(tlsrules.Alert, "ja3s", "00000000000000000000000000000000")} {
			l := newLab(t, config(), p)
			k := l.link4()
			k.play(turns, strategies["mss"])
			if got := k.told(kind, original, streams(turns)[reply]); !bytes.Equal(got, alertOf(want[i], 40)) {
				t.Errorf("%s: got %x, want version %#x", kind, got, want[i])
			}
		}
	}
}

// helloRefused is a connection whose hello is answered with an alert, so many of
// which are lost.
func helloRefused(t *testing.T, lost int) (*lab, *link, []byte) {
	_, evil := hellos(t)
	l := newLab(t, config(), otherwise(denied, "sni", "api.bank.example"))
	k := l.link4()
	k.open()
	k.losing = lost
	k.data(original, 0, evil)
	return l, k, evil
}

// TestAlertLost: it comes again with the client's retransmission, the server's,
// or after a while, and the same.
func TestAlertLost(t *testing.T) {
	for name, again := range map[string]func(l *lab, k *link, evil []byte){
		"the client's retransmission":      func(_ *lab, k *link, evil []byte) { k.data(original, 0, evil) },
		"a part of it, and more behind":    func(_ *lab, k *link, evil []byte) { k.data(original, 90, append(evil[90:], 23, 3, 3, 0, 0)) },
		"the client's FIN":                 func(_ *lab, k *link, evil []byte) { k.raw(k.segment(original, len(evil), nil, packet.FIN|packet.ACK)) },
		"a while later":                    func(l *lab, _ *link, _ []byte) { l.now += second / 2; l.e.Tick(l.now) },
		"an RST of the server's is nought": func(l *lab, k *link, _ []byte) { k.data(reply, 0, []byte("x")); l.now += second; l.e.Tick(l.now) },
	} {
		l, k, evil := helloRefused(t, 1)
		if k.ends[0].ended || !k.ends[1].closed {
			t.Fatalf("%s: it was not lost, or the server not reset", name)
		}
		again(l, k, evil)
		k.challenges()
		if got := k.told(name, original, nil); !bytes.Equal(got, alertOf(0x0303, accessDenied)) {
			t.Errorf("%s: the client was told %x", name, got)
		}
		k.sameAlerts(name)
		sent := len(k.alerts)
		l.now += 10 * second
		l.e.Tick(l.now)
		if len(k.alerts) != sent || l.e.unread != (unread{}) {
			t.Errorf("%s: sent again after it was acknowledged", name)
		}
	}
}

// TestAlertNeverRead: it is not sent for ever.
func TestAlertNeverRead(t *testing.T) {
	l, k, _ := helloRefused(t, 1000)
	for range 100 {
		l.now += second / 10
		l.e.Tick(l.now)
	}
	k.sameAlerts("never read")
	if len(k.alerts) != alertTries || !k.ends[0].closed || l.e.unread != (unread{}) {
		t.Errorf("%d alerts, client closed %v", len(k.alerts), k.ends[0].closed)
	}
	// A connection that ends takes its alert along.
	l, k, _ = helloRefused(t, 1000)
	l.e.Close(l.now)
	l.now += second
	l.e.Tick(l.now)
	if len(k.alerts) != 1 {
		t.Errorf("%d alerts of a connection that is gone", len(k.alerts))
	}
}

// TestAfterAlert: what a client says once it has the alert is answered by an RST
// that it takes; that it has it needs no answer.
func TestAfterAlert(t *testing.T) {
	for name, tt := range map[string]struct {
		flags   packet.Flags
		payload []byte
		closed  bool
	}{
		"nothing": {packet.ACK, nil, false},
		"data":    {packet.ACK | packet.PSH, []byte{21, 3, 3, 0, 2, 1, 0}, true},
		"FIN":     {packet.ACK | packet.FIN, nil, true},
		"RST":     {packet.ACK | packet.RST, nil, false},
	} {
		l, k, evil := helloRefused(t, 0)
		before := l.e.counts.Injected
		k.raw(k.segment(original, len(evil), tt.payload, tt.flags))
		if k.ends[0].closed != tt.closed || l.e.counts.Injected > before+1 || len(k.alerts) != 1 {
			t.Errorf("%s: closed %v, %d packets in answer", name, k.ends[0].closed, l.e.counts.Injected-before)
		}
		if len(k.ends[1].got) != 0 {
			t.Errorf("%s: %d bytes came to the server", name, len(k.ends[1].got))
		}
	}
	// Data that was on its way with the hello is not an answer to the alert.
	l, k, evil := helloRefused(t, 0)
	s := k.segment(original, len(evil), []byte("early"), packet.ACK)
	s.ack = k.ends[1].iss + 1
	k.raw(s)
	k.sameAlerts("early data")
	if k.ends[0].closed || l.e.counts.Dropped[DropInvalid] != 0 {
		t.Errorf("early data: closed %v", k.ends[0].closed)
	}
}

// TestAlertPortsAgain: the ports are free for another connection.
func TestAlertPortsAgain(t *testing.T) {
	l, k, _ := helloRefused(t, 0)
	k.again(900_000, 800_000)
	turns := recording(t, "tls13")
	k.play(turns, strategies["mss"])
	if k.mark != l.marks.Accepted(5) || !bytes.Equal(k.ends[1].got, streams(turns)[0]) {
		t.Errorf("mark %#x, %d bytes", k.mark, len(k.ends[1].got))
	}
}

// atRecords cuts what a server says where its records begin.
func atRecords(b []byte) (p []piece) {
	for at := 0; at < len(b); {
		n := 5 + int(binary.BigEndian.Uint16(b[at+3:]))
		p = append(p, piece{at, at + n})
		at += n
	}
	return p
}

// TestAlertBehindServerHello: up to TLS 1.2 an alert is read until the server's
// ChangeCipherSpec has come; in TLS 1.3 not any more behind the ServerHello.
func TestAlertBehindServerHello(t *testing.T) {
	for _, tt := range []struct {
		kind, key, value string
		alert            bool
	}{
		{"tls12 ecdhe", "cert_sha256", "0000000000000000000000000000000000000000000000000000000000000000", true},
		{"tls10", "cert_name", "nobody.example", true},
		{"tls12 ecdhe", "content_type", "handshake", true},
		{"tls12 resumed", "content_type", "handshake", true},
		{"tls13", "content_type", "handshake", false},
		{"tls12 rsa", "alert", "close_notify", false},
	} {
		turns := recording(t, tt.kind)
		l := newLab(t, config(), otherwise(denied, tt.key, tt.value))
		k := l.link4()
		if !k.open() {
			t.Fatal("no TCP handshake")
		}
		for i, said := range turns {
			k.talk(turns[i:i+1], func(int) []piece { return atRecords(said.bytes) })
		}
		alert := k.told(tt.kind, original, streams(turns)[reply])
		if (alert != nil) != tt.alert || len(l.sink.drop) != 1 {
			t.Errorf("%s %s: told %x, drop events %+v", tt.kind, tt.key, alert, l.sink.drop)
		}
		if alert == nil && (!k.closed() || l.sink.drop[0].Decision.Action != tlsrules.Reset || l.e.counts.AlertsTooLate != 1) {
			t.Errorf("%s %s: closed %v, %s", tt.kind, tt.key, k.closed(), l.sink.drop[0].Decision.Action)
		}
	}
}

// TestAlertOpening: nothing is sent where the client already has other bytes, or
// is in the middle of a record.
func TestAlertOpening(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	hello, flight := turns[0].bytes, turns[1].bytes
	for name, tt := range map[string]struct {
		bring func(k *link)
		alert bool
	}{
		"in order":                    {func(*link) {}, true},
		"the first byte came":         {func(k *link) { k.data(reply, 0, flight[:1]) }, false},
		"the first record came":       {func(k *link) { k.data(reply, 0, flight[:50]) }, false},
		"later bytes came":            {func(k *link) { k.data(reply, 900, flight[900:1100]) }, true},
		"bytes right behind it came":  {func(k *link) { k.data(reply, 8, flight[8:100]) }, true},
		"bytes came where the FIN is": {func(k *link) { k.data(reply, 7, flight[7:100]) }, false},
		"bytes came in its place":     {func(k *link) { k.data(reply, 3, flight[3:4]) }, false},
		"later bytes were lost":       {func(k *link) { k.lost = true; k.data(reply, 2, flight[2:40]); k.lost = false }, false},
	} {
		for _, latest := range []bool{false, true} {
			l := newLab(t, config(), otherwise(denied, "version", "1.3"))
			k := l.link4()
			k.latest = latest
			k.open()
			k.data(original, 0, hello)
			tt.bring(k)
			k.data(reply, 0, flight)
			k.challenges()
			alert := k.told(name, original, flight)
			if (alert != nil) != tt.alert || alert == nil && !k.closed() || !k.ends[1].closed {
				t.Errorf("%s: told %x, closed: client %v, server %v", name, alert, k.ends[0].closed, k.ends[1].closed)
			}
		}
	}
	// A server that has closed already.
	l := newLab(t, config(), otherwise(denied, "sni", "none"))
	k := l.link4()
	k.open()
	k.raw(k.segment(reply, 0, nil, packet.FIN|packet.ACK))
	k.data(original, 0, hello)
	if k.told("closed", original, nil) != nil || len(k.alerts) != 0 || l.sink.drop[0].Decision.Action != tlsrules.Reset {
		t.Errorf("an alert behind the server's FIN")
	}
}

// TestAlertTimestamps: where both ends send timestamps the alert has those that
// its receiver takes.
func TestAlertTimestamps(t *testing.T) {
	good, evil := hellos(t)
	stamped := func(s segment, val, ecr uint32) segment {
		s.options = append([]byte{1, 1, 8, 10}, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, val), ecr)...)
		return s
	}
	for _, from := range []conntrack.Direction{original, reply} {
		p := otherwise(denied, "sni", "api.bank.example")
		if from == reply {
			p = otherwise(denied, "version", "1.2")
		}
		l := newLab(t, config(), p)
		k := l.link6()
		s := k.segment(original, -1, nil, packet.SYN)
		s.ack = 0
		k.raw(stamped(s, 0xffff_fff0, 0))
		k.raw(stamped(k.segment(reply, -1, nil, packet.SYN|packet.ACK), 7000, 0xffff_fff0))
		k.raw(stamped(k.segment(original, 0, nil, packet.ACK), 0xffff_fff1, 7000))
		want := [2]uint32{7000, 5} // in the server's name: its own, the client's
		if from == original {
			k.raw(stamped(k.segment(original, 0, evil, packet.ACK), 5, 7000))
		} else {
			k.raw(stamped(k.segment(original, 0, good, packet.ACK), 5, 7000))
			k.raw(stamped(k.segment(reply, 0, recording(t, "tls13")[1].bytes, packet.ACK), 7100, 5))
			want[0] = 7100
		}
		if len(k.alerts) != 1 {
			t.Fatalf("%d alerts", len(k.alerts))
		}
		var alert packet.Parsed
		packet.Decode(k.alerts[0], &alert)
		if !alert.HasTimestamp || [2]uint32{alert.TSVal, alert.TSEcr} != want {
			t.Errorf("%s: got %v %d %d, want %d", from, alert.HasTimestamp, alert.TSVal, alert.TSEcr, want)
		}
	}
}

// TestAlertWaitsForHello: what is known of the SYN alone is told in answer to the
// hello, whatever else comes between.
func TestAlertWaitsForHello(t *testing.T) {
	good, _ := hellos(t)
	byRule := policy(acceptAll, tlsrules.Rule{
		Name: "from", Match: []tlsrules.Condition{condition("source", "192.0.2.0/24")}, Action: denied, HasAction: true,
	})
	byDefault := policy(tlsrules.Defaults{Action: denied, NotTLS: tlsrules.Accept})
	lenient := config()
	lenient.Default.Malformed, lenient.Default.Ambiguous, lenient.Default.Undecided = tlsrules.Accept, tlsrules.Accept, tlsrules.Accept
	lenient.Overload = tlsrules.Accept
	for name, tt := range map[string]struct {
		p      *tlsrules.Policy
		bring  func(k *link)
		alert  bool
		reason string
	}{
		"a rule's action":    {byRule, func(k *link) { k.data(original, 0, good) }, true, "rule"},
		"a rule's otherwise": {otherwise(denied, "source", "198.51.100.0/24"), func(k *link) { k.data(original, 0, good) }, true, "require.source"},
		"the default":        {byDefault, func(k *link) { k.data(original, 0, good[:7]); k.data(original, 7, good[7:]) }, true, "default"},
		"byte by byte":       {byRule, func(k *link) { k.talk([]turn{{original, good}}, strategies["one byte"]) }, true, "rule"},
		"HTTP":               {byRule, func(k *link) { k.data(original, 0, []byte("GET / HTTP/1.0\r\n\r\n")) }, false, "rule"},
		"a greeting": {byRule, func(k *link) {
			k.data(reply, 0, []byte("220 mail.example ESMTP\r\n"))
			k.data(original, 0, []byte("MAIL FROM:<>\r\n"))
		}, false, "rule"},
		"a broken hello": {byRule, func(k *link) { k.data(original, 0, []byte{22, 3, 1, 0, 4, 9, 9, 9, 9}) }, true, "rule"},
		"half a hello for good": {byRule, func(k *link) {
			k.data(original, 0, good[:40])
			k.lab.e.Tick(k.lab.now + 31*second)
			k.lab.now += 31 * second
		}, true, "rule"},
		"a hello said twice": {byRule, func(k *link) {
			k.lost = true
			k.data(original, 0, good[:100])
			k.lost = false
			k.data(original, 0, bytes.Repeat([]byte{7}, 100))
		}, true, "rule"},
	} {
		l := newLab(t, lenient, tt.p)
		k := l.link4()
		if !k.open() {
			t.Errorf("%s: no TCP handshake", name)
		}
		tt.bring(k)
		k.challenges()
		alert := k.told(name, original, []byte("220 mail.example ESMTP\r\n"))
		if tt.alert != (alert != nil) || !tt.alert && !k.closed() || !k.ends[1].closed {
			t.Errorf("%s: told %x, closed: client %v, server %v", name, alert, k.ends[0].closed, k.ends[1].closed)
		}
		if len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Reason.String() != tt.reason || l.sink.drop[0].Decision.Action == denied != tt.alert {
			t.Errorf("%s: drop events %+v", name, l.sink.drop)
		}
		if len(k.ends[1].got) >= len(good) {
			t.Errorf("%s: the server has the hello", name)
		}
	}
	// Nothing comes of nothing.
	l := newLab(t, config(), byRule)
	l.link4().open()
	l.e.Close(l.now)
	if f := l.sink.flow; len(f) != 1 || f[0].Decision.Decided || f[0].AlertSent != 0 || len(l.sink.drop) != 0 {
		t.Errorf("flows %+v", f)
	}
}

// TestAlertVia: where TLS begins later the client is told when its server has
// agreed to it, and not in the middle of what that says.
func TestAlertVia(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	for _, x := range preludes {
		all := joined(slices.Concat(x.said, turns))
		for _, strategy := range []string{"mss", "one byte", "reversed"} {
			for _, p := range []*tlsrules.Policy{otherwise(denied, "sni", "none"), otherwise(denied, "version", "1.3")} {
				l := newLab(t, config(), p)
				k := l.link4()
				k.play(all, strategies[strategy])
				what := x.name + " " + strategy
				alert := k.told(what, original, streams(all)[reply])
				must := strategy == "mss" || p.Rules()[0].Require[0].Key() == tlsrules.KeyServerName
				if x.name == "rdp" { // of what is not known nobody knows whether the server has agreed
					must = false
				}
				if must && alert == nil || !k.ends[1].closed || len(l.sink.drop) != 1 {
					t.Errorf("%s: told %x, server closed %v, %d drop events", what, alert, k.ends[1].closed, len(l.sink.drop))
				}
			}
		}
	}
	// A client that does not wait for its server's answer reads that first.
	for name, early := range map[string][]string{
		"not answered":  {"S220 mail ESMTP\r\n", "CSTARTTLS\r\n"},
		"half answered": {"S220 mail ESMTP\r\n", "CSTARTTLS\r\n", "S220 g"},
		"half a tunnel": {"CCONNECT server.example:443 HTTP/1.1\r\n\r\n", "SHTTP/1.1 200 OK\r\n"},
	} {
		all := append(said(early...), turns[0])
		l := newLab(t, config(), otherwise(denied, "sni", "none"))
		k := l.link4()
		k.play(joined(all), strategies["mss"])
		if alert := k.told(name, original, streams(all)[reply]); alert != nil || !k.closed() {
			t.Errorf("%s: told %x, closed %v", name, alert, k.closed())
		}
	}
}

// condemned refuses by the first packet, with an alert.
func condemned() *tlsrules.Policy {
	return policy(acceptAll, rule("nobody", denied, "port", "443"))
}

// TestAlertDialogue: who is refused by his first packet is told so where TLS begins
// later too, but a server that helps says in what comes before it only so much, and for
// so long.
func TestAlertDialogue(t *testing.T) {
	turns := recording(t, "tls12 ecdhe")
	unnamed := []string{"rdp", "nntp", "smtp after a mail", "garbage, then smtp"} // used in clear, or no dialogue that is known
	for _, x := range preludes {
		all := joined(slices.Concat(x.said, turns))
		l := newLab(t, config(), condemned())
		k := l.link4()
		k.play(all, strategies["mss"])
		if alert := k.told(x.name, original, streams(all)[reply]); (alert == nil) != slices.Contains(unnamed, x.name) || !k.ends[1].closed {
			t.Errorf("%s: told %x, server closed %v", x.name, alert, k.ends[1].closed)
		}
	}
	helps := map[string]string{"smtp": "220 mail\r\n", "ftp": "220-mail\r\n", "pop3": "+OK mail\r\n", "imap": "* OK mail\r\n", "mysql": "\x4a\x00\x00\x00\x0a8.0\x00"}
	for name, first := range helps {
		l := newLab(t, config(), condemned())
		k := l.link4()
		k.open()
		k.data(reply, 0, []byte(first))
		for range 100 {
			k.next(reply, bytes.Repeat([]byte("x"), 1000))
			k.ack(original)
		}
		if n := len(k.ends[0].got); n > dialogueLimit || !k.closed() {
			t.Errorf("%s: the client was given %d bytes, closed %v", name, n, k.closed())
		}
		if d := l.sink.drop; len(d) != 1 || d[0].Decision.Reason != tlsrules.ReasonRule || d[0].Decision.Rule != "nobody" {
			t.Errorf("%s: told %+v", name, d)
		}
		l = newLab(t, config(), condemned())
		k = l.link4()
		k.open()
		k.data(reply, 0, []byte(first))
		for range 20 { // a byte now and then
			l.now += 2 * second
			l.e.Tick(l.now)
			k.next(reply, []byte("x"))
			k.ack(original)
		}
		if d := l.sink.drop; !k.closed() || len(d) != 1 || d[0].Decision.Rule != "nobody" {
			t.Errorf("%s: after 40 s closed %v, told %+v", name, k.closed(), d)
		}
	}
}

// TestAlertDialogueReload: a policy that refuses a dialogue no more gives it its time
// back, and one that refuses it has it end.
func TestAlertDialogueReload(t *testing.T) {
	for _, before := range []bool{true, false} {
		policies := []*tlsrules.Policy{policy(acceptAll), condemned()}
		if before {
			slices.Reverse(policies)
		}
		l := newLab(t, config(), policies[0])
		k := l.link4()
		k.open()
		k.data(reply, 0, []byte("220 mail\r\n"))
		l.adopt(policies[1])
		l.around()
		l.now += 31 * second
		l.e.Tick(l.now)
		if k.closed() == before || len(l.sink.drop) == 1 == before {
			t.Errorf("refused before the reload %v: closed %v, told %+v", before, k.closed(), l.sink.drop)
		}
	}
}

// TestAlertOfDefaults: for what no rule speaks about.
func TestAlertOfDefaults(t *testing.T) {
	good, _ := hellos(t)
	cfg := config()
	cfg.Default.Malformed, cfg.Default.Undecided, cfg.Default.Ambiguous = tlsrules.AlertOf(50), tlsrules.AlertOf(80), denied
	for name, tt := range map[string]struct {
		bring func(k *link)
		want  uint8
	}{
		"malformed": {func(k *link) {
			k.data(original, 0, append([]byte{22, 3, 1, 0, 10, 1, 0, 0, 6, 3, 3}, make([]byte, 4)...))
		}, 50},
		"undecided": {func(k *link) { k.data(original, 0, good[:40]); k.lab.e.Tick(k.lab.now + 31*second) }, 80},
		"ambiguous": {func(k *link) {
			k.data(original, 0, good[:60])
			k.data(original, 0, append(bytes.Repeat([]byte{1}, 60), good[60:]...))
		}, accessDenied},
		"answered by what is no TLS": {func(k *link) { k.data(original, 0, good); k.data(reply, 0, []byte("HTTP/1.0 400 Bad Request\r\n\r\n")) }, 50},
		"not TLS at all":             {func(k *link) { k.data(original, 0, []byte{22, 3, 1, 0, 0, 1}) }, 50},
	} {
		l := newLab(t, cfg, partner())
		k := l.link4()
		k.open()
		tt.bring(k)
		k.challenges()
		if alert := k.told(name, original, nil); len(alert) != 7 || alert[6] != tt.want || !k.ends[1].closed {
			t.Errorf("%s: told %x, server closed %v", name, alert, k.ends[1].closed)
		}
	}
}

// TestAlertToTheCalled: the end that was called may be the one that says hello.
func TestAlertToTheCalled(t *testing.T) {
	_, evil := hellos(t)
	l := newLab(t, config(), otherwise(denied, "sni", "api.bank.example"))
	k := l.link4()
	k.open()
	k.data(reply, 0, evil)
	if alert := k.told("called", reply, nil); !bytes.Equal(alert, alertOf(0x0303, accessDenied)) || !k.ends[0].closed {
		t.Errorf("told %x, the other end closed: %v; %+v", alert, k.ends[0].closed, l.sink.drop)
	}
}

// TestAlertObserved: nothing is sent.
func TestAlertObserved(t *testing.T) {
	turns := recording(t, "tls13")
	for _, a := range []tlsrules.Action{denied, tlsrules.Refuse} {
		cfg := config()
		cfg.Default.Observe = true
		l := newLab(t, cfg, policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept, Observe: true},
			tlsrules.Rule{Name: "from", Match: []tlsrules.Condition{condition("source", "192.0.2.0/24")}, Action: a, HasAction: true}))
		for range 2 {
			k := l.link4()
			k.play(turns, strategies["mss"])
			if !bytes.Equal(k.ends[0].got, streams(turns)[reply]) || l.e.counts.Injected != 0 {
				t.Errorf("%s: %d bytes came, %d packets injected", a, len(k.ends[0].got), l.e.counts.Injected)
			}
		}
		if d := l.sink.drop; len(d) != 2 || !d[1].Decision.Observed || d[1].Decision.Reason != tlsrules.ReasonRule || d[0].AlertSent != 0 {
			t.Errorf("%s: %+v", a, d)
		}
	}
}

// TestAlertRecorded: a capture tells what would have been sent, and nothing is.
func TestAlertRecorded(t *testing.T) {
	_, evil := hellos(t)
	cfg := config()
	cfg.Recorded, cfg.Marks = true, nfq.Marks{}
	l := newLab(t, cfg, otherwise(denied, "sni", "api.bank.example"))
	l.e.cfg.Inject = nil
	l.alter = func(p *nfq.Packet) { p.Mark = 0 }
	k := l.link4()
	k.open()
	k.data(original, 0, evil)
	k.data(reply, 0, recording(t, "tls13")[1].bytes)
	l.now += 3 * second
	l.e.Tick(l.now)
	if d := l.sink.drop; len(d) != 1 || d[0].AlertSent != accessDenied || len(k.ends[0].got)+len(k.ends[1].got) != 0 {
		t.Errorf("drop events %+v", d)
	}
}
