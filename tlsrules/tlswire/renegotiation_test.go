package tlswire

import (
	"slices"
	"testing"
)

func TestRenegotiation(t *testing.T) {
	hs := func(n int) []byte { return record(RecordTypeHandshake, VersionTLS12, make([]byte, n)) }
	keys := record(RecordTypeChangeCipherSpec, VersionTLS12, make([]byte, 25))
	refusal := record(RecordTypeAlert, VersionTLS12, make([]byte, 26))
	full := []flight{{Client, hs(200)}, {Server, hs(3000)}, {Client, cat(hs(150), keys, hs(40))}, {Server, cat(hs(200), keys, hs(40))}}
	resumed := []flight{{Client, hs(200)}, {Server, cat(hs(100), keys, hs(40))}, {Client, cat(keys, hs(40))}}
	asked := []flight{{Server, hs(28)}}
	then := func(parts ...[]flight) []flight {
		all := encrypted12()
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	another := slices.Clone(hello) // with a random of its own
	another[recordHeaderLen+messageHeaderLen+2]++
	some := []flight{{Client, data(100)}, {Server, data(1000)}}
	tests := []struct {
		name    string
		flights []flight
		want    [2]uint8 // begun by client, server
	}{
		{"none", then(some), [2]uint8{}},
		{"ticket_is_none", []flight{{Client, hello}, {Server, hello12}, {Client, cat(spec, hs(40))},
			{Server, cat(records(VersionTLS12, message(4, make([]byte, 100)), 1000), spec, hs(40))}}, [2]uint8{}},
		{"resumption_is_none", []flight{{Client, hello}, {Server, cat(hello12, spec, hs(40))}, {Client, cat(spec, hs(40), data(10))}}, [2]uint8{}},
		{"client", then(some, full, some), [2]uint8{1, 0}},
		{"server", then(some, asked, full, some), [2]uint8{0, 1}},
		{"client_resuming", then(resumed), [2]uint8{1, 0}},
		{"client_three_times", then(full, resumed, some, full), [2]uint8{3, 0}},
		{"both", then(full, some, asked, full, asked, resumed), [2]uint8{1, 2}},
		{"data_in_between", then(full[:2], some, full[2:], some, full), [2]uint8{2, 0}},
		{"server_asks_in_vain", then(asked, some, asked, some), [2]uint8{0, 1}},
		{"refused_with_an_alert_and_asked_again", then(asked, []flight{{Client, refusal}}, some, asked), [2]uint8{0, 2}},
		{"client_refused", then(full[:1], []flight{{Server, refusal}}, full[:1]), [2]uint8{2, 0}},
		{"hello_in_clear", []flight{{Client, cat(hello, another)}}, [2]uint8{1, 0}},
		{"answer_to_a_retry_that_was_not_seen", []flight{{Client, cat(hello, hello)}}, [2]uint8{}},
		{"hello_in_clear_after_that", []flight{{Client, cat(hello, hello, hello)}}, [2]uint8{1, 0}},
		{"hello_in_clear_after_the_server_hello", []flight{{Client, hello}, {Server, hello12}, {Client, hello}}, [2]uint8{1, 0}},
		{"answer_to_a_retry_is_none", []flight{{Client, hello}, {Server, records(VersionTLS12, retryRequest(0x1301), 1000)}, {Client, hello}, {Server, hello13}}, [2]uint8{}},
		{"retry_answered_twice", []flight{{Client, hello}, {Server, records(VersionTLS12, retryRequest(0x1301), 1000)}, {Client, cat(hello, hello)}}, [2]uint8{1, 0}},
		{"tls13_has_none", []flight{{Client, hello}, {Server, cat(hello13, data(900))}, {Client, cat(data(53), data(100))}, {Server, data(300)}}, [2]uint8{}},
		{"called_end_is_the_tls_client", func() []flight {
			all := then(full)
			for i := range all {
				all[i].from = all[i].from.Other()
			}
			return all
		}(), [2]uint8{0, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := checkSplits(t, tt.flights)
			if c.Renegotiations != tt.want || c.Renegotiates() != (tt.want != [2]uint8{}) || !c.Fault.OK() {
				t.Errorf("got %d, %v, want %d", c.Renegotiations, c.Fault, tt.want)
			}
		})
	}
}

func TestSecureRenegotiation(t *testing.T) {
	info := ext{extensionRenegotiationInfo, []byte{0}}
	offers := map[string][]byte{
		"nothing": clientHello([]uint16{0x2f}), "extension": clientHello([]uint16{0x2f}, info), "scsv": clientHello([]uint16{0xff, 0x2f}),
	}
	for offer, msg := range offers {
		for _, selected := range []bool{false, true} {
			answer := serverHello(VersionTLS12, 0x2f)
			if selected {
				answer = serverHello(VersionTLS12, 0x2f, info)
			}
			var c Conn
			consume(&c, Client, records(VersionTLS10, msg, 1000))
			if c.SecureRenegotiation() {
				t.Errorf("%s: secure before the server says so", offer)
			}
			consume(&c, Server, records(VersionTLS12, answer, 1000))
			if got, want := c.SecureRenegotiation(), selected && offer != "nothing"; got != want {
				t.Errorf("%s, selected %v: got %v", offer, selected, got)
			}
		}
	}
}

// Renegotiations of OpenSSL, begun by the client with "R" and by the server with
// "r", and of GnuTLS; nothing else that either says is one.
func TestRenegotiationOfPrograms(t *testing.T) {
	want := map[string][2]uint8{"tls12_renegotiation": {1, 0}, "tls12_renegotiation_server": {0, 1}, "gnutls_renegotiation": {1, 0}}
	for name, flights := range conversations(t) {
		c, _ := checkSplits(t, flights)
		if c.Renegotiations != want[name] || c.Renegotiates() && !c.SecureRenegotiation() {
			t.Errorf("%s: got %d, secure %v", name, c.Renegotiations, c.SecureRenegotiation())
		}
	}
}

func TestRenegotiationsSaturate(t *testing.T) {
	var c Conn
	for range 300 {
		consume(&c, Client, hello)
	}
	if c.Renegotiations != [2]uint8{255, 0} {
		t.Errorf("got %d", c.Renegotiations)
	}
}
