package main

import (
	"context"
	"sync/atomic"
	"time"

	"tlsgate/internal/control"
)

// rulesLook bounds how long it may take to look at the iptables rules, and how often
// that is done.
const rulesLook = time.Second

// rulesSeen is what was found when the daemon's own rules were looked at. The zero
// rulesSeen has not looked, and has nothing to say.
type rulesSeen struct {
	at      atomic.Int64 // Unix, nanoseconds
	missing atomic.Bool
}

// trouble tells whether somebody else has taken away or changed the rules that the
// daemon has put in place: what they do not send to the queue passes unread. While
// rules are exchanged nobody looks.
func (r *reloader) trouble() []control.Problem {
	if !r.install {
		return nil
	}
	select {
	case r.turn <- struct{}{}:
		r.lookAtRules()
		<-r.turn
	default:
	}
	if !r.seen.missing.Load() {
		return nil
	}
	return []control.Problem{{
		Code: "rules",
		Text: "the iptables rules in place are not those that this daemon has put there: what they do not send to its queue passes unread; tlsgate rules up -c " + r.config().Path + " puts them back",
	}}
}

func (r *reloader) lookAtRules() {
	if since := time.Since(time.Unix(0, r.seen.at.Load())); 0 <= since && since < rulesLook {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rulesLook)
	defer cancel()
	found, _ := r.rulesNow(ctx, r.config())
	r.seen.missing.Store(found == control.RulesDiffer)
	r.seen.at.Store(time.Now().UnixNano())
}
