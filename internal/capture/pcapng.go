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
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6

	byteOrderMagic = 0x1A2B3C4D
)

// Options of an interface description, draft-ietf-opsawg-pcapng, Section 4.2.
const (
	optionEnd         = 0
	optionName        = 2  // if_name
	optionResolution  = 9  // if_tsresol
	optionShift       = 14 // if_tsoffset
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
}

// iface is an interface of a section.
type iface struct {
	name       string
	link       uint16
	snap       uint32
	resolution byte  // if_tsresol as it stands
	shift      int64 // if_tsoffset, seconds
}

var errBlock = errors.New("the lengths in a block contradict each other")

func newPcapng(in *input) (*pcapng, error) {
	p := &pcapng{in: in}
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
		body := size - 12
		switch kind {
		case blockEnhanced, blockPacket:
			err = p.enhanced(kind, body, f)
		case blockSimple:
			err = p.simple(body, f)
		case blockInterface:
			err = p.describe(body)
		default:
			err = p.in.skip(body)
		}
		if err == nil {
			err = p.trailer(size)
		}
		if err != nil || f.data != nil {
			return err
		}
	}
}

// trailer reads the length at the end of a block, and leaves buf alone.
func (p *pcapng) trailer(size uint32) error {
	t, err := p.in.Peek(4)
	if len(t) < 4 {
		return ErrTruncated
	}
	if err != nil {
		return err
	}
	if p.order.Uint32(t) != size {
		return errBlock
	}
	return p.in.skip(4)
}

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
	size := p.order.Uint32(length[:])
	if size < 28 || size%4 != 0 {
		return errBlock
	}
	if err := p.in.skip(size - 28); err != nil {
		return err
	}
	return p.trailer(size)
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
	for b = b[8:]; len(b) >= 4; {
		code, n := p.order.Uint16(b), int(p.order.Uint16(b[2:]))
		padded := (n + 3) &^ 3
		if code == optionEnd {
			break
		}
		if b = b[4:]; padded > len(b) {
			return errBlock
		}
		switch v := b[:n]; {
		case code == optionName && n <= maxInterfaceName:
			i.name = string(v)
		case code == optionResolution && n == 1:
			i.resolution = v[0]
		case code == optionShift && n == 8:
			i.shift = int64(p.order.Uint64(v))
		}
		b = b[padded:]
	}
	p.ifaces = append(p.ifaces, i)
	return nil
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

// data reads the bytes of a packet and passes over the body bytes of the block
// that are left.
func (p *pcapng) data(i *iface, body, size, sent uint32, f *frame) error {
	if size > body {
		return errBlock
	}
	b, err := p.in.rest(size)
	if err != nil {
		return err
	}
	if b == nil {
		b = []byte{}
	}
	*f = frame{data: b, time: p.last, link: i.link, name: i.name, truncated: size < sent}
	return p.in.skip(body - size)
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
