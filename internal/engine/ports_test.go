package engine

import (
	"bytes"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// TestPortsAgain: a new connection on the ports of an accepted one is judged,
// and takes nothing over, whatever became of the first.
func TestPortsAgain(t *testing.T) {
	_, evil := hellos(t)
	for name, between := range map[string]func(k *link){
		"closed":       func(k *link) { k.close() },
		"still open":   func(*link) {},
		"reset":        func(k *link) { k.raw(k.segment(original, len(k.ends[1].got), nil, packet.RST)) },
		"forgotten":    func(k *link) { k.lab.e.table.Close() },
		"long expired": func(k *link) { k.close(); k.lab.now += 500 * second; k.lab.e.Tick(k.lab.now) },
	} {
		for _, iss := range []uint32{1000, 0xffff_fff0, 2000, 1_000_000} {
			l := newLab(t, config(), named("api.bank.example"))
			k := l.link4()
			k.play(recording(t, "tls13"), strategies["mss"])
			if k.mark != l.marks.Accepted(5) {
				t.Fatalf("mark %#x", k.mark)
			}
			between(k)
			k.again(iss+70000, 0x8000_0000+iss)
			if !k.syn() || !k.synAck() || k.mark != 0 {
				t.Errorf("%s: mark %#x after SYN and SYN-ACK of a new connection", name, k.mark)
			}
			k.ack(original)
			k.data(original, 0, evil)
			k.refuses(name, original, len(evil), "require.sni")
			if k.mark != l.marks.Refused() {
				t.Errorf("%s: mark %#x", name, k.mark)
			}
			// And the ports of the refused one.
			k.again(iss+800_000, 0x4000_0000+iss)
			k.play(recording(t, "tls13"), strategies["mss"])
			if k.mark != l.marks.Accepted(5) || !bytes.Equal(k.ends[1].got, streams(recording(t, "tls13"))[0]) {
				t.Errorf("%s: after a refused one: mark %#x, %d bytes", name, k.mark, len(k.ends[1].got))
			}
		}
	}
}

// TestDataOnSYN: a hello on the SYN is read; on ports in use it does not pass.
func TestDataOnSYN(t *testing.T) {
	good, evil := hellos(t)
	open := func(k *link, hello []byte) bool {
		s := k.segment(original, -1, hello, packet.SYN)
		s.ack = 0
		s.options = []byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}
		return k.raw(s)
	}
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	if open(k, evil) || len(l.sink.drop) != 1 || !k.ends[0].closed {
		t.Errorf("a refused hello on a SYN: %d drop events, client closed %v", len(l.sink.drop), k.ends[0].closed)
	}
	k.again(500_000, 600_000)
	if !k.open() || !k.data(original, 0, good) {
		t.Errorf("the ports of a hello refused on its SYN are not to be had")
	}
	k = l.link4()
	if !open(k, good) {
		t.Errorf("a good hello on a SYN did not pass")
	}
	k.synAck()
	k.ack(original)
	k.talk(recording(t, "tls13")[1:], strategies["mss"])
	if k.mark != l.marks.Accepted(5) {
		t.Fatalf("mark %#x", k.mark)
	}
	k.again(900_000, 800_000)
	if open(k, evil) {
		t.Errorf("a hello on a SYN for ports in use passed unread")
	}
}

// TestOpenedWithMark: a SYN begins anew, whatever was decided of its ports.
func TestOpenedWithMark(t *testing.T) {
	l := newLab(t, config(), named("api.bank.example"))
	for _, mark := range []uint32{l.marks.Accepted(5), l.marks.Accepted(9), l.marks.Refused()} {
		k := l.link4()
		k.mark = mark
		if !k.syn() || k.mark != 0 {
			t.Errorf("mark %#x became %#x with a SYN", mark, k.mark)
		}
	}
}

func TestMPTCP(t *testing.T) {
	good, _ := hellos(t)
	for _, marked := range []bool{true, false} {
		for _, m := range []MPTCP{MPTCPStrip, MPTCPAccept, MPTCPRefuse} {
			cfg := config()
			if !marked {
				cfg.Marks = nfq.Marks{}
			}
			cfg.MPTCP = m
			l := newLab(t, cfg, named("api.bank.example"))
			k := l.link4()
			s := k.segment(original, -1, nil, packet.SYN)
			s.ack = 0
			s.options = []byte{2, 4, 5, 180, 30, 4, 1, 1}
			raw := s.append(nil)
			r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw)}, l.now)
			if (r.Verdict == nfq.Drop) != (m == MPTCPRefuse) || k.ends[0].closed != (m == MPTCPRefuse) {
				t.Errorf("%d: verdict %v, client closed %v", m, r.Verdict, k.ends[0].closed)
			}
			var p packet.Parsed
			if m != MPTCPStrip {
				if r.Payload != nil {
					t.Errorf("%d: the packet was replaced", m)
				}
			} else if packet.Decode(r.Payload, &p) != packet.OK || p.MPTCP || !p.ChecksumOK() || p.MSS != 1460 {
				t.Errorf("stripped to %x", r.Payload)
			}
			if m != MPTCPRefuse && (!k.synAck() || !k.ack(original) || !k.data(original, 0, good)) {
				t.Errorf("%d: the connection does not work", m)
			}
		}
	}
}

// TestMPTCPRefused: who asks for it is told, and so is the log; without it he gets
// through on the same ports.
func TestMPTCPRefused(t *testing.T) {
	good, _ := hellos(t)
	for _, observe := range []bool{false, true} {
		for _, again := range []bool{false, true} { // with another number
			cfg := config()
			cfg.MPTCP, cfg.Default.Observe = MPTCPRefuse, observe
			l := newLab(t, cfg, policy(acceptAll))
			k := l.link4()
			ask := k.segment(original, -1, nil, packet.SYN)
			ask.ack, ask.options = 0, []byte{2, 4, 5, 180, 30, 4, 1, 1}
			for range 2 {
				k.ends[0].closed = false
				if passes := k.raw(ask); passes != observe || k.ends[0].closed == observe || k.mark != 0 {
					t.Errorf("observe %v: passes %v, client closed %v, mark %#x", observe, passes, k.ends[0].closed, k.mark)
				}
			}
			d := l.sink.drop
			if len(d) != 1 || d[0].Decision.Reason != tlsrules.ReasonMPTCP || d[0].Decision.Observed != observe || d[0].Decision.Action != tlsrules.Reset || d[0].Packet != 1 {
				t.Errorf("observe %v: told %+v", observe, d)
			}
			if got := l.e.counts.Dropped[DropMPTCP]; (got == 2) == observe {
				t.Errorf("observe %v: %d dropped", observe, got)
			}
			if again {
				k.again(77_000, 88_000)
			}
			k.ends[0].closed = false
			if !k.open() || !k.data(original, 0, good) || len(l.sink.drop) != 1 {
				t.Errorf("observe %v, again %v: without it the client is refused: %+v", observe, again, l.sink.drop)
			}
			// On the ports of a connection that lives it passes neither.
			if ask.seq = 500_000; k.raw(ask) != observe {
				t.Errorf("observe %v: it passes on the ports of another one: %v", observe, !observe)
			}
		}
	}
}

func TestPacketsNobodyReads(t *testing.T) {
	good, _ := hellos(t)
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	k.open()
	s := k.segment(original, 0, good, packet.ACK)
	raw := s.append(nil)
	verdict := func(change func(b []byte, p *nfq.Packet)) nfq.Verdict {
		b := bytes.Clone(raw)
		p := nfq.Packet{Payload: b, Mark: foreign}
		change(b, &p)
		r := l.e.Packet(&p, l.now)
		if r.Verdict == nfq.Repeat && r.Mark != l.marks.Set(foreign, l.marks.Pass()) {
			t.Errorf("mark %#x", r.Mark)
		}
		return r.Verdict
	}
	bad := func(b []byte) { b[40] ^= 1 }
	for _, test := range []struct {
		name   string
		change func(b []byte, p *nfq.Packet)
		want   nfq.Verdict
		count  func() uint64
	}{
		{"udp", func(b []byte, _ *nfq.Packet) { b[9] = 17 }, nfq.Repeat, func() uint64 { return l.e.counts.NotTCP }},
		{"fragment", func(b []byte, _ *nfq.Packet) { b[6] = 0x20 }, nfq.Drop, func() uint64 { return l.e.counts.Dropped[DropFragment] }},
		{"later fragment", func(b []byte, _ *nfq.Packet) { b[6], b[7] = 0, 9 }, nfq.Drop, func() uint64 { return l.e.counts.Dropped[DropFragment] - 1 }},
		{"header cut", func(_ []byte, p *nfq.Packet) { p.Payload = p.Payload[:30] }, nfq.Drop, func() uint64 { return l.e.counts.Dropped[DropMalformed] }},
		{"nothing", func(_ []byte, p *nfq.Packet) { p.Payload = nil }, nfq.Drop, func() uint64 { return l.e.counts.Dropped[DropMalformed] - 1 }},
		{"cut by the kernel", func(_ []byte, p *nfq.Packet) { p.CapLen = 9000 }, nfq.Drop, func() uint64 { return l.e.counts.Dropped[DropTruncated] }},
		{"bad checksum", func(b []byte, p *nfq.Packet) { bad(b); p.ChecksumUnverified = true }, nfq.Drop, func() uint64 { return l.e.counts.Dropped[DropChecksum] }},
		{"beyond the window", func(b []byte, _ *nfq.Packet) { b[24] ^= 0x40 }, nfq.Drop, func() uint64 { return l.e.counts.Dropped[DropInvalid] }},
		{"checksum not ready", func(b []byte, p *nfq.Packet) { b[36] ^= 1; p.ChecksumUnverified, p.ChecksumNotReady = true, true }, nfq.Repeat, nil},
	} {
		if got := verdict(test.change); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
		if test.count != nil && test.count() != 1 {
			t.Errorf("%s: counted %d times", test.name, test.count())
		}
	}
	if len(l.sink.drop) != 0 {
		t.Errorf("refused: %s", l.sink.drop[0].Detail)
	}
}

// TestNoMarks: without marks, as in a replay, a verdict is Accept or Drop.
func TestNoMarks(t *testing.T) {
	cfg := config()
	cfg.Marks = nfq.Marks{}
	for _, p := range []*tlsrules.Policy{partner(), named("www.example.com")} {
		l := newLab(t, cfg, p)
		l.alter = func(q *nfq.Packet) { q.Mark = 0 }
		k := l.link4()
		turns := recording(t, "tls12 ecdhe")
		k.play(turns, strategies["mss"])
		if want := streams(turns)[0]; p.Len() == 1 && len(l.sink.drop) == 0 && !bytes.Equal(k.ends[1].got, want) {
			t.Errorf("%d of %d bytes", len(k.ends[1].got), len(want))
		}
		if k.mark != 0 {
			t.Errorf("mark %#x", k.mark)
		}
	}
}

// TestMPTCPThirdPacket: a server that keeps nothing of the SYN (SYN cookies) takes what
// the third packet of the handshake says of Multipath TCP, whatever the SYN said.
func TestMPTCPThirdPacket(t *testing.T) {
	capable := append([]byte{30, 20, 1, 1}, make([]byte, 16)...)
	join := append([]byte{30, 24, 0x10, 1}, make([]byte, 20)...)
	signal := []byte{1, 1, 30, 18, 0x20, 0x0c, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 10}
	for _, m := range []MPTCP{MPTCPStrip, MPTCPAccept, MPTCPRefuse} {
		for _, options := range [][]byte{capable, join, signal} {
			cfg := config()
			cfg.MPTCP = m
			l := newLab(t, cfg, named("api.bank.example"))
			k := l.link4()
			k.syn()
			k.synAck()
			s := k.segment(original, 0, nil, packet.ACK)
			s.options = options
			raw := s.append(nil)
			r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw)}, l.now)
			begins := options[0] == 30
			if drop := begins && m == MPTCPRefuse; (r.Verdict == nfq.Drop) != drop {
				t.Errorf("%d, %x: verdict %v", m, options[:4], r.Verdict)
			}
			var p packet.Parsed
			if strip := begins && m == MPTCPStrip; (r.Payload != nil) != strip {
				t.Errorf("%d, %x: replaced by %x", m, options[:4], r.Payload)
			} else if strip && (packet.Decode(r.Payload, &p) != packet.OK || p.MPTCP || !p.ChecksumOK()) {
				t.Errorf("%d, %x: stripped to %x", m, options[:4], r.Payload)
			}
		}
	}
}
