package config

import (
	"fmt"
	"strconv"
)

// fixed are the settings that a daemon keeps for as long as it runs.
var fixed = []struct {
	key string
	of  func(*Config) string
}{
	{"queue.number", func(c *Config) string { return strconv.Itoa(int(c.Queue.Number)) }},
	{"queue.workers", func(c *Config) string {
		if c.Queue.Workers == 0 {
			return "0 (one per CPU)"
		}
		return strconv.Itoa(c.Queue.Workers)
	}},
	{"queue.fail_open", func(c *Config) string { return strconv.FormatBool(c.Queue.FailOpen) }},
	{"queue.backend", func(c *Config) string { return strconv.Quote(c.Queue.Backend) }},
	{"queue.busy_poll", func(c *Config) string { return c.Queue.BusyPoll.String() }},
	{"intercept.mark", func(c *Config) string { return fmt.Sprintf("%#x", c.Intercept.Mark) }},
	{"limits.sessions", func(c *Config) string { return strconv.Itoa(c.Limits.Sessions) }},
	{"limits.pins", func(c *Config) string { return strconv.Itoa(c.Limits.Pins) }},
	{"log.events", func(c *Config) string { return strconv.Quote(c.Log.Events) }},
	{"control.socket", func(c *Config) string { return strconv.Quote(c.Control.Socket) }},
	{"control.group", func(c *Config) string { return strconv.Quote(c.Control.Group) }},
	{"state.file", func(c *Config) string {
		if c.State.File == DefaultState(c.Queue.Number) {
			return "that of its queue"
		}
		return strconv.Quote(c.State.File)
	}},
	{"state.every", func(c *Config) string { return c.State.Every.String() }},
}

// Replaces reports whether c can take the place of a policy that is in force, as
// errors for every setting that it has otherwise and that stands until the daemon is
// started anew. Both are as flags have changed them.
func (c *Config) Replaces(running *Config) error {
	var errs Errors
	for _, f := range fixed {
		if is, wanted := f.of(running), f.of(c); is != wanted {
			errs = append(errs, &Error{
				File: c.Path, Line: c.lines.of(f.key), Key: f.key, Hint: "restart the daemon to change it",
				Msg: fmt.Sprintf("cannot change while the daemon runs: it runs with %s, and the file wants %s", is, wanted),
			})
		}
	}
	return errs.err()
}
