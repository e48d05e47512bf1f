package control

import (
	"net/netip"
	"strings"
	"testing"
)

// TestWhyGate: why tells what waits for a gate, and what has let it go.
func TestWhyGate(t *testing.T) {
	f := start(t, 2)
	for n := range 3 {
		f.hold(n%2, n)
	}
	ends := func(n int) Which { return Which{A: client(n), B: netip.AddrPortFrom(serverEnd.Addr(), 9443)} }
	told := func(n int, state, by string, parts ...string) {
		t.Helper()
		y, err := f.client.Why(t.Context(), ends(n))
		if err != nil || len(y.Gates) != 1 {
			t.Fatalf("%+v, %v", y.Gates, err)
		}
		g := y.Gates[0]
		if waits := strings.Contains(y.Verdict.Text, "application data waits for the gate"); waits != (state == "waits") {
			t.Errorf("%s: the verdict says %q", state, y.Verdict.Text)
		}
		if g.Gate.Rule != "quarantine" || g.State != state || g.OpenedBy != by || g.BytesToServer != 7 || g.BytesToClient != 0 || g.Since == "" || g.Waited <= 0 {
			t.Errorf("%+v, want %s by %q", g, state, by)
		}
		for _, part := range parts {
			if !strings.Contains(g.Text, part) {
				t.Errorf("no %q in %q", part, g.Text)
			}
		}
	}
	told(0, "waits", "", `the gate of rule "quarantine" is closed, and opens by hand`, "data waits: 7 bytes of the client, 0 of the server")
	if _, err := f.client.Open(t.Context(), Opening{A: ends(0).A, B: ends(0).B}); err != nil {
		t.Fatal(err)
	}
	told(0, "opened", "hand", "is closed, ", "until somebody let this connection go")
	y, err := f.client.Why(t.Context(), ends(2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.Kill(t.Context(), Which{FlowID: y.Connection.FlowID}); err != nil {
		t.Fatal(err)
	}
	told(2, "refused", "", "was refused when its data had waited for")
	if _, err := f.client.Open(t.Context(), Opening{Rule: "quarantine"}); err != nil {
		t.Fatal(err)
	}
	told(1, "opened", "gate_by_hand", "is open by hand, since ", "until somebody opened the gate")
	if _, err := f.client.Open(t.Context(), Opening{Rule: "quarantine", Close: true}); err != nil {
		t.Fatal(err)
	}
	told(1, "opened", "gate_by_hand", "is closed, by hand", "until somebody opened the gate")
}

// TestWhyPin: why tells who has the pin that a connection is under.
func TestWhyPin(t *testing.T) {
	f := start(t, 2)
	f.openTo(0, 0, pinnedEnd)
	f.openTo(1, 1, pinnedEnd)
	f.settle(6)
	told := func(id uint64, holds bool, holders int, text string) {
		t.Helper()
		y, err := f.client.Why(t.Context(), Which{FlowID: id})
		if err != nil || len(y.Pins) != 1 || y.Pins[0].Rule != "one" || y.Pins[0].Holds != holds || len(y.Pins[0].Holders) != holders || !strings.Contains(y.Pins[0].Text, text) {
			t.Errorf("%+v, %v; want %q", y.Pins, err, text)
		}
	}
	told(1, false, 0, `the pin of rule "one" for all its connections is free`)
	if _, err := f.client.Pin(t.Context(), WhichPin{FlowID: 2}); err != nil {
		t.Fatal(err)
	}
	told(1, false, 1, "is held by others: connection 2, 192.0.2.1, for ")
	told(2, true, 1, "is held by this connection: connection 2, 192.0.2.1, for ")
	told(2, true, 1, ", given by hand, last packet ")
	if _, err := f.client.Pin(t.Context(), WhichPin{Rule: "one", ClientRandom: strings.Repeat("ab", 32)}); err != nil {
		t.Fatal(err)
	}
	told(1, false, 1, "held by others: reserved for the client random abab")
	if _, err := f.client.Unpin(t.Context(), 0, "one", ""); err != nil {
		t.Fatal(err)
	}
	told(1, false, 0, "is free: nobody holds it")
}
