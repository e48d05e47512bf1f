package tlsrules

import (
	"testing"
	"time"
)

func TestHours(t *testing.T) {
	for _, c := range []struct {
		value string
		yes   []string
		no    []string
	}{
		{"after 2026-12-01T10:00:00Z", []string{"2026-12-01T10:00:00Z", "2027-01-01T00:00:00Z"}, []string{"2026-12-01T09:59:59Z"}},
		{"Before 2026-12-01T10:00:00+05:30", []string{"2026-12-01T04:29:59Z"}, []string{"2026-12-01T04:30:00Z"}},
		{"Mon-Fri 09:00-17:00 Asia/Kolkata", // +05:30
			[]string{"2026-11-27T03:30:00Z", "2026-11-27T11:29:59Z"},
			[]string{"2026-11-27T03:29:59Z", "2026-11-27T11:30:00Z", "2026-11-28T05:00:00Z", "2026-11-29T05:00:00Z"}},
		{"fri-mon UTC", // over Sunday
			[]string{"2026-11-27T00:00:00Z", "2026-11-29T12:00:00Z", "2026-11-30T23:59:59Z"},
			[]string{"2026-11-26T23:59:59Z", "2026-12-01T00:00:00Z"}},
		{"Sat,Wednesday 08:00-09:00 UTC", []string{"2026-11-28T08:00:00Z", "2026-11-25T08:59:00Z"}, []string{"2026-11-27T08:00:00Z"}},
		{"Fri 22:00-06:00 UTC", // over midnight: Friday's
			[]string{"2026-11-27T22:00:00Z", "2026-11-28T05:59:59Z"},
			[]string{"2026-11-27T05:00:00Z", "2026-11-28T22:00:00Z", "2026-11-28T06:00:00Z"}},
		{"22:00-00:00 UTC", []string{"2026-11-27T23:59:59Z"}, []string{"2026-11-27T00:00:00Z", "2026-11-27T21:59:59Z"}},
		{"00:00-24:00 UTC", []string{"2026-11-27T00:00:00Z", "2026-11-27T23:59:59Z"}, nil},
		// The clock is put back at 03:00 on 2026-10-25: the hour from two to three is there twice.
		{"02:30-03:00 Europe/Berlin", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:45:00Z"}, []string{"2026-10-25T01:15:00Z"}},
	} {
		v := cond(t, "time", c.value)
		ask := func(at string, want truth) {
			t.Helper()
			when, err := time.Parse(time.RFC3339, at)
			if err != nil {
				t.Fatal(err)
			}
			f := &Facts{Began: uint32(when.Unix())}
			f.Known.Add(StageSYN)
			var w view
			w.look(f, 0)
			if got := v.eval(&w); got != want {
				t.Errorf("%q at %s: %s, want %s", c.value, at, truthNames[got], truthNames[want])
			}
		}
		for _, at := range c.yes {
			ask(at, yes)
		}
		for _, at := range c.no {
			ask(at, no)
		}
		again := cond(t, "time", v.Values()...) // as check writes it
		if again.Values()[0] != v.Values()[0] {
			t.Errorf("%q is shown as %q, and that as %q", c.value, v.Values(), again.Values())
		}
	}
}

func TestHoursErrors(t *testing.T) {
	for _, value := range []string{
		"", "UTC", "noon", "Mon", "after", "after tomorrow", "after 2026-12-01", "before 1969-01-01T00:00:00Z",
		"Mon-Fri 9-17", "25:00-26:00", "09:00-09:00", "24:00-25:00", "Mon 09:00-17:00 Asia/Calcuta", "Mon 09:00-17:00 UTC UTC",
		"Mon-Fri-Sat", "09:00-17:00 ../../etc/passwd", "09:00-17:00 local",
	} {
		c, err := ParseCondition(KeyTime, []string{value})
		switch {
		case value == "Mon" && (err != nil || c.Values()[0] != "Mon"):
			t.Errorf("a day alone: %v", err)
		case value != "Mon" && err == nil:
			t.Errorf("%q is taken as %v", value, c.Values())
		}
	}
}

func TestHoursAllocate(t *testing.T) {
	c := cond(t, "time", "Mon-Fri 09:00-17:00 Asia/Kolkata", "Sat,Sun UTC")
	if n := testing.AllocsPerRun(100, func() { inHours(c.hours, 1795000000) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
