package policytest

import (
	"net/netip"

	"tlsgate/conntrack/packet"
	"tlsgate/internal/engine"
	"tlsgate/nfq"
)

// mss is what a segment carries at most, so that a server's flight is several.
const mss = 1400

// host is the two ends of a connection, and the engine between them.
type host struct {
	e    *engine.Engine
	now  int64
	ends [2]netip.AddrPort // by direction: the sender
	next [2]uint32         // sequence numbers
	buf  []byte
}

// step is the time from a packet to the next.
const step = int64(1e6)

// send gives a segment to the engine and reports whether it came through.
func (h *host) send(d direction, flags packet.Flags, options, payload []byte) bool {
	s := segment{
		src: h.ends[d], dst: h.ends[d.Other()], seq: h.next[d], ack: h.next[d.Other()],
		flags: flags, options: options, payload: payload,
	}
	if !flags.Has(packet.ACK) {
		s.ack = 0
	}
	h.buf = s.append(h.buf[:0])
	h.now += step
	p := nfq.Packet{Payload: h.buf, Hook: nfq.Forward, InDev: 1, OutDev: 2}
	if d == reply {
		p.InDev, p.OutDev = 2, 1
	}
	r := h.e.Packet(&p, h.now)
	if r.Verdict == nfq.Drop || r.Payload != nil && len(r.Payload) < len(h.buf) { // or not all of it passes
		return false
	}
	h.next[d] += uint32(len(payload))
	if flags.Has(packet.SYN) || flags.Has(packet.FIN) {
		h.next[d]++
	}
	return true
}

// tries is how often a segment is sent that does not come through.
const tries = 3

// connect makes the connection, says all there is to say, and ends it; it
// reports whether everything came through.
func (h *host) connect(turns []turn, stays bool) bool {
	options := []byte{2, 4, mss >> 8, mss & 0xff}
	if !h.send(original, packet.SYN, options, nil) || !h.send(reply, packet.SYN|packet.ACK, options, nil) || !h.send(original, packet.ACK, nil, nil) {
		return false
	}
	for _, t := range turns {
		for b := t.bytes; len(b) > 0; {
			n := min(len(b), mss)
			through := false
			for i := 0; i < tries && !through; i++ {
				through = h.send(t.dir, packet.ACK|packet.PSH, nil, b[:n])
			}
			if !through {
				return false
			}
			b = b[n:]
		}
		h.send(t.dir.Other(), packet.ACK, nil, nil)
	}
	if stays {
		return true
	}
	return h.send(original, packet.FIN|packet.ACK, nil, nil) && h.send(reply, packet.FIN|packet.ACK, nil, nil) && h.send(original, packet.ACK, nil, nil)
}
