package lab

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Order is the order in which the segments of one write are sent.
type Order uint8

// The zero Order is the ordinary one.
const (
	Forward Order = iota
	Backward
	Shuffled // by Segmentation.Seed
)

// Copies says what is sent besides each segment.
type Copies uint8

// The zero Copies is nothing.
const (
	CopyNone         Copies = iota
	CopySame                // each segment twice
	CopyChanged             // each segment, then one for the same place with other bytes
	CopyChangedFirst        // one for the same place with other bytes, then the segment
)

// Segmentation says how a stream of bytes is cut into segments. The zero value
// sends full segments in order.
type Segmentation struct {
	// Size of a segment; 0 means as large as the link allows.
	Size int
	// First bytes of the stream it applies to; what follows is sent as by the
	// zero value. 0 means the whole stream.
	First int64
	Order Order
	// Seed of Shuffled: the same seed gives the same order.
	Seed   uint64
	Copies Copies
	// Alter returns the bytes of a changed copy of the segment at that place in
	// the stream; nil means the complement of every bit. It must not change b.
	Alter func(offset int64, b []byte) []byte
	// Delay between one segment and the next.
	Delay time.Duration
	// Plan, if set, is asked instead: it returns what to send for b, which
	// begins at that place of the stream, in the order it is to be sent.
	// Whatever the plan leaves out is sent when nothing of it was acknowledged
	// for a while.
	Plan func(offset int64, b []byte) []Segment
}

// Segment is one TCP segment to be sent.
type Segment struct {
	// Offset of its first byte in the stream; what was sent first is 0.
	Offset int64
	Data   []byte
	// FIN, RST and URG set those flags; URG points behind the data.
	FIN, RST, URG bool
	// BadChecksum makes the TCP checksum wrong.
	BadChecksum bool
	// TTL of the packet; 0 means 64. With 1 it reaches the gateway only.
	TTL uint8
	// Wait before it is sent.
	Wait time.Duration
}

func (s *Segment) end() int64 { return s.Offset + int64(len(s.Data)) }

// plan returns what to send for b. A segment holds no more than mss bytes.
func (g *Segmentation) plan(offset int64, b []byte, mss int) []Segment {
	special := b
	if g.First > 0 {
		special = b[:max(0, min(int64(len(b)), g.First-offset))]
	}
	var out []Segment
	if g.Plan != nil && len(special) > 0 {
		out = g.Plan(offset, special)
	} else {
		out = g.cut(offset, special, mss)
	}
	ordinary := Segmentation{}
	return append(out, ordinary.cutRest(offset+int64(len(special)), b[len(special):], mss)...)
}

func (g *Segmentation) cut(offset int64, b []byte, mss int) []Segment {
	pieces := g.cutRest(offset, b, mss)
	switch g.Order {
	case Backward:
		slices.Reverse(pieces)
	case Shuffled:
		r := rand.New(rand.NewPCG(g.Seed, uint64(offset)))
		r.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	}
	var out []Segment
	for _, p := range pieces {
		changed := Segment{Offset: p.Offset, Data: g.alter(p.Offset, p.Data)}
		switch g.Copies {
		case CopySame:
			out = append(out, p, p)
		case CopyChanged:
			out = append(out, p, changed)
		case CopyChangedFirst:
			out = append(out, changed, p)
		default:
			out = append(out, p)
		}
	}
	for i := range out {
		out[i].Wait = g.Delay
	}
	return out
}

// cutRest cuts b into segments of Size bytes, in order.
func (g *Segmentation) cutRest(offset int64, b []byte, mss int) []Segment {
	size := mss
	if g.Size > 0 {
		size = min(g.Size, mss)
	}
	var out []Segment
	for piece := range slices.Chunk(b, size) {
		out = append(out, Segment{Offset: offset, Data: slices.Clone(piece)})
		offset += int64(len(piece))
	}
	return out
}

func (g *Segmentation) alter(offset int64, b []byte) []byte {
	if g.Copies != CopyChanged && g.Copies != CopyChangedFirst {
		return nil
	}
	if g.Alter != nil {
		return g.Alter(offset, b)
	}
	out := make([]byte, len(b))
	for i := range b {
		out[i] = ^b[i]
	}
	return out
}

// unit is the size of a segment at that place of the stream when it is sent
// again.
func (g *Segmentation) unit(offset int64, mss int) int {
	if g.Size > 0 && (g.First == 0 || offset < g.First) {
		return min(g.Size, mss)
	}
	return mss
}

// disorders reports whether the plan for that place of the stream makes a
// receiver repeat its acknowledgements.
func (g *Segmentation) disorders(offset int64) bool {
	return (g.First == 0 || offset < g.First) && (g.Order != Forward || g.Copies != CopyNone || g.Plan != nil)
}
