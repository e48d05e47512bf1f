package engine

import (
	"bytes"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestFront: a segment that begins in front of its stream goes on trimmed, as its
// receiver takes it: nothing that lies there reaches anybody.
func TestFront(t *testing.T) {
	good, evil := hellos(t)
	junk := bytes.Repeat([]byte{0x16, 3, 1, 2}, 200)
	for _, n := range []int{2, 5, 652} {
		for _, cut := range []int{1, 70} {
			for _, hello := range [][]byte{good, evil} {
				l := newLab(t, config(), named("api.bank.example"))
				k := l.link4()
				k.open()
				if !k.data(original, -n, append(bytes.Clone(junk[:n]), hello[:cut]...)) {
					t.Fatalf("%d in front of %d: did not pass", n, cut)
				}
				if got := k.ends[1].got; !bytes.Equal(got, hello[:cut]) {
					t.Errorf("%d in front of %d: the server has %x", n, cut, got)
				}
				k.ack(reply) // or what follows a single octet would be dropped: conntrack's reborn
				if k.data(original, cut, hello[cut:]) != bytes.Equal(hello, good) {
					t.Errorf("%d in front of %d: passed: %v", n, cut, !bytes.Equal(hello, good))
				}
			}
		}
		l := newLab(t, config(), named("api.bank.example"))
		k := l.link4()
		k.open()
		urgent := k.segment(original, -n, append(bytes.Clone(junk[:n]), good...), packet.ACK|packet.URG)
		if urgent.urgent = 1; k.raw(urgent) {
			t.Errorf("%d in front of urgent data passed", n)
		}
		if k.data(original, -n, junk[:n]) {
			t.Errorf("%d bytes that are all in front passed", n)
		}
		several := true
		l.alter = func(p *nfq.Packet) { p.GSO = several }
		if k.data(original, -n, append(bytes.Clone(junk[:n]), good...)) {
			t.Errorf("%d in front of several segments: passed", n)
		}
		several = false
		if !k.data(original, -n, append(bytes.Clone(junk[:n]), good...)) || !bytes.Equal(k.ends[1].got, good) {
			t.Errorf("%d in front, repeated as one: %x", n, k.ends[1].got)
		}
	}
}

// TestFrontGoesOn: what goes on in place of a packet that begins in front of its stream,
// which stays as it is.
func TestFrontGoesOn(t *testing.T) {
	good, evil := hellos(t)
	for _, v6 := range []bool{false, true} {
		for _, hello := range [][]byte{good, evil} {
			l := newLab(t, config(), named("api.bank.example"))
			k := l.link4()
			if v6 {
				k = l.link6()
			}
			k.open()
			s := k.segment(original, -5, append([]byte{1, 2, 3, 4, 5}, hello...), packet.ACK|packet.PSH)
			raw := s.append(nil)
			p := nfq.Packet{Payload: bytes.Clone(raw), InDev: 1, OutDev: 2}
			r := l.e.Packet(&p, l.now)
			if !bytes.Equal(p.Payload, raw) {
				t.Error("the packet is not what it was")
			}
			if bytes.Equal(hello, evil) {
				if l.marks.Kind(r.Mark) != nfq.Refused {
					t.Errorf("what is refused: %v, mark %#x", r.Verdict, r.Mark)
				}
				continue
			}
			s.seq, s.payload = s.seq+5, hello
			if r.Verdict == nfq.Drop || !bytes.Equal(r.Payload, s.append(nil)) {
				t.Errorf("%v, in its place %x", r.Verdict, r.Payload)
			}
		}
	}
}

// TestOctetInFront: before the server has shown that it has the connection the octet of
// a keep-alive does not go on, but its question does; afterwards it is as it came.
func TestOctetInFront(t *testing.T) {
	good, _ := hellos(t)
	answer := recording(t, "tls13")[1].bytes
	l := newLab(t, config(), named("api.bank.example"))
	k := l.link4()
	sent := func(payload []byte) (seq int, rest []byte) {
		segment := k.segment(original, -1, payload, packet.ACK|packet.PSH)
		raw := segment.append(nil)
		r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw)}, l.now)
		if r.Payload != nil {
			raw = r.Payload
		}
		var p packet.Parsed
		if r.Verdict == nfq.Drop || packet.Decode(raw, &p) != packet.OK || !p.ChecksumOK() {
			t.Fatalf("%x: %v, %x", payload, r.Verdict, raw)
		}
		return int(int32(uint32(p.Seq) - k.ends[0].iss - 1)), p.Payload
	}
	for range 3 { // data on a SYN is the stream's, behind its number
		syn := k.segment(original, -1, good, packet.SYN)
		syn.ack = 0
		raw := syn.append(nil)
		if r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw)}, l.now); r.Verdict != nfq.Drop && r.Payload != nil && !bytes.HasSuffix(r.Payload, good) {
			t.Errorf("the data of a SYN went on as %x", r.Payload)
		}
	}
	k = l.link4()
	k.open()
	for _, payload := range [][]byte{nil, {0}} {
		if seq, rest := sent(payload); seq != -1 || len(rest) != 0 {
			t.Errorf("a keep-alive with %d octets went on at %d with %x", len(payload), seq, rest)
		}
	}
	if seq, rest := sent(append([]byte{0}, good...)); seq != 0 || !bytes.Equal(rest, good) {
		t.Errorf("an octet and the hello went on at %d with %d octets", seq, len(rest))
	}
	k.data(original, 0, good)
	k.data(reply, 0, answer)
	if seq, rest := sent([]byte{0}); seq != -1 || len(rest) != 1 {
		t.Errorf("behind the answer a keep-alive went on at %d with %x", seq, rest)
	}
	k = l.link4()
	k.open()
	several := k.segment(original, -1, append([]byte{0}, good...), packet.ACK|packet.PSH)
	r := l.e.Packet(&nfq.Packet{Payload: several.append(nil), InDev: 1, OutDev: 2, GSO: true}, l.now)
	if r.Verdict != nfq.Drop || r.Payload != nil || l.e.counts.Dropped[DropInvalid] != 1 {
		t.Errorf("several segments behind an octet: %v, in their place %x, %d dropped", r.Verdict, r.Payload, l.e.counts.Dropped[DropInvalid])
	}
}
