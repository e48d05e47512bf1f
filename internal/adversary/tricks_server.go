package adversary

import (
	"bytes"
	"slices"

	"tlsgate/conntrack/packet"
)

// servers are tricks of a server that wants its ServerHello read, or a hello sent.
func servers() []Trick { return slices.Concat(speeches(), greetings()) }

// speeches are what it says.
func speeches() []Trick {
	const (
		whyPieces = "the answer is read as the hello is: what completes the ServerHello is judged with all of it"
		whyFirst  = "the first copy seen is the one that counts; one that differs is refused"
		whyEarly  = "what a server says first changes nothing of what a client's hello is"
	)
	// speaks has the server send its answer in its own way.
	speaks := func(name, why string, honest, ambiguous bool, speak func(r *receiver)) Trick {
		return Trick{Name: name, Group: Servers, Why: why, Honest: honest, Ambiguous: ambiguous, Ours: true, Play: func(p *Peer) {
			p.server(func(r *receiver) { r.speak = speak })
			p.dial()
			p.data(0, p.Hello)
		}}
	}
	// before has the server say something before the hello is whole.
	before := func(name string, says func(r *receiver), sent int) Trick {
		return Trick{Name: name, Group: Servers, Why: whyEarly, Ours: true, Play: func(p *Peer) {
			p.dial()
			p.data(0, p.Hello[:sent])
			p.settle()
			p.server(says)
			p.settle()
			p.data(sent, p.Hello[sent:])
		}}
	}
	// early is what it says, in segments of a size.
	early := func(b []byte, size int) func(r *receiver) {
		return func(r *receiver) {
			for piece := range slices.Chunk(b, size) {
				r.segment(r.sent(), packet.ACK|packet.PSH, piece)
				r.base += uint32(len(piece))
			}
		}
	}
	send := func(r *receiver, b []byte, from, to int) {
		from, to = min(from, len(b)), min(to, len(b))
		r.segment(r.base+r.iss+1+uint32(from), packet.ACK|packet.PSH, b[from:to])
	}
	cut := func(r *receiver, size int, backward bool) {
		var starts []int
		for at := 0; at < len(r.reply); at += size {
			starts = append(starts, at)
		}
		if backward {
			slices.Reverse(starts)
		}
		for _, at := range starts {
			send(r, r.reply, at, at+size)
		}
	}
	// milder is the answer with a suite that is permitted.
	milder := func(r *receiver) []byte {
		b := bytes.Clone(r.reply)
		i := 5 + 4 + 2 + 32 + 1 + 32
		b[i], b[i+1] = aes128>>8, aes128&0xff
		return b
	}
	return []Trick{
		speaks("the answer in segments of one byte", whyPieces, true, false, func(r *receiver) { cut(r, 1, false) }),
		speaks("the answer in segments of three bytes, backward", whyPieces, true, false, func(r *receiver) { cut(r, 3, true) }),
		speaks("the answer twice, in segments of fifty bytes", whyPieces, true, false, func(r *receiver) { cut(r, 50, false); cut(r, 50, true) }),
		speaks("the ServerHello in records of one byte", whyPieces, true, false, func(r *receiver) {
			n := 5 + int(r.reply[3])<<8 + int(r.reply[4])
			b := append(inRecords(r.reply[5:n], 1, nil), r.reply[n:]...)
			for at := 0; at < len(b); at += 1000 {
				send(r, b, at, at+1000)
			}
		}),
		speaks("the end of the answer, the beginning last", whyPieces, true, false, func(r *receiver) {
			send(r, r.reply, 1, len(r.reply))
			send(r, r.reply, 0, 1)
		}),
		speaks("a permitted suite first, then the other one in its place", whyFirst, false, true, func(r *receiver) {
			b := milder(r)
			send(r, b, 0, 60)
			send(r, b, 60, 120)
			send(r, r.reply, 0, len(r.reply))
		}),
		speaks("a permitted suite first, before the beginning", whyFirst, false, true, func(r *receiver) {
			send(r, milder(r), 60, 120)
			send(r, r.reply, 60, len(r.reply))
			send(r, r.reply, 0, 60)
		}),
		speaks("a permitted suite later, before the beginning", whyFirst, false, true, func(r *receiver) {
			send(r, r.reply, 60, len(r.reply))
			send(r, milder(r), 60, 120)
			send(r, r.reply, 0, 60)
		}),
		speaks("text in front of the answer", "what answers a hello and is not TLS is malformed", false, false, func(r *receiver) {
			b := append(bytes.Clone(text), r.reply...)
			send(r, b, 0, len(b))
		}),
		speaks("the answer in pieces of ninety bytes that overlap by thirty", whyPieces, true, false, func(r *receiver) {
			for at := 0; at < len(r.reply); at += 60 {
				send(r, r.reply, at, at+90)
			}
		}),
		speaks("a piece that says otherwise what the one before has said", whyFirst, false, true, func(r *receiver) {
			send(r, milder(r), 0, 90)
			send(r, r.reply, 60, len(r.reply))
		}),
		speaks("a piece that says otherwise what the one behind it has said", whyFirst, false, true, func(r *receiver) {
			send(r, r.reply, 60, len(r.reply))
			send(r, milder(r), 0, 90)
		}),
		speaks("a permitted ServerHello that never arrives, then the other one", whyFirst, false, true, func(r *receiver) {
			g := r.made(r.base+r.iss+1, packet.ACK|packet.PSH, milder(r))
			g.TTL = 8
			r.send(g.Packet())
			send(r, r.reply, 0, len(r.reply))
		}),
		speaks("a permitted ServerHello with a bad checksum, then the other one", "no receiver takes it: it is dropped, and changes nothing", true, false, func(r *receiver) {
			g := r.made(r.base+r.iss+1, packet.ACK|packet.PSH, milder(r))
			g.BadChecksum = true
			r.send(g.Packet())
			send(r, r.reply, 0, len(r.reply))
		}),
		speaks("an RST that never arrives, then the answer", "a connection seen to end is still watched, and what comes is read on", true, false, func(r *receiver) {
			g := r.made(r.base+r.iss+1, packet.RST, nil)
			g.TTL = 8
			r.send(g.Packet())
			send(r, r.reply, 0, len(r.reply))
		}),
		speaks("a FIN that never arrives, then the answer", "a connection seen to end is still watched, and what comes is read on", true, false, func(r *receiver) {
			g := r.made(r.base+r.iss+1, packet.FIN|packet.ACK, nil)
			g.TTL = 8
			r.send(g.Packet())
			send(r, r.reply, 0, len(r.reply))
		}),
		speaks("urgent data in the answer", "a receiver takes the byte out of the stream or does not", false, true, func(r *receiver) {
			g := r.made(r.iss+1, packet.ACK|packet.URG, r.reply)
			g.Pointer = 40
			r.send(g.Packet())
		}),
		before("a banner before the hello", early([]byte("220 mail.example ESMTP\r\n"), 1400), 0),
		before("text before the hello", early([]byte("hello\n"), 1400), 0),
		before("a banner in the middle of the hello", early([]byte("SSH-2.0-OpenSSH_9.6\r\n"), 1400), 60),
		before("a ServerHello before the hello", early(serverHello(aes128), 1400), 0),
		before("a ServerHello with a forbidden suite before the hello", early(serverHello(chacha20), 1400), 0),
		before("a ServerHello in the middle of the hello", early(serverHello(aes128), 1400), 60),
		before("a ServerHello with a forbidden suite in the middle of the hello", early(serverHello(chacha20), 1400), 60),
		before("a ServerHello with a forbidden suite in the middle of the hello, in segments of ten bytes", early(serverHello(chacha20), 10), 60),
		before("half a ServerHello with a forbidden suite in the middle of the hello", early(serverHello(chacha20)[:40], 1400), 60),
		before("all but the last byte of a ServerHello with a forbidden suite in the middle of the hello", early(most(serverHello(chacha20)), 1400), 60),
		before("a ServerHello and application data in the middle of the hello",
			early(append(append(serverHello(aes128), record(recordCCS, []byte{1})...), record(recordData, bytes.Repeat([]byte{7}, 500))...), 1400), 60),
		before("an alert in the middle of the hello", early(record(recordAlert, []byte{2, 40}), 1400), 60),
	}
}

func most(b []byte) []byte { return b[:len(b)-1] }

// serverHello is one that selects a suite.
func serverHello(suite uint16) []byte {
	b := []byte{typeServerHello, 0, 0, 0, 3, 3}
	b = append(append(b, bytes.Repeat([]byte{5}, 32)...), 32)
	b = append(append(b, bytes.Repeat([]byte{0x55}, 31)...), idInnocent)
	b = append(b, byte(suite>>8), byte(suite), 0, 0, 46, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 29, 0, 32)
	b = append(b, bytes.Repeat([]byte{5}, 32)...)
	b[3] = byte(len(b) - 4)
	return record(recordHandshake, b)
}
