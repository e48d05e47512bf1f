package engine

import (
	"context"
	"net/netip"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
)

// Story is what is known of one connection, for whoever asks why.
type Story struct {
	Seen
	Live bool // it is in the table
	// Kept: the connection has a story. Else nothing but the above is known.
	Kept bool

	End       conntrack.End // of one that has ended
	Diagnosis Diagnosis     // the same
	Packet    uint64        // at which it was refused, or killed; 0: it was not
	Detail    string        // why it was refused, or would be
	Moments   []Moment      // the first, and the last ones
	Omitted   uint64        // moments between Moments[First-1] and the next
	First     int

	// Facts is nil where none are known: the connection was decided before this
	// engine saw it, or has ended and they are not kept any more.
	Facts *tlsrules.Facts
	// Anew: what it was judged with is not known any more, or was another policy.
	Anew      bool
	policy    *tlsrules.Policy
	judgement tlsrules.Judgement
	ties      ties
}

// Asked tells what the rules have said, those of the policy in force where the
// connection was judged by another: what they would say.
func (s *Story) Asked() []tlsrules.Asked {
	if s.Facts == nil {
		return nil
	}
	if j := (tlsrules.Judgement{}); s.Anew {
		s.policy.Decide(s.Facts, &j)
		return s.policy.Ask(s.Facts, &j)
	}
	return s.policy.Ask(s.Facts, &s.judgement)
}

// Moment is a packet of a connection, or what happened to it between packets.
type Moment struct {
	Time      int64  // nanoseconds since the Unix epoch, to the microsecond
	Packet    uint64 // of the connection; between two, the one before
	Kind      MomentKind
	Direction conntrack.Direction
	Flags     packet.Flags
	Seq       uint32 // since the beginning of its direction
	Length    int    // of the payload
	Dropped   bool
	Invalid   conntrack.Reason // why its receiver would discard it
	Noticed   Noticed
}

// Why returns the story of a connection; false if it has none, or none any more.
// It copies a few kilobytes: what they mean is for the caller to find out.
func (e *Engine) Why(ctx context.Context, id uint64) (s Story, ok bool, err error) {
	err = e.ask(ctx, func() { ok = e.why(id, &s) })
	return s, ok && err == nil, err
}

// WhyBetween returns what is known of the connection between two ends that is in
// the table, whether it has a story or not.
func (e *Engine) WhyBetween(ctx context.Context, a, b netip.AddrPort) (s Story, ok bool, err error) {
	err = e.ask(ctx, func() {
		c := e.table.Between(a, b)
		if ok = c != nil; ok && !e.why(c.ID, &s) {
			s = Story{Live: true, Packet: c.Value.sum.packet, policy: e.policy}
			e.see(c, &s.Seen)
			e.tellTerms(c, &s.ties)
			if ins := c.Value.ins; ins != nil {
				s.tell(&ins.facts, &ins.judgement)
			} else {
				e.tellRemembered(c, &s)
			}
			s.Anew = s.Anew || s.Start <= e.stories.since
		}
	})
	return s, ok && err == nil, err
}

func (e *Engine) why(id uint64, s *Story) bool {
	t := e.stories.any(id)
	if t == nil {
		return false
	}
	if t.rests != 0 {
		e.table.At(t.rests)
	}
	*s = Story{
		Seen: t.seen, Kept: true, End: t.end, Diagnosis: t.diagnosis, Packet: t.packet, Detail: t.detail, policy: e.policy,
		ties: ties{pins: e.cfg.Pins, gates: e.cfg.Gates, now: e.now, held: t.held},
	}
	if c := t.conn; c != nil {
		e.see(c, &s.Seen)
		e.tellTerms(c, &s.ties)
		s.Live, s.End, s.Diagnosis, s.Packet = true, 0, Diagnosis{}, c.Value.sum.packet
		if ins := c.Value.ins; ins != nil {
			s.tell(&ins.facts, &ins.judgement)
		}
	}
	if s.Facts == nil && t.ins != nil {
		s.tell(&t.ins.facts, &t.ins.judgement)
		t.chain(s.Facts)
	}
	if s.Facts == nil && s.Live {
		e.tellRemembered(t.conn, s)
	}
	s.Anew = s.Anew || s.Start <= e.stories.since
	s.Moments, s.Omitted = t.moments(s.Start)
	s.First = min(firstMoments, len(s.Moments))
	return true
}

// tell copies facts and what came of them.
func (s *Story) tell(f *tlsrules.Facts, j *tlsrules.Judgement) {
	facts := f.Clone()
	s.Facts, s.judgement = &facts, j.Clone()
}

// chain puts the certificate back into facts, if anybody still has it.
func (t *tale) chain(f *tlsrules.Facts) {
	if t.said == nil || !f.Lost.Has(tlsrules.LostCertificate) {
		return
	}
	if leaf := t.said.leaf.Value(); leaf != nil {
		f.Chain, f.Lost = []*certs.Certificate{leaf}, f.Lost&^tlsrules.LostCertificate
	}
}

// tellRemembered copies what is still known of a connection that is not read any
// more.
func (e *Engine) tellRemembered(c *conntrack.Conn[flow], s *Story) {
	facts := e.remembered(c).Clone()
	s.Facts, s.Anew = &facts, true
}

// moments unpacks what is told, and says how many are not.
func (t *tale) moments(start int64) (list []Moment, omitted uint64) {
	for n := range min(t.count, firstMoments) {
		list = append(list, t.told[n].unpack(start))
	}
	if t.count > firstMoments+lastMoments {
		omitted = t.count - firstMoments - lastMoments
	}
	for n := firstMoments + omitted; n < t.count; n++ {
		list = append(list, t.told[placeOf(n)].unpack(start))
	}
	return list, omitted
}

func (m *moment) unpack(start int64) Moment {
	return Moment{
		Time: start + int64(uint64(m.high)<<32|uint64(m.low))*1000, Packet: uint64(m.packet), Kind: MomentKind(m.how >> howKind & 3),
		Direction: conntrack.Direction(m.how & 1), Flags: m.flags, Seq: m.seq, Length: int(m.length),
		Dropped: m.how&howDropped != 0, Invalid: conntrack.Reason(m.how >> howWhy), Noticed: m.noticed,
	}
}

// Ended appends the numbers of connections between two ends, in either order, that
// have ended and still have a story, of one piece of the stories, as List does.
func (e *Engine) Ended(ctx context.Context, place int, a, b netip.AddrPort, ids []uint64) ([]uint64, int, error) {
	next := -1
	err := e.ask(ctx, func() {
		x := &e.stories
		look := func(s *tale) {
			if s.id != 0 && s.conn == nil && s.rests == 0 && (s.seen.Original == a && s.seen.Reply == b || s.seen.Original == b && s.seen.Reply == a) {
				ids = append(ids, s.id)
			}
		}
		switch old := (place - len(x.slabs)) * storySlab; {
		case place < 0:
		case place < len(x.slabs):
			for i := range x.slabs[place] {
				look(&x.slabs[place][i])
			}
			next = place + 1
		case old < len(x.refused):
			for _, s := range x.refused[old:min(old+storySlab, len(x.refused))] {
				look(s)
			}
			next = place + 1
		}
	})
	if err != nil {
		return nil, -1, err
	}
	return ids, next, nil
}

var noticings = [...]string{
	"tls", "not_tls", "client_hello", "hello_retry_request", "server_hello", "certificate", "server_key_exchange",
	"server_hello_done", "client_key_exchange", "change_cipher_spec", "alert", "application_data", "text", "accepted",
	"would_refuse", "verdict",
}

// Noticings returns all that can be noticed, each alone.
func Noticings() []Noticed {
	list := make([]Noticed, len(noticings))
	for i := range list {
		list[i] = 1 << i
	}
	return list
}

// String returns the name of one.
func (n Noticed) String() string {
	for i, name := range noticings {
		if n == 1<<i {
			return name
		}
	}
	return "several"
}
