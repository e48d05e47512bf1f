package tlswire

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// last returns the last thing told, and what the records of both sides were.
func last(s story) string {
	if len(s.Events) == 0 {
		return ""
	}
	return s.Events[len(s.Events)-1]
}

func TestFirstBytes(t *testing.T) {
	hello := record(RecordTypeHandshake, VersionTLS10, chromeHello())
	odd := func(b []byte, major, minor byte) []byte { b = slices.Clone(b); b[1], b[2] = major, minor; return b }
	tests := []struct {
		name  string
		data  []byte
		want  Protocol
		event string
	}{
		{"hello", hello, ProtocolTLS, "client message 1 "},
		{"hello_in_ssl3_record", odd(hello, 3, 0), ProtocolTLS, "client message 1 "},
		{"hello_in_odd_record_evades_by_major_version", odd(hello, 2, 255), ProtocolTLS, "client message 1 "},
		{"hello_in_record_of_version_zero", odd(hello, 0, 0), ProtocolTLS, "client message 1 "},
		{"record_version_no_server_takes", odd(hello, 0x10, 0), ProtocolUnknown, "client not TLS unknown"},
		{"warning_before_hello_evades_by_first_type", append([]byte{21, 3, 1, 0, 2, 1, 0}, hello...), ProtocolTLS, "client message 1 "},
		{"warning_of_odd_version_before_hello", append([]byte{21, 0, 1, 0, 2, 1, 0}, hello...), ProtocolTLS, "client message 1 "},
		{"length_prefixed_protocol", []byte("\x16\x00\x00\x00\x01\x00\x00\x00aaaaaaaaaaaaaa"), ProtocolUnknown, "client not TLS unknown"},
		{"length_prefixed_protocol_zero", []byte("\x16\x00\x00\x00\x00\x00\x00\x00aaaaaaaaaaaaaa"), ProtocolUnknown, "client not TLS unknown"},
		{"application_data_first", record(RecordTypeApplicationData, VersionTLS12, make([]byte, 50)), ProtocolUnknown, "client not TLS unknown"},
		{"change_cipher_spec_before_hello_evades_by_first_type", append([]byte{20, 3, 3, 0, 1, 1}, hello...), ProtocolTLS, "client message 1 "},
		{"change_cipher_spec_empty", append([]byte{20, 3, 3, 0, 0}, hello...), ProtocolTLS, "client malformed record_length 3"},
		{"change_cipher_spec_too_long", []byte{20, 3, 3, 0, 2, 1}, ProtocolUnknown, "client not TLS unknown"},
		{"get", []byte("GET / HTTP/1.1\r\n"), ProtocolHTTP, "client not TLS http"},
		{"connect", []byte("CONNECT a.example:443 HTTP/1.1\r\n"), ProtocolHTTP, "client not TLS http"},
		{"http2_preface", []byte("PRI * HTTP/2.0\r\n"), ProtocolHTTP, "client not TLS http"},
		{"http_response", []byte("HTTP/1.1 400 Bad Request"), ProtocolHTTP, "client not TLS http"},
		{"not_quite_http", []byte("GETX / HTTP/1.1\r\n"), ProtocolUnknown, "client not TLS unknown"},
		{"ssh", []byte("SSH-2.0-OpenSSH_9.2\r\n"), ProtocolSSH, "client not TLS ssh"},
		{"smtp", []byte("EHLO a.example\r\n"), ProtocolUnknown, "client not TLS unknown"},
		{"unfinished_method_may_become_http", []byte("OPTION"), 0, ""},
		{"unfinished_tls", hello[:4], 0, ""},
		{"ssl2_only", sslv2Hello(VersionSSL20), ProtocolSSLv2, "client not TLS sslv2"},
		{"ssl2_hello_offers_tls", sslv2Hello(VersionTLS12), ProtocolSSLv2, "client message 1 "},
		{"high_bit_binary", []byte{0x80, 0x50, 2, 3, 3}, ProtocolUnknown, "client not TLS unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want story
			for i, next := range []cut{whole, oneByte, func(int) int { return 3 }} {
				var c Conn
				s := tell(t, &c, []flight{{Client, tt.data}}, next)
				if c.Protocol != tt.want || !strings.HasPrefix(last(s), tt.event) || (tt.event == "" && last(s) != "") {
					t.Errorf("cut %d: got %v, %q, want %v, %q", i, c.Protocol, last(s), tt.want, tt.event)
				}
				if i == 0 {
					want = s
				} else if !slices.Equal(s.Events, want.Events) || s.Opaque != want.Opaque {
					t.Errorf("cut %d: got %q, want %q", i, s, want)
				}
			}
		})
	}
}

// sslv2Hello is the hello of RFC 5246, Appendix E.2, with two suites of TLS and
// one of SSL 2.0.
func sslv2Hello(version uint16) []byte {
	b := []byte{1, byte(version >> 8), byte(version), 0, 9, 0, 0, 0, 16,
		0, 0xc0, 0x2f, 0, 0, 0x2f, 1, 0, 0x80}
	b = append(b, bytes.Repeat([]byte{7}, 16)...)
	return append([]byte{0x80, byte(len(b))}, b...)
}

func TestSSLv2Hello(t *testing.T) {
	flights := []flight{{Client, sslv2Hello(VersionTLS12)}, {Server, records(VersionTLS12, serverHello(VersionTLS12, 0x2f), 100)}}
	c, _ := checkSplits(t, flights)
	h := &c.ClientHello
	if !h.SSLv2 || h.LegacyVersion != VersionTLS12 || !slices.Equal(h.CipherSuites, []uint16{0xc02f, 0x2f}) ||
		h.Random != [32]byte(append(make([]byte, 16), bytes.Repeat([]byte{7}, 16)...)) || int(h.Length) != len(flights[0].data)-2 {
		t.Errorf("got %+v", h)
	}
	if c.Version != VersionTLS12 || c.LastMessage.Type != TypeServerHello {
		t.Errorf("got version %#04x, %v", c.Version, c.Fault)
	}
	for name, b := range map[string][]byte{
		"specs_longer_than_the_record": {0x80, 12, 1, 3, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0x2f},
		"odd_specs":                    {0x80, 10, 1, 3, 1, 0, 1, 0, 0, 0, 0, 0x2f},
		"shorter_than_its_header":      {0x80, 3, 1, 3, 1, 0},
		"no_room_for_lengths":          {0x80, 5, 1, 3, 1, 0, 0},
	} {
		var c Conn
		tell(t, &c, []flight{{Client, b}}, oneByte)
		if c.Fault.OK() {
			t.Errorf("%s: taken for a hello", name)
		}
	}
}

// The called end may be the TLS client: then facts follow TLS, not TCP.
func TestReversedRoles(t *testing.T) {
	certs := certificates()
	flights, _ := talk(clientOf(certs), serverOf(certs))
	for i := range flights {
		flights[i].from = flights[i].from.Other()
	}
	c, s := checkSplits(t, flights)
	if c.ClientHelloFrom != Server || !c.HandshakeDone || c.Version != VersionTLS13 {
		t.Errorf("got hello from %v, done %v, version %#04x", c.ClientHelloFrom, c.HandshakeDone, c.Version)
	}
	const want = "handshake change_cipher_spec handshake application_data alert"
	if got := contents(s, Server); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

var (
	hello   = records(VersionTLS10, clientHello([]uint16{0x2f}), 1000)
	hello12 = records(VersionTLS12, serverHello(VersionTLS12, 0xc02f), 1000)
	hello13 = records(VersionTLS12, serverHello13(0x1301), 1000)
	spec    = record(RecordTypeChangeCipherSpec, VersionTLS12, []byte{1})
)

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// data is a type-23 record of n bytes.
func data(n int) []byte {
	return record(RecordTypeApplicationData, VersionTLS12, make([]byte, n))
}

// Broken streams, each with the attack or the mistake.
func TestMalformedStream(t *testing.T) {
	ch := clientHello([]uint16{0x2f})
	plain := func(b ...byte) []byte { return record(RecordTypeHandshake, VersionTLS12, b) }
	alert := func(b ...byte) []byte { return record(RecordTypeAlert, VersionTLS12, b) }
	messageOf := func(t HandshakeType) []byte { return plain(message(t, nil)...) }
	certificate := messageOf(TypeCertificate)
	bigMessage := func(t HandshakeType, n int) []byte { return plain(byte(t), byte(n>>16), byte(n>>8), byte(n)) }
	tests := []struct {
		name    string
		flights []flight
		want    FaultField
	}{
		{"unknown_record_type", []flight{{Client, cat(hello, record(25, VersionTLS12, ch))}}, FaultRecordType},
		{"record_version_after_negotiation", []flight{{Client, hello}, {Server, hello12}, {Client, record(22, 0x0203, ch)}}, FaultRecordVersion},
		{"record_overflow_in_clear", []flight{{Client, []byte{22, 3, 1, 0x40, 1}}}, FaultRecordLength},
		{"record_overflow_encrypted", []flight{{Client, cat(hello, []byte{23, 3, 3, 0x48, 1})}}, FaultRecordLength},
		{"empty_handshake_records_keep_us_busy", []flight{{Client, cat(hello, plain())}}, FaultRecordLength},
		{"empty_alert", []flight{{Client, cat(hello, alert())}}, FaultRecordLength},
		{"empty_handshake_record_first", []flight{{Client, plain()}}, FaultRecordLength},
		{"alert_in_pieces", []flight{{Client, cat(hello, alert(2))}}, FaultAlert},
		{"two_alerts_in_one_record", []flight{{Client, cat(hello, alert(1, 0, 2, 40))}}, FaultAlert},
		{"alert_of_unknown_level", []flight{{Client, cat(hello, alert(3, 0))}}, FaultAlert},
		{"change_cipher_spec_of_two_bytes", []flight{{Client, cat(hello, record(20, VersionTLS12, []byte{1, 1}))}}, FaultChangeCipherSpec},
		{"change_cipher_spec_zero", []flight{{Client, cat(hello, record(20, VersionTLS12, []byte{0}))}}, FaultChangeCipherSpec},
		{"hello_across_change_cipher_spec", []flight{{Client, cat(plain(ch[:9]...), spec, plain(ch[9:]...))}}, FaultInterleaved},
		{"hello_across_application_data", []flight{{Client, cat(plain(ch[:9]...), data(20), plain(ch[9:]...))}}, FaultInterleaved},
		{"hello_across_heartbeat", []flight{{Client, cat(plain(ch[:9]...), record(24, VersionTLS12, make([]byte, 19)))}}, FaultInterleaved},
		{"client_begins_with_key_exchange", []flight{{Client, plain(16, 0, 0, 1, 0)}}, FaultMessageOrder},
		{"client_begins_with_server_hello", []flight{{Client, hello12}}, FaultMessageOrder},
		{"client_sends_hello_request", []flight{{Client, cat(hello, plain(0, 0, 0, 0))}}, FaultMessageOrder},
		{"hello_request_with_body", []flight{{Client, hello}, {Server, plain(0, 0, 0, 1, 9)}}, FaultMessageOrder},
		{"both_ends_are_clients", []flight{{Client, hello}, {Server, hello}}, FaultMessageOrder},
		{"both_ends_are_clients_at_once", []flight{{Client, hello[:9]}, {Server, hello}}, FaultMessageOrder},
		{"server_changes_roles_after_its_hello", []flight{{Server, cat(hello12, hello)}}, FaultMessageOrder},
		{"second_server_hello_changes_the_suite", []flight{{Client, hello}, {Server, cat(hello12, hello12)}}, FaultMessageOrder},
		{"two_retries", []flight{{Client, hello}, {Server, records(VersionTLS12, cat(retryRequest(0x1301), retryRequest(0x1301)), 1000)}}, FaultMessageOrder},
		{"clear_message_after_tls13_hello_in_one_record", []flight{{Client, hello}, {Server, plain(cat(serverHello13(0x1301), ch)...)}}, FaultMessageOrder},
		{"clear_message_after_tls13_hello", []flight{{Client, hello}, {Server, cat(hello13, plain(8, 0, 0, 0))}}, FaultRecordType},
		{"clear_hello_of_client_after_tls13_hello", []flight{{Client, hello}, {Server, hello13}, {Client, hello}}, FaultRecordType},
		{"piece_of_message_before_key_change", []flight{{Client, hello}, {Server, cat(plain(append(serverHello13(0x1301), 8)...), data(100))}}, FaultInterleaved},
		{"application_data_before_server_hello", []flight{{Client, hello}, {Server, cat(alert(1, 0), data(100))}}, FaultRecordType},
		{"application_data_before_client_hello", []flight{{Client, cat(alert(1, 0), data(100))}}, FaultRecordType},
		{"server_hello_of_no_version", []flight{{Client, hello}, {Server, records(VersionTLS12, serverHello(0, 0x2f), 1000)}}, FaultVersion},
		{"hello_claims_sixteen_megabytes", []flight{{Client, bigMessage(TypeClientHello, 1<<24-1)}}, FaultMessageTooLong},
		{"certificate_claims_sixteen_megabytes", []flight{{Client, hello}, {Server, cat(hello12, bigMessage(TypeCertificate, 1<<24-1))}}, FaultMessageTooLong},
		{"second_certificate_changes_the_name", []flight{{Client, hello}, {Server, cat(hello12, certificate, certificate)}}, FaultMessageOrder},
		{"certificate_after_key_exchange", []flight{{Client, hello}, {Server, cat(hello12, messageOf(TypeServerKeyExchange), certificate)}}, FaultMessageOrder},
		{"certificate_after_all_is_said", []flight{{Client, hello}, {Server, cat(hello12, messageOf(TypeServerHelloDone), certificate)}}, FaultMessageOrder},
		{"certificate_after_ticket", []flight{{Client, hello}, {Server, cat(hello12, messageOf(TypeNewSessionTicket), certificate)}}, FaultMessageOrder},
		{"second_certificate_of_client", []flight{{Client, hello}, {Server, hello12}, {Client, cat(certificate, certificate)}}, FaultMessageOrder},
		{"certificate_of_client_after_key_exchange", []flight{{Client, hello}, {Server, hello12}, {Client, cat(messageOf(TypeClientKeyExchange), certificate)}}, FaultMessageOrder},
		{"second_key_exchange_changes_the_group", []flight{{Client, hello}, {Server, cat(hello12, messageOf(TypeServerKeyExchange), messageOf(TypeServerKeyExchange))}}, FaultMessageOrder},
		{"key_exchange_after_all_is_said", []flight{{Client, hello}, {Server, cat(hello12, messageOf(TypeServerHelloDone), messageOf(TypeServerKeyExchange))}}, FaultMessageOrder},
		{"client_says_the_servers_key_exchange", []flight{{Client, hello}, {Server, hello12}, {Client, messageOf(TypeServerKeyExchange)}}, FaultMessageOrder},
		{"client_says_that_the_server_is_done", []flight{{Client, hello}, {Server, hello12}, {Client, messageOf(TypeServerHelloDone)}}, FaultMessageOrder},
		{"server_says_the_clients_key_exchange", []flight{{Client, hello}, {Server, cat(hello12, messageOf(TypeClientKeyExchange))}}, FaultMessageOrder},
		{"certificate_request_claims_sixteen_megabytes", []flight{{Client, hello}, {Server, cat(hello12, bigMessage(TypeCertificateRequest, 1<<24-1))}}, FaultMessageTooLong},
		{"hello_in_too_many_records", []flight{{Client, records(VersionTLS10, clientHello(make([]uint16, 8300)), 1)}}, FaultTooManyRecords},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, next := range []cut{whole, oneByte} {
				var c Conn
				s := tell(t, &c, tt.flights, next)
				if c.Fault.Field != tt.want || !strings.Contains(last(s), "malformed") || c.Held() != 0 {
					t.Errorf("got %v, %d held, want %v: %q", c.Fault, c.Held(), tt.want, s.Events)
				}
			}
		})
	}
}

// Odd streams that honest peers send, or that servers are known to take.
func TestOddStream(t *testing.T) {
	ch := clientHello([]uint16{0x2f})
	tests := []struct {
		name    string
		flights []flight
		last    string
	}{
		{"warning_between_records_of_a_hello", []flight{{Client, cat(
			record(22, VersionTLS10, ch[:9]), record(21, VersionTLS10, []byte{1, 90}), record(22, VersionTLS10, ch[9:]))}}, "client message 1 "},
		{"hello_request_before_hello", []flight{{Server, record(22, VersionTLS12, []byte{0, 0, 0, 0})}, {Client, hello}}, "client message 1 "},
		{"server_hello_overtakes_client_hello", []flight{{Server, hello12}, {Client, hello}}, "client message 1 "},
		{"second_clear_hello_is_told_again", []flight{{Client, cat(hello, hello)}}, "client message 1 "},
		{"change_cipher_spec_first_of_stateless_server", []flight{{Client, hello}, {Server, cat(spec, hello13)}}, "server message 2 "},
		{"empty_application_data", []flight{{Client, hello}, {Server, cat(hello12, spec, data(0))}}, "server record 23 0x0303 0 application_data"},
		{"plain_http_answer", []flight{{Client, hello}, {Server, []byte("HTTP/1.1 400 Bad Request")}}, "server not TLS tls"},
		{"heartbleed_before_encryption_is_a_heartbeat", []flight{{Client, cat(hello, record(24, VersionTLS12, []byte{1, 0x40, 0}))}}, "client record 24 0x0303 3 heartbeat"},
		{"messages_share_a_record", []flight{{Client, hello}, {Server, record(22, VersionTLS12, cat(
			serverHello(VersionTLS12, 0xc02f), message(TypeCertificate, make([]byte, 3000)), message(TypeServerHelloDone, nil)))}}, "server message 14 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := checkSplits(t, tt.flights)
			if !strings.HasPrefix(last(s), tt.last) || !c.Fault.OK() {
				t.Errorf("got %q, %v, want %q", last(s), c.Fault, tt.last)
			}
		})
	}
}

// A CertificateVerify is passed, not read: opaque but for its framing.
func TestSkippedMessage(t *testing.T) {
	var c Conn
	verify := record(22, VersionTLS12, message(TypeCertificateVerify, make([]byte, 10)))
	s := tell(t, &c, []flight{{Client, hello}, {Server, hello12}, {Client, verify}}, whole)
	want := strings.Repeat("r", len(hello)+recordHeaderLen+messageHeaderLen) + strings.Repeat("o", 10)
	if s.Opaque[Client] != want || c.Held() != 0 || c.Message() != nil {
		t.Errorf("got %s, want %s", s.Opaque[Client], want)
	}
}

func TestRecordCounts(t *testing.T) {
	var c Conn
	tell(t, &c, []flight{{Client, cat(hello, hello, spec)}}, whole)
	if got := c.Records[Client]; got.Of(RecordTypeHandshake) != 2 || got.Of(RecordTypeChangeCipherSpec) != 1 || got.Of(RecordTypeAlert) != 0 || got.Of(99) != 0 {
		t.Errorf("got %v", got)
	}
}
