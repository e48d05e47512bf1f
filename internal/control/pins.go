package control

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
)

// Pin is a pin that is held.
type Pin struct {
	Rule   string            `json:"rule"`
	Group  map[string]string `json:"group"`            // what its connections have in common
	To     string            `json:"to"`               // connection or session
	Awaits string            `json:"awaits,omitempty"` // client_random, session_id, restart or hello: it has yet to come
	ByHand bool              `json:"by_hand,omitempty"`
	// Of the connection that took it; without FlowID it is one of an earlier run.
	FlowID       uint64   `json:"flow_id,omitempty"`
	Source       string   `json:"src_ip,omitempty"`
	SourcePort   uint16   `json:"src_port,omitempty"`
	Destination  string   `json:"dest_ip,omitempty"`
	Port         uint16   `json:"dest_port,omitempty"`
	ClientRandom string   `json:"client_random,omitempty"`
	Age          float64  `json:"age"`            // seconds
	Idle         *float64 `json:"idle,omitempty"` // seconds
	Connections  int      `json:"connections"`    // that live
	FlowIDs      []uint64 `json:"flow_ids,omitempty"`
}

func pinOf(h *engine.HeldPin, now int64) Pin {
	p := Pin{
		Rule: h.Rule, Group: engine.GroupValues(h.Group), To: tlsrules.PinConnection.String(), Awaits: h.Awaits, ByHand: h.ByHand,
		FlowID: h.ID, Age: seconds(now - h.Since), Connections: h.Connections, FlowIDs: h.Members,
	}
	if p.Group == nil {
		p.Group = map[string]string{}
	}
	if h.Session {
		p.To = tlsrules.PinSession.String()
	}
	if h.Client.IsValid() {
		p.Source, p.SourcePort = h.Client.Addr().String(), h.Client.Port()
		p.Destination, p.Port = h.Server.Addr().String(), h.Server.Port()
	}
	if h.Random != [32]byte{} {
		p.ClientRandom = hex.EncodeToString(h.Random[:])
	}
	if h.Last != 0 {
		idle := seconds(now - h.Last)
		p.Idle = &idle
	}
	return p
}

// WhichPin says who is to hold the pin of a rule: a connection, or in a group the
// one whose ClientHello has a random, or the session with an id.
type WhichPin struct {
	FlowID       uint64            `json:"flow_id,omitempty"`
	A            netip.AddrPort    `json:"a,omitzero"`
	B            netip.AddrPort    `json:"b,omitzero"`
	Rule         string            `json:"rule,omitempty"`
	Group        map[string]string `json:"group,omitempty"`
	ClientRandom string            `json:"client_random,omitempty"` // 64 hexadecimal digits
	SessionID    string            `json:"session_id,omitempty"`    // up to 64
}

func (w *WhichPin) connection() Which { return Which{w.FlowID, w.A, w.B} }

// Pinned says what came of giving a pin to somebody.
type Pinned struct {
	Pin   Pin    `json:"pin"`
	Moved int    `json:"moved"` // connections that had part in it, and are reset
	Text  string `json:"text"`
}

// Unpinned says what came of taking pins away.
type Unpinned struct {
	Released int    `json:"released"`
	Moved    int    `json:"moved"` // connections that had part in them, and are reset
	Text     string `json:"text"`
}

// pins writes who holds pins, a line each.
func (s *Server) pins(w http.ResponseWriter, q *http.Request) error {
	rule := ""
	for k, v := range q.URL.Query() {
		if k != "rule" || len(v) != 1 {
			return &Failure{Status: http.StatusBadRequest, Text: fmt.Sprintf("%s: nothing can be filtered by that", k), Help: "pins can be filtered by rule"}
		}
		rule = v[0]
	}
	if rule != "" {
		if _, err := s.pinRule(rule); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	rc := http.NewResponseController(w)
	now := s.d.Clock()
	for i, h := range s.d.Pins.List() {
		if rule != "" && h.Rule != rule {
			continue
		}
		if i%1000 == 0 {
			rc.SetWriteDeadline(time.Now().Add(writeWait))
		}
		if err := enc.Encode(pinOf(&h, now)); err != nil {
			return err
		}
	}
	return out.Flush()
}

// pinRule finds a rule that has a pin.
func (s *Server) pinRule(name string) (*tlsrules.Rule, error) {
	if s.d.Rules == nil || s.d.Pins == nil {
		return nil, &Failure{Status: http.StatusNotFound, Text: "this daemon keeps no pins"}
	}
	policy := s.d.Rules()
	i, r := policy.Named(name)
	if i >= 0 && r.Pin != nil {
		return r, nil
	}
	var with []string
	for _, r := range policy.Rules() {
		if r.Pin != nil {
			with = append(with, strconv.Quote(r.Name))
		}
	}
	help := "no rule of the policy has a pin"
	if len(with) > 0 {
		help = "rules with a pin: " + strings.Join(with[:min(len(with), 20)], ", ")
	}
	if i >= 0 {
		return nil, &Failure{Status: http.StatusConflict, Text: fmt.Sprintf("rule %q has no pin", name), Help: help}
	}
	return nil, &Failure{Status: http.StatusNotFound, Text: fmt.Sprintf("there is no rule %q", name), Help: help}
}

// pin gives a pin to somebody.
func (s *Server) pin(w http.ResponseWriter, q *http.Request) error {
	var which WhichPin
	dec := json.NewDecoder(q.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&which); err != nil {
		return &Failure{Status: http.StatusBadRequest, Text: fmt.Sprintf("the body is not what pin takes: %v", err)}
	}
	var rule *tlsrules.Rule
	var err error
	if which.Rule != "" {
		if rule, err = s.pinRule(which.Rule); err != nil {
			return err
		}
	}
	if err := s.ping(q.Context()); err != nil {
		return err
	}
	var held engine.HeldPin
	var moved engine.Moved
	if which.ClientRandom != "" || which.SessionID != "" {
		held, moved, err = s.reserve(&which, rule)
	} else {
		held, moved, err = s.pinConnection(q.Context(), &which)
	}
	if err != nil {
		return err
	}
	s.note()
	answer := Pinned{Pin: pinOf(&held, s.d.Clock())}
	if answer.Moved, err = s.expel(q.Context(), moved); err != nil {
		return err
	}
	answer.Text = "holds the pin"
	if held.Awaits != "" {
		answer.Text = "the pin is kept for it; others of its group are refused until then"
	}
	if answer.Moved > 0 {
		answer.Text += fmt.Sprintf("; %s had it before: both ends are reset", plural(answer.Moved, "connection"))
	}
	return reply(w, http.StatusOK, &answer)
}

func (s *Server) note() {
	if s.d.Note != nil {
		s.d.Note()
	}
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// pinConnection gives the pin to a connection of the table.
func (s *Server) pinConnection(ctx context.Context, which *WhichPin) (engine.HeldPin, engine.Moved, error) {
	none, nobody := engine.HeldPin{}, engine.Moved{}
	if ends := which.A.IsValid() && which.B.IsValid(); ends == (which.FlowID != 0) || which.Group != nil {
		return none, nobody, &Failure{
			Status: http.StatusBadRequest, Text: "it is not said who is to hold the pin",
			Help: `name a connection by "flow_id", or by both its ends, "a" and "b"; or "rule", and "client_random" or "session_id", with the "group"`,
		}
	}
	i, seen, err := s.find(ctx, which.connection())
	if err != nil {
		return none, nobody, err
	}
	held, moved, err := s.pinIn(ctx, i, &seen, which.Rule)
	under := "it is decided by no rule"
	if seen.Decision.Rule != "" {
		under = fmt.Sprintf("it is under rule %q", seen.Decision.Rule)
	}
	conflict := func(text, help string) error {
		return &Failure{Status: http.StatusConflict, Text: fmt.Sprintf("connection %d %s", seen.ID, text), Help: help}
	}
	switch {
	case err == nil:
	case errors.Is(err, engine.ErrUnknown):
		err = unknown(which.connection())
	case errors.Is(err, engine.ErrRefused):
		err = conflict("is refused: "+seen.Decision.Reason.String(), "a pin cannot bring it back; reserve one for the next (--rule, --client-random)")
	case errors.Is(err, engine.ErrNotUnder) && which.Rule != "":
		err = conflict(fmt.Sprintf("is not under rule %q, as far as it is known", which.Rule), under)
	case errors.Is(err, engine.ErrNotUnder):
		err = conflict("is under no rule with a pin, as far as it is known", under)
	case errors.Is(err, engine.ErrNoGroup):
		err = conflict("has not said yet to which group of the pin it belongs", "its ClientHello will tell")
	case errors.Is(err, engine.ErrManyRules):
		err = conflict("is under more than one rule with a pin", "say which: --rule")
	case errors.Is(err, engine.ErrPinsFull):
		err = noRoom()
	default:
		err = s.unanswered(i, err)
	}
	return held, moved, err
}

func noRoom() error {
	return &Failure{Status: http.StatusConflict, Text: "as many pins are held as limits.pins allows", Help: "tlsgate pin lists them; --release frees some"}
}

func (s *Server) pinIn(ctx context.Context, i int, seen *engine.Seen, rule string) (engine.HeldPin, engine.Moved, error) {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	return s.d.Workers[i].Engine.Pin(ctx, seen.ID, seen.Original, seen.Reply, rule)
}

// reserve keeps a group for one who is named otherwise.
func (s *Server) reserve(which *WhichPin, rule *tlsrules.Rule) (held engine.HeldPin, moved engine.Moved, err error) {
	bad := func(text, help string) (engine.HeldPin, engine.Moved, error) {
		return held, moved, &Failure{Status: http.StatusBadRequest, Text: text, Help: help}
	}
	switch {
	case which.connection() != Which{} || which.ClientRandom != "" && which.SessionID != "":
		return bad("there is more than one who is to hold the pin", "name a connection, or a client random, or a session id")
	case rule == nil:
		return bad("it is not said of which rule the pin is", "say which: --rule")
	}
	var random *[32]byte
	name := which.ClientRandom + which.SessionID
	raw, err := hex.DecodeString(name)
	switch {
	case err != nil:
		return bad(fmt.Sprintf("%.80q is not hexadecimal", name), "client_random and session_id in events are")
	case which.ClientRandom != "" && len(raw) != 32:
		return bad(fmt.Sprintf("a client random has 32 bytes, not %d", len(raw)), "")
	case which.ClientRandom != "":
		random = (*[32]byte)(raw)
	case len(raw) > 32:
		return bad(fmt.Sprintf("a session id has at most 32 bytes, not %d", len(raw)), "")
	}
	group, err := s.group(rule, which.Group)
	if err != nil {
		return held, moved, err
	}
	if held, moved, err = s.d.Pins.Reserve(rule, group, random, raw, s.d.Clock()); err != nil {
		err = noRoom()
	}
	return held, moved, err
}

func (s *Server) group(rule *tlsrules.Rule, values map[string]string) (string, error) {
	group, err := engine.GroupNamed(rule, values)
	var wrong *engine.GroupError
	if errors.As(err, &wrong) {
		return "", &Failure{Status: http.StatusBadRequest, Text: wrong.Text, Help: wrong.Hint}
	}
	return group, err
}

// expel resets the connections that had part in pins, in whichever worker they are.
func (s *Server) expel(ctx context.Context, moved engine.Moved) (n int, err error) {
	for i, w := range s.d.Workers {
		for more := true; more; {
			var some int
			ctx, cancel := context.WithTimeout(ctx, workerWait)
			some, more, err = w.Engine.Expel(ctx, moved)
			cancel()
			if err != nil {
				return n, s.unanswered(i, err)
			}
			n += some
		}
	}
	return n, nil
}

// unpin takes pins away.
func (s *Server) unpin(w http.ResponseWriter, q *http.Request) error {
	id, rule, group, err := s.unpinned(q.URL.Query())
	if err != nil {
		return err
	}
	if err := s.ping(q.Context()); err != nil {
		return err
	}
	list, moved := s.d.Pins.Release(id, rule, group)
	if len(list) == 0 && id != 0 {
		return &Failure{Status: http.StatusNotFound, Text: fmt.Sprintf("connection %d holds no pin", id), Help: "tlsgate pin lists who does"}
	}
	s.note()
	answer := Unpinned{Released: len(list)}
	if answer.Moved, err = s.expel(q.Context(), moved); err != nil {
		return err
	}
	answer.Text = plural(answer.Released, "pin") + " released"
	if answer.Moved > 0 {
		answer.Text += fmt.Sprintf("; %s had part in them: both ends are reset", plural(answer.Moved, "connection"))
	}
	return reply(w, http.StatusOK, &answer)
}

func (s *Server) unpinned(query url.Values) (id uint64, rule string, group *string, err error) {
	bad := func(text, help string) (uint64, string, *string, error) {
		return 0, "", nil, &Failure{Status: http.StatusBadRequest, Text: text, Help: help}
	}
	for k, v := range query {
		switch {
		case len(v) != 1:
			return bad(k+": is there twice", "")
		case k == "flow_id":
			if id, err = strconv.ParseUint(v[0], 10, 64); err != nil || id == 0 {
				return bad(fmt.Sprintf("flow_id: %q is not the ID of a connection", v[0]), "")
			}
		case k == "rule":
			rule = v[0]
		case k != "group":
			return bad(k+": pins are not released by that", "by flow_id, or by rule and group")
		}
	}
	if id == 0 && rule == "" || id != 0 && query.Has("group") {
		return bad("it is not said whose pin is to be released", "by flow_id, or by rule and group")
	}
	if s.d.Pins == nil || rule == "" {
		return id, rule, nil, nil
	}
	r, err := s.pinRule(rule)
	if err != nil || !query.Has("group") {
		return id, rule, nil, err
	}
	named, err := s.group(r, engine.GroupValues(query.Get("group")))
	return id, rule, &named, err
}

// Pins calls f with every pin that is held, as JSON; rule "" means those of all.
func (c *Client) Pins(ctx context.Context, rule string, f func(line []byte) error) error {
	query := url.Values{}
	if rule != "" {
		query.Set("rule", rule)
	}
	r, err := c.do(ctx, "GET", "/v1/pins", query, nil)
	if err != nil {
		return err
	}
	return lines(r, f)
}

// Pin gives a pin to somebody.
func (c *Client) Pin(ctx context.Context, which WhichPin) (p Pinned, err error) {
	r, err := c.do(ctx, "POST", "/v1/pins", nil, which)
	if err != nil {
		return p, err
	}
	return p, c.answerOf(r, &p)
}

// Unpin takes pins away: those of a connection, or those of a rule, of all its groups
// if group is "".
func (c *Client) Unpin(ctx context.Context, flowID uint64, rule, group string) (u Unpinned, err error) {
	query := url.Values{}
	if flowID != 0 {
		query.Set("flow_id", strconv.FormatUint(flowID, 10))
	}
	if rule != "" {
		query.Set("rule", rule)
	}
	if group != "" {
		query.Set("group", group)
	}
	r, err := c.do(ctx, "DELETE", "/v1/pins", query, nil)
	if err != nil {
		return u, err
	}
	return u, c.answerOf(r, &u)
}
