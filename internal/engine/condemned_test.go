package engine

import (
	"strings"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// TestSilentRefused: whoever an action is for is told of once, however little he says:
// one who is to get an alert and ends before it, too.
func TestSilentRefused(t *testing.T) {
	scenes := []struct {
		name string
		play func(k *link)
		whom bool // both ends were heard of
	}{
		{"a SYN", func(k *link) { k.syn() }, false},
		{"a SYN that is answered", func(k *link) { k.syn(); k.synAck() }, false},
		{"nothing said", func(k *link) { k.open() }, true},
		{"a banner", func(k *link) { k.open(); k.data(reply, 0, []byte("220 hello\r\n")) }, true},
		{"no TLS", func(k *link) { k.open(); k.data(original, 0, []byte{0, 1, 2, 3}) }, true},
		{"FINs", func(k *link) { k.open(); k.close() }, true},
		{"an RST", func(k *link) { k.open(); k.raw(k.segment(original, 0, nil, packet.RST|packet.ACK)) }, true},
	}
	for _, action := range []tlsrules.Action{tlsrules.Drop, tlsrules.Reset, tlsrules.Refuse, denied} {
		for _, s := range scenes {
			what := action.String() + ", " + s.name
			l := newLab(t, config(), policy(acceptAll, rule("no", action, "port", "443")))
			s.play(l.link4())
			for range 100 {
				l.now += 5000 * second
				l.e.Tick(l.now)
			}
			want := 1
			if action == denied && !s.whom {
				want = 0 // nobody has been refused anything
			}
			if len(l.sink.drop) != want || l.e.counts.Refused != uint64(want) || len(l.sink.flow) != 1 {
				t.Errorf("%s: %d drop events, want %d; %d counted, %d flow events", what, len(l.sink.drop), want, l.e.counts.Refused, len(l.sink.flow))
				continue
			}
			if want == 0 {
				continue
			}
			d, f := l.sink.drop[0], l.sink.flow[0]
			if d.Decision.Rule != "no" || d.Detail == "" || d.Packet == 0 || d.AlertSent != 0 || f.Diagnosis.Code != "refused" || f.Decision.Rule != "no" {
				t.Errorf("%s: %+v, then %+v", what, d, f)
			}
			if silent := strings.HasSuffix(d.Detail, silentText); silent != (action == denied && s.name != "a banner" && s.name != "no TLS") {
				t.Errorf("%s: %s", what, d.Detail)
			}
		}
	}
	// A daemon that ends has refused nobody.
	l := newLab(t, config(), policy(acceptAll, rule("no", denied, "port", "443")))
	l.link4().open()
	if l.e.Close(l.now); len(l.sink.drop) != 0 {
		t.Errorf("at the end of the daemon: %+v", l.sink.drop)
	}
}
