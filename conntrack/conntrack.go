// Package conntrack is a table of TCP connections seen from the middle: who
// talks to whom, in which state, inside which windows, and for how long. It
// follows RFC 9293 and RFC 5961 as far as someone who is neither end can, and
// nf_conntrack_proto_tcp.c where that is a matter of choice.
//
// It does not look at payload, and carries a value of its caller's for each
// connection without looking into it.
package conntrack

import (
	"encoding/binary"
	"net/netip"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// Direction tells the two ways of a connection apart. A direction's sender is
// the end that its packets come from.
type Direction uint8

const (
	Original Direction = iota // from the end that sent the SYN
	Reply
)

// Other returns the opposite direction.
func (d Direction) Other() Direction { return d ^ 1 }

// String returns the direction in netfilter's spelling.
func (d Direction) String() string {
	if d == Original {
		return "original"
	}
	return "reply"
}

// Outcome says what a packet was to the table.
type Outcome uint8

const (
	// Invalid: its receiver would discard it, or it belongs to no connection
	// and begins none. No state changed.
	Invalid Outcome = iota
	// Opened: a SYN that made an entry.
	Opened
	// Reopened: a SYN-ACK that proves a new connection on ports in use. The old
	// one was ended with EndReopened, and its entry begun anew.
	Reopened
	// Midstream: a packet that made an entry without a SYN.
	Midstream
	// Known: a packet of a connection in the table.
	Known
	// Asleep: the same, and its connection, which rests, does so still: see Resting.
	Asleep
	// Full: no entry could be had.
	Full
)

// Reason says why a packet is Invalid.
type Reason uint8

const (
	NoReason    Reason = iota
	BadFlags           // a combination no TCP sends
	BadAck             // acknowledges what was never sent, or too long ago (RFC 5961, Section 5)
	NoAck              // neither SYN nor RST, and no acknowledgement
	OutOfWindow        // begins beyond the receiver's window
	BadReset           // RFC 5961, Section 3
	BadState           // not possible at this point of the connection
	SynData            // data on a SYN for ports in use: the SYN comes again without
	NoEntry            // an RST that belongs to no connection
	Astray             // it does not come from where its sender is
	reasons
)

// Reasons is how many there are.
const Reasons = int(reasons)

var reasonNames = [reasons]string{"", "bad_flags", "bad_ack", "no_ack", "out_of_window", "bad_reset", "bad_state", "syn_data", "no_entry", "astray"}

// String returns the reason as a label.
func (r Reason) String() string { return reasonNames[r] }

// Tracked is what Track found. Conn is nil when there is no entry, or it rests.
type Tracked[V any] struct {
	Conn    *Conn[V]
	Dir     Direction
	Outcome Outcome
	Why     Reason // of Invalid
}

// End says why an entry left the table.
type End uint8

const (
	EndExpired  End = iota // silent for as long as its state allows
	EndReopened            // its ports are used by a new connection
	EndEvicted             // the table was full
	EndShutdown            // the table was closed
)

var endNames = [...]string{"timeout", "reopened", "evicted", "shutdown"}

// String returns the reason as events name it.
func (e End) String() string { return endNames[e] }

// Conn is one connection. It is valid until the table's ended function was
// called with it; then its memory serves another. It belongs to the table's
// goroutine.
type Conn[V any] struct {
	// Value is the caller's; zero in a new entry.
	Value V
	// ID is unique in its table, counted as Config says.
	ID uint64
	// Start and Last are when its first and its latest packet came, in
	// nanoseconds since the Unix epoch.
	Start, Last int64
	// Packets and Bytes count IP packets by direction. Bytes that passed while
	// packets were not all seen (Loosen) follow from sequence numbers, modulo
	// 4 GiB between two packets that were seen.
	Packets, Bytes [2]uint64

	head  *head
	place place // of the head
	ref   uint32
	// Midstream: its beginning was not seen. It stands here for the memory's sake.
	Midstream bool
	// Guessed: where one side begins was not seen, but taken from the other one.
	Guessed  bool
	original uint8 // which of the key's ends is Original's sender
	state    State
	loose    bool
	lossy    bool // as Config has it, or recorded
	recorded bool // as Config has it
	rivals   bool // before a SYN-ACK was taken for certain, more than one SYN came
	kept     bool // see Keep
	assumed  bool // nothing was seen of the SYN that its SYN-ACK answers
	ended    bool // see ends
	late     bool // its SYN-ACK came minutes behind its first SYN
	others   others
	sides    [2]side
	second   candidate    // a later SYN, or SYN-ACK, with another number
	latest   seqnum.Value // of Original's SYNs
	deadline int64        // when it has been silent for too long
}

// side is what is known of the sender of one direction.
//
//	floor <= acked <= end   all sent by this side, acked known to its peer
//	maxEnd                  what the peer's windows have ever allowed
type side struct {
	iss, acked, end, maxEnd seqnum.Value
	floor                   seqnum.Value // nothing before it is this connection's: iss, or a window's size before acked
	fin                     seqnum.Value // number of its FIN, when finSeen
	maxWin                  uint32       // the largest window this side advertised, bytes
	scale                   uint8        // shift of the windows this side advertises
	scaled                  bool         // its SYN had the option
	known                   bool         // iss is certain
	seen                    bool         // this side has sent something
	windowed                bool         // maxEnd is known
	finSeen                 bool
}

// candidate is a SYN (or SYN-ACK) that would begin a new connection, or the
// same one with other numbers, if its receiver took it.
type candidate struct {
	iss    seqnum.Value
	kind   candidateKind
	dir    Direction // of the SYN
	scale  uint8
	scaled bool
}

type candidateKind uint8

const (
	noCandidate candidateKind = iota
	aSYN
	aSYNACK
)

// HalfOpen reports whether the handshake is not completed, or the connection began
// unseen and was heard from one end only: anyone can send such packets.
func (c *Conn[V]) HalfOpen() bool { return c.head.rank == rankHalfOpen }

// Place is where the table's Walk meets the entry, as long as it lives.
func (c *Conn[V]) Place() uint32 { return c.place }

// State returns the state, by netfilter's names.
func (c *Conn[V]) State() State { return c.state }

// Addr returns the sender of direction d.
func (c *Conn[V]) Addr(d Direction) netip.AddrPort {
	return c.head.key.end(c.original ^ uint8(d))
}

// ISS returns the initial sequence number of direction d, meaningful when
// HasISS says so. A connection that began unseen has the number before the
// first byte seen.
func (c *Conn[V]) ISS(d Direction) seqnum.Value { return c.sides[d].iss }

// HasISS reports whether the beginning of direction d is certain: for Reply
// only once the other end has acknowledged the SYN-ACK.
func (c *Conn[V]) HasISS(d Direction) bool { return c.sides[d].known }

// Acked returns the highest number that d's receiver has acknowledged: it has
// every byte of d before that.
func (c *Conn[V]) Acked(d Direction) seqnum.Value { return c.sides[d].acked }

// Sent returns the number after the last one that d's sender has used.
func (c *Conn[V]) Sent(d Direction) seqnum.Value { return c.sides[d].end }

// Window returns the largest window that d's sender has advertised, in bytes: what it
// has room for.
func (c *Conn[V]) Window(d Direction) uint32 { return c.sides[d].maxWin }

// FIN returns the number of the FIN that d's sender has sent, false for none.
func (c *Conn[V]) FIN(d Direction) (seqnum.Value, bool) { return c.sides[d].fin, c.sides[d].finSeen }

// Loosen tells the table that from now on not every packet of the connection
// comes by: windows are not checked any more.
func (c *Conn[V]) Loosen() { c.loose = true }

// key holds both ends of a connection in one order, for packets of both
// directions. It is made of integers alone: quick to compare and to hash.
type key struct {
	loHigh, loLow, hiHigh, hiLow uint64
	ports                        uint32 // lo's in the upper half
	family                       uint32 // 4 or 6: ::ffff:192.0.2.1 is not 192.0.2.1
}

// take makes k the key of a packet, and returns which end is its sender: 0 for lo.
// It writes where k stands, a word at a time, as same reads it: a copy of what was
// just written that way waits for the processor to put it together.
func (k *key) take(p *packet.Parsed) (sender uint8) {
	srcHigh, srcLow, dstHigh, dstLow, version := p.Ends()
	k.family = version
	if srcHigh < dstHigh || srcHigh == dstHigh && (srcLow < dstLow || srcLow == dstLow && p.SrcPort <= p.DstPort) {
		k.loHigh, k.loLow, k.hiHigh, k.hiLow = srcHigh, srcLow, dstHigh, dstLow
		k.ports = uint32(p.SrcPort)<<16 | uint32(p.DstPort)
		return 0
	}
	k.loHigh, k.loLow, k.hiHigh, k.hiLow = dstHigh, dstLow, srcHigh, srcLow
	k.ports = uint32(p.DstPort)<<16 | uint32(p.SrcPort)
	return 1
}

// same reports whether two keys are one.
func (k *key) same(o *key) bool {
	return k.loLow == o.loLow && k.hiLow == o.hiLow && k.ports == o.ports && k.family == o.family &&
		k.loHigh == o.loHigh && k.hiHigh == o.hiHigh
}

func keyOf(from, to netip.AddrPort) (k key, sender uint8) {
	sender = k.take(&packet.Parsed{Src: from.Addr(), SrcPort: from.Port(), Dst: to.Addr(), DstPort: to.Port()})
	return k, sender
}

// end returns one of the two ends, 0 for lo.
func (k *key) end(which uint8) netip.AddrPort {
	high, low, port := k.loHigh, k.loLow, uint16(k.ports>>16)
	if which == 1 {
		high, low, port = k.hiHigh, k.hiLow, uint16(k.ports)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], high)
	binary.BigEndian.PutUint64(b[8:], low)
	a := netip.AddrFrom16(b)
	if k.family == 4 {
		a = a.Unmap()
	}
	return netip.AddrPortFrom(a, port)
}
