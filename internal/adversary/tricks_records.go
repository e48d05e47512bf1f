package adversary

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// whole is a trick that sends a stream made of the hello, in order.
func whole(g Group, name, why string, honest bool, stream func(p *Peer) []byte) Trick {
	return Trick{Name: name, Group: g, Why: why, Honest: honest, Play: func(p *Peer) {
		p.open()
		p.pieces(0, stream(p), 1200)
	}}
}

func records() []Trick {
	const (
		whyRecords = "records are put together as they come, whatever their size"
		whyBroken  = "what breaks the syntax of records is refused"
		whyFirst   = "what some servers read over is read over: the hello behind it is judged"
		whyText    = "a connection that does not begin as TLS does is listened to, and a hello in it is judged"
	)
	message := func(p *Peer) []byte { return p.Hello[5:] }
	version := func(v uint16) func(*Peer) []byte {
		return func(p *Peer) []byte {
			b := bytes.Clone(p.Hello)
			binary.BigEndian.PutUint16(b[1:], v)
			return b
		}
	}
	t := func(name, why string, honest bool, stream func(p *Peer) []byte) Trick {
		return whole(Records, name, why, honest, stream)
	}
	return []Trick{
		t("one byte a record", whyRecords, true, func(p *Peer) []byte { return inRecords(message(p), 1, nil) }),
		t("three bytes a record, so that the message's length is cut", whyRecords, true, func(p *Peer) []byte { return inRecords(message(p), 3, nil) }),
		{
			Name: "one byte a record, one byte a segment", Group: Records, Why: whyRecords, Honest: true,
			Play: func(p *Peer) { p.open(); p.pieces(0, inRecords(message(p), 1, nil), 1) },
		},
		{
			Name: "one byte a record, backward", Group: Records, Why: whyRecords, Honest: true,
			Play: func(p *Peer) {
				p.open()
				b := inRecords(message(p), 1, nil)
				for at := len(b) - len(b)%100; at >= 0; at -= 100 {
					p.data(at, b[at:min(at+100, len(b))])
				}
			},
		},
		t("two records, the name cut", whyRecords, true, func(p *Peer) []byte {
			cut := bytes.Index(message(p), []byte(p.Spec.Name)) + 5
			return append(record(recordHandshake, message(p)[:cut]), record(recordHandshake, message(p)[cut:])...)
		}),
		t("empty handshake records between", whyFirst, false, func(p *Peer) []byte { return inRecords(message(p), 50, record(recordHandshake, nil)) }),
		t("an empty handshake record first", whyFirst, false, func(p *Peer) []byte { return append(record(recordHandshake, nil), p.Hello...) }),
		t("forty empty handshake records first", whyFirst, false, func(p *Peer) []byte {
			return append(bytes.Repeat(record(recordHandshake, nil), 40), p.Hello...)
		}),
		t("an empty application data record first", whyBroken, false, func(p *Peer) []byte { return append(record(recordData, nil), p.Hello...) }),
		t("application data first", whyBroken, false, func(p *Peer) []byte { return append(record(recordData, text), p.Hello...) }),
		t("an application data record that the hello seems to lie in", whyBroken, false, func(p *Peer) []byte {
			return append([]byte{recordData, 3, 3, 1, 0}, p.Hello...)
		}),
		t("ChangeCipherSpec first", whyFirst, false, func(p *Peer) []byte { return append(record(recordCCS, []byte{1}), p.Hello...) }),
		t("ChangeCipherSpec between two records of the hello", whyFirst, false, func(p *Peer) []byte {
			return inRecords(message(p), 120, record(recordCCS, []byte{1}))
		}),
		t("an empty ChangeCipherSpec first", whyFirst, false, func(p *Peer) []byte { return append(record(recordCCS, nil), p.Hello...) }),
		t("a ChangeCipherSpec of two bytes first", whyFirst, false, func(p *Peer) []byte { return append(record(recordCCS, []byte{1, 1}), p.Hello...) }),
		t("a warning first", whyFirst, false, func(p *Peer) []byte { return append(record(recordAlert, []byte{1, 90}), p.Hello...) }),
		t("warnings between two records of the hello", whyFirst, false, func(p *Peer) []byte {
			return inRecords(message(p), 120, record(recordAlert, []byte{1, 90}))
		}),
		t("a fatal alert first", whyFirst, false, func(p *Peer) []byte { return append(record(recordAlert, []byte{2, 40}), p.Hello...) }),
		t("a close_notify first", whyFirst, false, func(p *Peer) []byte { return append(record(recordAlert, []byte{1, 0}), p.Hello...) }),
		t("a heartbeat first", whyFirst, false, func(p *Peer) []byte {
			return append(record(24, append([]byte{1, 0, 3, 1, 2, 3}, make([]byte, 16)...)), p.Hello...)
		}),
		t("an unknown record type first", whyText, false, func(p *Peer) []byte { return append(record(99, []byte("text")), p.Hello...) }),
		t("record version 3.0", whyRecords, true, version(0x0300)),
		t("record version 3.3", whyRecords, true, version(0x0303)),
		t("record version 3.4", whyRecords, false, version(0x0304)),
		t("record version 3.255", whyRecords, false, version(0x03ff)),
		t("record version 4.0", whyText, false, version(0x0400)),
		t("record version 0.0", whyText, false, version(0)),
		t("another version in each record", whyRecords, false, func(p *Peer) []byte {
			b := inRecords(message(p), 60, nil)
			for at, v := 0, byte(0); at < len(b); at, v = at+5+int(b[at+3])<<8+int(b[at+4]), v+1 {
				b[at+2] = v % 5
			}
			return b
		}),
		t("a record of the largest size", whyRecords, true, func(p *Peer) []byte {
			h := p.Spec
			h.After = []Extension{{21, make([]byte, 16384-len(message(p))-4)}}
			return h.Record()
		}),
		t("a hello of two records of the largest size", whyRecords, false, func(p *Peer) []byte {
			h := p.Spec
			h.After = []Extension{{21, make([]byte, 30000)}}
			return inRecords(h.Message(), 16384, nil)
		}),
		t("a record larger than any may be", whyBroken, false, func(p *Peer) []byte {
			h := p.Spec
			h.After = []Extension{{21, make([]byte, 16385-len(message(p))-4)}}
			return h.Record()
		}),
		t("a record that is longer than what comes", "a message is judged when it is complete, not its record", false, func(p *Peer) []byte {
			b := append(bytes.Clone(p.Hello), make([]byte, 300)...)
			binary.BigEndian.PutUint16(b[3:], uint16(len(b)-5))
			return b[:len(p.Hello)]
		}),
		t("an innocent hello first", "a second hello is judged as the first", false, func(p *Peer) []byte { return append(bytes.Clone(p.Good), p.Hello...) }),
		t("an innocent hello first, in the same record", "a second hello is judged as the first", false, func(p *Peer) []byte {
			return record(recordHandshake, append(bytes.Clone(p.Good[5:]), message(p)...))
		}),
		t("the hello first, an innocent one behind", "the first complete hello is judged at once", false, func(p *Peer) []byte {
			return append(bytes.Clone(p.Hello), p.Good...)
		}),
		t("a HelloRequest first", whyFirst, false, func(p *Peer) []byte { return append(record(recordHandshake, []byte{0, 0, 0, 0}), p.Hello...) }),
		t("a HelloRequest first, in the same record", whyFirst, false, func(p *Peer) []byte {
			return record(recordHandshake, append([]byte{0, 0, 0, 0}, message(p)...))
		}),
		t("a Finished first", whyBroken, false, func(p *Peer) []byte {
			return append(record(recordHandshake, append([]byte{20, 0, 0, 12}, make([]byte, 12)...)), p.Hello...)
		}),
		t("an unknown handshake message first", whyBroken, false, func(p *Peer) []byte {
			return append(record(recordHandshake, []byte{99, 0, 0, 1, 0}), p.Hello...)
		}),
		t("a ServerHello of the client's first", whyBroken, false, func(p *Peer) []byte {
			sh := append([]byte{2, 0, 0, 38, 3, 3}, make([]byte, 36)...)
			return append(record(recordHandshake, sh), p.Hello...)
		}),
		t("a hello that says 16 MB", "a hello larger than limits.hello is refused", false, func(p *Peer) []byte {
			b := bytes.Clone(p.Hello)
			b[6], b[7], b[8] = 0xff, 0xff, 0xff
			return b
		}),
		t("a hello that is one byte longer than it says", "a message ends where it says", false, func(p *Peer) []byte {
			return record(recordHandshake, append(slices.Clone(message(p)), 0))
		}),
		t("a hello of SSL 2", whyText, false, func(p *Peer) []byte {
			b := []byte{0x80, 0, 1, 3, 3, 0, 3, 0, 0, 0, 16, 0, 0x13, 0x01}
			b = append(b, bytes.Repeat([]byte{9}, 16)...)
			b[1] = byte(len(b) - 2)
			return append(b, p.Hello...)
		}),
		t("text first", whyText, false, func(p *Peer) []byte { return append(bytes.Clone(text), p.Hello...) }),
		t("a byte first", whyText, false, func(p *Peer) []byte { return append([]byte{0}, p.Hello...) }),
		t("a line end first", whyText, false, func(p *Peer) []byte { return append([]byte("\r\n"), p.Hello...) }),
		t("a PROXY header first", whyText, false, func(p *Peer) []byte {
			return append([]byte("PROXY TCP4 198.18.1.2 198.18.2.2 1000 443\r\n"), p.Hello...)
		}),
	}
}
