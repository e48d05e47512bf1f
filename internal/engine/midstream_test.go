package engine

import (
	"bytes"
	"testing"

	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

func TestNotTLS(t *testing.T) {
	http, ssh := []byte("GET / HTTP/1.0\r\n\r\n"), []byte("SSH-2.0-OpenSSH\r\n")
	for _, action := range []tlsrules.Action{tlsrules.Accept, tlsrules.Reset} {
		for name, first := range map[string][]byte{"http": http, "ssh": ssh, "unknown": {0, 1, 2}} {
			for cuts, strategy := range strategies {
				def := acceptAll
				def.NotTLS = action
				l := newLab(t, config(), policy(def))
				k := l.link4()
				k.play([]turn{{original, first}, {reply, ssh}, {original, http}}, strategy)
				what := name + " " + cuts + " " + action.String()
				if action == tlsrules.Reset {
					k.refuses(what, original, len(first), "not_tls")
				} else if k.mark != l.marks.Accepted(5) || !bytes.Equal(k.ends[0].got, ssh) {
					t.Errorf("%s: mark %#x", what, k.mark)
				}
				if len(l.sink.tls) != 0 {
					t.Errorf("%s: a tls event", what)
				}
			}
		}
	}
}

// TestServerFirst: what is accepted by a banner is accepted until a ClientHello
// comes.
func TestServerFirst(t *testing.T) {
	good, evil := hellos(t)
	banner := []byte("220 mail.example.com ESMTP\r\n")
	for _, hello := range [][]byte{good, evil} {
		l := newLab(t, config(), named("api.bank.example"))
		k := l.link4()
		k.play([]turn{{reply, banner}}, strategies["mss"])
		l.e.Tick(l.now + 100*second) // nobody is in a hurry
		l.now += 100 * second
		if k.mark != 0 || len(l.sink.drop) != 0 {
			t.Fatalf("after the banner: mark %#x, %d drop events", k.mark, len(l.sink.drop))
		}
		k.data(original, 0, hello)
		if bytes.Equal(hello, evil) {
			k.refuses("other name", original, len(hello), "require.sni")
		} else if !bytes.Equal(k.ends[1].got, good) {
			t.Errorf("the right name did not pass")
		}
	}
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.play([]turn{{reply, []byte("SSH-2.0-x\r\n")}, {original, []byte("SSH-2.0-y\r\n")}, {reply, banner}}, strategies["mss"])
	if k.mark != l.marks.Accepted(5) {
		t.Errorf("banner and answer: mark %#x", k.mark)
	}
}

// midstreamLab joins a connection whose beginning nobody saw.
func midstreamLab(t *testing.T, m Midstream, p *tlsrules.Policy) (*lab, *link) {
	cfg := config()
	cfg.Default.Midstream = m
	l := newLab(t, cfg, p)
	return l, l.link4()
}

func TestMidstream(t *testing.T) {
	body := bytes.Repeat([]byte("in the middle of something "), 20)
	record := append([]byte{23, 3, 3, 0, 200}, body[:200]...)
	alert := append([]byte{21, 3, 3, 0, 26}, body[:26]...)
	finished := append([]byte{22, 3, 3, 0, 40}, append([]byte{0x77}, body[:39]...)...)
	for _, m := range []Midstream{MidstreamAccept, MidstreamInspect} {
		for name, first := range map[string][]byte{
			"inside a record": body, "a record": record, "an encrypted alert": alert, "an encrypted Finished": finished,
			"ChangeCipherSpec and Finished": append([]byte{20, 3, 3, 0, 1, 1}, finished...),
		} {
			for d := original; d <= reply; d++ {
				l, k := midstreamLab(t, m, named("api.bank.example"))
				if m == MidstreamInspect { // what was missed is unseen
					l, k = midstreamLab(t, m, policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Reset}))
				}
				if !k.data(d, 0, first) || !k.data(d.Other(), 0, body) || !k.data(d, len(first), body) {
					t.Errorf("%d %s: did not pass: %+v", m, name, l.sink.drop)
				}
				l.e.Tick(l.now + 100*second)
				if len(l.sink.drop) != 0 {
					t.Errorf("%d %s: refused in time: %s", m, name, l.sink.drop[0].Detail)
				}
			}
		}
	}
	l, k := midstreamLab(t, MidstreamInspect, named("api.bank.example"))
	if k.data(original, 0, record) || l.sink.drop[0].Decision.Reason.String() != "require.sni" {
		t.Errorf("inspect: a requirement that was never seen holds")
	}
	for _, m := range []Midstream{MidstreamDrop, MidstreamReset} {
		l, k := midstreamLab(t, m, named("api.bank.example"))
		for range 2 {
			if k.data(original, 0, body) {
				t.Errorf("%d: passed", m)
			}
		}
		if k.ends[0].closed != (m == MidstreamReset) {
			t.Errorf("%d: client closed: %v", m, k.ends[0].closed)
		}
		if len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Reason != tlsrules.ReasonMidstream {
			t.Errorf("%d: drop events %+v", m, l.sink.drop)
		}
	}
}

// TestMidstreamHello: a ClientHello in a connection that began unseen is judged.
func TestMidstreamHello(t *testing.T) {
	good, evil := hellos(t)
	for _, m := range []Midstream{MidstreamAccept, MidstreamInspect} {
		for cuts, strategy := range strategies {
			for _, banner := range []bool{false, true} {
				for _, hello := range [][]byte{good, evil} {
					p := policy(acceptAll, tlsrules.Rule{
						Name: "evil", Match: []tlsrules.Condition{condition("sni", "api.evil.example")}, Action: tlsrules.Reset, HasAction: true,
					})
					l, k := midstreamLab(t, m, p)
					if banner {
						k.data(reply, 0, []byte("220 hello\r\n"))
						k.ack(original)
					}
					turns := append([]turn{{original, hello}}, recording(t, "tls13")[1:]...)
					if cuts == "reversed" || cuts == "shuffled" {
						k.ack(original) // else its beginning is not known
					}
					k.talk(turns, strategy)
					what := cuts
					if bytes.Equal(hello, evil) {
						k.refuses(what, original, len(hello), "rule")
					} else if !banner && (len(l.sink.tls) != 1 || k.mark != l.marks.Accepted(5)) {
						t.Errorf("%d %s: %d tls events, mark %#x", m, what, len(l.sink.tls), k.mark)
					}
				}
			}
		}
	}
}

// TestMidstreamInFlight: segments were on their way, and lost, before we came.
func TestMidstreamInFlight(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 1000)
	for name, first := range map[string][]byte{
		"text":          body,
		"hello":         recording(t, "tls13")[0].bytes,
		"cut records":   append([]byte{22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc, 3, 3}, body...),
		"cut handshake": append([]byte{22, 3, 3, 0x20, 0, 11, 0, 0x1f, 0xfc, 3, 3}, body...),
	} {
		l, k := midstreamLab(t, MidstreamAccept, named("api.bank.example"))
		server := k.ends[1]
		k.data(original, 0, first[:200]) // sent again; all up to 5000 is with the server
		server.got = append(append(server.got[:200:200], first[200:]...), body...)[:5000]
		k.ack(reply)
		k.data(original, 5000, body[:1000])
		k.ack(reply)
		for range 3 {
			k.data(reply, len(k.ends[0].got), body[:100])
			k.data(original, len(server.got), body[:1000])
			k.ack(reply)
		}
		if len(l.sink.drop) != 0 || l.drops != 0 {
			t.Errorf("%s: %d packets dropped, refused: %+v", name, l.drops, l.sink.drop)
		}
		if held := l.e.budget.Used(); held != 0 {
			t.Errorf("%s: %d bytes held for what never comes", name, held)
		}
	}
}

// TestEarlierMarks: what an earlier run decided stands, if the policy is the same.
func TestEarlierMarks(t *testing.T) {
	body := []byte("in the middle of something")
	l, k := midstreamLab(t, MidstreamReset, named("api.bank.example"))
	k.unkernelled, k.mark = true, l.marks.Accepted(5)
	if !k.data(original, 0, body) || k.mark != l.marks.Accepted(5) {
		t.Errorf("accepted earlier: did not pass, or mark %#x", k.mark)
	}
	l, k = midstreamLab(t, MidstreamReset, named("api.bank.example"))
	k.mark = l.marks.Accepted(4)
	if k.data(original, 0, body) {
		t.Errorf("accepted under another policy: passed")
	}
	l, k = midstreamLab(t, MidstreamAccept, named("api.bank.example"))
	k.mark = l.marks.Refused()
	if k.data(original, 0, body) || k.data(reply, 0, body) || !k.closed() {
		t.Errorf("refused earlier: passed, or closed %v", k.closed())
	}
	// The answer to a SYN that came before us is a new connection's, whatever
	// the mark says of the ports.
	for _, mark := range []uint32{l.marks.Accepted(5), l.marks.Refused()} {
		l, k = midstreamLab(t, MidstreamAccept, named("api.bank.example"))
		_, evil := hellos(t)
		k.mark = mark
		if !k.synAck() || k.mark != 0 || nfq.Undecided != l.marks.Kind(k.mark) {
			t.Errorf("SYN-ACK: mark %#x", k.mark)
		}
		k.ack(original)
		if k.data(original, 0, evil) {
			t.Errorf("a hello on old ports is not judged")
		}
	}
}
