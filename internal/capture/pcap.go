package capture

import (
	"encoding/binary"
	"fmt"
)

// Magic numbers, draft-ietf-opsawg-pcap, Section 4, and that of a format of the
// same shape but for longer packet headers, which old Linux distributions wrote.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34

	recordHeader         = 16
	recordHeaderModified = 24 // and an interface index, a protocol, a packet type
)

// pcap reads the packets of a pcap file.
type pcap struct {
	in    *input
	order binary.ByteOrder
	unit  int64 // of the second part of a time stamp, in nanoseconds
	head  uint32
	link  uint16
}

func newPcap(in *input) (*pcap, error) {
	p := &pcap{in: in, head: recordHeader}
	magic, _ := in.Peek(4)
	switch m := binary.LittleEndian.Uint32(magic); m {
	case magicMicro, magicNano, magicModified:
		p.order = binary.LittleEndian
	default:
		p.order = binary.BigEndian
	}
	switch p.order.Uint32(magic) {
	case magicMicro:
		p.unit = 1000
	case magicNano:
		p.unit = 1
	case magicModified:
		p.unit, p.head = 1000, recordHeaderModified
	default:
		return nil, errNotCapture
	}
	h, err := in.rest(24)
	if err != nil {
		return nil, headerError(err)
	}
	if major, minor := p.order.Uint16(h[4:]), p.order.Uint16(h[6:]); major != 2 {
		return nil, fmt.Errorf("pcap version %d.%d is not supported", major, minor)
	}
	// The upper half of the field tells of frame check sequences, which end up
	// behind the IP packet with all other padding.
	p.link = uint16(p.order.Uint32(h[20:]))
	if !supported(p.link) {
		return nil, linkError(p.link)
	}
	return p, nil
}

func (p *pcap) next(f *frame) error {
	h, err := p.in.bytes(p.head)
	if err != nil {
		return err
	}
	f.time = int64(p.order.Uint32(h))*1e9 + int64(p.order.Uint32(h[4:]))*p.unit
	size, sent := p.order.Uint32(h[8:]), p.order.Uint32(h[12:])
	if size > maxPacket {
		return tooLong(size)
	}
	f.link, f.sent = p.link, sent
	f.data, err = p.in.rest(size)
	return err
}
