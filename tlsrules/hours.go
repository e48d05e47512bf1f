package tlsrules

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones on machines that have none
)

// hours is a value of the key time: when a connection begins. Either bounds
// of a moment, or hours of days of the week.
type hours struct {
	after, before int64 // seconds since the Unix epoch; 0 is no bound
	weekly        bool
	days          uint8 // bit 0 is Sunday
	from, to      int   // minutes of the day; to before from is on the next day
	zone          *time.Location
}

const hoursHint = `write for example "Mon-Fri 09:00-17:00 Europe/Berlin" or "after 2026-12-01T10:00:00Z"`

// has reports whether a time, in seconds since the Unix epoch, is within. A span
// over midnight belongs to the day on which it begins.
func (h *hours) has(at int64) bool {
	if !h.weekly {
		return (h.after == 0 || at >= h.after) && (h.before == 0 || at < h.before)
	}
	t := time.Unix(at, 0).In(h.zone)
	hour, minute, _ := t.Clock()
	now := hour*60 + minute
	today, yesterday := h.days>>t.Weekday()&1 != 0, h.days>>((t.Weekday()+6)%7)&1 != 0
	if h.from < h.to {
		return today && h.from <= now && now < h.to
	}
	return today && now >= h.from || yesterday && now < h.to
}

func inHours(list []hours, at int64) bool {
	for i := range list {
		if list[i].has(at) {
			return true
		}
	}
	return false
}

// parseHours takes "after T", "before T", or days, hours and a zone, of which at
// least one of the first two.
func (c *Condition) parseHours(s string) *ValueError {
	fields := strings.Fields(s)
	if len(fields) == 2 && (strings.EqualFold(fields[0], "after") || strings.EqualFold(fields[0], "before")) {
		at, err := time.Parse(time.RFC3339, fields[1])
		if y := at.UTC().Year(); err != nil || y < 1971 || y > 2200 {
			return &ValueError{Msg: "names no time", Hint: hoursHint}
		}
		word := strings.ToLower(fields[0])
		if word == "after" {
			c.hours = append(c.hours, hours{after: at.Unix()})
		} else {
			c.hours = append(c.hours, hours{before: at.Unix()})
		}
		c.show(word + " " + at.Format(time.RFC3339))
		return nil
	}
	h := hours{weekly: true, days: 1<<7 - 1, to: 24 * 60, zone: time.Local}
	var shown []string
	given := fields
	if len(fields) > 0 {
		if days, ok := parseDays(fields[0]); ok {
			h.days, fields = days, fields[1:]
			shown = append(shown, given[0])
		}
	}
	if len(fields) > 0 {
		if from, to, ok := parseSpan(fields[0]); ok {
			h.from, h.to, fields = from, to, fields[1:]
			shown = append(shown, fmt.Sprintf("%02d:%02d-%02d:%02d", from/60, from%60, to/60, to%60))
		}
	}
	if len(fields) > 1 || len(shown) == 0 {
		return &ValueError{Msg: "names no time", Hint: hoursHint}
	}
	if len(fields) == 1 {
		zone, err := time.LoadLocation(fields[0])
		if err != nil || strings.EqualFold(fields[0], "local") {
			return &ValueError{Msg: fmt.Sprintf("names no time: %q is neither days, hours nor a time zone", fields[0]), Hint: hoursHint}
		}
		h.zone = zone
		shown = append(shown, zone.String())
	} else {
		c.notes = append(c.notes, fmt.Sprintf("%q is in this machine's time zone; one may be named behind it", s))
	}
	c.hours = append(c.hours, h)
	c.show(strings.Join(shown, " "))
	return nil
}

// parseDays takes "Mon-Fri", "Sat,Sun" and the like; "Fri-Mon" goes over Sunday.
func parseDays(s string) (days uint8, ok bool) {
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, okA := parseDay(first)
		b, okB := parseDay(last)
		if !okA || !okB {
			return 0, false
		}
		for d := a; ; d = (d + 1) % 7 {
			days |= 1 << d
			if d == b {
				break
			}
		}
	}
	return days, true
}

func parseDay(s string) (time.Weekday, bool) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(s, d.String()) || strings.EqualFold(s, d.String()[:3]) {
			return d, true
		}
	}
	return 0, false
}

// parseSpan takes "09:00-17:00"; 24:00 is the end of the day.
func parseSpan(s string) (from, to int, ok bool) {
	a, b, _ := strings.Cut(s, "-")
	from, okA := parseMinutes(a)
	to, okB := parseMinutes(b)
	if to == 0 {
		to = 24 * 60
	}
	return from, to, okA && okB && from != to && from < 24*60
}

func parseMinutes(s string) (int, bool) {
	if s == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil
}

// whenIn tells a time in the zone that the first of some hours has.
func whenIn(list []hours, at uint32) string {
	zone := time.UTC
	if len(list) > 0 && list[0].zone != nil {
		zone = list[0].zone
	}
	return time.Unix(int64(at), 0).In(zone).Format("Mon " + time.RFC3339)
}
