package tlsrules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tlsgate/tlsrules/suites"
)

// Action is what becomes of a connection. The zero Action drops. An Alert
// carries the description that is sent, so compare kinds, not actions, where it
// may be one.
type Action uint16

const (
	Drop     Action = iota // silence
	Accept                 // pass
	Reset                  // an RST to both ends
	Alert                  // a fatal alert to the client, an RST to the server; AlertOf has another than handshake_failure
	Refuse                 // Reset, and for a while SYNs of that client to that server are answered as by a closed port
	Continue               // a rule's action only: the next rule is asked
)

const (
	kindBits         = 8
	handshakeFailure = 40 // RFC 8446, Section 6.2
)

var actionNames = [...]string{
	Drop: "drop", Accept: "accept", Reset: "reset", Alert: "alert", Refuse: "refuse", Continue: "continue",
}

// AlertOf is Alert with a description. The description 0 is that of Alert alone,
// for close_notify refuses nothing.
func AlertOf(description uint8) Action {
	if description == handshakeFailure {
		description = 0
	}
	return Alert | Action(description)<<kindBits
}

// Kind returns the action without an alert's description: one of the constants.
func (a Action) Kind() Action { return a & (1<<kindBits - 1) }

// Description returns the alert that an Alert sends.
func (a Action) Description() uint8 {
	if d := uint8(a >> kindBits); d != 0 {
		return d
	}
	return handshakeFailure
}

// String returns the action as a policy spells it.
func (a Action) String() string {
	switch k := a.Kind(); {
	case k == Alert:
		return "alert:" + suites.AlertName(a.Description())
	case k == a && int(k) < len(actionNames):
		return actionNames[k]
	}
	return "invalid"
}

// Name returns the action without what stands behind the colon.
func (a Action) Name() string {
	if a.Kind() == Alert {
		return actionNames[Alert]
	}
	return a.String()
}

// Refuses reports whether the action ends the connection.
func (a Action) Refuses() bool { return a.Kind() != Accept && a.Kind() != Continue }

// valid reports whether the action is one of some kinds.
func (a Action) valid(kinds ...Action) bool {
	return a.String() != "invalid" && slices.Contains(kinds, a.Kind())
}

// mild are alerts that end no handshake: RFC 8446, Section 6.1, and RFC 5246,
// Section 7.2.
var mild = []uint8{0, 41, 90, 100}

// ParseAction is the inverse of Action.String. "alert" alone is
// alert:handshake_failure. The error is a *ValueError.
func ParseAction(s string) (Action, error) {
	name, alert, named := strings.Cut(strings.ToLower(s), ":")
	i := slices.Index(actionNames[:], name)
	switch {
	case i < 0 || named && Action(i) != Alert:
		return Drop, &ValueError{s, "is not an action", suggestion(suites.Closest(name, actionNames[:]), actionNames[:])}
	case !named:
		return Action(i), nil
	}
	d, ok := suites.AlertByName(alert)
	if _, err := strconv.Atoi(suites.AlertName(d)); !ok || err == nil {
		return Drop, &ValueError{s, fmt.Sprintf("names no alert: %q", alert), suggestion(suites.SuggestAlert(alert), []string{"the names of RFC 8446, Section 6"})}
	}
	if slices.Contains(mild, d) {
		return Drop, &ValueError{s, fmt.Sprintf("refuses nothing: %s is not a fatal alert", suites.AlertName(d)), `did you mean "alert:handshake_failure"?`}
	}
	return AlertOf(d), nil
}
