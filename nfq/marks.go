package nfq

import (
	"fmt"
	"math/bits"
)

// Kind is what a mark says of a packet or, in the connection's mark, of a
// connection. The zero Kind is Undecided.
type Kind uint8

const (
	Undecided Kind = iota
	Accepted       // decided, under a policy generation
	Refused        // decided, whatever the generation
	Pass           // this packet only: it has been judged, or is one of ours
)

func (k Kind) String() string {
	switch k {
	case Accepted:
		return "accepted"
	case Refused:
		return "refused"
	case Pass:
		return "pass"
	}
	return "undecided"
}

// Marks are the values that stand in our bits of a mark: the two highest are a
// Kind, the others the policy generation, counted modulo as many as they hold.
// The zero Marks has no bits and tells nothing: use NewMarks.
type Marks struct {
	mask uint32
}

// NewMarks takes the bits that are ours: at least four, side by side.
func NewMarks(mask uint32) (Marks, error) {
	width := bits.OnesCount32(mask)
	if width < 4 || bits.LeadingZeros32(mask)+width+bits.TrailingZeros32(mask) != 32 {
		return Marks{}, fmt.Errorf("nfq: mark mask %#08x: want at least four bits side by side", mask)
	}
	return Marks{mask}, nil
}

// Mask are our bits.
func (m Marks) Mask() uint32 { return m.mask }

// Generations is how many policy generations can be told apart.
func (m Marks) Generations() uint32 { return m.values() - 1 }

// values is how many there are beside a Kind; the last one is Held's.
func (m Marks) values() uint32 { return 1 << m.kindShift() >> bits.TrailingZeros32(m.mask) }

// Accepted is the mark of a connection accepted under a policy generation.
func (m Marks) Accepted(generation uint32) uint32 {
	return m.value(Accepted) | m.number(generation%m.Generations())
}

// Held is the mark of a connection whose application data waits. To the rules it
// is one accepted under a generation that never is: it stays in the queue, and
// whoever reads the queue next sees it.
func (m Marks) Held() uint32 { return m.value(Accepted) | m.number(m.values()-1) }

// Refused is the mark of a refused connection.
func (m Marks) Refused() uint32 { return m.value(Refused) }

// Pass is the mark of a packet that shall not be queued (again) and that says
// nothing of its connection. Config.InjectMark is to be this.
func (m Marks) Pass() uint32 { return m.value(Pass) }

// Clear is Pass that also takes our bits of the connection's mark away: a new
// connection has begun on the ports of a decided one.
func (m Marks) Clear() uint32 { return m.value(Pass) | 1<<bits.TrailingZeros32(m.mask) }

// Untracked is the mark of an RST or FIN that comes to the queue without a connection of the
// kernel's: nothing that is said of it reaches one.
func (m Marks) Untracked() uint32 { return m.Clear() }

// Kind reads a packet's or connection's mark.
func (m Marks) Kind(mark uint32) Kind { return Kind(mark & m.mask >> m.kindShift() & 3) }

// Generation reads the policy generation, which means something in an Accepted
// mark only.
func (m Marks) Generation(mark uint32) uint32 {
	return mark & m.mask &^ m.kindMask() >> bits.TrailingZeros32(m.mask)
}

// Set puts one of our values into a mark and leaves the foreign bits alone.
func (m Marks) Set(mark, value uint32) uint32 { return mark&^m.mask | value&m.mask }

// The kind is that of the bits inside the mask, so that no mask means no kind.
func (m Marks) kindShift() int   { return max(0, 30-bits.LeadingZeros32(m.mask)) }
func (m Marks) kindMask() uint32 { return 3 << m.kindShift() & m.mask }
func (m Marks) number(n uint32) uint32 {
	return n << bits.TrailingZeros32(m.mask) & m.mask &^ m.kindMask()
}

func (m Marks) value(k Kind) uint32 { return uint32(k) << m.kindShift() & m.mask }
