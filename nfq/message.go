package nfq

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// linux/netfilter/nfnetlink_queue.h
const (
	msgPacket  = unix.NFNL_SUBSYS_QUEUE << 8   // NFQNL_MSG_PACKET
	msgVerdict = unix.NFNL_SUBSYS_QUEUE<<8 | 1 // NFQNL_MSG_VERDICT
	msgConfig  = unix.NFNL_SUBSYS_QUEUE<<8 | 2 // NFQNL_MSG_CONFIG

	attrPacketHeader  = 1  // NFQA_PACKET_HDR
	attrVerdictHeader = 2  // NFQA_VERDICT_HDR
	attrMark          = 3  // NFQA_MARK
	attrInDev         = 5  // NFQA_IFINDEX_INDEV
	attrOutDev        = 6  // NFQA_IFINDEX_OUTDEV
	attrPayload       = 10 // NFQA_PAYLOAD
	attrCapLen        = 13 // NFQA_CAP_LEN
	attrSKBInfo       = 14 // NFQA_SKB_INFO

	skbChecksumNotReady   = 1 << 0
	skbGSO                = 1 << 1
	skbChecksumUnverified = 1 << 2

	configCommand  = 1 // NFQA_CFG_CMD
	configParams   = 2 // NFQA_CFG_PARAMS
	configMaxLen   = 3 // NFQA_CFG_QUEUE_MAXLEN
	configMask     = 4 // NFQA_CFG_MASK
	configFlags    = 5 // NFQA_CFG_FLAGS
	commandBind    = 1 // NFQNL_CFG_CMD_BIND
	commandProbe   = 4 // NFQNL_CFG_CMD_PF_UNBIND: checks permission, does nothing since Linux 3.8
	copyPacket     = 2 // NFQNL_COPY_PACKET
	flagFailOpen   = 1 << 0
	flagGSO        = 1 << 2
	copyRange      = 0xffff
	sizeNetlink    = 16 // struct nlmsghdr
	sizeNetfilter  = 4  // struct nfgenmsg
	sizeAttribute  = 4  // struct nlattr
	maxAttribute   = 0xffff - sizeAttribute
	attributeFlags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
)

// align rounds up to NLMSG_ALIGNTO, which is NLA_ALIGNTO.
func align(n int) int { return (n + 3) &^ 3 }

// message is one netlink message of a datagram.
type message struct {
	kind uint16
	body []byte
}

// cutMessage takes the first netlink message off a datagram. It is not ok when
// the datagram is empty or what stands in it is no message; the rest is then nil.
func cutMessage(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < sizeNetlink {
		return m, nil, false
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size < sizeNetlink || size > len(b) {
		return m, nil, false
	}
	m = message{binary.NativeEndian.Uint16(b[4:]), b[sizeNetlink:size]}
	return m, b[min(align(size), len(b)):], true
}

// errno is the error a NLMSG_ERROR message reports: 0 for an acknowledgement.
func (m message) errno() unix.Errno {
	if len(m.body) < 4 {
		return unix.EBADMSG
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.body)))
}

// packet reads a NFQNL_MSG_PACKET into p, whose payload then lies in the
// message. It is ok when the packet's id is known; if what follows the id makes
// no sense the payload is nil, so that the packet can still be answered.
func (m message) packet(p *Packet) (ok bool) {
	*p = Packet{}
	if len(m.body) < sizeNetfilter {
		return false
	}
	for b := m.body[sizeNetfilter:]; len(b) > 0; {
		if len(b) < sizeAttribute {
			p.Payload = nil
			return ok
		}
		size := int(binary.NativeEndian.Uint16(b))
		if size < sizeAttribute || size > len(b) {
			p.Payload = nil
			return ok
		}
		kind := binary.NativeEndian.Uint16(b[2:]) &^ attributeFlags
		value := b[sizeAttribute:size:size]
		b = b[min(align(size), len(b)):]
		switch {
		case kind == attrPayload:
			p.Payload = value
		case kind == attrPacketHeader && len(value) >= 7:
			p.ID, p.Hook, ok = binary.BigEndian.Uint32(value), Hook(value[6]), true
		case len(value) == 4:
			p.number(kind, binary.BigEndian.Uint32(value))
		}
	}
	return ok
}

// number sets what a 32-bit attribute says.
func (p *Packet) number(kind uint16, v uint32) {
	switch kind {
	case attrMark:
		p.Mark = v
	case attrInDev:
		p.InDev = v
	case attrOutDev:
		p.OutDev = v
	case attrCapLen:
		p.CapLen = v
	case attrSKBInfo:
		p.skbInfo(v)
	}
}

func (p *Packet) skbInfo(flags uint32) {
	p.ChecksumNotReady = flags&skbChecksumNotReady != 0
	p.ChecksumUnverified = flags&skbChecksumUnverified != 0
	p.GSO = flags&skbGSO != 0
}

// appendVerdict appends a NFQNL_MSG_VERDICT. No acknowledgement is asked for;
// the kernel reports an error all the same.
func appendVerdict(dst []byte, queue uint16, id uint32, v Verdict, mark uint32, payload []byte) []byte {
	if v != Accept && v != Repeat {
		v = Drop
	}
	start := len(dst)
	dst = appendHeader(dst, msgVerdict, queue)
	dst = appendAttribute(dst, attrVerdictHeader, 8)
	dst = binary.BigEndian.AppendUint32(dst, uint32(v))
	dst = binary.BigEndian.AppendUint32(dst, id)
	if mark != 0 {
		dst = appendAttribute(dst, attrMark, 4)
		dst = binary.BigEndian.AppendUint32(dst, mark)
	}
	if len(payload) > 0 {
		dst = appendAttribute(dst, attrPayload, len(payload))
		dst = append(dst, payload...)
		dst = append(dst, make([]byte, align(len(payload))-len(payload))...)
	}
	binary.NativeEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// noop is a request for an acknowledgement and nothing else.
func noop() []byte {
	m := binary.NativeEndian.AppendUint32(nil, sizeNetlink)
	m = binary.NativeEndian.AppendUint16(m, unix.NLMSG_NOOP)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	return append(m, 0, 0, 0, 0, 0, 0, 0, 0)
}

// appendHeader appends struct nlmsghdr, its length still 0, and struct nfgenmsg.
func appendHeader(dst []byte, kind, queue uint16) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.NativeEndian.AppendUint16(dst, kind)
	dst = binary.NativeEndian.AppendUint16(dst, unix.NLM_F_REQUEST)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = append(dst, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(dst, queue)
}

func appendAttribute(dst []byte, kind uint16, size int) []byte {
	dst = binary.NativeEndian.AppendUint16(dst, uint16(sizeAttribute+size))
	return binary.NativeEndian.AppendUint16(dst, kind)
}

// prefix is the length of the longest run of whole messages at the beginning of
// b that is at most limit bytes long, at least one, and for how many packets they are.
func prefix(b []byte, limit int) (size, packets int) {
	for size < len(b) {
		n := int(binary.NativeEndian.Uint32(b[size:]))
		if size > 0 && size+n > limit {
			break
		}
		packets += answered(b[size:])
		size += n
	}
	return size, packets
}
