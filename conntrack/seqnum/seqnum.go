// Package seqnum does the arithmetic of TCP sequence numbers, RFC 9293,
// Section 3.4: numbers modulo 2^32, of which one comes before another only
// relative to where one stands. Every comparison and every distance between
// sequence numbers in this program is made here.
//
// It knows nothing of segments, windows kept per connection, or the 33rd bit:
// numbers more than 2^31 apart cannot be told from numbers less than 2^31
// apart the other way, and it is for the caller to bound distances first.
package seqnum

// Half is half the sequence space, the distance from which on "before" and
// "after" mean nothing: two numbers exactly Half apart are each Less than
// neither, and Diff of them is its minimum in both directions.
const Half = 1 << 31

// Value is a TCP sequence or acknowledgement number. Zero is the number zero,
// as good as any other; whether there is a number at all is for its holder to
// remember.
type Value uint32

// Add returns the number n octets after v, modulo 2^32.
func (v Value) Add(n uint32) Value { return v + Value(n) }

// Sub returns the number n octets before v, modulo 2^32.
func (v Value) Sub(n uint32) Value { return v - Value(n) }

// Diff returns the signed distance from w to v: positive when v comes after w.
func (v Value) Diff(w Value) int32 { return int32(v - w) }

// Size returns the number of octets from v up to but not including end, which
// the caller knows not to come before v.
func (v Value) Size(end Value) uint32 { return uint32(end - v) }

// Less reports whether v comes before w.
func (v Value) Less(w Value) bool { return int32(w-v) > 0 }

// LessEq reports whether v comes before w or is w.
func (v Value) LessEq(w Value) bool { return v == w || v.Less(w) }

// InRange reports whether v lies in [first, end). The range is walked upwards
// from first, so it may be of any size below 2^32; first == end is empty.
func (v Value) InRange(first, end Value) bool { return v-first < end-first }

// InWindow reports whether v is one of the size octets that begin at first.
func (v Value) InWindow(first Value, size uint32) bool { return uint32(v-first) < size }

// Max returns the later of v and w; v when neither is later.
func Max(v, w Value) Value {
	if v.Less(w) {
		return w
	}
	return v
}

// Min returns the earlier of v and w; v when neither is earlier.
func Min(v, w Value) Value {
	if w.Less(v) {
		return w
	}
	return v
}
