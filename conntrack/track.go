package conntrack

import "tlsgate/conntrack/packet"

const synBits = packet.SYN | packet.ACK | packet.FIN | packet.RST

// Track finds or makes the connection of a segment and moves it on. It
// allocates nothing for a known connection. now is in nanoseconds since the
// Unix epoch and never goes back.
func (t *Table[V]) Track(p *packet.Parsed, now int64) Tracked[V] {
	var s Sought[V]
	s.sender = s.key.take(p)
	return t.TrackSought(p, &s, now)
}

// TrackSought is Track for a segment whose connection was sought.
func (t *Table[V]) TrackSought(p *packet.Parsed, s *Sought[V], now int64) Tracked[V] {
	t.reborn, t.over = false, false
	t.wheel.start(now)
	c, k, sender := t.last, &s.key, s.sender
	if c == nil || !c.head.key.same(k) {
		at := s.at
		if at == 0 || !t.heads.at(at).key.same(k) { // it was not there, or is elsewhere by now
			at = t.index.find(k)
		}
		if at == 0 {
			return t.create(k, sender, p, now)
		}
		if d, asleep := t.asleep(at, sender, p, now); asleep {
			return Tracked[V]{Dir: d, Outcome: Asleep}
		}
		c = t.At(at)
	}
	if c.deadline <= now {
		t.end(c, EndExpired)
		return t.create(k, sender, p, now)
	}
	t.last = c
	t.over = c.Midstream && c.over(now)
	r := Tracked[V]{Conn: c, Dir: Direction(c.original ^ sender)}
	bad := sane(p.Flags)
	switch {
	case bad != NoReason:
		if r.Why = bad; p.Flags.Has(packet.RST) && c.mayEnd(r.Dir, p) {
			c.ends(now)
		}
	case t.astray != nil && t.astray(c, r.Dir):
		r.Why = Astray
	case p.Flags.Has(packet.RST):
		mayEnd := c.mayEnd(r.Dir, p)
		if r.Why = t.reset(c, r.Dir, p); mayEnd {
			c.ends(now)
		}
	case p.Flags&synBits == packet.SYN:
		if c.gaveWay(r.Dir, p) {
			t.end(c, EndReopened)
			return t.create(k, sender, p, now)
		}
		r.Why = t.syn(c, r.Dir, p)
	case p.Flags.Has(packet.SYN) && (c.ambiguous(r.Dir, p) || c.overshoots(r.Dir, p)):
		r.Why = BadAck
	case p.Flags.Has(packet.SYN):
		if c.proves(r.Dir, p) {
			return t.reopen(c, r.Dir, p, now)
		}
		r.Why = t.synAck(c, r.Dir, p)
		if c.greets(now); r.Why == NoReason && r.Dir == Reply && p.Ack == c.sides[Original].iss.Add(1) {
			c.answers(p.Ack.Sub(1).Size(p.Seq))
		}
	case r.Dir == Original && (c.state != Established || c.ended || !c.Begun()):
		t.reborn = c.reborn(p, now)
		if r.Why = t.segment(c, r.Dir, p); r.Why != NoReason {
			t.reborn = c.rebornElsewhere(p, now)
		}
	default:
		if r.Why = t.segment(c, r.Dir, p); r.Why != NoReason && r.Dir == Reply && p.Flags.Has(packet.FIN) {
			c.ends(now)
		}
	}
	if r.Why != NoReason {
		return r
	}
	r.Outcome = Known
	c.Packets[r.Dir]++
	c.Bytes[r.Dir] += uint64(p.Size())
	t.touch(c, now)
	return r
}

// sane refuses combinations of flags that no TCP sends and that receivers treat
// differently (nf_conntrack_proto_tcp.c:tcp_valid_flags).
func sane(f packet.Flags) Reason {
	switch f & synBits {
	case packet.SYN, packet.SYN | packet.ACK, packet.ACK, packet.FIN | packet.ACK, packet.RST, packet.RST | packet.ACK:
		return NoReason
	case 0, packet.FIN:
		return NoAck
	}
	return BadFlags
}

// create makes an entry for the first packet of a connection.
func (t *Table[V]) create(k *key, sender uint8, p *packet.Parsed, now int64) Tracked[V] {
	why := sane(p.Flags)
	if why == NoReason && p.Flags.Has(packet.RST) {
		why = NoEntry
	}
	if why != NoReason {
		return Tracked[V]{Why: why}
	}
	c := t.take(now)
	if c == nil {
		t.stats.Full++
		return Tracked[V]{Outcome: Full}
	}
	c.head.key, c.original = *k, sender
	r := Tracked[V]{Conn: c, Outcome: Opened}
	if p.Flags&synBits == packet.SYN {
		c.begin(p)
		c.state = SynSent
	} else {
		r.Outcome, r.Dir = Midstream, midstreamDir(p)
		c.original = sender ^ uint8(r.Dir)
		c.join(r.Dir, p)
	}
	c.Packets[r.Dir], c.Bytes[r.Dir] = 1, uint64(p.Size())
	t.index.add(c.place)
	t.last = c
	t.stats.Created++
	t.admit(c, now)
	return r
}

// midstreamDir guesses the direction of a packet whose connection began unseen:
// a SYN-ACK says it, else servers are taken to have the lower port.
func midstreamDir(p *packet.Parsed) Direction {
	if p.Flags.Has(packet.SYN) || p.SrcPort < p.DstPort {
		return Reply
	}
	return Original
}
