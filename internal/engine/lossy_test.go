package engine

import (
	"testing"

	"tlsgate/conntrack/packet"
)

// TestFailOpenMissed: where the queue fails open, segments may reach their receiver unseen.
// A connection that missed some goes on, and is counted; where the queue fails
// closed the same acknowledgement is of bytes that nobody sent.
func TestFailOpenMissed(t *testing.T) {
	for _, lossy := range []bool{false, true} {
		cfg := config()
		cfg.Lossy = lossy
		l := newLab(t, cfg, only("handshake", "change_cipher_spec", "alert", "application_data"))
		k := l.link4()
		turns := recording(t, "tls12 ecdhe")
		k.play(turns, strategies["mss"])
		base := len(k.ends[original].got)
		record := append([]byte{23, 3, 3, 4, 0}, make([]byte, 1024)...)
		unseen := k.segment(reply, base, record, packet.ACK)
		k.deliver(unseen) // past the queue
		k.ack(original)
		for i := 1; i < 200; i++ {
			k.data(reply, base+i*len(record), record)
			k.ack(original)
		}
		got := len(k.ends[original].got) - base
		if want := 200 * len(record); lossy && got != want {
			t.Errorf("lossy: %d bytes came, want %d", got, want)
		}
		l.e.publish()
		if n := l.e.Stats().Unread; (n == 1) != lossy {
			t.Errorf("lossy %v: %d connections counted as unread", lossy, n)
		}
	}
}

// TestFailOpenLie: a client that acknowledges what its server has not said yet is
// not believed: nothing of the server's is delivered unread, nor is the connection
// accepted.
func TestFailOpenLie(t *testing.T) {
	for _, ahead := range []uint32{1, 100, 5000} {
		cfg := config()
		cfg.Lossy = true
		l := newLab(t, cfg, partner())
		k := l.link4()
		turns := recording(t, "tls12 rsa")
		k.open()
		k.data(original, 0, turns[0].bytes)
		k.ack(reply)
		s := k.segment(original, len(k.ends[1].got), nil, packet.ACK)
		s.ack += ahead
		k.decoy(s)
		for at := 0; at < len(turns[1].bytes); at += 500 {
			k.data(reply, at, turns[1].bytes[at:min(at+500, len(turns[1].bytes))])
		}
		if got := len(k.ends[0].got); got != 0 || l.e.counts.Unread != 0 {
			t.Errorf("%d ahead: the client has got %d bytes, %d connections counted as unread", ahead, got, l.e.counts.Unread)
		}
		if l.e.counts.Ambiguous != 1 || !k.closed() {
			t.Errorf("%d ahead: %d connections ambiguous, closed: %v", ahead, l.e.counts.Ambiguous, k.closed())
		}
	}
}
