package events

import (
	"encoding/json"
	"net/netip"
	"testing"

	"tlsgate/internal/engine"
)

func TestPin(t *testing.T) {
	for want, p := range map[string]*engine.PinPart{
		`null`:                               nil,
		`{"rule":"one","outcome":"refused"}`: {Told: engine.PinRefused, Rule: "one"},
		`{"rule":"one","group":{"port":"443","source":"2001:db8::1"},"outcome":"taken","holder":{"to":"session","flow_id":7,` +
			`"src_ip":"2001:db8::1","src_port":40000,"dest_ip":"2001:db8::2","dest_port":443,` +
			`"client_random":"0100000000000000000000000000000000000000000000000000000000000000","since":"1970-01-01T00:00:01.000000+0000","by_hand":true}}`: {
			Told: engine.PinTaken, Rule: "one", Group: "source=2001:db8::1,port=443", Holder: &engine.HeldPin{
				Session: true, ID: 7, Client: netip.MustParseAddrPort("[2001:db8::1]:40000"), Server: netip.MustParseAddrPort("[2001:db8::2]:443"),
				Random: [32]byte{1}, Since: 1e9, ByHand: true,
			},
		},
		`{"rule":"one","outcome":"refused","holder":{"to":"connection","since":"1970-01-01T00:00:01.000000+0000","awaits":"session_id"}}`: {
			Told: engine.PinRefused, Rule: "one", Holder: &engine.HeldPin{Since: 1e9, Awaits: "session_id"},
		},
	} {
		if b, err := json.Marshal(pinOf(&engine.Report{Pin: p})); err != nil || string(b) != want {
			t.Errorf("%s, %v, want %s", b, err, want)
		}
	}
}
