package engine

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tlsgate/tlsrules"
)

// groupOf gives what a connection has in common with the others of its group, in
// the order of the policy's keys: "source=192.0.2.1,sni=a.example". It is false if
// that is not known.
func groupOf(pin *tlsrules.Pin, f *tlsrules.Facts) (string, bool) {
	var values []string
	for _, k := range pin.Per {
		v := ""
		switch k {
		case tlsrules.KeySource:
			v = f.Source.String()
		case tlsrules.KeyDestination:
			v = f.Destination.String()
		case tlsrules.KeyPort:
			v = fmt.Sprint(f.Port)
		case tlsrules.KeyInInterface:
			v = groupText(f.InInterface)
		case tlsrules.KeyServerName:
			switch {
			case f.Client == nil:
				return "", false
			case !f.Client.HasServerName:
				v = groupNone
			default:
				v = groupText(groupName(f.Client.ServerName))
			}
		}
		values = append(values, k.String()+"="+v)
	}
	return strings.Join(values, ","), true
}

// maxGroupName is the longest name that a group has as it is: that of a host has 253
// bytes (RFC 1035, Section 2.3.4).
const maxGroupName = 255

// groupName is the name of a group's server. Of one that is none, and so long that a
// memory of many would be full, the hash is as good.
func groupName(name []byte) string {
	if len(name) > maxGroupName {
		lower := bytes.Clone(name)
		for i, b := range lower {
			if 'A' <= b && b <= 'Z' {
				lower[i] = b + 'a' - 'A'
			}
		}
		return fmt.Sprintf("sha256:%x", sha256.Sum256(lower))
	}
	return strings.ToLower(string(name))
}

// groupNone stands for a name that a hello has not.
const groupNone = "none"

// groupText writes a name such that it is not taken for something else: who sends a
// hello may write into it what he likes.
func groupText(name string) string {
	plain := func(b byte) bool {
		return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("-._:@*", b) >= 0
	}
	var text strings.Builder
	for i := range len(name) {
		if b := name[i]; plain(b) && name != groupNone {
			text.WriteByte(b)
		} else {
			fmt.Fprintf(&text, "%%%02x", b)
		}
	}
	return text.String()
}

// GroupValues takes a group apart; nil if there is but one.
func GroupValues(group string) map[string]string {
	if group == "" {
		return nil
	}
	values := map[string]string{}
	for _, v := range strings.Split(group, ",") {
		k, v, _ := strings.Cut(v, "=")
		values[k] = v
	}
	return values
}

// GroupError says what is wrong with a group that somebody names.
type GroupError struct{ Text, Hint string }

func (e *GroupError) Error() string { return e.Text }

// GroupNamed names the group of a rule's pin whose connections have these values.
func GroupNamed(r *tlsrules.Rule, values map[string]string) (string, error) {
	var names, group []string
	for _, k := range r.Pin.Per {
		names = append(names, k.String())
	}
	hint := fmt.Sprintf("its groups are told apart by %s", strings.Join(names, ", "))
	if len(names) == 0 {
		hint = "all its connections are one group"
	}
	for k := range values {
		if !slices.Contains(names, k) {
			return "", &GroupError{fmt.Sprintf("the pin of rule %q knows no %q", r.Name, k), hint}
		}
	}
	for _, k := range r.Pin.Per {
		v, ok := values[k.String()]
		if !ok {
			return "", &GroupError{fmt.Sprintf("which group of the pin of rule %q is not said: %s is missing", r.Name, k), hint}
		}
		v, err := groupValue(k, v)
		if err != nil {
			return "", &GroupError{fmt.Sprintf("%s: %v", k, err), hint}
		}
		group = append(group, k.String()+"="+v)
	}
	return strings.Join(group, ","), nil
}

// groupValue writes a value as groupOf does.
func groupValue(k tlsrules.Key, v string) (string, error) {
	switch k {
	case tlsrules.KeySource, tlsrules.KeyDestination:
		a, err := netip.ParseAddr(v)
		if err != nil {
			return "", fmt.Errorf("%q is not an address", v)
		}
		return a.WithZone("").String(), nil
	case tlsrules.KeyPort:
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil || n == 0 {
			return "", fmt.Errorf("%q is not a port", v)
		}
		return strconv.FormatUint(n, 10), nil
	case tlsrules.KeyServerName:
		if v = strings.ToLower(v); v == groupNone {
			return v, nil
		}
		if !strings.Contains(v, "%") {
			v = groupName([]byte(v))
		}
	}
	if text := groupText(v); !strings.Contains(v, "%") { // else as we have written it
		return text, nil
	}
	return v, nil
}

// takenText says who holds the pin that a connection has no part in.
func (e *Engine) takenText(p *pin) string {
	what := fmt.Sprintf("the pin of rule %q for %s", p.group.rule, p.group)
	switch p.had {
	case goneMoved:
		return "the operator has given " + what + " to another" + e.heldText(p)
	case goneFreed:
		return "the operator has taken " + what + " away"
	}
	if p.blind {
		return fmt.Sprintf("rule %q pins connections by what was not seen of this one", p.group.rule)
	}
	text := what + " is taken"
	switch p.had {
	case goneEnded:
		text += "; this connection had it, and was seen to end"
	case goneIdle:
		text += "; this connection had it, and was silent for too long"
	}
	return text + e.heldText(p)
}

func (e *Engine) heldText(p *pin) string {
	h := e.cfg.Pins.rival(&p.applicant, e.now)
	if h == nil {
		return ""
	}
	text := ": " + h.text(e.now)
	if p.places > 1 {
		text = fmt.Sprintf(": %d hold it, the latest is %s", p.places, strings.TrimPrefix(text, ": "))
	}
	return text
}

// text says who a holder is, and for how long.
func (h *holder) text(now int64) string {
	who := "connection"
	if h.session {
		who = "the session of connection"
	}
	switch h.awaits {
	case awaitsRandom:
		return fmt.Sprintf("it is reserved for the client random %x", h.random)
	case awaitsSessionID:
		return "it is reserved for a session id"
	}
	if h.began.id != 0 {
		who = fmt.Sprintf("%s %d", who, h.began.id)
	}
	from := h.began.client
	if !from.IsValid() {
		from = netip.AddrPort{}
	}
	return fmt.Sprintf("%s from %s to %s, for %s", who, from, h.began.server, seconds(now-h.since))
}
