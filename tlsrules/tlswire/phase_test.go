package tlswire

import (
	"slices"
	"strings"
	"testing"
)

func repeat(n int, b []byte) []byte { return cat(slices.Repeat([][]byte{b}, n)...) }

// What TLS 1.3 hides, inferred from lengths and order.
func TestPhase(t *testing.T) {
	early := records(VersionTLS10, clientHello([]uint16{0x1301}, ext{extensionEarlyData, nil}), 1000)
	server := func(suite uint16) []byte {
		return cat(records(VersionTLS12, serverHello13(suite), 1000), spec, data(2000))
	}
	retry := records(VersionTLS12, retryRequest(0x1301), 1000)
	const hs, ccs, app, al, ed = "handshake ", "change_cipher_spec ", "application_data", "alert", "early_data "
	tests := []struct {
		name           string
		flights        []flight
		client, server string
		done           bool
	}{
		{"finished_sha256", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, cat(spec, data(53), data(53))}, {Server, data(300)}},
			hs + ccs + hs + app, hs + ccs + hs + app, true},
		{"finished_sha384", []flight{{Client, hello}, {Server, server(0x1302)}, {Client, cat(data(69), data(100))}},
			hs + app, hs + ccs + hs, true},
		{"finished_ccm8", []flight{{Client, hello}, {Server, server(0x1305)}, {Client, cat(data(45), data(11))}},
			hs + al, hs + ccs + hs, true},
		{"finished_integrity_only", []flight{{Client, hello}, {Server, server(0xc0b4)}, {Client, cat(data(69), data(100))}},
			hs + app, hs + ccs + hs, true},
		{"finished_of_another_hash_is_a_flight", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, data(69)}},
			hs, hs + ccs + hs, false},
		{"client_certificate", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, cat(data(1500), data(280), data(53), data(20))}},
			hs + app, hs + ccs + hs, true},
		{"upload_passes_for_certificates_up_to_8_records", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, repeat(9, data(100))}},
			hs + app, hs + ccs + hs, true},
		{"upload_passes_for_certificates_up_to_64k", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, repeat(4, data(16401))}},
			hs + app, hs + ccs + hs, true},
		{"download_passes_for_a_flight_up_to_256k", []flight{{Client, hello}, {Server, cat(server(0x1301), repeat(16, data(16401)))}},
			hs, hs + ccs + hs + app, false},
		{"alert_of_client_in_handshake", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, data(19)}},
			hs + al, hs + ccs + hs, false},
		{"only_the_first_19_bytes_are_an_alert", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, cat(data(53), data(19), data(19), data(53))}},
			hs + al + " " + app, hs + ccs + hs, true},
		{"alert_before_finished_ends_the_handshake", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, cat(data(19), data(53))}},
			hs + al + " " + app, hs + ccs + hs, false},
		{"close_of_server", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, data(53)}, {Server, cat(data(100), data(19))}},
			hs, hs + ccs + hs + app + " " + al, true},
		{"early_data", []flight{{Client, cat(early, spec, data(500), data(53))}, {Server, server(0x1301)}, {Client, cat(data(19), data(21), data(53), data(21), data(19))}},
			hs + ccs + ed + hs + app + " " + al, hs + ccs + hs, true},
		{"early_data_not_offered", []flight{{Client, cat(hello, spec, data(500))}},
			hs + ccs + "early_data", "", false},
		{"early_data_without_end_up_to_64k", []flight{{Client, early}, {Server, server(0x1301)}, {Client, cat(repeat(50, data(1300)), data(1300))}},
			hs + ed + app, hs + ccs + hs, true},
		{"early_data_refused_by_retry", []flight{{Client, cat(early, spec, data(500))}, {Server, cat(retry, spec)}, {Client, cat(data(500), hello)}, {Server, server(0x1301)}, {Client, cat(data(53), data(500))}},
			hs + ccs + ed + hs + app, hs + ccs + hs + ccs + hs, true},
		{"early_data_refused_by_tls12", []flight{{Client, cat(early, spec, data(500))}, {Server, hello12}, {Client, data(500)}},
			hs + ccs + ed + app, hs, false},
		{"tls12", []flight{{Client, hello}, {Server, hello12}, {Client, cat(spec, record(22, VersionTLS12, make([]byte, 40)), data(53))}, {Server, cat(spec, record(22, VersionTLS12, make([]byte, 40)))}},
			hs + ccs + hs + app, hs + ccs + hs, true},
		{"tls12_renegotiation_is_a_handshake_again", []flight{{Client, hello}, {Server, cat(hello12, spec, record(22, VersionTLS12, make([]byte, 40)), data(50), record(22, VersionTLS12, make([]byte, 60)), record(20, VersionTLS12, make([]byte, 25)))}},
			hs, hs + ccs + hs + app + " " + hs + ccs, false},
		{"clear_alert_after_tls13_hello", []flight{{Client, hello}, {Server, server(0x1301)}, {Client, record(21, VersionTLS12, []byte{2, 47})}},
			hs + al, hs + ccs + hs, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := checkSplits(t, tt.flights)
			client, server := contents(s, Client), contents(s, Server)
			if client != strings.TrimSpace(tt.client) || server != strings.TrimSpace(tt.server) || c.HandshakeDone != tt.done || !c.Fault.OK() {
				t.Errorf("got client %s, server %s, done %v, %v\nwant client %s, server %s, done %v",
					client, server, c.HandshakeDone, c.Fault, tt.client, tt.server, tt.done)
			}
		})
	}
}

// What is concluded is called inferred, and what is said is not.
func TestInferred(t *testing.T) {
	flights := []flight{{Client, cat(hello, spec)}, {Server, cat(hello13, data(100))}, {Client, cat(data(53), data(19))}}
	var c Conn
	s := tell(t, &c, flights, whole)
	want := []string{
		"client record 22 0x0301 77 handshake", "client message 1 73", "client record 20 0x0303 1 change_cipher_spec",
		"server record 22 0x0303 50 handshake", "server message 2 46", "server record 23 0x0303 100 handshake inferred",
		"client record 23 0x0303 53 handshake inferred", "client record 23 0x0303 19 alert inferred",
		"client alert {Level:none Description:0 Encrypted:true Inferred:true}",
	}
	if !slices.Equal(s.Events, want) {
		t.Errorf("got %q\nwant %q", s.Events, want)
	}
}

// An encrypted alert of TLS 1.2 says by its type what it is.
func TestEncryptedAlert(t *testing.T) {
	var c Conn
	tell(t, &c, []flight{{Client, hello}, {Server, cat(hello12, spec, record(21, VersionTLS12, make([]byte, 26)))}}, oneByte)
	if want := (AlertMessage{Encrypted: true}); c.LastAlert != want {
		t.Errorf("got %+v, want %+v", c.LastAlert, want)
	}
}

func TestKeyExchangeGroup(t *testing.T) {
	tests := []struct {
		name  string
		suite uint16
		body  []byte
		want  uint16
	}{
		{"ecdhe", 0xc02f, []byte{3, 0, 29, 32}, 29},
		{"ecdhe_psk", 0xc035, []byte{0, 2, 'h', 'i', 3, 0, 23, 65}, 23},
		{"ecdhe_psk_long_hint", 0xc035, append([]byte{0, 200}, make([]byte, 200)...), 0},
		{"explicit_curve", 0xc02f, []byte{1, 0, 29}, 0},
		{"cut", 0xc02f, []byte{3, 0}, 0},
		{"dhe_6144_bits_begins_like_a_curve", 0x009e, append([]byte{3, 0}, make([]byte, 768)...), 0},
		{"chacha", 0xcca8, []byte{3, 0, 30, 56}, 30},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flights := []flight{{Client, hello}, {Server, records(VersionTLS12, cat(
				serverHello(VersionTLS12, tt.suite), message(TypeServerKeyExchange, tt.body)), 16000)}}
			c, _ := checkSplits(t, flights)
			if c.ServerGroup != tt.want || !c.GroupSettled || !c.Fault.OK() {
				t.Errorf("got %d, settled %v, %v, want %d", c.ServerGroup, c.GroupSettled, c.Fault, tt.want)
			}
		})
	}
}

func TestLengthsOf(t *testing.T) {
	for suite, want := range map[uint16]lengths{
		0x1301: {alert: 19, endOfEarlyData: 21, finished: 53},
		0x1302: {alert: 19, endOfEarlyData: 21, finished: 69},
		0x1303: {alert: 19, endOfEarlyData: 21, finished: 53},
		0x1305: {alert: 11, endOfEarlyData: 13, finished: 45},
		0x1306: {alert: 19, endOfEarlyData: 21, finished: 85},
		0xc0b4: {alert: 35, endOfEarlyData: 37, finished: 69},
		0xc0b5: {alert: 51, endOfEarlyData: 53, finished: 101},
	} {
		if got := lengthsOf(suite); got != want {
			t.Errorf("%#04x: got %+v, want %+v", suite, got, want)
		}
	}
}
