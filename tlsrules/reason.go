package tlsrules

// Reason says why a connection was decided as it was: the reasons of EVENTS.md,
// which are also metric labels. The zero Reason is none.
type Reason uint8

const (
	ReasonNone    Reason = iota
	ReasonRule           // a rule's action, without a requirement
	ReasonDefault        // no rule decided
	ReasonNotTLS
	ReasonMalformedRecord
	ReasonMalformedHandshake
	ReasonTCPOverlap
	ReasonTCPInvalid
	ReasonLimitConnections
	ReasonLimitBuffered
	ReasonLimitHello
	ReasonLimitHalfOpen
	ReasonUndecided
	ReasonMidstream
	ReasonRefusedEarlier
	ReasonLimitTunnels // in one another
	ReasonEarlyTLS     // before the server agreed to it
	ReasonGrace        // accepted for the time of grace
	ReasonKilled       // by the operator
	ReasonPinTaken     // another connection or session has it
	ReasonHoldExpired  // application data has waited for long enough
	ReasonLimitPins
	ReasonTwoNames  // servers may read another server name
	ReasonForgotten // its entry is gone, and it was not read to its end
	ReasonMPTCP     // Multipath TCP

	reasonRequire // and the key
)

var reasonNames = func() (names [int(reasonRequire) + keyCount]string) {
	copy(names[:], []string{
		ReasonNone:               "",
		ReasonRule:               "rule",
		ReasonDefault:            "default",
		ReasonNotTLS:             "not_tls",
		ReasonMalformedRecord:    "malformed.record",
		ReasonMalformedHandshake: "malformed.handshake",
		ReasonTCPOverlap:         "tcp.overlap",
		ReasonTCPInvalid:         "tcp.invalid",
		ReasonLimitConnections:   "limit.connections",
		ReasonLimitBuffered:      "limit.buffered",
		ReasonLimitHello:         "limit.hello",
		ReasonLimitHalfOpen:      "limit.half_open",
		ReasonUndecided:          "undecided",
		ReasonMidstream:          "midstream",
		ReasonRefusedEarlier:     "refused.earlier",
		ReasonLimitTunnels:       "limit.tunnels",
		ReasonEarlyTLS:           "tls.early",
		ReasonGrace:              "grace",
		ReasonKilled:             "killed",
		ReasonPinTaken:           "pin.taken",
		ReasonHoldExpired:        "hold.expired",
		ReasonLimitPins:          "limit.pins",
		ReasonTwoNames:           "tls.name",
		ReasonForgotten:          "forgotten",
		ReasonMPTCP:              "mptcp",
	})
	for k := range Key(keyCount) {
		names[int(reasonRequire)+int(k)] = "require." + k.String()
	}
	return names
}()

// ReasonRequire is the reason of a violated requirement on k.
func ReasonRequire(k Key) Reason { return reasonRequire + Reason(k) }

// Key returns the key of a violated requirement; KeyNone for other reasons.
func (r Reason) Key() Key {
	if r <= reasonRequire {
		return KeyNone
	}
	return Key(r - reasonRequire)
}

// Passing reports whether a refusal is of a SYN alone, and holds for no other one on its
// ports.
func (r Reason) Passing() bool { return r == ReasonRefusedEarlier || r == ReasonMPTCP }

// String returns the reason as EVENTS.md spells it.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "invalid"
}

// Reasons returns the names of all reasons.
func Reasons() []string {
	names := make([]string, 0, len(reasonNames))
	for r, name := range reasonNames {
		if name != "" && r != int(reasonRequire) {
			names = append(names, name)
		}
	}
	return names
}
