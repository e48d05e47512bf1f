package engine

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/via"
)

// said makes turns of what both sides say in clear: "C" or "S" and the bytes.
func said(lines ...string) (turns []turn) {
	for _, line := range lines {
		dir := original
		if line[0] == 'S' {
			dir = reply
		}
		turns = append(turns, turn{dir, []byte(line[1:])})
	}
	return turns
}

// preludes are what is said before TLS.
var preludes = []struct {
	name    string
	kind    via.Kind
	said    []turn
	tunnel  via.Target
	proxied string
}{
	{name: "smtp", kind: via.SMTP, said: said("S220 mail ESMTP\r\n", "CEHLO x\r\n", "S250-mail\r\n250 STARTTLS\r\n", "CSTARTTLS\r\n", "S220 go\r\n")},
	{name: "smtp after a mail", kind: via.SMTP, said: said("S220 mail ESMTP\r\n", "CMAIL FROM:<>\r\n", "S250 ok\r\n", "CDATA\r\n", "S354 go\r\n",
		"CSTARTTLS\r\nno\r\n.\r\n", "S250 ok\r\n", "CSTARTTLS\r\n", "S220 go\r\n")},
	{name: "smtp refused once", kind: via.SMTP, said: said("S220 mail ESMTP\r\n", "CSTARTTLS\r\n", "S454 no\r\n", "CSTARTTLS\r\n", "S220 go\r\n")},
	{name: "imap", kind: via.IMAP, said: said("S* OK imap\r\n", "Ca STARTTLS\r\n", "Sa OK go\r\n")},
	{name: "pop3", kind: via.POP3, said: said("S+OK pop\r\n", "CSTLS\r\n", "S+OK go\r\n")},
	{name: "ftp", kind: via.FTP, said: said("S220 FTP\r\n", "CAUTH TLS\r\n", "S234 go\r\n")},
	{name: "xmpp", kind: via.XMPP, said: said("C<?xml version='1.0'?><stream:stream>", "S<stream:stream><starttls/>", "C<starttls/>", "S<proceed/>")},
	{name: "ldap", kind: via.LDAP, said: said("C\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", "S\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00")},
	{name: "postgres", kind: via.Postgres, said: said("C\x00\x00\x00\x08\x04\xd2\x16\x2f", "SS")},
	{name: "mysql", kind: via.MySQL, said: said("S\x16\x00\x00\x00\x0a5.5.5-10\x00............", "C\x05\x00\x00\x01\x85\xae\xff\x19\x00")},
	{name: "connect", kind: via.Connect, tunnel: via.Target{Host: "server.example", Port: 443},
		said: said("CCONNECT server.example:443 HTTP/1.1\r\n\r\n", "SHTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nno\n",
			"CCONNECT server.example:443 HTTP/1.1\r\n\r\n", "SHTTP/1.1 200 OK\r\n\r\n")},
	{name: "socks", kind: via.SOCKS, tunnel: via.Target{Host: "198.51.100.7", Port: 443},
		said: said("C\x05\x01\x00", "S\x05\x00", "C\x05\x01\x00\x01\xc6\x33\x64\x07\x01\xbb", "S\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")},
	{name: "proxy", kind: via.Proxy, proxied: "192.0.2.1:1025", said: said("CPROXY TCP4 192.0.2.1 198.51.100.2 1025 443\r\n")},
	{name: "proxy, then smtp", kind: via.SMTP, proxied: "192.0.2.1:1025",
		said: said("CPROXY TCP4 192.0.2.1 198.51.100.2 1025 25\r\n", "S220 mail ESMTP\r\n", "CSTARTTLS\r\n", "S220 go\r\n")},
	{name: "nntp", said: said("S200 news\r\n", "CCAPABILITIES\r\n", "S101 list\r\nSTARTTLS\r\n.\r\n", "CSTARTTLS\r\n", "S382 go\r\n")},
	{name: "rdp", said: said("C\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00", "S\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x00\x08\x00\x01\x00\x00\x00")},
	{name: "garbage, then smtp", kind: via.SMTP, said: said("CGET / HTTP/1.0\r\n\r\n", "S220 mail ESMTP\r\n500 what\r\n", "CSTARTTLS\r\n", "S220 go\r\n")},
}

// joined puts turns of one side that follow each other into one.
func joined(turns []turn) (all []turn) {
	for _, t := range turns {
		if n := len(all); n > 0 && all[n-1].dir == t.dir {
			all[n-1].bytes = append(slices.Clip(all[n-1].bytes), t.bytes...)
		} else {
			all = append(all, t)
		}
	}
	return all
}

// TestLooksLikeHello: six bytes inside of a hello may look like the beginning of another.
// Of one in a hundred of Go's they do: a key share ends in 22, and psk_key_exchange_modes
// follows. Who has agreed to TLS, or need not, does not begin to read there.
func TestLooksLikeHello(t *testing.T) {
	for _, p := range preludes {
		for name, strategy := range strategies {
			talk := slices.Clone(recording(t, "tls13"))
			talk[0].bytes = slices.Clone(talk[0].bytes)
			copy(talk[0].bytes[20:], []byte{22, 3, 1, 0, 0, 1}) // in the random
			l := newLab(t, config(), named("api.bank.example"))
			k := l.link4()
			k.play(joined(slices.Concat(p.said, talk)), strategy)
			if k.mark != l.marks.Accepted(5) || len(l.sink.drop) != 0 {
				t.Errorf("%s, %s: mark %#x, refused: %+v", p.name, name, k.mark, l.sink.drop)
			}
		}
	}
}

// TestHelloInHello: what comes before its server agreed may be read in two ways, so a hello
// in which another may begin is refused: at once, but behind a PROXY header, where the
// server need not agree, when that speaks in clear.
func TestHelloInHello(t *testing.T) {
	good, _ := hellos(t)
	twofold := slices.Clone(good)
	copy(twofold[20:], []byte{22, 3, 1, 0, 0, 1})
	header := said("CPROXY TCP4 192.0.2.1 198.51.100.2 1025 25\r\n")
	for _, tt := range []struct {
		name        string
		said        []turn
		now, spoken bool // refused at once; when the server speaks
	}{
		{"PROXY", header, false, true},
		{"PROXY twice", slices.Concat(header, header), false, true},
		{"PROXY, a line", slices.Concat(header, said("Cwhat\r\n")), true, true},
		{"PROXY, a server's line, early STARTTLS", slices.Concat(header, said("S220 x ESMTP\r\n", "CSTARTTLS\r\n")), true, true},
		{"a line", said("Cwhat\r\n"), true, true},
	} {
		for name, strategy := range strategies {
			l := newLab(t, config(), named("api.bank.example"))
			k := l.link4()
			k.play(joined(append(slices.Clone(tt.said), turn{original, twofold})), strategy)
			early := func() bool { return len(l.sink.drop) == 1 && l.sink.drop[0].Decision.Reason == tlsrules.ReasonEarlyTLS }
			if got := early(); got != tt.now {
				t.Errorf("%s, %s: refused at once: %v, want %v", tt.name, name, got, tt.now)
			}
			if k.talk(said("S220 x ESMTP\r\n"), strategy); early() != tt.spoken {
				t.Errorf("%s, %s: in clear the server spoke, refused: %+v", tt.name, name, l.sink.drop)
			}
		}
	}
}

// TestPreludes: TLS is judged in whatever it begins.
func TestPreludes(t *testing.T) {
	good, evil := hellos(t)
	for _, p := range preludes {
		for name, strategy := range strategies {
			what := p.name + ", " + name
			l := newLab(t, config(), named("api.bank.example"))
			k := l.link4()
			k.play(joined(slices.Concat(p.said, recording(t, "tls13"))), strategy)
			if k.mark != l.marks.Accepted(5) || len(l.sink.drop) != 0 || len(l.sink.tls) != 1 {
				t.Errorf("%s: mark %#x, %d tls events, refused: %+v", what, k.mark, len(l.sink.tls), l.sink.drop)
				continue
			}
			r := l.sink.tls[0]
			proxied := ""
			if r.Proxied.Source.IsValid() {
				proxied = r.Proxied.Source.String()
			}
			if r.Via != p.kind || r.Tunnel != p.tunnel || proxied != p.proxied {
				t.Errorf("%s: via %s, tunnel %v, proxied %s", what, r.Via, r.Tunnel, proxied)
			}
			if l.e.budget.Used() != 0 {
				t.Errorf("%s: %d bytes held", what, l.e.budget.Used())
			}
			k.close()
			l.e.Close(l.now)
			if len(l.sink.flow) != 1 || l.sink.flow[0].Via != p.kind {
				t.Errorf("%s: flow events %+v", what, l.sink.flow)
			}

			l = newLab(t, config(), named("api.bank.example"))
			k = l.link4()
			before := 0
			for _, s := range p.said {
				if s.dir == original {
					before += len(s.bytes)
				}
			}
			k.play(joined(append(slices.Clone(p.said), turn{original, evil})), strategy)
			k.refuses(what, original, before+len(evil), "require.sni")
		}
	}
	// Pipelined, with or without an answer in between.
	for _, hello := range [][]byte{good, evil} {
		l := newLab(t, config(), named("api.bank.example"))
		k := l.link4()
		ask := []byte("EHLO x\r\nSTARTTLS\r\n")
		k.play(said("S220 mail ESMTP\r\n"), strategies["mss"])
		passed := k.data(original, 0, append(ask, hello...))
		if bytes.Equal(hello, evil) {
			k.refuses("pipelined", original, len(ask), "require.sni")
			continue
		}
		k.talk(append(said("S250 x\r\n220 go\r\n"), recording(t, "tls13")[1:]...), strategies["mss"])
		if !passed || k.mark != l.marks.Accepted(5) {
			t.Errorf("pipelined: mark %#x, %+v", k.mark, l.sink.drop)
		}
	}
}

// TestViaCondition: what a rule says of how TLS began.
func TestViaCondition(t *testing.T) {
	for _, p := range preludes {
		for _, kind := range via.All() {
			l := newLab(t, config(), policy(acceptAll, tlsrules.Rule{
				Match: []tlsrules.Condition{condition("via", kind.String())}, Action: tlsrules.Reset, HasAction: true,
			}))
			k := l.link4()
			k.play(joined(slices.Concat(p.said, recording(t, "tls12 rsa"))), strategies["mss"])
			want := kind == p.kind || kind == via.Proxy && p.proxied != ""
			if refused := len(l.sink.drop) == 1; refused != want {
				t.Errorf("%s: refused for via %s: %v", p.name, kind, refused)
			}
		}
	}
}

// TestNotTLSInClear: a dialogue is not refused as not TLS before it is used.
func TestNotTLSInClear(t *testing.T) {
	def := acceptAll
	def.NotTLS = tlsrules.Reset
	for _, tt := range []struct {
		name  string
		talk  []turn
		fatal string // what the client says then is refused
	}{
		{"smtp", said("S220 mail ESMTP\r\n", "CEHLO x\r\n", "S250 ok\r\n", "CNOOP\r\n", "S250 ok\r\n"), "MAIL FROM:<a@example>\r\n"},
		{"smtp, a password", said("S220 mail ESMTP\r\n", "CEHLO x\r\n", "S250 ok\r\n"), "AUTH PLAIN AGEAYg==\r\n"},
		{"imap", said("S* OK imap\r\n", "Ca CAPABILITY\r\n", "S* CAPABILITY\r\na OK\r\n"), "b LOGIN a b\r\n"},
		{"pop3", said("S+OK pop\r\n", "CUSER a\r\n", "S+OK\r\n"), "PASS b\r\n"},
		{"ftp", said("S220 FTP\r\n", "CUSER ftp\r\n", "S331 who\r\n"), "PASS ftp\r\n"},
		{"xmpp", said("C<stream:stream>", "S<stream:stream>"), "<auth>AAA=</auth>"},
		{"ldap", said("C\x30\x25\x02\x01\x01\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x00",
			"S\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"), "\x30\x0c\x02\x01\x02\x60\x07\x02\x01\x03\x04\x00\x80\x00"},
		{"postgres", said("C\x00\x00\x00\x08\x04\xd2\x16\x2f", "SN"), "\x00\x00\x00\x0e\x00\x03\x00\x00user\x00\x00"},
		{"mysql", said("S\x16\x00\x00\x00\x0a5.5.5-10\x00............"), "\x20\x00\x00\x01\x85\xa6\xff\x19"},
		{"connect", said("CCONNECT a:1 HTTP/1.1\r\n\r\n", "SHTTP/1.1 200 OK\r\n\r\n"), "GET / HTTP/1.1\r\n\r\n"},
	} {
		for name, strategy := range strategies {
			what := tt.name + ", " + name
			l := newLab(t, config(), policy(def))
			k := l.link4()
			k.open()
			for i := range tt.talk {
				k.talk(tt.talk[i:i+1], strategy)
				l.now += 60 * second // somebody types it
				l.e.Tick(l.now)
			}
			if len(l.sink.drop) != 0 {
				t.Errorf("%s: refused: %s", what, l.sink.drop[0].Detail)
				continue
			}
			before := len(k.ends[1].got)
			k.talk([]turn{{original, []byte(tt.fatal)}}, strategy)
			k.refuses(what, original, before+len(tt.fatal), "not_tls")

			l = newLab(t, config(), policy(acceptAll))
			k = l.link4()
			k.play(append(slices.Clone(tt.talk), turn{original, []byte(tt.fatal)}), strategy)
			if len(k.ends[1].got) != before+len(tt.fatal) || len(l.sink.drop) != 0 {
				t.Errorf("%s: %d bytes came, refused: %+v", what, len(k.ends[1].got), l.sink.drop)
			}
		}
	}
}

// TestSlowHello: once TLS has begun its time to be decided runs.
func TestSlowHello(t *testing.T) {
	good, _ := hellos(t)
	for _, p := range preludes {
		l := newLab(t, config(), named("api.bank.example"))
		k := l.link4()
		k.play(p.said, strategies["mss"])
		l.now += 1000 * second
		l.e.Tick(l.now)
		k.talk([]turn{{original, good[:100]}}, strategies["mss"])
		if len(l.sink.drop) != 0 {
			t.Errorf("%s: refused: %s", p.name, l.sink.drop[0].Detail)
			continue
		}
		k.talk([]turn{{original, good[100:]}}, strategies["mss"])
		l.e.Tick(l.now + 29*second)
		if len(l.sink.drop) != 0 {
			t.Errorf("%s: refused early: %s", p.name, l.sink.drop[0].Detail)
		}
	}
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.play(said("S* OK\r\n", "Ca STARTTLS\r\n", "Sa OK\r\n"), strategies["mss"])
	l.now += 1000 * second
	k.talk([]turn{{original, good[:100]}}, strategies["mss"])
	l.e.Tick(l.now + 31*second)
	k.refuses("half a hello", original, 1000, "undecided")
}

// TestListeningEnds: where no TLS can come any more the kernel takes over.
func TestListeningEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		talk []turn
		ends bool
	}{
		{"imap", said("S* OK\r\n", "Ca LOGIN a b\r\n", "Sa OK\r\n", "Cb SELECT x\r\n", "S* 1 EXISTS\r\n"), true},
		{"pop3", said("S+OK\r\n", "CPASS x\r\n", "S+OK\r\n"), true},
		{"mysql", said("S\x16\x00\x00\x00\x0a5.5.5-10\x00............", "C\x20\x00\x00\x01\x85\xa6"), true},
		{"http", said("CGET / HTTP/1.1\r\n\r\n", "SHTTP/1.1 200 OK\r\n"), true},
		{"unknown, at length", slices.Repeat(said("Cone\r\n", "Stwo\r\n"), 40), true},
		{"unknown, at first", slices.Repeat(said("Cone\r\n", "Stwo\r\n"), 10), false},
		{"smtp", said("S220 x ESMTP\r\n", "CMAIL FROM:<>\r\n", "S250 ok\r\n"), false},
		{"ftp", said("S220 FTP\r\n", "CPASS x\r\n", "S230 ok\r\n"), false},
	} {
		for name, strategy := range strategies {
			l := newLab(t, config(), named("api.bank.example"))
			k := l.link4()
			k.play(tt.talk, strategy)
			if ended := k.mark == l.marks.Accepted(5); ended != tt.ends || len(l.sink.drop) != 0 {
				t.Errorf("%s, %s: mark %#x, refused: %+v", tt.name, name, k.mark, l.sink.drop)
			}
		}
	}
	// A rule that takes a source as it is takes it in clear.
	for _, p := range preludes {
		l := newLab(t, config(), from(tlsrules.Accept, "192.0.2.0/24"))
		k := l.link4()
		k.play(joined(slices.Concat(p.said, recording(t, "tls13"))), strategies["mss"])
		if k.mark != l.marks.Accepted(5) {
			t.Errorf("%s: mark %#x, refused: %+v", p.name, k.mark, l.sink.drop)
		}
	}
}

// TestClearAdversary: what a client can say to have its server take a hello that
// is not read. What it says first is accepted by a rule, where there is one.
func TestClearAdversary(t *testing.T) {
	good, evil := hellos(t)
	accept := policy(acceptAll, tlsrules.Rule{Match: []tlsrules.Condition{condition("sni", "api.bank.example")}, Action: tlsrules.Accept, HasAction: true},
		tlsrules.Rule{Match: []tlsrules.Condition{condition("sni", "api.evil.example")}, Action: tlsrules.Reset, HasAction: true})
	record := func(n int) string { return string([]byte{23, 3, 3, byte(n >> 8), byte(n)}) }
	for name, trick := range map[string]func(k *link){
		"a good hello, which the server refuses, first": func(k *link) {
			k.talk(said("S220 x ESMTP\r\n", "CSTARTTLS\r\n"+string(good), "S503 EHLO first\r\n500 what\r\n", "CEHLO x\r\nSTARTTLS\r\n", "S250 ok\r\n220 go\r\n"), strategies["mss"])
		},
		"the same before the greeting": func(k *link) {
			k.talk(said("C"+string(good)+record(1000)+"\r\nSTARTTLS\r\n", "S220 x ESMTP\r\n500 what\r\n220 go\r\n"), strategies["mss"])
		},
		"a good hello, and a record around the other one": func(k *link) {
			k.talk(said("S220 x ESMTP\r\n", "CSTARTTLS\r\n"+string(good)+record(len(evil)), "S220 go\r\n"), strategies["mss"])
		},
		"a good hello around the other one": func(k *link) {
			nested, at := embedding(good, evil)
			k.talk(said("S220 x ESMTP\r\n", "CSTARTTLS\r\n"+string(nested[:at]), "S220 go\r\n"), strategies["mss"])
		},
		"a word changed on its way": func(k *link) {
			k.talk(said("S220 x ESMTP\r\n"), strategies["mss"])
			k.decoy(k.segment(original, 0, []byte("DATA\r\n.....\r\n"), packet.ACK))
			k.data(original, 0, []byte("STARTTLS\r\n...."))
		},
		"urgent data in a word": func(k *link) {
			k.talk(said("S220 x ESMTP\r\n", "CSTARTTLS\r\n"), strategies["mss"])
			s := k.segment(original, 10, []byte{1}, packet.ACK|packet.URG)
			s.urgent = 1
			k.raw(s)
		},
		"urgent data yet to come": func(k *link) {
			s := k.segment(original, 0, []byte("x"), packet.ACK|packet.URG)
			s.urgent = 25
			k.raw(s)
			k.talk(said("S220 x ESMTP\r\n500 what\r\n"), strategies["mss"])
			if len(k.lab.sink.drop) != 1 { // a byte of the hello would be left out
				t.Error("urgent data yet to come: not refused")
			}
		},
		"a good hello around the whole other one": func(k *link) {
			nested, _ := embedding(good, evil)
			k.talk(said("S220 x ESMTP\r\n", "CSTARTTLS\r\n"+string(nested), "S220 go\r\n"), strategies["mss"])
			if len(k.lab.sink.drop) != 1 || k.lab.sink.drop[0].Decision.Reason != tlsrules.ReasonEarlyTLS {
				t.Error("a good hello around the whole other one: not refused")
			}
		},
	} {
		l := newLab(t, config(), accept)
		k := l.link4()
		k.open()
		trick(k)
		k.talk([]turn{{original, evil}}, strategies["mss"])
		if bytes.HasSuffix(k.ends[1].got, evil) {
			t.Errorf("%s: the server has the hello", name)
		}
		if len(l.sink.drop) != 1 {
			t.Errorf("%s: %d drop events", name, len(l.sink.drop))
		}
	}
}

// TestAbort: FTP's urgent ABOR passes, in a dialogue that is listened to.
func TestAbort(t *testing.T) {
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.play(said("S220 FTP\r\n", "CPASS x\r\n", "S230 ok\r\n"), strategies["mss"])
	s := k.segment(original, len(k.ends[1].got), []byte("\xff\xf4\xff\xf2ABOR\r\n"), packet.ACK|packet.URG)
	s.urgent = 4
	if !k.raw(s) || len(l.sink.drop) != 0 {
		t.Errorf("refused: %+v", l.sink.drop)
	}
}

// TestBigMail: a mail is sent as fast as its receiver's window allows.
func TestBigMail(t *testing.T) {
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.play(said("S220 x ESMTP\r\n", "CMAIL FROM:<>\r\nDATA\r\n", "S250 ok\r\n354 go\r\n"), strategies["mss"])
	text := bytes.Repeat([]byte("a line of a mail\r\n"), 50_000)
	base := len(k.ends[1].got)
	for round := range 5 {
		for _, p := range cut(len(text), 60_000) {
			if !k.data(original, base+round*len(text)+p.from, text[p.from:p.to]) {
				t.Fatalf("%d bytes of round %d did not pass", p.from, round)
			}
		}
		k.ack(reply)
	}
	if held := l.e.budget.Used(); held > 4096 {
		t.Errorf("%d bytes held", held)
	}
	_, evil := hellos(t)
	k.talk(append(said("C.\r\nSTARTTLS\r\n", "S250 ok\r\n220 go\r\n"), turn{original, evil}), strategies["mss"])
	k.refuses("after a big mail", original, base+5*len(text)+100+len(evil), "require.sni")
}

func TestContains(t *testing.T) {
	on := func(action tlsrules.Action, texts ...string) *tlsrules.Policy {
		return policy(acceptAll, tlsrules.Rule{Match: []tlsrules.Condition{condition("contains", texts...)}, Action: action, HasAction: true},
			tlsrules.Rule{Match: []tlsrules.Condition{condition("port", "443")}, Action: tlsrules.Accept, HasAction: true})
	}
	tls12, tls13 := recording(t, "tls12 rsa"), recording(t, "tls13")
	long := strings.Repeat("x", searchBoth)
	for _, tt := range []struct {
		name  string
		texts []string
		turns []turn
		finds bool
	}{
		{"in a request", []string{"amazinggrace"}, said("CGET /amazinggrace HTTP/1.1\r\n\r\n"), true},
		{"in an answer", []string{"nothing", "amazinggrace"}, said("CGET / HTTP/1.1\r\n\r\n", "SHTTP/1.1 200 OK\r\n\r\nhow sweet amazinggrace"), true},
		{"in a mail", []string{"amazinggrace"}, said("S220 x ESMTP\r\n", "CMAIL FROM:<>\r\nDATA\r\n", "S354 go\r\n", "Camazinggrace\r\n"), true},
		{"before STARTTLS", []string{"hex:454c484f", "EHLO"}, joined(slices.Concat(preludes[0].said, tls13)), true},
		{"in a hello", []string{"api.bank"}, tls13, true},
		{"in a certificate", []string{"hex:06 03 55 1d 0f"}, tls12, true},
		{"not in an encrypted certificate", []string{"hex:06 03 55 1d 0f"}, tls13, false},
		{"not in application data", []string{request}, tls12, false},
		{"not there", []string{"amazinggrace"}, said("CGET / HTTP/1.1\r\n\r\n", "SHTTP/1.1 200 OK\r\n\r\n"), false},
		{"not in two directions", []string{"amazinggrace"}, said("CGET /amazing HTTP/1.1\r\n\r\n", "Sgrace"), false},
		{"not after the bound", []string{"amazinggrace"}, said("C"+long, "S"+long, "Camazinggrace"), false},
	} {
		for name, strategy := range strategies {
			if len(tt.turns[0].bytes) == len(long) && name != "mss" {
				continue
			}
			what := tt.name + ", " + name
			l := newLab(t, config(), on(tlsrules.Reset, tt.texts...))
			k := l.link4()
			k.play(tt.turns, strategy)
			l.e.Tick(l.now + 1000*second)
			if found := len(l.sink.drop) == 1; found != tt.finds {
				t.Errorf("%s: found: %v", what, found)
				continue
			}
			if !tt.finds {
				continue
			}
			if d := l.sink.drop[0]; d.Decision.Reason != tlsrules.ReasonRule || d.Decision.Action != tlsrules.Reset {
				t.Errorf("%s: %+v", what, d.Decision)
			}
			for _, text := range tt.texts {
				if bytes.Contains(k.ends[0].got, []byte(text)) || bytes.Contains(k.ends[1].got, []byte(text)) {
					t.Errorf("%s: %q was delivered", what, text)
				}
			}
		}
	}
	// Once the search is over, without a find, the next rule decides.
	for name, turns := range map[string][]turn{"tls12": tls12, "tls13": tls13, "text": said("C"+long, "S"+long, "Cmore")} {
		l := newLab(t, config(), on(tlsrules.Reset, "amazinggrace"))
		k := l.link4()
		k.play(turns, strategies["mss"])
		if k.mark != l.marks.Accepted(5) {
			t.Errorf("%s: mark %#x, refused: %+v", name, k.mark, l.sink.drop)
		}
	}
}
