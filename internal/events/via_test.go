package events

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tlsgate/tlsrules/via"
)

func TestBeginning(t *testing.T) {
	plain := refusal()
	direct, tunnelled, proxied := refusal(), refusal(), refusal()
	direct.Via = via.Direct
	tunnelled.Via, tunnelled.Tunnel = via.Connect, via.Target{Host: "server\xff.example", Port: 443}
	proxied.Via = via.SMTP
	proxied.Proxied = via.Proxied{Source: netip.MustParseAddrPort("[2001:db8::1]:1025"), Destination: netip.MustParseAddrPort("[2001:db8::2]:25")}
	for want, r := range map[string]beginning{
		`{}`:               beginningOf(plain),
		`{"via":"direct"}`: beginningOf(direct),
		`{"via":"connect","tunnel":{"host":"server�.example","port":443}}`:                                                  beginningOf(tunnelled),
		`{"via":"starttls:smtp","proxied":{"src_ip":"2001:db8::1","src_port":1025,"dest_ip":"2001:db8::2","dest_port":25}}`: beginningOf(proxied),
	} {
		got, err := json.Marshal(r)
		if err != nil || string(got) != want {
			t.Errorf("%v: -got +want\n%s", err, cmp.Diff(string(got), want))
		}
	}
}
