package engine

import (
	"net/netip"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// tellTooLong is how often a packet that is too long is noted, at most.
const tellTooLong = int64(100 * time.Millisecond)

// TooLong is a packet that no message of the queue can hold. The zero TooLong is none.
type TooLong struct {
	Src, Dst netip.AddrPort // as packet.Ends
	Size     uint32
	Device   uint32 // interface that it came by, 0 for none
}

// tooLong notes a packet that is longer than its message; it is dropped.
func (e *Engine) tooLong(p *nfq.Packet, now int64) {
	if now < e.nextLong {
		return
	}
	e.nextLong = now + tellTooLong
	l := TooLong{Size: p.CapLen, Device: p.InDev}
	l.Src, l.Dst = packet.Ends(p.Payload)
	e.shared.mu.Lock()
	e.shared.long = l
	e.shared.mu.Unlock()
}

// TooLong returns the latest one; Stats counts them. Safe for concurrent use.
func (e *Engine) TooLong() TooLong {
	e.shared.mu.Lock()
	defer e.shared.mu.Unlock()
	return e.shared.long
}
