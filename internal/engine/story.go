package engine

import (
	"math/bits"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// The latest connections have a story, for whoever asks why one of them passes or
// does not: which packet made what known. A packet that says nothing new costs a
// comparison, one that does a line of numbers. When nothing is read of a connection
// any more, what reading took stays with its story: of a refused one for as long as
// there is a story, of others only of the last ones, for memory that serves again
// soon is still near the processor. Nothing is put into words before somebody asks.

// stories is a ring: the next connection takes the place of the oldest. Numbers of
// connections follow one another, so a number says which place is its own. Those of
// refused connections are moved to a ring of their own then, to be there for longer.
type stories struct {
	slabs [][]tale // made as connections come, up to limit
	limit uint64   // a power of two; 0: no connection has one
	since int64    // when the policy in force took another's place, 0 if it did not
	first uint64   // number of a connection
	step  uint64   // to the next one's

	refused []*tale // no more than most, a ring
	most    int
	oldest  int            // of refused, once there are most
	places  map[uint64]int // in refused, by connection

	// The packet at hand: of this connection, or nil.
	conn    *conntrack.Conn[flow]
	dir     conntrack.Direction
	invalid conntrack.Reason
	noticed Noticed
	at      *moment // its own, once it is noted

	kept [keptPassing]uint64 // connections that passed and whose facts are kept, a ring
	turn uint8               // the next place in it
}

const (
	storySlab = 64 // stories are allocated at once

	// keptPassing is of how many connections that were accepted the facts are kept.
	keptPassing = 256
)

// tale is the story of one connection.
type tale struct {
	id     uint64                // 0: the place is free
	conn   *conntrack.Conn[flow] // nil once it has ended, and while it rests
	rests  uint32                // its place in the table then, or 0
	ins    *inspection           // what reading took, when that is over; may be nil
	said   *saying               // the same, for the certificate
	detail string                // why it is refused, or would be
	held   *HoldStory            // once it has ended; nil: it never was under a closed gate
	count  uint64                // of moments
	told   [firstMoments + lastMoments]moment

	// When it has ended:
	seen      Seen
	packet    uint64
	diagnosis Diagnosis
	end       conntrack.End
}

// The first moments of a connection are told, and the last ones: in between there
// may be any number.
const (
	firstMoments = 12
	lastMoments  = 4
)

// moment is Moment, packed.
type moment struct {
	low     uint32 // microseconds since the connection began
	high    uint16
	length  uint16
	seq     uint32
	packet  uint32
	flags   packet.Flags
	how     how
	noticed Noticed
}

// how is direction, kind and fate of a moment: a bit, two, one and four.
type how uint8

const (
	howKind    = 1
	howDropped = 1 << 3
	howWhy     = 4
)

// MomentKind says what happened at a moment.
type MomentKind uint8

const (
	APacket    MomentKind = iota // came
	Injected                     // was sent by us, in the name of the other side
	TimeUp                       // came for the connection to be decided
	ByOperator                   // was ended
)

// Noticed is a set of what became known at a moment.
type Noticed uint16

const (
	NoticedTLS         Noticed = 1 << iota // a side has begun to speak it
	NoticedNotTLS                          // this is something else
	NoticedClientHello                     // the first, or another
	NoticedRetry                           // HelloRetryRequest
	NoticedServerHello
	NoticedCertificate // of either side
	NoticedKeyExchange // ServerKeyExchange
	NoticedHelloDone
	NoticedClientKeyExchange
	NoticedChangeCipherSpec
	NoticedAlert
	NoticedData     // the first record of application data of a side
	NoticedText     // that the policy searches for
	NoticedAccepted // by what was known so far
	NoticedWould    // a refusal that is only observed
	NoticedVerdict  // for good
)

// bound says how many stories there may be: a quarter, or less, is for the latest
// connections, the rest for refused ones.
func (x *stories) bound(limit int, first, step uint64) {
	x.first, x.step = max(1, first), max(1, step)
	if limit > 0 {
		x.limit = 1 << (bits.Len(uint((limit+3)/4)) - 1)
		x.most = limit - int(x.limit)
	}
}

// of returns the story of a connection, nil if it has none, or none any more.
func (x *stories) of(id uint64) *tale {
	if x.limit == 0 {
		return nil
	}
	if n := x.place(id); n/storySlab < uint64(len(x.slabs)) {
		if s := &x.slabs[n/storySlab][n%storySlab]; s.id == id {
			return s
		}
	}
	return nil
}

// place is which one is a connection's own.
func (x *stories) place(id uint64) uint64 {
	n := id - x.first
	if x.step != 1 {
		n /= x.step
	}
	return n & (x.limit - 1)
}

// any returns the story of a connection wherever it is.
func (x *stories) any(id uint64) *tale {
	if s := x.of(id); s != nil {
		return s
	}
	if place, ok := x.places[id]; ok {
		return x.refused[place]
	}
	return nil
}

// beginStory begins the story of a new connection, where another one's was.
func (e *Engine) beginStory(c *conntrack.Conn[flow]) {
	x := &e.stories
	if x.limit == 0 {
		return
	}
	n := x.place(c.ID)
	for n/storySlab >= uint64(len(x.slabs)) {
		x.slabs = append(x.slabs, make([]tale, min(storySlab, x.limit-uint64(len(x.slabs))*storySlab)))
	}
	s := &x.slabs[n/storySlab][n%storySlab]
	if s.detail != "" {
		e.archive(s)
	}
	e.forget(s)
	s.id, s.conn, s.rests, s.count, s.detail, s.held = c.ID, c, 0, 0, "", nil
}

// archive moves the story of a refused connection out of the way of the next.
func (e *Engine) archive(s *tale) {
	x := &e.stories
	place := x.oldest
	switch {
	case x.most == 0:
		return
	case len(x.refused) < x.most:
		place = len(x.refused)
		x.refused = append(x.refused, new(tale))
	default:
		e.forget(x.refused[place])
		delete(x.places, x.refused[place].id)
		x.oldest = (place + 1) % x.most
	}
	if x.places == nil {
		x.places = map[uint64]int{}
	}
	*x.refused[place] = *s
	x.places[s.id] = place
	s.ins = nil
}

// forget gives back what reading took.
func (e *Engine) forget(s *tale) {
	if s.ins != nil {
		e.giveBack(s.ins)
		s.ins = nil
	}
}

// notice notes that something became known.
func (e *Engine) notice(n Noticed) { e.stories.noticed |= n }

// new reports whether the packet at hand is to be noted: it has made something
// known, it is a SYN, FIN or RST, or it does not pass.
func (x *stories) new(flags packet.Flags, v nfq.Verdict) bool {
	return x.conn != nil && (x.noticed != 0 || flags&(packet.SYN|packet.FIN|packet.RST) != 0 || v == nfq.Drop || x.invalid != 0 || x.at != nil)
}

// noted notes the packet at hand and what became of it.
func (e *Engine) noted(v nfq.Verdict, mark uint32) {
	x := &e.stories
	if e.notePacket(); x.at == nil {
		return
	}
	x.at.noticed = x.noticed
	if v == nfq.Drop || v == nfq.Repeat && e.cfg.Marks.Kind(mark) == nfq.Refused {
		x.at.how |= howDropped
	}
}

// notePacket gives the packet at hand its moment.
func (e *Engine) notePacket() {
	x, seg := &e.stories, e.seg
	if x.conn != nil && x.at == nil {
		x.at = e.note(x.conn, x.dir, APacket, seg.Seq, seg.Flags, seg.PayloadLen())
		if x.at != nil {
			x.at.how |= how(x.invalid) << howWhy
		}
	}
}

// note adds a moment to the story of a connection, and returns nil if it has none.
func (e *Engine) note(c *conntrack.Conn[flow], d conntrack.Direction, kind MomentKind, seq seqnum.Value, flags packet.Flags, length int) *moment {
	s := e.stories.of(c.ID)
	if s == nil {
		return nil
	}
	m := &s.told[placeOf(s.count)]
	s.count++
	since := uint64(max(0, e.now-c.Start)) / 1000
	*m = moment{
		low: uint32(since), high: uint16(min(since>>32, 1<<16-1)), length: uint16(min(length, 1<<16-1)),
		seq: c.ISS(d).Size(seq), packet: uint32(min(packets(c), 1<<32-1)), flags: flags, how: how(d) | how(kind)<<howKind,
	}
	return m
}

// placeOf is where the n-th moment stands.
func placeOf(n uint64) uint64 {
	if n < firstMoments {
		return n
	}
	return firstMoments + (n-firstMoments)%lastMoments
}

// noteInjected notes a packet of our own in direction d, behind the one at hand.
func (e *Engine) noteInjected(c *conntrack.Conn[flow], d conntrack.Direction, seq seqnum.Value, flags packet.Flags, length int) {
	e.notePacket()
	e.note(c, d, Injected, seq, flags, length)
}

// noteEvent begins the moment of what is no packet; eventNoted ends it.
func (e *Engine) noteEvent(c *conntrack.Conn[flow], kind MomentKind) {
	x := &e.stories
	x.conn, x.noticed = nil, 0
	x.at = e.note(c, conntrack.Original, kind, c.ISS(conntrack.Original), 0, 0)
}

func (e *Engine) eventNoted() {
	if x := &e.stories; x.at != nil {
		x.at.noticed = x.noticed
	}
}

// keep leaves what reading a connection took to its story, and reports whether it
// has one.
func (e *Engine) keep(c *conntrack.Conn[flow], ins *inspection) bool {
	x := &e.stories
	s := x.of(c.ID)
	if s == nil {
		return false
	}
	ins.tls.Rest()
	ins.resumption = resumption{}
	ins.certs.forget()
	if f := &ins.facts; f.Chain != nil { // it is not held, see terms
		f.Chain, f.Lost = nil, f.Lost|tlsrules.LostCertificate
	}
	e.forget(s)
	if s.said = c.Value.sum.said; ins.tls.Told() > usualTold {
		return false // of that much a story keeps what any connection does
	}
	s.ins = ins
	if s.detail != "" {
		return true
	}
	if old := x.of(x.kept[x.turn]); old != nil && old.detail == "" {
		e.forget(old)
	}
	x.kept[x.turn] = c.ID
	x.turn++
	return true
}

// endStory keeps what the table knows of a connection that leaves it.
func (e *Engine) endStory(c *conntrack.Conn[flow], why conntrack.End, what Diagnosis) {
	s := e.stories.of(c.ID)
	if s == nil && len(e.stories.places) > 0 {
		s = e.stories.any(c.ID)
	}
	if s != nil {
		e.see(c, &s.seen)
		s.packet, s.end, s.diagnosis, s.conn = c.Value.sum.packet, why, what, nil
	}
}

// noticeRecord notes what the header of a record tells.
func (e *Engine) noticeRecord(f *tlsrules.Facts, content tlswire.Content, first bool) {
	if !f.Known.Has(tlsrules.StageFirstBytes) {
		e.notice(NoticedTLS)
	}
	switch {
	case content == tlswire.ChangeCipherSpec:
		e.notice(NoticedChangeCipherSpec)
	case content == tlswire.ApplicationData && first:
		e.notice(NoticedData)
	}
}

// noticeMessage notes a handshake message.
func (e *Engine) noticeMessage(t *tlswire.Conn) {
	switch t.LastMessage.Type {
	case tlswire.TypeClientHello:
		e.notice(NoticedClientHello)
	case tlswire.TypeServerHello:
		if t.ServerHello.Retry {
			e.notice(NoticedRetry)
		} else {
			e.notice(NoticedServerHello)
		}
	case tlswire.TypeCertificate:
		e.notice(NoticedCertificate)
	case tlswire.TypeServerKeyExchange:
		e.notice(NoticedKeyExchange)
	case tlswire.TypeServerHelloDone:
		e.notice(NoticedHelloDone)
	case tlswire.TypeClientKeyExchange:
		e.notice(NoticedClientKeyExchange)
	}
}
