package engine

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules/tlswire"
)

// BenchmarkInsideRecord: records of 16 kB in segments of 1448 bytes, judged to the
// end. Of twelve segments eleven lie inside a record, where there is no header; for
// "acknowledged" their receiver answers every other one.
func BenchmarkInsideRecord(b *testing.B) {
	b.Run("data", func(b *testing.B) { insideRecord(b, 32) })
	b.Run("acknowledged", func(b *testing.B) { insideRecord(b, 2) })
}

func insideRecord(b *testing.B, every int) {
	const mss = 1448
	header := []byte{23, 3, 3, 0x40, 0}
	period := len(header) + 1<<14
	l := newLab(b, config(), only("handshake", "change_cipher_spec", "application_data", "alert"))
	k := l.link4()
	k.play(recording(b, "tls13"), strategies["mss"])
	s := k.segment(reply, len(k.ends[0].got), make([]byte, mss), packet.ACK)
	a := k.segment(original, len(k.ends[1].got), nil, packet.ACK)
	a.ack = s.seq
	data, ack := s.append(nil), a.append(nil)
	body := data[len(data)-mss:]
	put := func(b []byte, v uint32) { b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v) }
	q, packets := nfq.Packet{GSO: true, ChecksumNotReady: true}, 0
	send := func(raw []byte) {
		l.now += 1000
		packets++
		if q.Payload = raw; l.e.Packet(&q, l.now).Verdict != nfq.Repeat {
			b.Fatal("dropped")
		}
	}
	// write puts what lies of a header into the segment that begins at place of a record.
	write := func(place int, header []byte) {
		at := -place
		if place >= len(header) {
			at += period
		}
		for i := max(0, -at); i < len(header) && at+i < mss; i++ {
			body[at+i] = header[i]
		}
	}
	b.ReportAllocs()
	place, segments := 0, 0
	for b.Loop() {
		write(place, header)
		put(data[24:], s.seq)
		send(data)
		write(place, make([]byte, len(header)))
		s.seq += mss
		place = (place + mss) % period
		if segments++; segments%every == 0 {
			put(ack[28:], s.seq)
			send(ack)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
	if len(l.sink.drop) != 0 {
		b.Fatal(l.sink.drop[0].Detail)
	}
	if got := l.e.table.Between(k.ends[0].addr, k.ends[1].addr).Value.ins.tls.Records[tlswire.Server].Of(tlswire.RecordTypeApplicationData); got < uint32(segments*mss/period) {
		b.Fatalf("%d records of application data were seen", got)
	}
}
