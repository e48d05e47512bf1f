package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// invalidRST reports whether an RST of a decided connection is one that the kernel's
// connection tracking takes for none of it: by flags that no TCP sends, or by what it
// acknowledges (nf_conntrack_proto_tcp.c). Its receiver may take it, and what the mark
// says would stand: that what comes on the numbers of a connection that is over passes,
// though a server may begin another there, by a SYN cookie.
func (e *Engine) invalidRST(p *nfq.Packet, seg *packet.Parsed) bool {
	return seg.Flags.Has(packet.RST) && e.isUntracked(p) && !e.cfg.Default.Observe
}

// isUntracked reports whether the kernel's connection tracking takes an RST or FIN for
// none of a connection: a client can see to that, for what its own packets acknowledge
// selectively counts there (nf_conntrack_proto_tcp.c:tcp_sack), and what its server then
// acknowledges was never seen.
func (e *Engine) isUntracked(p *nfq.Packet) bool {
	m := e.cfg.Marks
	return m.Mask() != 0 && p.Mark&m.Mask() == m.Untracked()
}

// untracked has the mark of a connection left to the kernel cleared by packets of our own,
// where the one at hand has ended it, or will have, and cannot say so. Once does: while a
// SYN cookie of it may be good nothing says accepted again (Ends).
func (e *Engine) untracked(c *conntrack.Conn[flow], p *nfq.Packet) {
	f := &c.Value
	if e.cfg.Clear == nil || !f.offloaded || f.cleared || !c.Young(e.now) || !e.isUntracked(p) || e.cfg.Default.Observe {
		return
	}
	sent, _ := e.carry(c, e.cfg.Clear) // where nobody can be told the mark stands
	f.cleared = sent == 2
}

// endsUnknown reports whether an RST or FIN that the kernel's connection tracking takes for
// none of a connection that began unseen may be of one of which a SYN cookie is good.
// What the mark says of that is not known, nor who is the client, so that no packet of ours
// could be sure to clear it.
func (e *Engine) endsUnknown(c *conntrack.Conn[flow], p *nfq.Packet) bool {
	return e.isUntracked(p) && !e.cfg.Default.Observe && e.mayBeYoung(endsOf(c))
}
