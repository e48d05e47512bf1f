package engine

import (
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules/tlswire"
)

// inHandshake reports whether what comes is read for more than the headers of
// records, or may come in the place of what was.
func (f *flow) inHandshake() bool {
	return f.phase == settling || f.phase == reading && (f.ins == nil || f.ins.tls.Phase < tlswire.PhaseHandshakeDone)
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
