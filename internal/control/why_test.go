package control

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestWhy asks two workers for stories, by number and by both ends, of connections
// that are there, that were killed, and that nobody knows.
func TestWhy(t *testing.T) {
	f := start(t, 2)
	for n := range 4 {
		f.open(n%2, n)
	}
	f.settle(12)
	ctx := t.Context()
	list, err := f.conns(nil)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d connections, %v", len(list), err)
	}
	for _, c := range list {
		byID, err := f.client.Why(ctx, Which{FlowID: c.FlowID})
		if err != nil || byID.Connection.FlowID != c.FlowID || !byID.Live || len(byID.Timeline) != 2 || byID.Missing != nil {
			t.Fatalf("%+v, %v", byID, err)
		}
		if m := byID.Timeline[1]; m.Packet != 2 || m.From != "server" || m.Flags != "SYN ACK" || m.Verdict != "pass" || m.After < 0 {
			t.Errorf("the second packet: %+v", m)
		}
	}
	for _, ends := range []Which{{A: client(2), B: serverEnd}, {A: serverEnd, B: client(2)}} {
		if y, err := f.client.Why(ctx, ends); err != nil || y.Connection.Source != client(2).Addr().String() || y.Connection.SourcePort != client(2).Port() {
			t.Errorf("%+v, %v", y.Connection, err)
		}
	}
	if _, err := f.client.Kill(ctx, Which{FlowID: list[0].FlowID}); err != nil {
		t.Fatal(err)
	}
	y, err := f.client.Why(ctx, Which{FlowID: list[0].FlowID})
	if err != nil || y.Verdict.Reason != "killed" || !strings.Contains(y.Verdict.Text, "the operator has ended it") || y.Verdict.Advice == "" {
		t.Errorf("%+v, %v", y.Verdict, err)
	}
	if !slices.ContainsFunc(y.Timeline, func(m Moment) bool { return m.What == "operator" && slices.Equal(m.Noticed, []string{"verdict"}) }) ||
		!slices.ContainsFunc(y.Timeline, func(m Moment) bool { return m.What == "injected" && strings.HasPrefix(m.Flags, "RST") }) {
		t.Errorf("%+v", y.Timeline)
	}
	for _, which := range []Which{{FlowID: 4711}, {A: client(100), B: serverEnd}, {A: netip.MustParseAddrPort("[2001:db8::1]:1"), B: serverEnd}} {
		var fail *Failure
		if _, err := f.client.Why(ctx, which); !errors.As(err, &fail) || fail.Status != http.StatusNotFound || !strings.Contains(fail.Help, "flow_id") {
			t.Errorf("%+v: %v", which, err)
		}
	}
	for _, query := range []string{"id=0", "id=x", "id=1&a=192.0.2.1:1", "a=192.0.2.1:1", "id=1&id=2", "colour=red", "id=1&a=192.0.2.1:1&b=192.0.2.1:1"} {
		if r := f.raw("GET", "/v1/why?"+query, ""); query != "id=1&a=192.0.2.1:1" && r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", query, r.StatusCode)
		}
	}
	rules, err := f.client.Rules(ctx)
	if err != nil || !slices.Contains(rules.Rules, "one") {
		t.Errorf("%v, %v", rules, err)
	}
}
