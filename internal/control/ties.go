package control

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"tlsgate/internal/engine"
)

// WhyPin is the pin of a rule that applies to a connection, at the moment of asking.
type WhyPin struct {
	Rule    string            `json:"rule"`
	Group   map[string]string `json:"group"`
	Holds   bool              `json:"holds"` // the connection has part in it
	Lost    string            `json:"lost,omitempty"`
	Places  int               `json:"places"` // how many may hold it
	Holders []Pin             `json:"holders"`
	Text    string            `json:"text"`
}

// WhyGate is the gate of a rule that applies to a connection, and what waits.
type WhyGate struct {
	Gate Gate `json:"gate"`
	// State says what of the connection waits: nothing, yet, waits, opened, ended,
	// refused, observed.
	State         string  `json:"state"`
	Since         string  `json:"since,omitempty"`    // when its first data began to wait
	Waited        float64 `json:"waited,omitempty"`   // seconds
	BytesToServer uint64  `json:"bytes_toserver"`     // that wait, or did in the end
	BytesToClient uint64  `json:"bytes_toclient"`     //
	Patience      float64 `json:"patience,omitempty"` // seconds
	OpenedBy      string  `json:"opened_by,omitempty"`
	Text          string  `json:"text"`
}

func pinsOf(s *engine.Story, now int64) (list []WhyPin) {
	for _, p := range s.Pins() {
		y := WhyPin{Rule: p.Rule, Group: engine.GroupValues(p.Group), Holds: p.Holds, Lost: p.Lost, Places: p.Places, Holders: []Pin{}}
		if y.Group == nil {
			y.Group = map[string]string{}
		}
		for i := range p.Holders {
			y.Holders = append(y.Holders, pinOf(&p.Holders[i], now))
		}
		y.Text = pinText(&p, y.Holders)
		list = append(list, y)
	}
	return list
}

// pinText says who has the pin.
func pinText(p *engine.PinStory, holders []Pin) string {
	text := fmt.Sprintf("the pin of rule %q for %s", p.Rule, cmp.Or(strings.ReplaceAll(p.Group, ",", ", "), "all its connections"))
	if !p.Known {
		return fmt.Sprintf("the pin of rule %q: it is not known for which group of its connections", p.Rule)
	}
	switch p.Lost {
	case "ended":
		text += " was this connection's until it was seen to end"
	case "idle":
		text += " was this connection's until it had been silent for too long, and another wanted it"
	case "moved":
		text += " was this connection's until the operator gave it to another"
	case "released":
		text += " was this connection's until the operator took it away"
	}
	if p.Lost != "" {
		text += "; it"
	}
	if len(holders) == 0 {
		return text + " is free: nobody holds it"
	}
	var who []string
	for i := range holders {
		who = append(who, holderText(&holders[i]))
	}
	if p.Holds {
		text += " is held by this connection"
	} else {
		text += " is held by others"
	}
	if p.Places > 1 {
		text += fmt.Sprintf(" (%d of %d)", len(holders), p.Places)
	}
	return text + ": " + strings.Join(who, "; ")
}

// holderText says who one is, and since when.
func holderText(p *Pin) string {
	who := "connection"
	if p.To == "session" {
		who = "the session of connection"
	}
	switch {
	case p.Awaits == "client_random":
		who = "reserved for the client random " + p.ClientRandom
	case p.Awaits == "session_id":
		who = "reserved for a session id"
	case p.FlowID != 0:
		who = fmt.Sprintf("%s %d, %s", who, p.FlowID, p.Source)
	case p.Source != "":
		who = fmt.Sprintf("%s of an earlier run, %s port %d", who, p.Source, p.SourcePort)
	}
	who += fmt.Sprintf(", for %s", rounded(p.Age))
	if p.ByHand {
		who += ", given by hand"
	}
	if p.Idle != nil {
		who += fmt.Sprintf(", last packet %s ago", rounded(*p.Idle))
	}
	return who
}

func rounded(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}

func gatesOf(s *engine.Story, now int64) (list []WhyGate) {
	for _, g := range s.Gates() {
		y := WhyGate{Gate: gateOf(&g.GateState, now), State: "nothing"}
		if h := g.Hold; h != nil {
			y.waits(s, h, now)
		}
		y.Text = gateText(&y)
		list = append(list, y)
	}
	return list
}

// waits fills in what of a connection waits.
func (y *WhyGate) waits(s *engine.Story, h *engine.HoldStory, now int64) {
	y.BytesToServer, y.BytesToClient, y.Patience = h.Bytes[0], h.Bytes[1], h.Patience.Seconds()
	switch {
	case h.Observed:
		y.State = "observed"
	case h.Began == 0 && h.Until == 0:
		y.State = "yet"
	case h.By == engine.LetByRefusal:
		y.State = "refused"
	case h.Until != 0:
		y.State, y.OpenedBy = "opened", h.By.String()
	case s.Live:
		y.State = "waits"
	default:
		y.State = "ended"
	}
	if h.Began != 0 {
		y.Since = time.Unix(0, h.Began).UTC().Format("2006-01-02T15:04:05.000000-0700")
		until := cmp.Or(h.Until, now)
		if y.State == "ended" {
			until = s.Last
		}
		y.Waited = seconds(max(0, until-h.Began))
	}
}

// gateText says what waits, and what for.
func gateText(y *WhyGate) string {
	text := fmt.Sprintf("the gate of rule %q is closed, ", y.Gate.Rule)
	switch {
	case y.Gate.Open && y.Gate.ByHand:
		text = fmt.Sprintf("the gate of rule %q is open by hand, since %s", y.Gate.Rule, y.Gate.Since)
	case y.Gate.Open:
		text = fmt.Sprintf("the gate of rule %q is open, since its time came at %s", y.Gate.Rule, y.Gate.Since)
	case y.Gate.ByHand:
		text += fmt.Sprintf("by hand; it opens by hand (tlsgate open --rule %q)", y.Gate.Rule)
	case y.Gate.Planned != "":
		text += "and opens at " + y.Gate.Planned
	default:
		text += fmt.Sprintf("and opens by hand (tlsgate open --rule %q)", y.Gate.Rule)
	}
	bytes := fmt.Sprintf("%d bytes of the client, %d of the server", y.BytesToServer, y.BytesToClient)
	waited := rounded(y.Waited)
	switch y.State {
	case "yet":
		text += ": no application data has come yet"
	case "waits":
		text += fmt.Sprintf(": for %s data waits: %s", waited, bytes)
		if y.Patience > 0 {
			text += fmt.Sprintf(", for %s at most", rounded(y.Patience))
		}
	case "opened":
		text += fmt.Sprintf("; data has waited for %s, until %s: %s", waited, openedText[y.OpenedBy], bytes)
	case "ended":
		text += fmt.Sprintf("; the connection has ended while its data waited, for %s: %s", waited, bytes)
	case "refused":
		text += fmt.Sprintf("; the connection was refused when its data had waited for %s: %s", waited, bytes)
	case "observed":
		text += "; it is only told what would wait"
	default:
		text += "; nothing of the connection has waited for it"
	}
	return text
}

var openedText = map[string]string{
	"hand": "somebody let this connection go", "gate_by_hand": "somebody opened the gate", "gate_by_time": "the gate's time came",
	"policy": "no rule had it wait any more",
}
