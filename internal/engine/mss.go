package engine

import (
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// mostSegment is an MSS whose segments reach us whole. A queued packet is a netlink
// attribute and has at most 65531 bytes, headers included; the loopback interface
// has an MTU of 65536, and what is cut short is dropped (DropTruncated).
const mostSegment = 65400

// limitMSS has the receiver of a SYN or SYN-ACK send no segments that we cannot read.
func (e *Engine) limitMSS(seg *packet.Parsed, r *Result) {
	if seg.MSS <= mostSegment || seg.Signed || r.Verdict == nfq.Drop {
		return
	}
	if r.Payload != nil { // as long, and changed already
		seg.Raw = r.Payload
	}
	e.scratch = seg.LimitMSS(e.scratch[:0], mostSegment)
	r.Payload = e.scratch
}
