package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// roomy is the window, in bytes, of a receiver that has room for copies: those take
// more of its socket's memory than what came, and one with room for a packet or two
// would never take them.
const roomy = 8 << 10

// tellsHello reports whether a segment may say what a client asks for, or may come in the
// place of one that did. What a server says it says in earnest.
func tellsHello(c *conntrack.Conn[flow], d conntrack.Direction, seg *packet.Parsed) bool {
	f := &c.Value
	if d != conntrack.Original || f.phase != reading && f.phase != settling {
		return false
	}
	if w := c.Window(conntrack.Reply); 0 < w && w < roomy { // 0: it has not been heard yet
		return false
	}
	return f.phase == reading && !f.complete || seg.Seq.Less(f.streams[d].Next())
}

// ownCopy has a packet of this machine's go on with the bytes that were read. Where its
// checksum is not ready its payload may be memory that its sender can still change
// (splice(2), vmsplice(2)), and nobody would see that it has been. It takes a copy and
// a checksum, too much for every record of a download.
func (e *Engine) ownCopy(p *nfq.Packet, seg *packet.Parsed, r *Result) {
	if !p.ChecksumNotReady || r.Verdict == nfq.Drop || len(seg.Payload) == 0 || r.Payload != nil || seg.Missing != 0 {
		return
	}
	e.scratch = seg.Copy(e.scratch[:0])
	r.Payload = e.scratch
}
