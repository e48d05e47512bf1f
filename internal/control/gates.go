package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"tlsgate/internal/engine"
)

// Gate is the gate of a rule that has application data wait.
type Gate struct {
	Rule    string `json:"rule"`
	Open    bool   `json:"open"`
	Planned string `json:"planned,omitempty"` // when the rule says that it opens
	Since   string `json:"since,omitempty"`   // when it has opened
	ByHand  bool   `json:"by_hand"`           // somebody has opened or closed it
	Waiting int64  `json:"waiting"`           // connections whose data waits
	Passed  int64  `json:"passed"`            // connections whose data has waited, and came through
}

// Gates are all of them.
type Gates struct {
	Gates []Gate `json:"gates"`
}

// Opening asks for the gate of a rule to be opened or closed, or for one connection
// to be let through.
type Opening struct {
	Rule  string `json:"rule,omitempty"`
	Close bool   `json:"close,omitempty"` // the gate of the rule, for connections to come
	// As in Which.
	FlowID uint64         `json:"flow_id,omitempty"`
	A      netip.AddrPort `json:"a,omitzero"`
	B      netip.AddrPort `json:"b,omitzero"`
}

// Opened says what came of it: one of Gate and Connection is there.
type Opened struct {
	Gate       *Gate  `json:"gate,omitempty"`
	Connection *Conn  `json:"connection,omitempty"` // before
	Text       string `json:"text"`
}

func gateOf(g *engine.GateState, now int64) Gate {
	at := func(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }
	o := Gate{Rule: g.Rule, Open: g.Open(now), ByHand: g.ByHand, Waiting: g.Waiting, Passed: g.Passed}
	if g.Planned != 0 {
		o.Planned = at(g.Planned)
	}
	if o.Open {
		o.Since = at(g.Opens)
	}
	return o
}

func (s *Server) gates(w http.ResponseWriter, _ *http.Request) error {
	all := Gates{Gates: []Gate{}}
	now := s.d.Wall.Time(s.d.Clock())
	if s.d.Gates != nil {
		for _, g := range s.d.Gates.List() {
			all.Gates = append(all.Gates, gateOf(&g, now))
		}
	}
	return reply(w, http.StatusOK, &all)
}

// open opens or closes the gate of a rule, or lets one connection through.
func (s *Server) open(w http.ResponseWriter, q *http.Request) error {
	o, err := openingOf(q.Body)
	if err != nil {
		return &Failure{Status: http.StatusBadRequest, Text: err.Error()}
	}
	if err := s.ping(q.Context()); err != nil {
		return err
	}
	if o.Rule == "" {
		return s.openOne(w, q, Which{o.FlowID, o.A, o.B})
	}
	if s.d.Gates == nil || !s.d.Gates.Set(o.Rule, !o.Close, s.d.Clock()) {
		return s.noGate(o.Rule)
	}
	before, _ := s.d.Gates.Of(o.Rule)
	text := "closed for connections to come; what it has let through goes on"
	if !o.Close {
		text = "open; nothing waited for it"
		if before.Waiting > 0 {
			if err := s.letGo(q.Context()); err != nil {
				return err
			}
			text = fmt.Sprintf("open; what %s waited for is on its way", connections(before.Waiting))
		}
	}
	after, _ := s.d.Gates.Of(o.Rule)
	g := gateOf(&after, s.d.Wall.Time(s.d.Clock()))
	return reply(w, http.StatusOK, &Opened{Gate: &g, Text: text})
}

func connections(n int64) string {
	if n == 1 {
		return "one connection"
	}
	return fmt.Sprintf("%d connections", n)
}

func openingOf(body io.Reader) (o Opening, err error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return o, fmt.Errorf("the body is not what opening takes: %w", err)
	}
	named := 0
	for _, is := range [...]bool{o.Rule != "", o.FlowID != 0, o.A.IsValid() || o.B.IsValid()} {
		if is {
			named++
		}
	}
	switch {
	case named != 1, o.A.IsValid() != o.B.IsValid():
		return o, errors.New(`name a "rule", or a connection by "flow_id", or by both its ends, "a" and "b"`)
	case o.Close && o.Rule == "":
		return o, errors.New(`"close" is for the gate of a "rule"`)
	}
	return o, nil
}

// noGate says why a rule's gate cannot be opened.
func (s *Server) noGate(rule string) *Failure {
	f := &Failure{Status: http.StatusNotFound, Text: fmt.Sprintf("the policy has no rule %q", rule), Help: "no rule of the policy has a gate"}
	if s.d.Rules == nil {
		return f
	}
	if _, r := s.d.Rules().Named(rule); r != nil {
		f.Status = http.StatusConflict
		f.Text = fmt.Sprintf("the rule %q has no gate: it needs a hold, or action = \"hold\"", rule)
	}
	if s.d.Gates == nil {
		return f
	}
	const some = 8
	for i, g := range s.d.Gates.List() {
		switch {
		case i == 0:
			f.Help = fmt.Sprintf("there is a gate of %q", g.Rule)
		case i < some:
			f.Help += fmt.Sprintf(", %q", g.Rule)
		case i == some:
			f.Help += " and others: tlsgate open lists them"
		}
	}
	return f
}

// letGo has all engines let go of what waits for open gates.
func (s *Server) letGo(ctx context.Context) error {
	for i, w := range s.d.Workers {
		for more := true; more; {
			var err error
			if more, err = letGoIn(ctx, w.Engine); err != nil {
				return s.unanswered(i, err)
			}
		}
	}
	return nil
}

func letGoIn(ctx context.Context, e *engine.Engine) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	return e.LetGo(ctx)
}

// openOne lets one connection through.
func (s *Server) openOne(w http.ResponseWriter, q *http.Request, which Which) error {
	i, seen, err := s.find(q.Context(), which)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(q.Context(), workerWait)
	defer cancel()
	before, err := s.d.Workers[i].Engine.Open(ctx, seen.ID, seen.Original, seen.Reply)
	switch {
	case errors.Is(err, engine.ErrUnknown): // it has ended meanwhile
		return unknown(which)
	case errors.Is(err, engine.ErrRefused):
		return &Failure{
			Status: http.StatusConflict, Text: fmt.Sprintf("connection %d is refused: %s", seen.ID, seen.Decision.Reason),
			Help: "its packets do not pass any more",
		}
	case errors.Is(err, engine.ErrWaitsForNothing):
		return &Failure{
			Status: http.StatusConflict, Text: fmt.Sprintf("connection %d waits for nothing", seen.ID),
			Help: "tlsgate conns --verdict hold lists those that do",
		}
	case err != nil:
		return s.unanswered(i, err)
	}
	c := connOf(&before, s.d.Clock())
	o := Opened{Connection: &c, Text: "open from now on; no data has waited yet"}
	if before.Held {
		o.Text = fmt.Sprintf("open; its data has waited for %s and is on its way", before.Waited.Round(time.Millisecond))
	}
	return reply(w, http.StatusOK, &o)
}
