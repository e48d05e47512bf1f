package engine

import (
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// invalidRST reports whether an RST of a decided connection is one that the kernel's
// connection tracking takes for none of it: by flags that no TCP sends, or by what it
// acknowledges (nf_conntrack_proto_tcp.c). Its receiver may take it, and what the mark
// says would stand: that what comes on the numbers of a connection that is over passes,
// though a server may begin another there, by a SYN cookie.
func (e *Engine) invalidRST(p *nfq.Packet, seg *packet.Parsed) bool {
	m := e.cfg.Marks
	return seg.Flags.Has(packet.RST) && m.Mask() != 0 && p.Mark&m.Mask() == m.Untracked() && !e.cfg.Default.Observe
}
