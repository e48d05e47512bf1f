package main

import (
	"crypto/rand"
	"fmt"
	"io"

	"tlsgate/config"
	"tlsgate/internal/engine"
	"tlsgate/internal/state"
)

// remembered is what of a daemon outlives it.
type remembered struct {
	sessions *engine.Sessions
	pins     *engine.Pins
	gates    *engine.Gates
	changes  state.Changes // noted by whoever changes what is written at once
	keeper   *state.Keeper // nil: nothing outlives it
	wall     *engine.Wall
	asked    bool
}

func newRemembered(c *config.Config, wall *engine.Wall) *remembered {
	var seed [16]byte
	rand.Read(seed[:])
	gates := engine.NewGates(c.Policy)
	gates.GoBy(wall)
	return &remembered{
		sessions: engine.NewSessions(c.Limits.Sessions, seed), pins: engine.NewPins(c.Limits.Pins, seed),
		gates: gates, wall: wall, changes: state.NewChanges(), asked: c.State.Asked,
	}
}

// open takes the state file, and what an earlier run has written there. It is called
// before the engines run.
func (r *remembered) open(c *config.Config, clock func() int64, stderr io.Writer) error {
	if c.State.File == "none" {
		return nil
	}
	warn := func(text string) { fmt.Fprintf(stderr, "tlsgate: warning: %s\n", text) }
	keeper, s, err := state.Open(state.Config{
		File: c.State.File, MakeDir: !c.State.Asked, Every: c.State.Every, Changes: r.changes,
		Collect: func(sessions bool) *state.State { return r.collect(sessions, clock()) }, Warn: warn,
	})
	if err != nil && !c.State.Asked {
		warn(err.Error() + ": running without a state file")
		return nil
	}
	if err != nil {
		return err
	}
	r.keeper = keeper
	r.sessions.Import(s.Sessions, clock())
	r.gates.Import(s.KnownGates())
	r.gates.OnChange(r.changes.Note)
	r.pins.Import(s.KnownPins(), c.Policy, clock())
	r.pins.OnChange(r.changes.Note)
	return nil
}

func (r *remembered) collect(sessions bool, now int64) *state.State {
	pins := r.pins.Export() // in the wall's time, which the next run begins with
	for i := range pins {
		pins[i].Since, pins[i].Used = r.wall.Time(pins[i].Since), r.wall.Time(pins[i].Used)
	}
	s := &state.State{Written: r.wall.Time(now), Pins: state.PinsOf(pins), Gates: state.GatesOf(r.gates.Export())}
	if sessions {
		s.Sessions = r.sessions.Export(now)
		for i := range s.Sessions {
			s.Sessions[i].Used = r.wall.Time(s.Sessions[i].Used)
		}
	}
	return s
}

// close writes for the last time, once the engines have ended.
func (r *remembered) close() error {
	err := r.keeper.Close()
	if !r.asked {
		return nil // the keeper has warned
	}
	return err
}
