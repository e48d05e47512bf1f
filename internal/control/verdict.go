package control

import (
	"fmt"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
)

// verdictOf says what came of a connection, and what to do if that is not wanted.
func verdictOf(s *engine.Story) Verdict {
	d := &s.Decision
	v := Verdict{Verdict: s.Verdict(), Final: d.Final, Observed: d.Observed, Rule: d.Rule}
	if d.Decided {
		v.Reason = d.Reason.String()
	}
	refused := d.Decided && d.Action.Refuses() && !d.Observed
	switch {
	case !d.Decided && d.Rule != "":
		v.Text = fmt.Sprintf("It is not decided: rule %q waits for %s. Until then packets pass, but not a message that would decide against it.", d.Rule, d.Stage)
	case !d.Decided:
		v.Text = fmt.Sprintf("It is not decided: it waits for %s.", d.Stage)
	case refused:
		v.Packet = s.Packet
		v.Text = fmt.Sprintf("It was refused (%s) at packet %d: %s.", d.Action, s.Packet, s.Detail)
		if s.Detail == "" {
			v.Text = fmt.Sprintf("It was refused (%s): %s.", d.Action, d.Reason)
		}
	case s.Held && s.Live:
		v.Text = fmt.Sprintf("Its handshake passes; its application data waits for the gate of rule %q.", d.Rule)
	case s.Detail != "":
		v.Text = fmt.Sprintf("It passes, but would have been refused: %s.", s.Detail)
	case d.Reason == tlsrules.ReasonRule:
		v.Text = fmt.Sprintf("It passes: rule %q accepts it%s.", d.Rule, soFar(d))
	case d.Reason == tlsrules.ReasonDefault:
		v.Text = "It passes: no rule decides, and default.action accepts it" + soFar(d) + "."
	case d.Reason == tlsrules.ReasonNotTLS:
		v.Text = "It passes: it is not TLS, and default.not_tls accepts that" + soFar(d) + "."
	case d.Reason == tlsrules.ReasonMidstream:
		v.Text = "It passes: it began before the daemon saw it, and default.midstream accepts that" + soFar(d) + "."
	default:
		v.Text = fmt.Sprintf("It passes (%s)%s.", d.Reason, soFar(d))
	}
	if s.Offloaded && s.Live && !refused {
		v.Text += " It is left to the kernel: its packets are not looked at any more."
	}
	if refused || d.Observed {
		v.Advice = advice(d)
	}
	return v
}

// soFar says that a decision may still change.
func soFar(d *tlsrules.Decision) string {
	if d.Final {
		return ""
	}
	return ", as far as is known by now"
}

// advice says what would let such a connection pass.
func advice(d *tlsrules.Decision) string {
	switch {
	case d.Key != tlsrules.KeyNone:
		return fmt.Sprintf("If it is to pass: add what was seen to require.%s of rule %q, or have its client or server use what the rule allows.", d.Key, d.Rule)
	case d.Reason == tlsrules.ReasonRule:
		return fmt.Sprintf("If it is to pass: have rule %q not match it (match, unless), or put a rule with action = \"accept\" before it.", d.Rule)
	case d.Reason == tlsrules.ReasonDefault:
		return "If it is to pass: write a rule that accepts it."
	case d.Reason == tlsrules.ReasonKilled:
		return "The operator has ended it: its client may connect again."
	}
	if key, ok := defaultOf[d.Reason]; ok {
		return "What becomes of such connections says " + key + " in the policy."
	}
	return ""
}

// defaultOf is the key of the policy that decides, where no rule does.
var defaultOf = map[tlsrules.Reason]string{
	tlsrules.ReasonNotTLS: "default.not_tls", tlsrules.ReasonMalformedRecord: "default.malformed",
	tlsrules.ReasonMalformedHandshake: "default.malformed", tlsrules.ReasonTCPOverlap: "default.ambiguous",
	tlsrules.ReasonTCPInvalid: "default.ambiguous", tlsrules.ReasonEarlyTLS: "default.ambiguous",
	tlsrules.ReasonUndecided: "default.undecided (and how long that takes, limits.decide)",
	tlsrules.ReasonMidstream: "default.midstream", tlsrules.ReasonRefusedEarlier: "refuse_for",
	tlsrules.ReasonLimitBuffered: "default.overload", tlsrules.ReasonLimitHello: "default.overload",
	tlsrules.ReasonLimitTunnels: "default.overload", tlsrules.ReasonMPTCP: "default.mptcp",
}
