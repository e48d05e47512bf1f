package control

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// waiting lists the connections that wait, by their clients' ports.
func (f *daemon) waiting() (ports []uint16) {
	f.t.Helper()
	list, err := f.conns(map[string][]string{"verdict": {"hold"}})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range list {
		if c.Rule != "quarantine" || c.Final {
			f.t.Errorf("waits: %+v", c)
		}
		ports = append(ports, c.SourcePort)
	}
	return ports
}

// TestGates: a gate lets all through, of all workers, or one alone.
func TestGates(t *testing.T) {
	f := start(t, 2)
	ctx := context.Background()
	const each = 300 // more than are let go at once
	for n := range 2 * each {
		f.hold(n%2, n)
	}
	if n := len(f.waiting()); n != 2*each {
		t.Fatalf("%d connections wait", n)
	}
	g, err := f.client.Gates(ctx)
	if want := (Gate{Rule: "quarantine", Waiting: 2 * each}); err != nil || len(g.Gates) != 1 || g.Gates[0] != want {
		t.Errorf("gates %+v, %v", g, err)
	}
	done, err := f.client.Open(ctx, Opening{A: netip.AddrPortFrom(serverEnd.Addr(), 9443), B: client(7)})
	if err != nil || done.Connection == nil || done.Connection.Verdict != "hold" || !strings.Contains(done.Text, "on its way") {
		t.Errorf("one: %+v, %v", done, err)
	}
	if n := len(f.waiting()); n != 2*each-1 {
		t.Errorf("%d connections wait when one was let through", n)
	}
	var failure *Failure
	if _, err := f.client.Open(ctx, Opening{FlowID: done.Connection.FlowID}); !errors.As(err, &failure) || failure.Status != http.StatusConflict {
		t.Errorf("a second time: %v", err)
	}
	done, err = f.client.Open(ctx, Opening{Rule: "quarantine"})
	if err != nil || done.Gate == nil || !done.Gate.Open || done.Gate.Since == "" || done.Gate.Waiting != 0 || done.Gate.Passed != 2*each ||
		!strings.Contains(done.Text, "599 connections") {
		t.Errorf("all: %+v, %v", done, err)
	}
	if left := f.waiting(); left != nil {
		t.Errorf("%d connections wait behind an open gate", len(left))
	}
	f.hold(0, 2*each)
	if left := f.waiting(); left != nil {
		t.Errorf("a new connection waits behind an open gate")
	}
	if done, err = f.client.Open(ctx, Opening{Rule: "quarantine", Close: true}); err != nil || done.Gate.Open || !done.Gate.ByHand {
		t.Errorf("closing: %+v, %v", done, err)
	}
	f.hold(1, 2*each+1)
	if left := f.waiting(); len(left) != 1 {
		t.Errorf("%d connections wait behind a gate that was closed again", len(left))
	}
}

// TestGateRefusals: what is wrong with a question is said, with what there is.
func TestGateRefusals(t *testing.T) {
	f := start(t, 1)
	f.open(0, 1)
	f.settle(3)
	for body, want := range map[string]struct {
		status     int
		text, hint string
	}{
		`{"rule":"nobody's"}`:                               {404, `the policy has no rule "nobody's"`, `there is a gate of "quarantine"`},
		`{"rule":"plain"}`:                                  {409, `has no gate: it needs a hold`, `there is a gate of "quarantine"`},
		`{"rule":"quarantine","flow_id":1}`:                 {400, `name a "rule", or a connection`, ""},
		`{"flow_id":1,"a":"192.0.2.1:1","b":"192.0.2.1:2"}`: {400, `name a "rule", or a connection`, ""},
		`{"a":"192.0.2.1:1"}`:                               {400, `name a "rule", or a connection`, ""},
		`{}`:                                                {400, `name a "rule", or a connection`, ""},
		`{"flow_id":1,"close":true}`:                        {400, `"close" is for the gate of a "rule"`, ""},
		`{"rules":"x"}`:                                     {400, "not what opening takes", ""},
		`{"flow_id":1}`:                                     {409, "connection 1 waits for nothing", "tlsgate conns --verdict hold"},
		`{"flow_id":4711}`:                                  {404, "there is no connection 4711", "tlsgate conns"},
	} {
		r := f.raw("POST", "/v1/gates", body)
		var failure *Failure
		err := f.client.answerOf(r, &Opened{})
		if !errors.As(err, &failure) || r.StatusCode != want.status || !strings.Contains(failure.Text, want.text) || !strings.Contains(failure.Help, want.hint) {
			t.Errorf("%s: %d %+v", body, r.StatusCode, err)
		}
	}
}
