package main

import (
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationRulesFlushed: that somebody else takes the daemon's rules away costs
// nothing that it would notice by packets; health does.
func TestIntegrationRulesFlushed(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	f := startFirewall(t, l, partnerPolicy)
	healthy := func(when string, want bool) {
		t.Helper()
		out, code := "", 0
		if !within(5*time.Second, func() bool {
			out, _, code = f.ask(l, "health")
			return (code == 0) == want
		}) {
			t.Errorf("%s: %d: %s", when, code, out)
		}
		if !want && !strings.Contains(out, "rules up -c "+f.policy) {
			t.Errorf("%s: health says %s", when, out)
		}
	}
	healthy("at first", true)
	for _, undo := range [][]string{{"-F", "FORWARD"}, {"-F", "TLSGATE-QUEUE"}} {
		output(t, l.Gateway, "iptables", append([]string{"-w", "5", "-t", "mangle"}, undo...)...)
		healthy(strings.Join(undo, " "), false)
		if out, err := program(t, l.Gateway, "rules", "up", "-c", f.policy).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		healthy("with the rules again", true)
	}
}
