package config

import (
	"slices"
	"strings"
	"time"

	"tlsgate/tlsrules"
)

// holdAction is the action that accepts and has application data wait.
const holdAction = "hold"

// pin reads a rule's pin, nil when it has none.
func readPin(t *table) *tlsrules.Pin {
	defer t.finish()
	if t.m == nil {
		return nil
	}
	p := &tlsrules.Pin{
		To:          tlsrules.PinTo(t.oneOf("to", 0, tlsrules.PinTos())),
		Connections: t.integer("connections", 1, tlsrules.MaxPinned),
		Idle:        t.duration("idle", 0, leastTime),
		TLS13:       tlsrules.PinTLS13(t.oneOf("tls13", 0, tlsrules.PinTLS13s())),
	}
	var names []string
	for _, k := range tlsrules.PinGroups() {
		names = append(names, k.String())
	}
	for _, v := range t.list("per", nil) {
		k, ok := tlsrules.ParseKey(strings.ToLower(v))
		switch {
		case !ok || !slices.Contains(tlsrules.PinGroups(), k):
			t.fail("per", "some of: "+quoted(names), "connections cannot be grouped by %q", v)
		case slices.Contains(p.Per, k):
			t.fail("per", "", "has %q twice", v)
		default:
			p.Per = append(p.Per, k)
		}
	}
	slices.Sort(p.Per)
	return p
}

// readHold reads a rule's hold, nil when it has none.
func readHold(t *table) *tlsrules.Hold {
	defer t.finish()
	if t.m == nil {
		return nil
	}
	t.oneOf("what", 0, []string{"application_data"})
	return &tlsrules.Hold{Open: t.moment("open"), Patience: t.duration("patience", 0, leastTime)}
}

const momentHint = `write for example "2026-12-01T10:00:00+05:30"`

// moment takes a time, zero when the file has none.
func (t *table) moment(k string) (at time.Time) {
	switch v := t.take(k).(type) {
	case nil:
		return at
	case time.Time:
		at = v
	case string:
		var err error
		if at, err = time.Parse(time.RFC3339, v); err != nil {
			t.fail(k, momentHint, "%q is not a time", v)
			return at
		}
	default:
		t.fail(k, momentHint, "is %s, not a time", describe(v))
		return at
	}
	if y := at.UTC().Year(); y < 1971 || y > 2200 {
		t.fail(k, momentHint, "is in a year that no packet has")
		return time.Time{}
	}
	return at
}
