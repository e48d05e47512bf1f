package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// Block types, draft-ietf-opsawg-pcapng, Section 4. All others are passed over.
const (
	blockSection    = 0x0A0D0D0A
	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6

	byteOrderMagic = 0x1A2B3C4D
)

// Options of an interface description, draft-ietf-opsawg-pcapng, Section 4.2, and
// of interface statistics, Section 4.6.
const (
	optionEnd         = 0
	optionName        = 2  // if_name
	optionResolution  = 9  // if_tsresol
	optionShift       = 14 // if_tsoffset
	optionDropped     = 5  // isb_ifdrop
	optionDroppedOS   = 7  // isb_osdrop
	maxInterfaces     = 4096
	maxInterfaceBlock = 256 << 10
	maxInterfaceName  = 255
)

// pcapng reads the packets of a pcapng file, all sections of it.
type pcapng struct {
	in     *input
	order  binary.ByteOrder
	ifaces []iface // of this section
	last   int64   // time of the packet before
	size   uint32  // of this block
	drops  *uint64 // packets that the file says are missing from it
}

// iface is an interface of a section.
type iface struct {
	name       string
	link       uint16
	snap       uint32
	resolution byte  // if_tsresol as it stands
	shift      int64 // if_tsoffset, seconds
	dropped    uint64
}

var errBlock = errors.New("the lengths in a block contradict each other")

func newPcapng(in *input, drops *uint64) (*pcapng, error) {
	p := &pcapng{in: in, drops: drops}
	h, err := in.rest(8)
	if err == nil {
		err = p.section([4]byte(h[4:]))
	}
	if err != nil {
		return nil, headerError(err)
	}
	return p, nil
}

func (p *pcapng) next(f *frame) error {
	for {
		h, err := p.in.bytes(8)
		if err != nil {
			return err
		}
		if binary.BigEndian.Uint32(h) == blockSection {
			if err := p.section([4]byte(h[4:])); err != nil {
				return err
			}
			continue
		}
		kind, size := p.order.Uint32(h), p.order.Uint32(h[4:])
		if size < 12 || size%4 != 0 {
			return errBlock
		}
		p.size = size
		switch body := size - 12; kind {
		case blockEnhanced, blockPacket:
			return p.enhanced(kind, body, f)
		case blockSimple:
			return p.simple(body, f)
		case blockInterface:
			err = p.describe(body)
		case blockStatistics:
			err = p.statistics(body)
		default:
			err = p.in.skip(body)
		}
		if err == nil {
			err = p.trailer()
		}
		if err != nil {
			return err
		}
	}
}

// trailer reads the length at the end of a block.
func (p *pcapng) trailer() error {
	t, err := p.in.rest(4)
	if err == nil && !p.ends(t) {
		err = errBlock
	}
	return err
}

// ends reports whether t repeats the length of the block.
func (p *pcapng) ends(t []byte) bool { return p.order.Uint32(t) == p.size }

// section reads a section header, from its length on.
func (p *pcapng) section(length [4]byte) error {
	h, err := p.in.rest(16)
	if err != nil {
		return err
	}
	switch uint32(byteOrderMagic) {
	case binary.LittleEndian.Uint32(h):
		p.order = binary.LittleEndian
	case binary.BigEndian.Uint32(h):
		p.order = binary.BigEndian
	default:
		return errors.New("a section has no byte order")
	}
	if major, minor := p.order.Uint16(h[4:]), p.order.Uint16(h[6:]); major != 1 {
		return fmt.Errorf("pcapng version %d.%d is not supported", major, minor)
	}
	p.ifaces = p.ifaces[:0]
	p.size = p.order.Uint32(length[:])
	if p.size < 28 || p.size%4 != 0 {
		return errBlock
	}
	if err := p.in.skip(p.size - 28); err != nil {
		return err
	}
	return p.trailer()
}

// describe reads an interface description.
func (p *pcapng) describe(body uint32) error {
	if body < 8 {
		return errBlock
	}
	if body > maxInterfaceBlock {
		return fmt.Errorf("an interface description has %d bytes, at most %d are read", body, maxInterfaceBlock)
	}
	if len(p.ifaces) == maxInterfaces {
		return fmt.Errorf("a section has more than %d interfaces", maxInterfaces)
	}
	b, err := p.in.rest(body)
	if err != nil {
		return err
	}
	i := iface{link: p.order.Uint16(b), snap: p.order.Uint32(b[4:]), resolution: 6}
	err = p.options(b[8:], func(code uint16, v []byte) {
		switch {
		case code == optionName && len(v) <= maxInterfaceName:
			i.name = string(v)
		case code == optionResolution && len(v) == 1:
			i.resolution = v[0]
		case code == optionShift && len(v) == 8:
			i.shift = int64(p.order.Uint64(v))
		}
	})
	p.ifaces = append(p.ifaces, i)
	return err
}

// options calls f with each option.
func (p *pcapng) options(b []byte, f func(code uint16, value []byte)) error {
	for len(b) >= 4 {
		code, n := p.order.Uint16(b), int(p.order.Uint16(b[2:]))
		padded := (n + 3) &^ 3
		if code == optionEnd {
			break
		}
		if b = b[4:]; padded > len(b) {
			return errBlock
		}
		f(code, b[:n])
		b = b[padded:]
	}
	return nil
}

// statistics reads how many packets of an interface the file lacks. They are
// counted from its beginning, so the last block stands.
func (p *pcapng) statistics(body uint32) error {
	if body < 12 || body > maxInterfaceBlock {
		return p.in.skip(body)
	}
	b, err := p.in.rest(body)
	if err != nil {
		return err
	}
	i, err := p.iface(p.order.Uint32(b))
	if err != nil {
		return err
	}
	dropped := uint64(0)
	err = p.options(b[12:], func(code uint16, v []byte) {
		if (code == optionDropped || code == optionDroppedOS) && len(v) == 8 {
			dropped += p.order.Uint64(v)
		}
	})
	if dropped > i.dropped {
		*p.drops += dropped - i.dropped
		i.dropped = dropped
	}
	return err
}

// enhanced reads an enhanced packet block, or the obsolete packet block, which
// differs in the width of its first field.
func (p *pcapng) enhanced(kind, body uint32, f *frame) error {
	if body < 20 {
		return errBlock
	}
	h, err := p.in.rest(20)
	if err != nil {
		return err
	}
	index := p.order.Uint32(h)
	if kind == blockPacket {
		index = uint32(p.order.Uint16(h))
	}
	stamp := uint64(p.order.Uint32(h[4:]))<<32 | uint64(p.order.Uint32(h[8:]))
	size, sent := p.order.Uint32(h[12:]), p.order.Uint32(h[16:])
	i, err := p.iface(index)
	if err != nil {
		return err
	}
	ns, ok := i.nanoseconds(stamp)
	if !ok {
		return fmt.Errorf("time stamp %d is out of range", stamp)
	}
	p.last = ns
	return p.data(i, body-20, size, sent, f)
}

// simple reads a simple packet block, which has no time.
func (p *pcapng) simple(body uint32, f *frame) error {
	if body < 4 {
		return errBlock
	}
	h, err := p.in.rest(4)
	if err != nil {
		return err
	}
	i, err := p.iface(0)
	if err != nil {
		return err
	}
	sent := p.order.Uint32(h)
	size := sent
	if i.snap != 0 {
		size = min(size, i.snap)
	}
	return p.data(i, body-4, size, sent, f)
}

// data reads the bytes of a packet, what is left of the body of its block, and the
// length at the end.
func (p *pcapng) data(i *iface, body, size, sent uint32, f *frame) error {
	switch {
	case size > body:
		return errBlock
	case size > maxPacket:
		return tooLong(size)
	}
	b, err := p.in.rest(body + 4)
	if err != nil {
		return err
	}
	if !p.ends(b[body:]) {
		return errBlock
	}
	*f = frame{data: b[:size:size], time: p.last, link: i.link, name: i.name, sent: sent}
	return nil
}

func (p *pcapng) iface(index uint32) (*iface, error) {
	if uint64(index) >= uint64(len(p.ifaces)) {
		return nil, fmt.Errorf("interface %d was not described", index)
	}
	return &p.ifaces[index], nil
}

// nanoseconds converts a time stamp; false if it does not fit.
func (i *iface) nanoseconds(stamp uint64) (int64, bool) {
	const second = 1_000_000_000
	var sec, ns uint64
	switch exp := i.resolution & 0x7f; {
	case i.resolution&0x80 != 0 && exp < 64: // negative power of two
		sec = stamp >> exp
		hi, lo := bits.Mul64(stamp-sec<<exp, second)
		ns = hi<<(64-exp) | lo>>exp
	case i.resolution&0x80 == 0 && exp <= 19: // negative power of ten
		unit := uint64(1)
		for range exp {
			unit *= 10
		}
		sec = stamp / unit
		hi, lo := bits.Mul64(stamp%unit, second)
		ns, _ = bits.Div64(hi, lo, unit)
	default: // so fine that 64 bits hold no second
		return 0, false
	}
	if sec > math.MaxInt64/second {
		return 0, false
	}
	t := int64(sec)
	if i.shift < -math.MaxInt64/second || i.shift > math.MaxInt64/second-t-1 {
		return 0, false
	}
	return (t+i.shift)*second + int64(ns), true
}
