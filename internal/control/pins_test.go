package control

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func (f *daemon) pins(rule string) (list []Pin) {
	f.t.Helper()
	err := f.client.Pins(f.t.Context(), rule, func(line []byte) error {
		var p Pin
		list = append(list, p)
		return json.Unmarshal(line, &list[len(list)-1])
	})
	if err != nil {
		f.t.Error(err)
	}
	return list
}

// TestPins gives a pin to one connection after the other, of two workers, keeps it
// for one that has yet to come, and takes it away.
func TestPins(t *testing.T) {
	f := start(t, 2)
	tail := f.d.Events.Tail("drop")
	defer tail.Close()
	f.openTo(0, 0, pinnedEnd)
	f.openTo(1, 1, pinnedEnd)
	f.settle(6)
	p, err := f.client.Pin(t.Context(), WhichPin{A: client(0), B: pinnedEnd})
	if err != nil || p.Moved != 0 || p.Pin.Rule != "one" || p.Pin.To != "connection" || !p.Pin.ByHand || p.Pin.Source+":"+"10000" != client(0).String() {
		t.Fatalf("%+v, %v", p, err)
	}
	if list, err := f.conns(map[string][]string{"id": {"1"}}); err != nil || len(list) != 1 || list[0].Pin != "one" {
		t.Errorf("conns: %+v, %v", list, err)
	}
	p, err = f.client.Pin(t.Context(), WhichPin{A: pinnedEnd, B: client(1), Rule: "one"})
	if err != nil || p.Moved != 1 || p.Pin.FlowID != 2 || !strings.Contains(p.Text, "1 connection had it before") {
		t.Errorf("moved: %+v, %v", p, err)
	}
	line := string(<-tail.Lines())
	for _, want := range []string{`"reason":"pin.taken"`, `"flow_id":1,`, `the operator has given the pin`, `"pin":{"rule":"one","outcome":"refused","holder":{"to":"connection","flow_id":2,`} {
		if !strings.Contains(line, want) {
			t.Errorf("%s lacks %s", line, want)
		}
	}
	if again, err := f.client.Pin(t.Context(), WhichPin{FlowID: 2}); err != nil || again.Moved != 0 || again.Pin.FlowID != 2 {
		t.Errorf("again: %+v, %v", again, err)
	}
	random := strings.Repeat("0123456789abcdef", 4)
	p, err = f.client.Pin(t.Context(), WhichPin{Rule: "one", ClientRandom: random})
	if err != nil || p.Moved != 1 || p.Pin.Awaits != "client_random" || p.Pin.ClientRandom != random || p.Pin.Idle != nil {
		t.Errorf("kept: %+v, %v", p, err)
	}
	if _, err = f.client.Pin(t.Context(), WhichPin{Rule: "each", SessionID: "0102", Group: map[string]string{"source": "2001:DB8::1", "port": "8444"}}); err != nil {
		t.Error(err)
	}
	list := f.pins("")
	if len(list) != 2 || list[0].Rule != "each" || list[0].Group["source"] != "2001:db8::1" || list[0].Awaits != "session_id" || len(f.pins("one")) != 1 {
		t.Errorf("%+v", list)
	}
	u, err := f.client.Unpin(t.Context(), 0, "each", "port=8444,source=2001:db8::2")
	if err != nil || u.Released != 0 {
		t.Errorf("of another group: %+v, %v", u, err)
	}
	u, err = f.client.Unpin(t.Context(), 0, "each", "port=8444,source=2001:db8::1")
	if err != nil || u.Released != 1 || len(f.pins("each")) != 0 {
		t.Errorf("released: %+v, %v", u, err)
	}
	f.openTo(0, 3, pinnedEnd)
	f.settle(3)
	if p, err = f.client.Pin(t.Context(), WhichPin{A: client(3), B: pinnedEnd}); err != nil {
		t.Error(err)
	}
	u, err = f.client.Unpin(t.Context(), p.Pin.FlowID, "", "")
	if err != nil || u.Released != 1 || u.Moved != 1 || len(f.pins("")) != 0 || f.d.Pins.Len() != 0 {
		t.Errorf("of a connection: %+v, %v", u, err)
	}
}

// TestPinsRefused: what cannot be done is said by name, and what helps.
func TestPinsRefused(t *testing.T) {
	f := start(t, 1)
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(serverEnd.Addr(), port) }
	for n, port := range []uint16{443, 8444, 8446, 8443} {
		f.openTo(0, n, at(port))
	}
	f.settle(12)
	if _, err := f.client.Kill(t.Context(), Which{FlowID: 4}); err != nil {
		t.Fatal(err)
	}
	random := strings.Repeat("ab", 32)
	for _, tt := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/v1/pins?rule=none", "", 404, `there is no rule "none"`},
		{"GET", "/v1/pins?rule=plain", "", 409, `rule "plain" has no pin; rules with a pin: "one", "each", "named"`},
		{"GET", "/v1/pins?rule=one&rule=each", "", 400, "rule"},
		{"POST", "/v1/pins", "", 400, "pin takes"},
		{"POST", "/v1/pins", "{}", 400, "who is to hold the pin"},
		{"POST", "/v1/pins", `{"flow_id":1,"a":"192.0.2.1:1","b":"192.0.2.1:2"}`, 400, "who is to hold the pin"},
		{"POST", "/v1/pins", `{"flow_id":1,"client_random":"` + random + `"}`, 400, "more than one"},
		{"POST", "/v1/pins", `{"rule":"one","session_id":"01","client_random":"` + random + `"}`, 400, "more than one"},
		{"POST", "/v1/pins", `{"client_random":"` + random + `"}`, 400, "of which rule"},
		{"POST", "/v1/pins", `{"rule":"one","client_random":"abc"}`, 400, "not hexadecimal"},
		{"POST", "/v1/pins", `{"rule":"one","client_random":"abcd"}`, 400, "has 32 bytes, not 2"},
		{"POST", "/v1/pins", `{"rule":"one","session_id":"` + random + `00"}`, 400, "at most 32 bytes, not 33"},
		{"POST", "/v1/pins", `{"rule":"two","session_id":"01"}`, 404, `no rule "two"`},
		{"POST", "/v1/pins", `{"rule":"plain","session_id":"01"}`, 409, "has no pin"},
		{"POST", "/v1/pins", `{"rule":"each","session_id":"01"}`, 400, "source is missing"},
		{"POST", "/v1/pins", `{"rule":"each","session_id":"01","group":{"source":"192.0.2.1","colour":"red"}}`, 400, `knows no "colour"; its groups are told apart by source, port`},
		{"POST", "/v1/pins", `{"rule":"each","session_id":"01","group":{"source":"here","port":"1"}}`, 400, `"here" is not an address`},
		{"POST", "/v1/pins", `{"rule":"each","session_id":"01","group":{"source":"192.0.2.1","port":"x"}}`, 400, `"x" is not a port`},
		{"POST", "/v1/pins", `{"rule":"one","session_id":"01","group":{"port":"1"}}`, 400, "all its connections are one group"},
		{"POST", "/v1/pins", `{"flow_id":4711}`, 404, "no connection 4711"},
		{"POST", "/v1/pins", `{"flow_id":1}`, 409, "under no rule with a pin"},
		{"POST", "/v1/pins", `{"flow_id":1,"rule":"one"}`, 409, `not under rule "one"`},
		{"POST", "/v1/pins", `{"flow_id":1,"rule":"plain"}`, 409, "has no pin"},
		{"POST", "/v1/pins", `{"flow_id":2}`, 409, "say which: --rule"},
		{"POST", "/v1/pins", `{"flow_id":3}`, 409, "its ClientHello will tell"},
		{"POST", "/v1/pins", `{"flow_id":4}`, 409, "is refused: killed"},
		{"DELETE", "/v1/pins", "", 400, "whose pin"},
		{"DELETE", "/v1/pins?flow_id=x", "", 400, "not the ID"},
		{"DELETE", "/v1/pins?flow_id=1", "", 404, "connection 1 holds no pin"},
		{"DELETE", "/v1/pins?flow_id=1&group=port=1", "", 400, "whose pin"},
		{"DELETE", "/v1/pins?rule=two", "", 404, `no rule "two"`},
		{"DELETE", "/v1/pins?rule=one&group=port=1", "", 400, `knows no "port"`},
		{"DELETE", "/v1/pins?colour=red", "", 400, "colour"},
		{"PUT", "/v1/pins", "", 405, "GET, POST, DELETE"},
	} {
		r := f.raw(tt.method, tt.path, tt.body)
		var failure Failure
		err := json.NewDecoder(r.Body).Decode(&failure)
		if said := failure.Text + "; " + failure.Help; err != nil || r.StatusCode != tt.status || !strings.Contains(said, tt.says) {
			t.Errorf("%s %s %.80s: %d %q, %v; want %d, %q", tt.method, tt.path, tt.body, r.StatusCode, said, err, tt.status, tt.says)
		}
	}
	if n := f.d.Pins.Len(); n != 0 {
		t.Errorf("%d pins are held", n)
	}
}
