package control

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
)

// Why is the whole story of a connection.
type Why struct {
	Connection Conn `json:"connection"`
	// Live: it is in the table. Else Ended says why it left it.
	Live  bool   `json:"live"`
	Ended string `json:"ended,omitempty"`
	// Missing says what is not known any more, and why.
	Missing  []string `json:"missing,omitempty"`
	Timeline []Moment `json:"timeline"`
	Facts    []Fact   `json:"facts"`
	Rules    []Asked  `json:"rules"`
	// Pins and Gates of rules that apply, as they are at the moment of asking.
	Pins    []WhyPin  `json:"pins,omitempty"`
	Gates   []WhyGate `json:"gates,omitempty"`
	Verdict Verdict   `json:"verdict"`
	Others  []uint64  `json:"others,omitempty"` // earlier connections between the same ends
}

// Moment is a packet of a connection, or what happened to it between two.
type Moment struct {
	Packet  uint64   `json:"packet"` // its number in the connection; of what is no packet, the one before
	Time    string   `json:"timestamp"`
	After   float64  `json:"after"` // seconds since the connection began
	What    string   `json:"what"`  // packet, injected, time_up, operator
	From    string   `json:"from"`  // client or server
	Flags   string   `json:"flags,omitempty"`
	Seq     uint32   `json:"seq"` // since the beginning of its direction
	Bytes   int      `json:"bytes"`
	Verdict string   `json:"verdict"` // pass or drop
	Invalid string   `json:"invalid,omitempty"`
	Noticed []string `json:"noticed,omitempty"` // what became known
	Omitted uint64   `json:"omitted,omitempty"` // of these before this one that are not told
}

// Fact is something known of a connection.
type Fact struct {
	Stage string `json:"stage"`
	Key   string `json:"key"`
	Text  string `json:"text"`
}

// Asked is a rule and what it said.
type Asked struct {
	Rule    string      `json:"rule"`
	Says    string      `json:"says"`
	Bound   bool        `json:"bound"` // its requirements hold for the connection
	Decides bool        `json:"decides"`
	Would   bool        `json:"would_refuse,omitempty"`
	Match   []Condition `json:"match,omitempty"`
	Unless  []Condition `json:"unless,omitempty"`
	Require []Condition `json:"require,omitempty"`
	Pin     bool        `json:"pin,omitempty"`
	Hold    bool        `json:"hold,omitempty"`
}

// Condition is one of a rule's, and what it said.
type Condition struct {
	Key      string `json:"key"`
	Answer   string `json:"answer"`
	Seen     string `json:"seen,omitempty"`
	Wanted   string `json:"wanted"`
	Violated bool   `json:"violated,omitempty"`
}

// Verdict is what came of it all.
type Verdict struct {
	Verdict  string `json:"verdict"`
	Final    bool   `json:"final"`
	Observed bool   `json:"observed,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Packet   uint64 `json:"packet,omitempty"` // at which it was refused
	Text     string `json:"text"`
	Advice   string `json:"advice,omitempty"`
}

// why tells the story of a connection.
func (s *Server) why(w http.ResponseWriter, q *http.Request) error {
	which, err := askedFor(q.URL.Query())
	if err != nil {
		return &Failure{Status: http.StatusBadRequest, Text: err.Error()}
	}
	if err := s.ping(q.Context()); err != nil {
		return err
	}
	story, others, err := s.story(q.Context(), which)
	if err != nil {
		return err
	}
	y := WhyOf(&story, s.d.Clock())
	y.Others = others
	return reply(w, http.StatusOK, &y)
}

// askedFor reads "id", or "a" and "b".
func askedFor(query url.Values) (which Which, err error) {
	for k, v := range query {
		switch {
		case len(v) != 1:
			return which, fmt.Errorf("%s: is there twice", k)
		case k == "id":
			which.FlowID, err = strconv.ParseUint(v[0], 10, 64)
		case k == "a":
			which.A, err = netip.ParseAddrPort(v[0])
		case k == "b":
			which.B, err = netip.ParseAddrPort(v[0])
		default:
			return which, fmt.Errorf("%s: names no connection", k)
		}
		if err != nil {
			return which, fmt.Errorf("%s: %q: %w", k, v[0], bareNumber(err))
		}
	}
	if ends := which.A.IsValid() && which.B.IsValid(); ends == (which.FlowID != 0) {
		return which, fmt.Errorf(`name the connection by "id", or by both its ends, "a" and "b"`)
	}
	return which, nil
}

// story finds the story of a connection: of one by its ends the one in the table,
// or the latest that has ended, and the numbers of the others.
func (s *Server) story(ctx context.Context, which Which) (story engine.Story, others []uint64, err error) {
	if which.FlowID != 0 {
		story, err = s.storyOf(ctx, which.FlowID)
		return story, nil, err
	}
	found := false
	for i, w := range s.d.Workers {
		if !found {
			story, found, err = between(ctx, w.Engine, which)
		}
		for place := 0; place >= 0 && err == nil; {
			others, place, err = ended(ctx, w.Engine, place, which, others)
		}
		if err != nil {
			return story, nil, s.unanswered(i, err)
		}
	}
	slices.Sort(others)
	if !found && len(others) > 0 {
		latest := others[len(others)-1]
		others = others[:len(others)-1]
		story, err = s.storyOf(ctx, latest)
		found = true
	}
	if !found {
		return story, nil, untold(which)
	}
	return story, others, err
}

// storyOf finds it by number, of whichever worker.
func (s *Server) storyOf(ctx context.Context, id uint64) (engine.Story, error) {
	for i, w := range s.d.Workers {
		story, ok, err := tell(ctx, w.Engine, id)
		if err != nil {
			return story, s.unanswered(i, err)
		}
		if ok {
			return story, nil
		}
	}
	i, seen, err := s.find(ctx, Which{FlowID: id})
	if err != nil {
		if f, ok := err.(*Failure); ok && f.Status == http.StatusNotFound {
			err = untold(Which{FlowID: id})
		}
		return engine.Story{}, err
	}
	story, ok, err := between(ctx, s.d.Workers[i].Engine, Which{A: seen.Original, B: seen.Reply})
	switch {
	case err != nil:
		return story, s.unanswered(i, err)
	case !ok || story.ID != id: // it has ended meanwhile
		return story, untold(Which{FlowID: id})
	}
	return story, nil
}

func tell(ctx context.Context, e *engine.Engine, id uint64) (engine.Story, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	return e.Why(ctx, id)
}

func between(ctx context.Context, e *engine.Engine, which Which) (engine.Story, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	return e.WhyBetween(ctx, which.A, which.B)
}

func ended(ctx context.Context, e *engine.Engine, place int, which Which, ids []uint64) ([]uint64, int, error) {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	return e.Ended(ctx, place, which.A, which.B, ids)
}

func untold(which Which) *Failure {
	f := unknown(which)
	f.Help = "its story is not kept any more (limits.stories), or it was accepted before the daemon began; the event log tells of it by flow_id"
	return f
}

// WhyOf puts a story into words; now is the time of its engine.
func WhyOf(s *engine.Story, now int64) Why {
	y := Why{
		Connection: connOf(&s.Seen, now), Live: s.Live, Timeline: []Moment{}, Facts: []Fact{}, Rules: []Asked{},
		Verdict: verdictOf(s), Missing: missingOf(s), Pins: pinsOf(s, now), Gates: gatesOf(s, now),
	}
	if !s.Live {
		y.Ended = s.End.String()
	}
	for i, m := range s.Moments {
		e := momentOf(&m, s.Start)
		if i == s.First {
			e.Omitted = s.Omitted
		}
		y.Timeline = append(y.Timeline, e)
	}
	if s.Facts != nil {
		for _, f := range s.Facts.Told() {
			y.Facts = append(y.Facts, Fact{f.Stage.String(), f.Key.String(), f.Text})
		}
	}
	for _, a := range s.Asked() {
		y.Rules = append(y.Rules, askedOf(&a))
	}
	return y
}

// missingOf says what is not known of a connection.
func missingOf(s *engine.Story) (list []string) {
	if !s.Kept {
		list = append(list, "its timeline is not kept any more: too many connections have begun since (limits.stories)")
	}
	switch {
	case s.Facts == nil && s.Midstream:
		list = append(list, "it was decided before this daemon began: nothing of it was read")
	case s.Facts == nil:
		list = append(list, "what was read of it is not kept any more: of those that pass it is for the latest only")
	case s.Anew:
		list = append(list, "what the rules said then is not kept: what they say now follows, by what is remembered")
	}
	return list
}

func momentOf(m *engine.Moment, start int64) Moment {
	e := Moment{
		Packet: m.Packet, Time: time.Unix(0, m.Time).UTC().Format("2006-01-02T15:04:05.000000-0700"), After: float64((m.Time-start)/1000) / 1e6,
		What: [...]string{"packet", "injected", "time_up", "operator"}[m.Kind], From: "client",
		Flags: flagsOf(m.Flags), Seq: m.Seq, Bytes: m.Length, Verdict: "pass",
	}
	if m.Direction == conntrack.Reply {
		e.From = "server"
	}
	if m.Dropped {
		e.Verdict = "drop"
	}
	e.Invalid = m.Invalid.String()
	for _, n := range engine.Noticings() {
		if m.Noticed&n != 0 {
			e.Noticed = append(e.Noticed, n.String())
		}
	}
	return e
}

// flagsOf writes flags as packets are drawn: "SYN ACK".
func flagsOf(f packet.Flags) (text string) {
	for _, n := range []struct {
		flag packet.Flags
		name string
	}{{packet.SYN, "SYN"}, {packet.FIN, "FIN"}, {packet.RST, "RST"}, {packet.PSH, "PSH"}, {packet.ACK, "ACK"}, {packet.URG, "URG"}} {
		if f.Has(n.flag) {
			if text != "" {
				text += " "
			}
			text += n.name
		}
	}
	return text
}

func askedOf(a *tlsrules.Asked) Asked {
	return Asked{
		Rule: a.Rule, Says: a.Says.String(), Bound: a.Bound, Decides: a.Decides, Would: a.Would,
		Match: conditionsOf(a.Match), Unless: conditionsOf(a.Unless), Require: conditionsOf(a.Require),
		Pin: a.Pin != nil, Hold: a.Hold != nil,
	}
}

func conditionsOf(list []tlsrules.AskedCondition) (out []Condition) {
	for _, c := range list {
		out = append(out, Condition{c.Key.String(), c.Answer.String(), c.Seen, c.Wanted, c.Violated})
	}
	return out
}
