package engine

import (
	"context"
	"errors"
	"net/netip"

	"tlsgate/conntrack"
)

// ErrWaitsForNothing: no rule has the connection's data wait, or none any more.
var ErrWaitsForNothing = errors.New("engine: the connection waits for nothing")

// Gates returns the gates that the engine goes by, for whoever opens them.
func (e *Engine) Gates() *Gates { return e.cfg.Gates }

// Open lets one connection go, named as in Kill, whatever becomes of the gates. It
// returns the connection as it was before.
func (e *Engine) Open(ctx context.Context, id uint64, a, b netip.AddrPort) (before Seen, err error) {
	var wrong error
	err = e.ask(ctx, func() {
		c := e.table.Between(a, b)
		if c == nil || id != 0 && c.ID != id {
			wrong = ErrUnknown
			return
		}
		e.see(c, &before)
		e.renew(c, conntrack.Original, nil)
		switch {
		case c.Value.phase == refused:
			wrong = ErrRefused
		case !c.Value.gate.has(atGate):
			wrong = ErrWaitsForNothing
		default:
			e.hold(c).byHand = true
			e.letPass(c)
		}
	})
	if err == nil {
		err = wrong
	}
	return before, err
}

// LetGo lets connections go whose gates are open, some of them at once, and
// reports whether there are more. The next tick would do the same.
func (e *Engine) LetGo(ctx context.Context) (more bool, err error) {
	err = e.ask(ctx, func() { more = e.lookAtGates() })
	return more && err == nil, err
}
