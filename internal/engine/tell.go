package engine

import (
	"fmt"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// report fills the engine's one report with what is known of a connection.
func (e *Engine) report(c *conntrack.Conn[flow]) *Report {
	f := &c.Value
	r := &e.rep
	*r = Report{
		Time: e.cfg.Wall.Time(e.now), Start: e.cfg.Wall.Time(c.Start), Last: e.cfg.Wall.Time(c.Last), ID: c.ID,
		Original: c.Addr(conntrack.Original), Reply: c.Addr(conntrack.Reply),
		InInterface: e.cfg.Interface(f.devices[conntrack.Original]),
		Midstream:   c.Midstream, State: c.State(), Packets: c.Packets, Bytes: c.Bytes,
		Decision: f.sum.decision, Packet: f.sum.packet, Offloaded: f.offloaded, Graced: f.graced,
		SawTLS: f.sum.sawTLS, Records: f.sum.records, Phase: f.sum.phase, Later: f.sum.afterwards(),
	}
	if d := &r.Decision; r.Packet != 0 && !d.Observed && d.Action.Kind() == tlsrules.Alert {
		r.AlertSent = d.Action.Description()
	}
	r.Waited = e.hold(c).waited(e.now)
	if f.rec != nil {
		r.Cut, r.Partial = f.rec.cut, f.unsure()
	}
	r.Alerts = e.alerts[:0]
	for from, a := range f.sum.alerts.All() {
		r.Alerts = append(r.Alerts, AlertSeen{From: from, Alert: a})
	}
	r.Via = f.began()
	if v := f.via; v != nil {
		r.Tunnel, r.Proxied = v.Tunnel, v.Proxied
	}
	if f.pinned {
		r.Pin = e.pinTold(c)
	}
	if ins := f.ins; ins != nil {
		r.TLS, r.Facts, r.Certificates = &ins.tls, &ins.facts, ins.certs
		if from := ins.resumption.from; from != nil {
			r.Session = &from.began
		}
		r.SawTLS, r.Phase = f.sum.sawTLS || ins.sawTLS(), max(f.sum.phase, ins.tls.Phase)
		r.Records = ins.tls.Records
		r.Later = laterOf(&ins.tls)
		if !r.Decision.Decided {
			r.Decision = ins.decision
		}
	} else if s := f.sum.said; s != nil {
		r.Said = s.Said
	}
	return r
}

// tellTLS tells, once, what a connection's handshake said.
func (e *Engine) tellTLS(c *conntrack.Conn[flow]) {
	f := &c.Value
	if f.told || f.ins == nil {
		return
	}
	f.told = true
	if e.cfg.Sink != nil && (f.ins.facts.Client != nil || f.ins.facts.Server != nil) {
		f.sum.told = true
		e.cfg.Sink.TLS(e.report(c))
	}
}

// tellDrop tells why a connection is refused, or would be.
func (e *Engine) tellDrop(c *conntrack.Conn[flow], detail string) {
	if s := e.stories.of(c.ID); s != nil {
		s.detail = detail
	}
	if e.cfg.Sink == nil {
		return
	}
	c.Value.sum.told = true
	r := e.report(c)
	r.Detail = detail
	e.cfg.Sink.Drop(r)
}

// ended is called by the table for each connection that leaves it.
func (e *Engine) ended(c *conntrack.Conn[flow], why conntrack.End) {
	f := &c.Value
	if e.leaving == c {
		e.leaving = nil
	}
	lacks := uint64(0)
	if f.rec != nil {
		e.last(c)
		if lacks = lacking(c); lacks > 0 || f.rec.cut > 0 || f.unsure() {
			e.counts.Partial++
		}
	}
	e.stopClock(c)
	e.unread.remove(f.alert)
	e.spared(c)
	if f.phase != refused {
		e.tellTLS(c)
	}
	if f.phase == reading && f.ins.condemned && why != conntrack.EndShutdown && !c.HalfOpen() {
		e.tellCondemned(c)
	}
	var what Diagnosis
	if e.cfg.Sink != nil {
		r := e.report(c)
		r.End, r.Missing = why, lacks
		r.Diagnosis = diagnose(c, r)
		if h := e.hold(c); h != nil && h.began != 0 && !h.over {
			r.Diagnosis = Diagnosis{"held", fmt.Sprintf("it has ended while its data waited for the gate of rule %q", h.rule.Name)}
		}
		what = r.Diagnosis
		if f.watched { // the tls event has said that
			r.TLS, r.Facts, r.Certificates, r.Session = nil, nil, nil, nil
		}
		if e.cfg.Recorded || why != conntrack.EndEvicted || !c.HalfOpen() || f.sum.told {
			e.cfg.Sink.Flow(r)
		} // else who floods the table would flood the log; but what has begun in it ends in it
	}
	if !e.cfg.Recorded {
		e.lose(c, why)
	}
	e.dropPins(c, why == conntrack.EndShutdown && !e.cfg.Recorded) // it is to hold them in the next run
	e.resetHeld(c, why)
	e.release(c)
	e.forgetHold(c)
	e.endStory(c, why, what)
}

// partialText says what a capture lacks of a connection.
func partialText(r *Report) string {
	text := "nothing was seen to go wrong, but"
	if r.Partial {
		text = "what came of it is not known:"
	}
	switch {
	case r.Missing > 0 && r.Cut > 0:
		return fmt.Sprintf("%s the capture lacks at least %d bytes of it, and %d of its packets are cut short", text, r.Missing, r.Cut)
	case r.Missing > 0:
		return fmt.Sprintf("%s the capture lacks at least %d bytes of it", text, r.Missing)
	case r.Cut > 0: // and came again whole, or others came twice
		return fmt.Sprintf("%s %d of its packets are cut short in the capture", text, r.Cut)
	}
	return text + " not all of it could be read"
}

// Diagnosis says what became of a connection: a stable code and a sentence.
type Diagnosis struct{ Code, Text string }

// diagnose reads the end of a connection from what was seen of it.
func diagnose(c *conntrack.Conn[flow], r *Report) Diagnosis {
	f := &c.Value
	switch {
	case f.phase == refused:
		return Diagnosis{"refused", "the firewall refused it: " + r.Decision.Reason.String()}
	case c.Midstream:
		return Diagnosis{"midstream", "its beginning was not seen"}
	case !c.HasISS(conntrack.Reply) && c.State() == conntrack.Close && c.Packets[conntrack.Reply] > 0:
		return Diagnosis{"connection_refused", "the server's TCP answered the SYN with an RST"}
	case !c.HasISS(conntrack.Reply) && c.Packets[conntrack.Reply] == 0:
		return Diagnosis{"no_answer", fmt.Sprintf("%d SYNs and no answer from the server", c.Packets[conntrack.Original])}
	case !c.HasISS(conntrack.Reply):
		return Diagnosis{"handshake_incomplete", "the client never completed the TCP handshake"}
	}
	for _, a := range r.Alerts {
		if a.Alert.Level == tlswire.AlertLevelFatal {
			return Diagnosis{"alert", fmt.Sprintf("the %s ended the handshake with the alert %s", a.From, suites.AlertName(a.Alert.Description))}
		}
	}
	if r.Missing > 0 || r.Cut > 0 || r.Partial {
		return Diagnosis{"capture_partial", partialText(r)}
	}
	if r.SawTLS && r.Phase < tlswire.PhaseHandshakeDone && f.ins != nil {
		return Diagnosis{"tls_incomplete", "the TLS handshake was not completed: it came as far as " + r.Phase.String()}
	}
	return Diagnosis{"ok", "nothing was seen to go wrong"}
}
