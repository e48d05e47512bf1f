package engine

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// FuzzPackets bends the packets of recorded conversations: whatever comes, there
// is an answer, and what is held is accounted for.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0})
	f.Add([]byte{8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 129, 1, 0, 6, 0, 0, 0})
	for i := range byte(4) { // pins, with connections on four ports
		f.Add(bytes.Repeat([]byte{48, 128 + i, 1, 0, 1, 129, 0, 0, 1, 130 + i, 2, 0}, 20))
	}
	f.Add([]byte{64, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 129, 1, 0, 6, 0, 0, 0, 5, 129, 99, 1, 0, 0, 0, 0})
	f.Add([]byte{3, 1, 33, 7, 3, 2, 47, 128, 4, 3, 27, 255, 5, 129, 0, 0, 3, 132, 40, 1})
	var packets [][]byte
	for _, kind := range []string{"tls12 ecdhe", "tls13 retry", "tls12 resumed", "tls12 client cert"} {
		packets = append(packets, script(f, partner(), recording(f, kind), strategies["reversed"])...)
	}
	for _, p := range preludes {
		packets = append(packets, script(f, partner(), joined(slices.Concat(p.said, recording(f, "tls12 ecdhe"))), strategies["mss"])...)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		cfg := config()
		cfg.Limits.Connections, cfg.Limits.PerConnection, cfg.Limits.Buffered = 8, 4000, 30000
		if len(ops) > 0 {
			cfg.Default.Midstream = Midstream(ops[0] % 4)
			cfg.Default.Observe = ops[0]&4 != 0
			cfg.Overload, cfg.Default.Ambiguous = 1+2*(cfg.Overload&1), 2
		}
		events := &sink{}
		cfg.Sink = events
		cfg.Inject = func(ip []byte, _ uint32) error {
			var p packet.Parsed
			status := packet.Decode(ip, &p)
			question := p.Flags == packet.ACK && len(p.Payload) == 0
			data := p.Flags&^packet.PSH == packet.ACK && p.Size() <= 1280 // that has waited
			if status != packet.OK || !question && !data && !p.Flags.Has(packet.RST) && !(p.Flags.Has(packet.FIN) && len(p.Payload) == 7) {
				t.Errorf("injected %x", ip)
			}
			return nil
		}
		p := mixed()
		if len(ops) > 0 && ops[0]&8 != 0 {
			p = telling()
			cfg.Default.Malformed, cfg.Default.Undecided, cfg.Limits.Refused = tlsrules.AlertOf(50), tlsrules.Refuse, 2
		}
		if len(ops) > 0 && ops[0]&16 != 0 {
			p = policy(acceptAll,
				tlsrules.Rule{Name: "session", Pin: &tlsrules.Pin{To: tlsrules.PinSession, TLS13: tlsrules.PinTLS13Allow}, Otherwise: tlsrules.AlertOf(49)},
				tlsrules.Rule{Name: "source", Pin: &tlsrules.Pin{Per: []tlsrules.Key{tlsrules.KeySource}, Connections: 2, Idle: time.Second}, Otherwise: tlsrules.Reset, Observe: ops[0]&32 != 0})
			cfg.Pins, cfg.Sessions = NewPins(3, [16]byte{}), NewSessions(8, [16]byte{})
		}
		if len(ops) > 0 && ops[0]&64 != 0 {
			p = patient()
		}
		e := New(cfg, p)
		now := second
		at := 0
		// Four bytes an operation: which packet, what to change, where, to what.
		for ; len(ops) >= 4; ops = ops[4:] {
			if ops[0] < 128 {
				at = (at + int(ops[0])) % len(packets)
			}
			b := bytes.Clone(packets[at])
			at = (at + 1) % len(packets)
			if where := int(ops[2]) % len(b); ops[1] < 128 {
				b[where] ^= ops[3]
			} else {
				setPort(b, uint16(ops[1])%5)
				now += int64(ops[2]) * second
				e.Tick(now)
				e.cfg.Gates.Set("quarantine", ops[3]&1 != 0, now)
			}
			q := nfq.Packet{Payload: b, Mark: foreign | uint32(ops[1]&3)<<22, InDev: inside(b), OutDev: 3 - inside(b)}
			r := e.Packet(&q, now)
			ours := r.Mark & cfg.Marks.Mask()
			if r.Verdict != nfq.Drop && (r.Verdict != nfq.Repeat || ours == 0 || r.Mark&^cfg.Marks.Mask() != foreign) {
				t.Fatalf("verdict %v, mark %#x", r.Verdict, r.Mark)
			}
			if used, messages := e.budget.Used(), e.buffers.Held(); used < 0 || used > 30000+8000 || messages < 0 || messages > 30000 {
				t.Fatalf("%d bytes held, %d of messages", used, messages)
			}
		}
		e.Close(now)
		checkAccounts(t, &lab{e: e, sink: events})
		if len(e.pins) != 0 || len(e.holders) != 0 || e.cfg.Pins.Len() != len(e.cfg.Pins.List()) || e.cfg.Pins.Len() > 3 {
			t.Fatalf("%d parts and %d holders are left of %d pins, %d are listed", len(e.pins), len(e.holders), e.cfg.Pins.Len(), len(e.cfg.Pins.List()))
		}
	})
}

// patient has data wait, for one gate or for two.
func patient() *tlsrules.Policy {
	return policy(acceptAll,
		tlsrules.Rule{Name: "quarantine", Hold: &tlsrules.Hold{Patience: time.Minute}, Otherwise: denied},
		tlsrules.Rule{Name: "later", Match: []tlsrules.Condition{condition("source_port", "1-2")}, Hold: &tlsrules.Hold{Open: time.Unix(60, 0)}, Otherwise: tlsrules.Drop},
	)
}

// telling refuses in every way that a client is told of.
func telling() *tlsrules.Policy {
	return policy(tlsrules.Defaults{Action: tlsrules.Alert, NotTLS: tlsrules.Refuse},
		tlsrules.Rule{Name: "named", Require: []tlsrules.Condition{condition("sni", "api.bank.example")}, Otherwise: denied},
		tlsrules.Rule{Name: "new", Require: []tlsrules.Condition{condition("version", "1.3")}, Otherwise: tlsrules.Refuse},
		tlsrules.Rule{Name: "port", Match: []tlsrules.Condition{condition("source_port", "1-2")}, HasAction: true, Action: tlsrules.Alert},
		tlsrules.Rule{Name: "quiet", Require: []tlsrules.Condition{condition("content_type", "handshake", "change_cipher_spec")}, Otherwise: tlsrules.AlertOf(10)},
	)
}

// FuzzAlert sends parts of a server's answer in any order, some lost behind us:
// the client, whichever copy it prefers, is given what the server said, or that
// and then the alert, and never a mix.
func FuzzAlert(f *testing.F) {
	f.Add([]byte{0, 0, 0, 255})
	f.Add([]byte{1, 8, 40, 255, 8, 0, 255, 32, 0, 0, 0, 0, 255})
	f.Add([]byte{2, 0, 2, 9, 0, 0, 1, 64, 9, 0, 0, 0, 255, 64, 3, 0})
	hello, answer := recording(f, "tls12 ecdhe")[0].bytes, recording(f, "tls12 ecdhe")[1].bytes
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 || len(ops) > 600 {
			return
		}
		p := otherwise(denied, "version", "1.3")
		if ops[0]&2 != 0 {
			p = otherwise(denied, "cert_sha256", "0000000000000000000000000000000000000000000000000000000000000000")
		}
		l := newLab(t, config(), p)
		k := l.link("192.0.2.10", "203.0.113.10", 1, -uint32(ops[0])*3)
		k.latest = ops[0]&1 != 0
		k.open()
		k.data(original, 0, hello)
		for ops = ops[1:]; len(ops) >= 3; ops = ops[3:] {
			from, to := int(ops[1])*len(answer)/255, int(ops[2])*len(answer)/255
			k.lost = ops[0]&2 != 0
			k.losing = int(ops[0] >> 2 & 1)
			switch {
			case ops[0]&16 != 0:
				k.ack(original)
			case ops[0]&32 != 0:
				k.data(original, 0, hello)
			case ops[0]&64 != 0:
				l.now += int64(ops[1]) * second / 4
				l.e.Tick(l.now)
			case ops[0]&128 != 0: // few bytes where the next ones belong
				at := len(k.ends[0].got) + int(ops[1]%12)
				k.data(reply, at, answer[min(at, len(answer)):min(at+int(ops[2]%12), len(answer))])
			case from < to:
				k.data(reply, from, answer[from:to])
			}
			k.told("fuzz", original, answer)
			k.sameAlerts("fuzz")
		}
		l.e.Close(l.now)
		checkAccounts(t, l)
	})
}

// FuzzHello sends parts of two hellos in any order, some lost behind us: no
// receiver, whichever copy it prefers, is given the whole of the refused one.
func FuzzHello(f *testing.F) {
	f.Add([]byte{0, 0, 0, 255, 1, 0, 255})
	f.Add([]byte{1, 8, 40, 255, 9, 0, 255, 32, 0, 0, 1, 0, 255})
	f.Add([]byte{3, 2, 0, 100, 0, 90, 255, 16, 0, 0, 9, 0, 120})
	good, evil := recording(f, "tls13")[0].bytes, []byte(nil)
	evil = bytes.Replace(good, []byte("api.bank.example"), []byte("api.evil.example"), 1)
	answer := recording(f, "tls13")[1].bytes
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 {
			return
		}
		l := newLab(t, config(), named("api.bank.example"))
		k := l.link("192.0.2.10", "203.0.113.10", -uint32(ops[0])*3, 77)
		k.latest = ops[0]&1 != 0
		server := k.ends[1]
		k.open()
		began := l.now
		for ops = ops[1:]; len(ops) >= 3; ops = ops[3:] {
			from, to := int(ops[1])*len(evil)/255, int(ops[2])*len(evil)/255
			hello := good
			if ops[0]&1 != 0 {
				hello = evil
			}
			k.lost = ops[0]&2 != 0
			switch {
			case ops[0]&16 != 0:
				k.ack(reply)
			case ops[0]&32 != 0:
				k.data(reply, 0, answer)
				k.ack(original)
			case ops[0]&64 != 0:
				if l.now += int64(ops[1]) * second; l.now-began >= forgottenAge {
					return // what was forgotten that long ago is known no more
				}
				l.e.Tick(l.now)
			case from < to:
				k.data(original, from, hello[from:to])
			}
			if bytes.HasPrefix(server.got, evil) {
				t.Fatal("the refused hello was delivered")
			}
			if l.e.budget.Used() < 0 {
				t.Fatal("budget")
			}
		}
		l.e.Close(l.now)
		checkAccounts(t, l)
	})
}

// FuzzCertificate is FuzzHello for what the server says: the client is never
// given the whole of the certificate that is refused.
func FuzzCertificate(f *testing.F) {
	f.Add([]byte{0, 0, 0, 255, 1, 0, 255})
	f.Add([]byte{1, 8, 40, 255, 9, 0, 255, 32, 0, 0, 1, 0, 255})
	f.Add([]byte{3, 2, 0, 100, 0, 90, 255, 16, 0, 0, 9, 0, 120})
	turns := recording(f, "tls12 ecdhe")
	_, at := reach(f, turns, atMessage(tlswire.TypeCertificate))
	good := turns[1].bytes
	evil := bytes.Replace(good, []byte("api.bank.example"), []byte("api.evil.example"), 1)
	if at > len(good) || bytes.Equal(good, evil) {
		f.Fatal("the certificate is not in the first flight")
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 {
			return
		}
		l := newLab(t, config(), requires("cert_name", "api.bank.example"))
		k := l.link("192.0.2.10", "203.0.113.10", 77, -uint32(ops[0])*3)
		k.latest = ops[0]&1 != 0
		k.open()
		k.data(original, 0, turns[0].bytes)
		k.ack(reply)
		began := l.now
		for ops = ops[1:]; len(ops) >= 3; ops = ops[3:] {
			from, to := int(ops[1])*len(evil)/255, int(ops[2])*len(evil)/255
			flight := good
			if ops[0]&1 != 0 {
				flight = evil
			}
			k.lost = ops[0]&2 != 0
			switch {
			case ops[0]&16 != 0:
				k.ack(original)
			case ops[0]&64 != 0:
				if l.now += int64(ops[1]) * second; l.now-began >= forgottenAge {
					return // what was forgotten that long ago is known no more
				}
				l.e.Tick(l.now)
			case from < to:
				k.data(reply, from, flight[from:to])
			}
			if bytes.HasPrefix(k.ends[original].got, evil[:at]) {
				t.Fatal("the refused certificate was delivered")
			}
		}
		l.e.Close(l.now)
		checkAccounts(t, l)
		if held := l.e.buffers.Held(); held != 0 {
			t.Fatalf("%d bytes of messages held by nobody", held)
		}
	})
}
