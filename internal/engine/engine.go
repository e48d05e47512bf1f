// Package engine answers each queued packet with one verdict. It walks a
// packet through the rooms in the order of DESIGN's walk: decode, track,
// reassemble, read TLS, decide, answer; it is the only room that knows all of
// them. Its clock is an argument, so a replayed capture takes the very same
// walk as a packet of the kernel's queue.
//
// It does not know netlink, files, or how an event is written down.
package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/reassembly"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// Engine judges the packets of one queue. It belongs to one goroutine; only
// Stats, Bug and what asks (Ping, List, Find, Kill, Adopt) may be called from others. It
// is made by New.
type Engine struct {
	cfg    Config
	policy *tlsrules.Policy
	table  *conntrack.Table[flow]
	budget reassembly.Budget
	seg    *packet.Parsed // the packet at hand
	next   lookahead

	spare     []*inspection // given back by connections no longer read
	searches  []*search     // the same
	listeners []*via.Conn   // the same
	waiting   waiting       // connections whose time to decide is running
	opening   opening       // where an alert could stand
	unread    unread        // alerts that may have been lost
	doomed    doomed        // refused connections whose ends may not know
	held      map[*conntrack.Conn[flow]]*hold
	holding   atGates   // of those whose data waits
	sending   behind    // of those let go, whose receivers may not have it
	shut      gate      // of no rule, and closed
	holds     []*hold   // given back
	copies    [][]byte  // the same
	refusing  earlier   // between whom connections are refused
	forgotten forgotten // connections that left the table unread
	returning forgotten // of others, those that mayReturn
	// pins are the parts that connections have in pins, holders those that have a
	// part in one holder.
	pins     map[*conntrack.Conn[flow]]*pin
	holders  map[*holder]*pin
	counts   Stats
	shared   published
	mail     mailbox
	now      int64
	in, out  uint32 // interfaces of the packet at hand
	began    int64  // when the first packet or tick came, 0 before
	nextLong int64  // when the next packet that is too long is noted
	adoption uint16 // of how many policies after the first this is, modulo
	again    again
	memory   memory
	limits   tlswire.Limits
	buffers  tlswire.Buffers
	certs    certs.Cache
	sayings  map[saying]*saying
	rested   rested[lasting]
	packed   packed
	leaving  *conntrack.Conn[flow] // rests when another has a packet
	reborn   bool                  // the packet at hand, see conntrack.Table.Reborn
	inFront  bool                  // the packet at hand begins an octet in front of its stream
	maxAwake int                   // awakeMost, less in tests
	stories  stories
	rep      Report
	alerts   [4]AlertSeen
	told     map[*inspection]int // of budget, for hellos that say more than usual
	noRoom   untracked           // packets for which the table was full
	multi    untracked           // packets that came with Multipath TCP where it is refused
	scratch  []byte              // packets of our own are built here
	front    front
	hello    bool // the packet at hand is a client's that may say what is judged
	readsAll bool // of tests: no segment is passed over
}

// New makes an engine for a policy. Injected packets go to inject and events
// to sink; either may be nil.
func New(cfg Config, policy *tlsrules.Policy) *Engine {
	cfg = cfg.withDefaults()
	if cfg.Gates == nil {
		cfg.Gates = NewGates(policy)
	}
	e := &Engine{cfg: cfg, policy: policy, mail: newMailbox(), maxAwake: awakeMost}
	e.shut.opens.Store(never)
	e.forgotten.lasts, e.returning.lasts = forgottenAge, conntrack.CookieAge
	e.bound()
	e.stories.bound(cfg.Limits.Stories, cfg.FirstID, cfg.StepID)
	e.table = conntrack.New(conntrack.Config{
		Connections: cfg.Limits.Connections,
		HalfOpen:    cfg.Limits.HalfOpen,
		Lossy:       cfg.Lossy,
		Recorded:    cfg.Recorded,
		FirstID:     cfg.FirstID,
		StepID:      cfg.StepID,
	}, e.ended)
	if !cfg.Recorded {
		e.table.Suspect(e.astray)
		e.table.Rests(conntrack.Resting[flow]{Pack: e.pack, Unpack: e.unpack, Passes: e.passes})
	}
	return e
}

// Result is the answer to one packet. The zero Result drops it.
type Result struct {
	Verdict nfq.Verdict
	Mark    uint32 // for the packet, when Verdict is Repeat
	Payload []byte // replaces the packet when not nil; valid until the next Packet
}

// Packet answers one packet. Its bytes are not kept after the return.
func (e *Engine) Packet(p *nfq.Packet, now int64) Result {
	return e.packet(p, e.decoded(p), now)
}

// decoded decodes a packet that is judged alone, and returns its place among the next.
func (e *Engine) decoded(p *nfq.Packet) int {
	e.next.status[0], e.next.upTo = decode(p, &e.next.segs[0]), 0
	return 0
}

// packet answers a packet that was decoded as the i-th of those that are next.
func (e *Engine) packet(p *nfq.Packet, i int, now int64) Result {
	e.now, e.in, e.out = now, p.InDev, p.OutDev
	e.begin(now)
	e.opening.c, e.stories.conn, e.hello, e.reborn, e.inFront = nil, nil, false, false, false
	e.counts.Packets++
	e.counts.Bytes += uint64(len(p.Payload))
	if p.CapLen != 0 && !e.cfg.Recorded {
		e.tooLong(p, now)
		return e.drop(DropTruncated)
	}
	seg := &e.next.segs[i]
	e.seg, e.next.at = seg, i
	switch status := e.next.status[i]; status {
	case packet.OK:
	case packet.NotTCP:
		e.counts.NotTCP++
		return e.pass(p)
	case packet.Fragment:
		return e.drop(DropFragment)
	default:
		if p.CapLen != 0 { // what it is was cut off
			return e.drop(DropTruncated)
		}
		e.counts.Malformed[status]++
		return e.drop(DropMalformed)
	}
	if p.ChecksumUnverified && !p.ChecksumNotReady && seg.Missing == 0 && !seg.ChecksumOK() {
		return e.drop(DropChecksum)
	}
	if e.multipath(seg) && !e.cfg.Default.Observe && (seg.Flags&(packet.SYN|packet.ACK) != packet.SYN || e.inUse(seg)) {
		e.resetUntracked(seg, p.InDev)
		e.tellUntracked(&e.multi, seg, tlsrules.Decision{Action: tlsrules.Reset, Reason: tlsrules.ReasonMPTCP}, multipathLateText)
		return e.drop(DropMPTCP)
	}
	r := e.track(p, seg)
	if e.reborn && r.Verdict != nfq.Drop && !e.refuses(&r) && !e.cfg.Recorded && !e.cfg.Default.Observe && !e.fromStart(p, seg, &r) {
		r = e.drop(DropCookie)
	}
	if e.stories.new(seg.Flags, r.Verdict) {
		e.noted(r.Verdict, r.Mark)
	}
	e.stories.conn = nil // what comes before the next packet is not of this one
	if beginsMultipath(seg) && r.Verdict != nfq.Drop && e.cfg.MPTCP == MPTCPStrip {
		e.counts.MPTCPStripped++
		e.scratch = seg.StripMPTCP(e.scratch[:0])
		r.Payload = e.scratch
	}
	if seg.MSS > mostSegment {
		e.limitMSS(seg, &r)
	}
	if e.hello {
		e.ownCopy(p, seg, &r)
	}
	if e.inFront {
		e.stepBack(p, seg, &r)
	}
	return r
}

// decode reads the headers of a packet, of which a capture may hold the beginning.
func decode(p *nfq.Packet, seg *packet.Parsed) packet.Status {
	if p.CapLen != 0 {
		return packet.DecodeCut(p.Payload, seg)
	}
	return packet.Decode(p.Payload, seg)
}

// track finds the connection and answers what can be answered without reading.
func (e *Engine) track(p *nfq.Packet, seg *packet.Parsed) Result {
	if len(e.refusing.pairs) > 0 && e.refusing.has(seg, e.now) && !e.cfg.Default.Observe && e.inUse(seg) {
		e.counts.RefusedEarlier++
		e.resetUntracked(seg, p.InDev)
		return e.drop(DropRefused)
	}
	t := e.find(seg)
	c := t.Conn
	if e.reborn = e.table.Reborn(); c != nil && t.Dir == conntrack.Original && seg.Seq == c.ISS(conntrack.Original) {
		e.inFront = t.Outcome == conntrack.Known && inFront(c, seg)
	}
	if e.cfg.Recorded && c != nil {
		c.Value.note(t.Dir, seg)
	}
	if e.leaving != nil && e.leaving != c {
		e.rest()
	}
	x := &e.stories
	x.conn, x.dir, x.invalid, x.noticed, x.at = c, t.Dir, t.Why, 0, nil
	if t.Outcome != conntrack.Known && t.Outcome != conntrack.Invalid && c != nil {
		e.beginStory(c)
	}
	switch t.Outcome {
	case conntrack.Full:
		return e.full(p, seg)
	case conntrack.Asleep:
		return e.answer(p, e.accepts())
	case conntrack.Invalid:
		if t.Why == conntrack.OutOfWindow && e.trims(p, seg, t) {
			r := e.track(p, seg)
			e.front.goesOn(p, &r)
			return r
		}
		if c != nil {
			e.renew(c, t.Dir, nil)
		}
		return e.invalid(p, seg, t)
	case conntrack.Opened, conntrack.Reopened:
		e.attach(c, t.Dir, p)
		if !e.refusedEarlier(c) && !e.barsMultipath(c, seg) {
			e.judgeFirst(c)
		}
	case conntrack.Midstream:
		e.beginMidstream(c, t.Dir, p, seg)
	default:
		if c.Value.adoption != e.adoption {
			e.renew(c, t.Dir, seg)
		}
	}
	f := &c.Value
	if f.gate.has(atGate) {
		e.gated(c)
	}
	if e.table.BehindEnd() && f.phase == decided {
		e.afterwards(c, seg)
	}
	if c.Midstream && e.endsUnknown(c, p) {
		return e.drop(DropInvalid)
	}
	f.devices[t.Dir] = p.InDev
	if p.OutDev != 0 {
		f.devices[t.Dir.Other()] = p.OutDev
	}
	if f.pinned && f.phase != refused {
		if r, is := e.underPins(c, t.Dir, p, seg); is {
			return r
		}
	}
	if f.phase == decided && !f.watched {
		if e.invalidRST(p, seg) {
			e.untracked(c, p)
			return e.drop(DropInvalid)
		}
		return e.passOn(c, p)
	}
	if f.phase == refused && t.Outcome == conntrack.Known {
		return e.refusedAgain(c, t.Dir, p, seg)
	}
	e.hello = tellsHello(c, t.Dir, seg)
	e.acknowledge(c, t.Dir)
	var r Result
	if e.inside(c, t.Dir, seg) {
		r = e.passOn(c, p)
	} else {
		r = e.read(c, t.Dir, p, seg)
	}
	if f.gate.has(hasHold) {
		return e.wait(c, t.Dir, p, seg, r)
	}
	return r
}

// invalid answers a packet whose receiver would discard it. Without payload it
// cannot deliver a byte, unless its urgent pointer takes one away, and its
// receiver may have an answer to it that the sender waits for (a challenge ACK,
// RFC 5961, Section 7): it passes. A SYN with data does not, whatever was decided
// of the ports that it would use again: its receiver may take the data (RFC 7413).
// Nor does data of one whose pin asks for every packet: where its receiver stands is
// what we believe, and who is to let others pass may know better.
func (e *Engine) invalid(p *nfq.Packet, seg *packet.Parsed, t conntrack.Tracked[flow]) Result {
	e.counts.Invalid[t.Why]++
	if e.table.BehindEnd() && t.Conn.Value.phase == decided {
		e.afterwards(t.Conn, seg)
	}
	if t.Conn != nil && t.Conn.Midstream && e.endsUnknown(t.Conn, p) {
		return e.drop(DropInvalid)
	}
	if c := t.Conn; c != nil && c.Value.phase == decided && t.Why != conntrack.SynData && !e.invalidRST(p, seg) && !(c.Value.pinned && e.tied(c)) {
		return e.passOn(c, p)
	}
	if len(seg.Payload) > 0 || seg.Flags.Has(packet.URG) || t.Why == conntrack.BadFlags || t.Why == conntrack.NoAck || t.Why == conntrack.Astray ||
		t.Conn != nil && t.Conn.Value.phase == refused {
		return e.drop(DropInvalid)
	}
	if t.Why == conntrack.NoEntry && e.mayBeYoung(endsOfPacket(seg)) {
		if e.invalidRST(p, seg) {
			return e.drop(DropInvalid)
		}
		if m := e.cfg.Marks; m.Kind(p.Mark&m.Mask()) == nfq.Accepted {
			return e.answer(p, 0) // that was decided of a connection that is over
		}
	}
	return e.pass(p)
}

// full answers a packet for which the table has no room.
func (e *Engine) full(p *nfq.Packet, seg *packet.Parsed) Result {
	e.counts.TableFull++
	if e.cfg.Overload != tlsrules.Accept {
		e.tellUntracked(&e.noRoom, seg, tlsrules.Decision{Action: e.cfg.Overload, Reason: tlsrules.ReasonLimitConnections}, noRoomText)
	}
	switch {
	case e.cfg.Overload == tlsrules.Accept, e.cfg.Default.Observe:
		return e.pass(p)
	case e.cfg.Overload == tlsrules.Reset:
		e.resetUntracked(seg, p.InDev)
	}
	return e.drop(DropTableFull)
}

// attach gives a new connection something to read with, and the facts that its
// first packet, in direction d, tells.
func (e *Engine) attach(c *conntrack.Conn[flow], d conntrack.Direction, p *nfq.Packet) {
	in, out := p.InDev, p.OutDev
	if d == conntrack.Reply {
		in, out = out, in
	}
	ins := e.inspection()
	ins.facts = e.firstFacts(c, in, out)
	c.Value = flow{ins: ins, lasting: lasting{phase: reading, adoption: e.adoption}, rec: c.Value.rec}
}
