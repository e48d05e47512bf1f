package engine

import (
	"bytes"
	"crypto/tls"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
)

// BenchmarkHandshakeMix: many connections at the same time, every packet judged,
// nothing left to the kernel.
func BenchmarkHandshakeMix(b *testing.B) {
	const together = 64
	kinds := []string{"tls12 ecdhe", "tls13", "tls12 resumed", "tls13 resumed", "tls13 post-quantum", "tls12 ecdsa"}
	var scripts [][][]byte
	for _, kind := range kinds {
		scripts = append(scripts, script(b, partner(), recording(b, kind), strategies["mss"]))
	}
	cfg := config()
	cfg.Offload = false
	e := New(cfg, partner())
	now, port, packets := 1_700_000_000*second, uint16(0), 0
	round := func() {
		for step := 0; ; step++ {
			over := true
			for i := range uint16(together) {
				if s := scripts[int(i)%len(scripts)]; step < len(s) {
					over = false
					setPort(s[step], 1024+(port+i)%60000)
					now += 1000
					if e.Packet(&nfq.Packet{Payload: s[step], InDev: inside(s[step]), OutDev: 3 - inside(s[step]), Mark: foreign}, now).Verdict != nfq.Repeat {
						b.Fatal("dropped")
					}
					packets++
				}
			}
			if over {
				break
			}
		}
		port += together
		now += 10 * second // connections expire as fast as they come
		e.Tick(now)
	}
	for range 200 {
		round()
	}
	packets = 0
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
}

// BenchmarkCertificates: a whole TLS 1.2 connection and its end, with a chain of
// three certificates that was seen before, or not.
func BenchmarkCertificates(b *testing.B) {
	client, server := configs(shop(), tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	p := requires("cert_issuer", "CN=Bank CA")
	packets := script(b, p, recordTLS(b, client, server), strategies["mss"])
	for _, cached := range []bool{true, false} {
		b.Run(map[bool]string{true: "cached", false: "uncached"}[cached], func(b *testing.B) {
			cfg := config()
			cfg.Offload = false
			e := New(cfg, p)
			now, port := 1_700_000_000*second, uint16(0)
			connection := func() {
				port++
				if !cached {
					e.certs = certs.Cache{}
				}
				for _, raw := range packets {
					setPort(raw, 1024+port%60000)
					now += 1000
					if e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw), Mark: foreign}, now).Verdict != nfq.Repeat {
						b.Fatal("dropped")
					}
				}
				now += 10 * second
				e.Tick(now)
			}
			for range 100 {
				connection()
			}
			b.ReportAllocs()
			for b.Loop() {
				connection()
			}
		})
	}
}

// BenchmarkBulkInspected: the bytes of a connection whose records are judged to
// the end, in segments of 64 kB, which their receiver acknowledges.
func BenchmarkBulkInspected(b *testing.B) {
	p := only("handshake", "change_cipher_spec", "application_data", "alert")
	l := newLab(b, config(), p)
	k := l.link4()
	k.play(recording(b, "tls13"), strategies["mss"])
	var bulk []byte
	for len(bulk) < 48<<10 {
		bulk = append(append(bulk, 23, 3, 3, 0x40, 0), make([]byte, 1<<14)...)
	}
	s := k.segment(reply, len(k.ends[0].got), bulk, packet.ACK)
	a := k.segment(original, len(k.ends[1].got), nil, packet.ACK)
	a.ack = s.seq
	data, ack := s.append(nil), a.append(nil)
	put := func(b []byte, v uint32) { b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v) }
	b.SetBytes(int64(len(bulk)))
	b.ReportAllocs()
	packets := 0
	for b.Loop() {
		put(data[24:], s.seq)
		s.seq += uint32(len(bulk))
		put(ack[28:], s.seq)
		for _, raw := range [][]byte{data, ack} {
			l.now += 1000
			packets++
			if l.e.Packet(&nfq.Packet{Payload: raw, GSO: true, ChecksumNotReady: true}, l.now).Verdict != nfq.Repeat {
				b.Fatal("dropped")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
	if len(l.sink.drop) != 0 {
		b.Fatal(l.sink.drop[0].Detail)
	}
}

// BenchmarkOffloadedOrDecided: a packet of a connection that was decided.
func BenchmarkOffloadedOrDecided(b *testing.B) {
	for _, offload := range []bool{true, false} {
		b.Run(map[bool]string{true: "offloaded", false: "decided"}[offload], func(b *testing.B) {
			cfg := config()
			cfg.Offload = offload
			l := newLab(b, cfg, policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept}))
			k := l.link4()
			k.play(recording(b, "tls13"), strategies["mss"])
			s := k.segment(original, len(k.ends[1].got), make([]byte, 1400), packet.ACK)
			raw := s.append(nil)
			b.ReportAllocs()
			for b.Loop() {
				if l.e.Packet(&nfq.Packet{Payload: raw, Mark: k.mark}, l.now).Verdict != nfq.Repeat {
					b.Fatal("dropped")
				}
			}
		})
	}
}

// BenchmarkMail: the text of a mail in clear, which is listened to for the life of
// its connection, in segments of 1448 bytes and of 64 kB that their receiver
// acknowledges.
func BenchmarkMail(b *testing.B) {
	line := []byte("All work and no play makes Jack a dull boy, as the saying goes for ever.\r\n")
	for name, size := range map[string]int{"1448": 1448, "64k": 64000} {
		b.Run(name, func(b *testing.B) {
			l := newLab(b, config(), partner())
			k := l.link4()
			k.play(said("S220 x ESMTP\r\n", "CMAIL FROM:<>\r\nDATA\r\n", "S250 ok\r\n354 go\r\n"), strategies["mss"])
			text := bytes.Repeat(line, size/len(line))
			s := k.segment(original, len(k.ends[1].got), text, packet.ACK)
			a := k.segment(reply, len(k.ends[0].got), nil, packet.ACK)
			data, ack := s.append(nil), a.append(nil)
			put := func(b []byte, v uint32) { b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v) }
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				put(data[24:], s.seq)
				s.seq += uint32(len(text))
				put(ack[28:], s.seq)
				for _, raw := range [][]byte{data, ack} {
					l.now += 1000
					if l.e.Packet(&nfq.Packet{Payload: raw, GSO: true, ChecksumNotReady: true}, l.now).Verdict != nfq.Repeat {
						b.Fatal("dropped")
					}
				}
			}
			if len(l.sink.drop) != 0 {
				b.Fatal(l.sink.drop[0].Detail)
			}
		})
	}
}
