package engine

import (
	"bytes"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// blocked refuses one server name at one port.
func blocked(name string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "blocked", Match: []tlsrules.Condition{condition("port", "443"), condition("sni", name)},
		Action: tlsrules.Reset, HasAction: true,
	})
}

// record wraps b as a TLS record.
func record(kind byte, b []byte) []byte {
	return append([]byte{kind, 3, 3, byte(len(b) >> 8), byte(len(b))}, b...)
}

// embedding is a ClientHello for a good name whose last extension, padding, is
// another one's record: where that begins.
func embedding(good, evil []byte) (hello []byte, at int) {
	body := bytes.Clone(good[5:])
	sid := 4 + 2 + 32
	suites := sid + 1 + int(body[sid])
	compression := suites + 2 + int(body[suites])<<8 + int(body[suites+1])
	list := compression + 1 + int(body[compression])
	n := int(body[list])<<8 + int(body[list+1]) + 4 + len(evil)
	body[list], body[list+1] = byte(n>>8), byte(n)
	body = append(append(body, 0xfa, 0xce, byte(len(evil)>>8), byte(len(evil))), evil...)
	n = len(body) - 4
	body[1], body[2], body[3] = 0, byte(n>>8), byte(n)
	hello = record(22, body)
	return hello, len(hello) - len(evil)
}

// decoy sends a packet that passes the engine, if it lets it, and never arrives.
func (k *link) decoy(s segment) {
	k.lost = true
	k.raw(s)
	k.lost = false
}

// numbered is a segment of the client with numbers of its own choice.
func (k *link) numbered(seq, ack uint32, payload []byte, flags packet.Flags) segment {
	s := k.segment(original, 0, payload, flags)
	s.seq, s.ack = seq, ack
	return s
}

// TestAdversary: what a client can do alone to have a server answer a hello that
// it may not send. No trick brings the whole of it to the server.
func TestAdversary(t *testing.T) {
	good, evil := hellos(t)
	nested, at := embedding(good, evil)
	server := func(k *link) uint32 { return k.ends[1].iss }
	client := func(k *link) uint32 { return k.ends[0].iss }
	http := []byte("GET / HTTP/1.1\r\n\r\n")
	for name, trick := range map[string]func(k *link){
		"no trick": func(k *link) {
			k.open()
			k.data(original, 0, evil)
		},
		"hello inside the data of a SYN that never arrives": func(k *link) {
			k.decoy(k.numbered(client(k)-uint32(at), 0, nested, packet.SYN))
			k.open()
			k.data(original, 0, evil)
		},
		"the same, and a third SYN behind which the second hides": func(k *link) {
			k.decoy(k.numbered(client(k)-uint32(at), 0, nested, packet.SYN))
			k.syn()
			k.decoy(k.numbered(client(k)+1e6, 0, nil, packet.SYN))
			k.synAck()
			k.ack(original)
			k.data(original, 0, evil)
		},
		"the same, the data last": func(k *link) {
			k.decoy(k.numbered(client(k)-uint32(at), 0, nil, packet.SYN))
			k.syn()
			k.decoy(k.numbered(client(k)-uint32(at), 0, nested, packet.SYN))
			k.synAck()
			k.ack(original)
			k.data(original, 0, evil)
		},
		"text in the data of a SYN that never arrives": func(k *link) {
			k.decoy(k.numbered(client(k)-uint32(len(http)), 0, http, packet.SYN))
			k.open()
			k.data(original, 0, evil)
		},
		"half a hello on a SYN, which an RST and another SYN are to hide": func(k *link) {
			k.raw(k.numbered(client(k)-99, 0, evil[:99], packet.SYN))
			k.decoy(k.numbered(client(k)-98, 0, nil, packet.RST))
			k.decoy(k.numbered(client(k)+1e6, 0, nil, packet.SYN))
			k.ends[0].iss -= 99
			s := k.segment(reply, -1, nil, packet.SYN|packet.ACK)
			s.ack += 99
			k.raw(s)
			k.ends[1].got = bytes.Clone(evil[:99])
			k.ack(original)
			k.data(original, 99, evil[99:])
		},
		"midstream text before the SYN, acknowledgements after it": func(k *link) {
			k.decoy(k.numbered(client(k)+1-uint32(len(http)), server(k)-500, http, packet.ACK))
			k.syn()
			k.decoy(k.numbered(client(k)+1, server(k)-500, nil, packet.ACK))
			k.synAck()
			k.ack(original)
			k.data(original, 0, evil)
		},
		"a SYN-ACK of the client's before its SYN": func(k *link) {
			k.decoy(k.numbered(client(k), server(k)-500, nil, packet.SYN|packet.ACK))
			k.open()
			k.ack(reply) // as to any segment out of its window
			k.data(original, 0, evil)
		},
		"a SYN-ACK of the client's, another number": func(k *link) {
			k.decoy(k.numbered(client(k)-500, server(k)-500, nil, packet.SYN|packet.ACK))
			k.open()
			k.data(original, 0, evil)
		},
		"a SYN-ACK of the client's behind its SYN": func(k *link) {
			k.syn()
			k.decoy(k.numbered(client(k), server(k)-500, nil, packet.SYN|packet.ACK))
			k.synAck()
			k.ack(original)
			k.data(original, 0, evil)
		},
		"RST, FIN and text before the SYN-ACK": func(k *link) {
			k.syn()
			k.decoy(k.numbered(client(k)+1, 0, nil, packet.RST))
			k.decoy(k.numbered(client(k)+1, server(k), http, packet.ACK|packet.FIN))
			k.synAck()
			k.ack(original)
			k.data(original, 0, evil)
		},
		"RST that never arrives": func(k *link) {
			k.open()
			k.decoy(k.segment(original, 0, nil, packet.RST))
			k.data(original, 0, evil)
		},
		"RST and SYN that never arrive": func(k *link) {
			k.open()
			k.decoy(k.segment(original, 0, nil, packet.RST|packet.ACK))
			k.decoy(k.numbered(client(k)+1e6, 0, nil, packet.SYN))
			k.data(original, 0, evil)
		},
		"FIN that never arrives": func(k *link) {
			k.open()
			k.decoy(k.segment(original, 0, nil, packet.FIN|packet.ACK))
			k.data(original, 0, evil)
		},
		"text that never arrives": func(k *link) {
			k.open()
			k.decoy(k.segment(original, 0, append(bytes.Clone(http), good...), packet.ACK))
			k.data(original, 0, evil)
		},
		"text before the window": func(k *link) {
			k.open()
			k.raw(k.numbered(client(k)+1-uint32(len(http)), server(k)+1, append(bytes.Clone(http), evil...), packet.ACK))
		},
		"old copies of the SYN with data": func(k *link) {
			k.open()
			k.decoy(k.numbered(client(k), 0, good, packet.SYN))
			k.data(original, 0, evil)
		},
		"ChangeCipherSpec first, as GnuTLS has it": func(k *link) {
			k.open()
			k.data(original, 0, append(record(20, []byte{1}), evil...))
		},
		"two of them": func(k *link) {
			k.open()
			k.data(original, 0, append(append(record(20, []byte{1}), record(20, []byte{1})...), evil...))
		},
		"an empty ChangeCipherSpec first, as OpenSSL 3.0 has it": func(k *link) {
			k.open()
			k.data(original, 0, append(record(20, nil), evil...))
		},
		"an empty handshake record first": func(k *link) {
			k.open()
			k.data(original, 0, append(record(22, nil), evil...))
		},
		"a warning first": func(k *link) {
			k.open()
			k.data(original, 0, append(record(21, []byte{1, 90}), evil...))
		},
		"an urgent pointer without data, to a byte that the server will leave out": func(k *link) {
			k.open()
			s := k.segment(original, 0, nil, packet.ACK|packet.URG)
			s.urgent = 1
			k.raw(s)
			k.data(original, 0, append([]byte("X"), evil...))
		},
		"the same, with an acknowledgement too old": func(k *link) {
			k.open()
			s := k.numbered(client(k)+1, server(k)-1e6, nil, packet.ACK|packet.URG)
			s.urgent = 1
			if k.raw(s) {
				k.data(original, 0, append([]byte("X"), evil...))
			}
		},
		"the same, with the handshake's last acknowledgement": func(k *link) {
			k.syn()
			k.synAck()
			s := k.segment(original, 0, nil, packet.ACK|packet.URG)
			s.urgent = 1
			k.raw(s)
			k.data(original, 0, append([]byte("X"), evil...))
		},
		"one byte a record": func(k *link) {
			k.open()
			k.data(original, 0, smallRecords([]turn{{original, evil}})[0].bytes)
		},
		"a hello twice": func(k *link) {
			k.open()
			k.data(original, 0, append(bytes.Clone(good), evil...))
		},
		"ports of an offloaded connection, its SYN without an answer": func(k *link) {
			k.play(recording(t, "tls13"), strategies["mss"])
			old := len(k.ends[1].got)
			k.again(client(k)+uint32(old)-20, server(k)+70000)
			k.open()
			k.data(original, 0, evil)
		},
	} {
		for _, p := range []*tlsrules.Policy{blocked("api.evil.example"), named("api.bank.example")} {
			for _, family := range []func(*lab) *link{(*lab).link4, (*lab).link6} {
				l := newLab(t, config(), p)
				k := family(l)
				trick(k)
				if bytes.HasSuffix(k.ends[1].got, evil) {
					t.Errorf("%s: delivered", name)
				}
				if k.mark == l.marks.Accepted(5) {
					t.Errorf("%s: left to the kernel", name)
				}
			}
		}
	}
}
